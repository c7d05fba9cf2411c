"""Running the same thing again in the child: in one session, in fresh sessions, in fresh processes, alone and in batches.

A schedule says which data set each inference of each session takes. Where two answers that should be the same are not, the model
with its inner results exposed is run by the same schedule, and the names of the results that differ there are told as a fact.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from conformance.adapters.runtime.port import Mode, RuntimeFault, Unavailable
from conformance.checks.support.differing import baselines, comparable
from conformance.checks.support.elsewhere import ask
from conformance.checks.support.running import end_session, fault_of
from conformance.errors import AdapterError
from conformance.observation import InferenceSeen, Observation, SessionSeen
from conformance.records import DeviceFault
from conformance.tensors import equal_bits, from_ref, to_ref
from conformance.workload import NamedValue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.adapters.runtime.port import RuntimeSession
    from conformance.checks.support.differing import Schedule
    from conformance.checks.support.port import Device
    from conformance.tensors import Value
    from conformance.workload import ModelRef, Workload

Outputs = list[tuple[str, "Value"]]
EXPOSED = "exposed"
DIFFERING, UNEXPOSED = "differing results", "not exposed"
"""Facts: the exposed results that differ, or why they could not be looked at."""
MOST_LOAD = 4


class Way(NamedTuple):
    """How a schedule is run."""

    schedule: Schedule
    loaded_from: int | None = None
    """The inference of each session from which on the host's processors are kept busy."""
    elsewhere: int = 0
    """How many of the last sessions are made in a fresh process each, for which the device is let go."""
    batches: list[tuple[int, int]] | None = None
    """The size of each data set's batch and the place of the row in it that is compared; None where all is compared."""
    is_fixed: bool = False
    """Whether each session takes the form of the model that has the batch of its data set."""


class _Done(NamedTuple):
    sessions: list[SessionSeen]
    answers: list[list[Outputs]]
    """Of each session that ran, the outputs of its inferences."""


def measure_way(device: Device, workload: Workload, way: Way, *, is_explained: bool) -> Observation:
    """Run a schedule; where answers differ and that is to be explained, look for the results inside the model that differ."""
    done = _run(device, workload, way, "")
    facts: dict[str, Any] = {}
    if is_explained and _differing(done, way):
        exposed = _run(device, workload, way, EXPOSED)
        facts[DIFFERING] = sorted(_differing(exposed, way))
        last = exposed.sessions[-1]
        fault = last.fault or next((one.fault for one in last.inferences if one.fault is not None), None)
        if fault is not None:
            facts[UNEXPOSED] = f"{fault.kind}: {fault.message}"[:300]
    return Observation(sessions=done.sessions, has_witness=device.adapter.has_witness, facts=facts)


def _run(device: Device, workload: Workload, way: Way, form: str) -> _Done:
    sessions: list[SessionSeen] = []
    answers: list[list[Outputs]] = []
    modes = list(device.modes())
    here = way.schedule[: len(way.schedule) - way.elsewhere]
    for at, indices in enumerate(here):
        model = device.model(_model_of(workload, way, indices, form))
        for mode in modes:
            device.enter("compile")
            try:
                session = device.adapter.compile(model, mode)
            except (RuntimeFault, Unavailable) as error:
                sessions.append(SessionSeen(mode=mode.value, fault=fault_of(error, "compile")))
                if at:  # what was taken before has to be taken again
                    return _Done(sessions, answers)
                continue
            modes = [mode]
            seen, given = _infer_all(device, session, [workload.datasets[one] for one in indices], way.loaded_from)
            sessions.append(end_session(session, mode, seen))
            answers.append(given)
            if sessions[-1].fault is not None or any(one.fault for one in seen):
                return _Done(sessions, answers)
            break
        else:
            return _Done(sessions, answers)
    if way.elsewhere:
        datasets = [_inline(device, workload.datasets[one]) for one in way.schedule[-1]]
        _run_elsewhere(device, model, modes[0], datasets, way.elsewhere, _Done(sessions, answers))
    return _Done(sessions, answers)


def _model_of(workload: Workload, way: Way, indices: list[int], form: str) -> ModelRef:
    key = form
    if way.is_fixed and way.batches is not None:
        key = f"{form} {way.batches[indices[0]][0]}".strip()
    return workload.further[key] if key else workload.model


def _infer_all(
    device: Device, session: RuntimeSession, datasets: list[list[NamedValue]], loaded_from: int | None
) -> tuple[list[InferenceSeen], list[Outputs]]:
    """Run data sets one after another; stop at the first that is refused."""
    seen: list[InferenceSeen] = []
    answers: list[Outputs] = []
    quiet = len(datasets) if loaded_from is None else loaded_from
    for feeds in datasets[:quiet]:
        _infer(device, session, feeds, seen, answers)
    if datasets[quiet:]:
        with _busy_host():
            for feeds in datasets[quiet:]:
                _infer(device, session, feeds, seen, answers)
    return seen, answers


def _infer(
    device: Device, session: RuntimeSession, feeds: list[NamedValue], seen: list[InferenceSeen], answers: list[Outputs]
) -> None:
    """Run once on fresh copies of the inputs, and keep a copy of the outputs: the device may use their memory again."""
    if seen and seen[-1].fault is not None:
        return
    device.enter("run")
    values = {one.name: device.fresh(one.value) for one in feeds}
    try:
        results = session.infer(dict(values))
    except (RuntimeFault, Unavailable) as error:
        seen.append(InferenceSeen(fault=fault_of(error, "run")))
        return
    kept = [(name, value.copy() if isinstance(value, np.ndarray) else value) for name, value in results]
    changed = [one.name for one in feeds if not equal_bits(values[one.name], device.pristine(one.value))]
    for one in feeds:
        if one.name in changed:
            device.restore(one.value)
    answers.append(kept)
    sent = [NamedValue(name, device.send(value)) for name, value in kept]
    seen.append(InferenceSeen(outputs=sent, inputs_changed=changed))


@contextmanager
def _busy_host() -> Iterator[None]:
    """Keep the processors of the host busy: what a runtime's threads share with others, they finish in another order."""
    stop = threading.Event()
    block = np.ones((192, 192), dtype=np.float32)

    def work() -> None:
        while not stop.is_set():
            np.matmul(block, block)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(MOST_LOAD, len(os.sched_getaffinity(0))))]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


# -- fresh processes --------------------------------------------------------------------------------------------------


def _run_elsewhere(
    device: Device, model: bytes, mode: Mode, datasets: list[list[NamedValue]], count: int, done: _Done
) -> None:
    """Let the device go, run in fresh processes, one after another, and bind it again here."""
    device.enter("open")
    try:
        device.adapter.release()
        for _ in range(count):
            device.enter("open")
            told = ask(device.adapter, model, mode, datasets).session
            inferences = [_resent(device, one) for one in told.inferences]
            done.sessions.append(msgspec.structs.replace(told, inferences=inferences))
            if told.fault is not None:
                break
            done.answers.append([[(o.name, from_ref(o.value)) for o in one.outputs] for one in told.inferences])
        device.enter("open")
        device.adapter.open()
    except (RuntimeFault, Unavailable) as error:
        done.sessions.append(SessionSeen(mode=mode.value, fault=fault_of(error, "open")))
    except AdapterError as error:  # it is not there any more
        fault = DeviceFault(phase="open", kind=type(error).__name__, message=str(error))
        done.sessions.append(SessionSeen(mode=mode.value, fault=fault))


def _resent(device: Device, inference: InferenceSeen) -> InferenceSeen:
    """Return what a fresh process told, its large outputs put where the parent finds them."""
    outputs = [NamedValue(one.name, device.send(from_ref(one.value))) for one in inference.outputs]
    return msgspec.structs.replace(inference, outputs=outputs)


def _inline(device: Device, feeds: list[NamedValue]) -> list[NamedValue]:
    """Return inputs with their bytes: a fresh process does not have the stores of this one."""
    return [NamedValue(one.name, to_ref(device.pristine(one.value))) for one in feeds]


def _differing(done: _Done, way: Way) -> set[str]:
    """Return the names of outputs of which any two differ that should be the same."""
    found: set[str] = set()
    for (at, number), (to, before) in baselines(way.schedule, way.batches).items():
        if at >= len(done.answers) or number >= len(done.answers[at]):
            continue
        earlier = dict(done.answers[to][before])
        now, then = way.schedule[at][number], way.schedule[to][before]
        for name, value in done.answers[at][number]:
            if name in earlier and not equal_bits(
                comparable(value, way.batches, now), comparable(earlier[name], way.batches, then)
            ):
                found.add(name)
    return found
