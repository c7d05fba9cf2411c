"""Running a model in the child and writing down what was seen: the `measure` half that several checks share."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from conformance.adapters.runtime.port import Mode, RuntimeFault, Unavailable
from conformance.observation import InferenceSeen, SessionSeen
from conformance.records import DeviceFault
from conformance.tensors import equal_bits
from conformance.workload import NamedValue

if TYPE_CHECKING:
    from conformance.adapters.runtime.port import RuntimeSession
    from conformance.checks.support.port import Device
    from conformance.records import Witness


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
        return SessionSeen(mode=mode.value, fault=_fault(error, "compile"), compile_ns=time.perf_counter_ns() - begin)
    compile_ns = time.perf_counter_ns() - begin
    device.enter("run")
    inferences = [infer_once(device, session, feeds) for feeds in datasets for _ in range(repeat)]
    fault = None
    witnesses: tuple[Witness, ...] = ()
    try:
        witnesses = session.witnesses()
        session.close()
    except (RuntimeFault, Unavailable) as error:
        fault = _fault(error, "run")
    return SessionSeen(
        mode=mode.value,
        fault=fault,
        inputs=session.inputs,
        outputs=session.outputs,
        inferences=inferences,
        witnesses=witnesses,
        compile_ns=compile_ns,
    )


def infer_once(device: Device, session: RuntimeSession, feeds: list[NamedValue]) -> InferenceSeen:
    """Run once on fresh copies of the inputs; outputs are taken before anything else happens to the session."""
    values = {feed.name: device.fresh(feed.value) for feed in feeds}
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    try:
        results = session.infer(values, device.place_output)
    except (RuntimeFault, Unavailable) as error:
        return InferenceSeen(fault=_fault(error, "run"))
    wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
    outputs = [NamedValue(name, device.send(value)) for name, value in results]
    changed = []
    for feed in feeds:
        if not equal_bits(values[feed.name], device.pristine(feed.value)):
            changed.append(feed.name)
            device.restore(feed.value)
    return InferenceSeen(outputs=outputs, inputs_changed=changed, wall_ns=wall, cpu_ns=cpu)


def _fault(error: RuntimeFault | Unavailable, phase: str) -> DeviceFault:
    if isinstance(error, RuntimeFault):
        return DeviceFault(phase=error.phase, kind=error.kind, message=_short(str(error)))
    return DeviceFault(phase=phase, kind="Unavailable", message=_short(str(error)))


def _short(message: str, limit: int = 4000) -> str:
    return message if len(message) <= limit else f"{message[:limit]}… ({len(message)} characters)"
