"""Running a model in the child and writing down what was seen: the `measure` half that several checks share."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.adapters.runtime.port import Mode, RuntimeFault, Unavailable
from conformance.observation import InferenceSeen, SessionSeen
from conformance.records import UNAVAILABLE, DeviceFault
from conformance.tensors import equal_bits
from conformance.workload import NamedValue

if TYPE_CHECKING:
    from conformance.adapters.runtime.port import RuntimeSession
    from conformance.checks.support.port import Device
    from conformance.records import Witness
    from conformance.tensors import Value


def run_on_device(device: Device, model: bytes, datasets: list[list[NamedValue]]) -> list[SessionSeen]:
    """Run a model in the modes that the device is tried in, until one compiles; every attempt is kept.

    A strict session that is refused says nothing yet about the device: perhaps one shape operator has to stay on the host.
    So the shared mode follows, and its witnesses show what ran where.
    """
    seen: list[SessionSeen] = []
    for mode in device.modes():
        session = run_session(device, model, datasets, mode)
        seen.append(session)
        if session.fault is None or session.fault.phase != "compile":
            break
    if seen[-1].fault is None and seen[-1].witnesses and not any(sum(w.nodes.values()) for w in seen[-1].witnesses):
        # Every node was folded away beforehand. The answers stand; where they come from, the same model unfolded may show.
        seen.append(run_session(device, model, datasets, Mode.UNFOLDED))
    return seen


def run_session(
    device: Device, model: bytes, datasets: list[list[NamedValue]], mode: Mode, repeat: int = 1
) -> SessionSeen:
    """Compile once, run every data set `repeat` times, read the witnesses, close. Faults are kept, not raised."""
    device.enter("compile")
    begin = time.perf_counter_ns()
    try:
        session = device.adapter.compile(model, mode)
    except (RuntimeFault, Unavailable) as error:
        return SessionSeen(mode=mode.value, fault=fault_of(error, "compile"), compile_ns=time.perf_counter_ns() - begin)
    compile_ns = time.perf_counter_ns() - begin
    device.enter("run")
    inferences: list[InferenceSeen] = []
    for feeds in (one for one in datasets for _ in range(repeat)):
        if inferences:
            device.enter("run")  # each inference has the whole deadline
        inferences.append(infer_once(device, session, feeds))
    return end_session(session, mode, inferences, compile_ns)


def end_session(
    session: RuntimeSession, mode: Mode, inferences: list[InferenceSeen], compile_ns: int = 0
) -> SessionSeen:
    """Read the witnesses, close, and return all that was seen; the first fault of the two is kept, not raised."""
    faults: list[DeviceFault] = []
    witnesses: tuple[Witness, ...] = ()
    try:
        witnesses = session.witnesses()
    except (RuntimeFault, Unavailable) as error:
        faults.append(fault_of(error, "run"))
    try:
        session.close()
    except (RuntimeFault, Unavailable) as error:
        faults.append(fault_of(error, "run"))
    return SessionSeen(
        mode=mode.value,
        fault=faults[0] if faults else None,
        inputs=session.inputs,
        outputs=session.outputs,
        inferences=inferences,
        witnesses=witnesses,
        compile_ns=compile_ns,
    )


def infer_once(device: Device, session: RuntimeSession, feeds: list[NamedValue]) -> InferenceSeen:
    """Run once on fresh copies of the inputs; outputs are taken before anything else happens to the session."""
    values = {feed.name: device.fresh(feed.value) for feed in feeds}
    given = dict(values)  # the device's own, whatever it does to the mapping
    waited, cpu, wall = waited_ns(), time.process_time_ns(), time.perf_counter_ns()
    fault = None
    results: list[tuple[str, Value]] = []
    try:
        results = session.infer(given, device.place_output)
    except (RuntimeFault, Unavailable) as error:
        fault = fault_of(error, "run")
    wall, cpu, waited = time.perf_counter_ns() - wall, time.process_time_ns() - cpu, waited_ns() - waited
    outputs = [NamedValue(name, device.send(value)) for name, value in results]
    changed = []
    for feed in feeds:
        if not equal_bits(values[feed.name], device.pristine(feed.value)):
            changed.append(feed.name)
            device.restore(feed.value)
    return InferenceSeen(
        outputs=outputs, fault=fault, inputs_changed=changed, wall_ns=wall, cpu_ns=cpu, waited_ns=waited
    )


def waited_ns() -> int:
    """Return how long this process's main thread has waited for a processor so far; 0 where the host does not tell."""
    try:
        return int(os.pread(_schedstat(), 64, 0).split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def resident_kb() -> int:
    """Return the resident memory of this process in kB; 0 where the host does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


@functools.cache
def _schedstat() -> int:
    """Return an open descriptor: this is read twice for every inference."""
    return os.open("/proc/self/schedstat", os.O_RDONLY | os.O_CLOEXEC)


def fault_of(error: RuntimeFault | Unavailable, phase: str) -> DeviceFault:
    """Return what is written down of a refusal; `phase` is where an `Unavailable` was met."""
    if isinstance(error, RuntimeFault):
        return DeviceFault(phase=error.phase, kind=error.kind, message=_short(str(error)))
    return DeviceFault(phase=phase, kind=UNAVAILABLE, message=_short(str(error)))


def _short(message: str, limit: int = 4000) -> str:
    return message if len(message) <= limit else f"{message[:limit]}… ({len(message)} characters)"
