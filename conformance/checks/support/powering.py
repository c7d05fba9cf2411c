"""The child's half of a power or thermal case: phases of rest and of load, with every inference counted and timed.

The load is a closed loop of one session that profiles nothing, over sixteen inputs in turn, so that nothing can be answered from
memory. Phases are marked on the clock that the lab's meters are read on. What the device answered at the end of the load is kept and
judged: a device that saves power by computing something else saves none. Nothing is run where no meter looks.
"""

from __future__ import annotations

import time
from array import array
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from conformance.adapters.runtime.port import RuntimeFault, Unavailable
from conformance.checks.support.running import end_session, fault_of, run_on_device
from conformance.checks.support.timed_run import changed_inputs, open_timed
from conformance.levels import CERTIFY, FULL, SMOKE
from conformance.load.quiet import quiet
from conformance.metering.phases import COOL_DOWN, GAP, IDLE, MEASURED, RANGING, SOAK, STEP, WORKING
from conformance.observation import InferenceSeen, Observation
from conformance.timing.samples import from_times, pack
from conformance.workload import NamedValue

if TYPE_CHECKING:
    from conformance.adapters.runtime.port import RuntimeSession
    from conformance.checks.support.port import Device
    from conformance.records import Case
    from conformance.tensors import Value

    Feeds = list[dict[str, Value]]
    Outputs = list[tuple[str, Value]]

LOAD, ENERGY, THERMAL = "load", "energy", "soak"
BURSTS = ((STEP, 1.2), (GAP, 1.0), (STEP, 1.0), (GAP, 1.3), (STEP, 1.5), (GAP, 1.0))
"""Lengths that differ, in units of the level's burst: a load that something else has does not fit them by chance."""
BURST_S = {SMOKE: 0.6, FULL: 3.0, CERTIFY: 10.0}
_SECONDS: dict[str, dict[str, tuple[float, float, float, float, float]]] = {
    LOAD: {
        SMOKE: (1.5, 0.4, 1.4, 2.5, 1.0),
        FULL: (5.0, 2.0, 10.0, 15.0, 5.0),
        CERTIFY: (60.0, 30.0, 600.0, 600.0, 60.0),
    },
    ENERGY: {
        SMOKE: (1.5, 0.2, 0.5, 2.5, 0.5),
        FULL: (5.0, 1.0, 3.0, 15.0, 3.0),
        CERTIFY: (60.0, 30.0, 60.0, 600.0, 30.0),
    },
    THERMAL: {
        SMOKE: (1.5, 0.5, 3.0, 1.5, 1.5),
        FULL: (5.0, 2.0, 70.0, 20.0, 20.0),
        CERTIFY: (60.0, 30.0, 1200.0, 600.0, 300.0),
    },
}
"""Idle, ranging, soak, measured and cool-down, in seconds. Smoke takes less than 20 s for load and soak together."""
LONGEST_SOAK_S = 7200.0
BEAT_NS = 500_000_000
TICK_NS = 250_000_000
REST_S = 0.2
KEPT_QUERIES = 1_000_000
"""Single times that are kept for the run folder; beats go on after that."""
QUERIES = "load.samples"


def schedule(kind: str, level: str, soak_s: float | None = None) -> list[list[Any]]:
    """Return [phase, seconds] in order. A declared soak time lengthens the soak of a certifying run, up to two hours.

    Thermal runs have no bursts: a thermometer lags behind them.
    """
    idle, ranging, soak, measured, cool = _SECONDS[kind][level]
    if level == CERTIFY and kind != ENERGY:
        soak = min(max(soak, soak_s or 0.0), LONGEST_SOAK_S)
    bursts = [] if kind == THERMAL else [[name, share * BURST_S[level]] for name, share in BURSTS]
    return [[IDLE, idle], *bursts, [RANGING, ranging], [SOAK, soak], [MEASURED, measured], [COOL_DOWN, cool]]


class _Load(NamedTuple):
    """What a run wrote down."""

    phases: list[list[Any]]
    beats: list[list[int]]
    issued: array[int]
    done: array[int]


def measure_phases(case: Case, device: Device) -> Observation:
    """Run the phases of `case.params["schedule"]`; return them with beats, kept answers and witnesses."""
    if not case.params["schedule"]:
        return Observation(has_witness=device.adapter.has_witness)
    workload = case.workload
    assert workload is not None  # noqa: S101 - the plan gives every case with a schedule one
    model = device.model(workload.model)
    feeds: Feeds = [{one.name: device.fresh(one.value) for one in dataset} for dataset in workload.datasets]
    opened, refused = open_timed(device, model, feeds[0])
    if opened is None:
        return Observation(sessions=refused, has_witness=device.adapter.has_witness)
    sessions = run_on_device(device, model, workload.datasets)  # the accuracy run, with all witnesses
    load = _Load([], [], array("q"), array("q"))
    inferences: list[InferenceSeen]
    answered: list[int] = []
    try:
        with quiet():
            answers = _run(device, opened.session, feeds, case.params["schedule"], load)
        answered = [at for at, _ in answers]
        inferences = [InferenceSeen(outputs=[NamedValue(n, device.send(v)) for n, v in one]) for _, one in answers]
    except (RuntimeFault, Unavailable) as error:
        inferences = [InferenceSeen(fault=fault_of(error, "run"))]
    changed = changed_inputs(device, workload, feeds)
    if changed and inferences and inferences[0].fault is None:
        inferences[0] = InferenceSeen(outputs=inferences[0].outputs, inputs_changed=changed)
    timed = end_session(opened.session, opened.mode, inferences, opened.compile_ns)
    samples = from_times(load.issued, load.issued, load.done, is_scheduled=False)
    return Observation(
        sessions=[*sessions, timed],
        has_witness=device.adapter.has_witness,
        facts={"phases": load.phases, "beats": load.beats, "answered": answered},
        kept={QUERIES: pack(samples)},
    )


def _run(
    device: Device, session: RuntimeSession, feeds: Feeds, phases: list[list[Any]], load: _Load
) -> list[tuple[int, Outputs]]:
    """Pass through the phases in order; return what was answered to the first half of the inputs at the end of the measured one."""
    answers: list[tuple[int, Outputs]] = []
    for name, seconds in phases:
        begin = time.monotonic_ns()
        if name not in WORKING:
            _rest(device, begin, seconds)
            load.phases.append([name, begin, time.monotonic_ns(), 0])
            continue
        count = _work(device, session, feeds, begin + round(seconds * 1e9), load)
        if name == MEASURED:
            for at in range(len(feeds) // 2):
                outputs = session.infer(dict(feeds[at]))
                answers.append((at, [(n, v.copy() if isinstance(v, np.ndarray) else v) for n, v in outputs]))
            count += len(answers)
        load.phases.append([name, begin, time.monotonic_ns(), count])
    return answers


def _rest(device: Device, begin_ns: int, seconds: float) -> None:
    """Leave the device alone; the parent hears that the case goes on."""
    end_ns = begin_ns + round(seconds * 1e9)
    while (left := end_ns - time.monotonic_ns()) > 0:
        device.enter("run")
        time.sleep(min(REST_S, left * 1e-9))


def _work(device: Device, session: RuntimeSession, feeds: Feeds, end_ns: int, load: _Load) -> int:
    """Make inferences back to back until a time; return how many."""
    now, infer, count, lot = time.monotonic_ns, session.infer, 0, len(feeds)
    beat: list[int] = []
    done = now()
    tick, beat_end = 0, done + BEAT_NS
    while done < end_ns:
        if done >= tick:
            device.enter("run")
            tick = done + TICK_NS
        begin = now()
        infer(dict(feeds[count % lot]))
        done = now()
        count += 1
        beat.append(done - begin)
        if len(load.done) < KEPT_QUERIES:
            load.issued.append(begin)
            load.done.append(done)
        if done >= beat_end:
            load.beats.append(_row(done, beat))
            beat, beat_end = [], done + BEAT_NS
    return count


def _row(end_ns: int, beat: list[int]) -> list[int]:
    return [end_ns, len(beat), int(np.median(beat)), max(beat)]
