"""Lifecycle: the device is let go and bound again, here and in another process, and is the same device with the same interface.

The cases let the device go while others still wait for it, so the child in which one of them does not pass is not used
again (`Case.may_lose_device`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from conformance.adapters.runtime.port import RuntimeFault, Unavailable
from conformance.checks.support.elsewhere import ask
from conformance.checks.support.port import Planned
from conformance.checks.support.running import fault_of, run_session
from conformance.checks.support.using import find_mode, name_values
from conformance.checks.support.valuing import judge_faults, judge_values
from conformance.errors import AdapterError
from conformance.observation import Observation, SessionSeen
from conformance.records import Basis, Case, DeviceFault, Identity, Judgement, Measurement, Outcome, TensorInfo
from conformance.reference import probes
from conformance.workload import ModelRef, Workload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.adapters.runtime.port import Mode
    from conformance.checks.support.port import Device, PlanContext, Requested
    from conformance.observation import Seen
    from conformance.tensors import Value

REOPENED = 2
"""How often the device is let go and bound again: what works once may have used up something."""
SESSIONS = 4
OUTPUTS = ["sum", "difference", "product", "turned"]
_FLOAT = "tensor(float32)"
_INPUTS_DECLARED = [("a", _FLOAT, [4, 6]), ("b", _FLOAT, [4, 6])]
_OUTPUTS_DECLARED = [(name, _FLOAT, [6, 4] if name == "turned" else [4, 6]) for name in OUTPUTS]
_CASES = {"stable-interface": SESSIONS, "reopen": REOPENED + 1, "restart": 2}
"""The cases, and how many sessions each makes."""


def plan(requested: Requested, context: PlanContext) -> Iterable[Planned]:
    """Return the three cases; UNSUPPORTED where float32 is not declared, which the probe uses."""
    unclaimed = "" if context.claims_type("float32") else "profile does not declare float32, which the probes use"
    sets = [probes.four_outputs(salt) for salt in (141, 143)]
    workload = Workload(
        model=ModelRef(data=probes.probe_model("four_outputs", context.probe_opset())),
        datasets=[name_values(inputs) for inputs, _ in sets],
    )
    expected: list[list[Value]] = [list(outputs) for _, outputs in sets]
    for name in _CASES:
        case = Case(
            id=f"interface/lifecycle/{name}",
            check="lifecycle",
            requirements=(requested.id,),
            why=unclaimed or requested.why,
            basis=Basis.UNCLAIMED if unclaimed else Basis.DECLARED,
            smoke=True,
            order=1,
            cost_ms=5.0 if name == "stable-interface" else 400.0,
            unsupported=unclaimed,
            may_lose_device=name != "stable-interface",
            params={"probe": name},
            workload=workload,
        )
        yield Planned(case, partial(list, expected))


def measure(case: Case, device: Device) -> Observation:
    """Run the probe in each session, the device let go and bound again between them where the case is about that."""
    workload: Any = case.workload
    model, sets = device.model(workload.model), workload.datasets
    mode, first = find_mode(device, model, sets)
    if mode is None:
        return Observation(sessions=first)
    name = case.params["probe"]
    sessions = [run_session(device, model, sets, mode)]
    identities: list[Identity | None] = [device.identity]
    if name == "restart":
        _restart(device, model, mode, sets, sessions, identities)
    for _ in range(_CASES[name] - 1 if name != "restart" else 0):
        if name == "reopen":
            identity = _bind_again(device, mode, sessions)
            if identity is None:
                break
            identities.append(identity)
        sessions.append(run_session(device, model, sets, mode))
    return Observation(sessions=sessions, facts={"identities": msgspec.to_builtins(identities)})


def _bind_again(device: Device, mode: Mode, sessions: list[SessionSeen]) -> Identity | None:
    """Let the device go and bind it again; where that fails, add what was said as a session that failed."""
    device.enter("open")
    try:
        device.adapter.release()
        return device.adapter.open()
    except (RuntimeFault, Unavailable) as error:
        sessions.append(SessionSeen(mode=mode.value, fault=fault_of(error, "open")))
    except AdapterError as error:  # it is not there any more
        fault = DeviceFault(phase="open", kind=type(error).__name__, message=str(error))
        sessions.append(SessionSeen(mode=mode.value, fault=fault))
    return None


def _restart(
    device: Device, model: bytes, mode: Mode, sets: Any, sessions: list[SessionSeen], identities: list[Identity | None]
) -> None:
    """Ask a fresh process, for which the device is free meanwhile."""
    device.enter("open")
    try:
        device.adapter.release()
    except (RuntimeFault, Unavailable) as error:
        sessions.append(SessionSeen(mode=mode.value, fault=fault_of(error, "open")))
        return
    told = ask(device.adapter, model, mode, sets)
    sessions.append(told.session)
    identities.append(told.identity)
    _open_again(device, mode, sessions)


def _open_again(device: Device, mode: Mode, sessions: list[SessionSeen]) -> None:
    device.enter("open")
    try:
        device.adapter.open()
    except AdapterError as error:
        fault = DeviceFault(phase="open", kind=type(error).__name__, message=str(error))
        sessions.append(SessionSeen(mode=mode.value, fault=fault))


def judge(case: Case, seen: Seen, expected: list[list[Value]]) -> Judgement:
    """The same device, the same interface and exact answers, every time."""
    sessions, name = seen.observation.sessions, case.params["probe"]
    judged = Judgement(outcome=Outcome.ERROR, reason="no session was tried")
    for at, session in enumerate(sessions):
        fault = judge_faults([session])
        if fault is not None:
            return msgspec.structs.replace(fault, context=f"{_which(name, at)}; {fault.context}")
        differs = _differs(session, sessions[0])
        if differs:
            return Judgement(outcome=Outcome.FAIL, reason=f"{differs}, {_which(name, at)}", context=name)
        judged = judge_values(session, seen.values[at], expected, names=OUTPUTS, rtol=0.0, atol=0.0)
        if judged.outcome is not Outcome.PASS:
            return msgspec.structs.replace(judged, context=f"{_which(name, at)}; {judged.context}")
    if len(sessions) != _CASES[name]:
        return Judgement(outcome=Outcome.ERROR, reason=f"{len(sessions)} sessions were made, {_CASES[name]} expected")
    other = _other_identity(seen.observation.facts["identities"])
    if other:
        return Judgement(outcome=Outcome.FAIL, reason=f"the device is another one when it is bound again: {other}")
    told = Measurement(name="sessions", value=len(sessions), limit=str(_CASES[name]), met=True)
    return msgspec.structs.replace(judged, measurements=(*judged.measurements, told))


def _which(name: str, at: int) -> str:
    if at == 0:
        return "in the first session"
    return {
        "stable-interface": f"in session {at + 1} of one process",
        "reopen": f"after the device was let go and bound again, {at} of {REOPENED}",
        "restart": "in a fresh process" if at == 1 else "when the device was bound again after a fresh process had it",
    }[name]


def _differs(session: SessionSeen, first: SessionSeen) -> str:
    """Return in what a session's declared inputs and outputs differ from the model's, or from the first session's."""
    for what, got, before, model in (
        ("inputs", session.inputs, first.inputs, _INPUTS_DECLARED),
        ("outputs", session.outputs, first.outputs, _OUTPUTS_DECLARED),
    ):
        if got != before:
            return f"the session declares other {what}: {_text(got)}, before: {_text(before)}"
        wanted = tuple(TensorInfo(name=name, type=kind, shape=tuple(shape)) for name, kind, shape in model)
        if got and got != wanted:  # a runtime may declare nothing
            return f"the session declares other {what} than the model: {_text(got)}, want {_text(wanted)}"
    return ""


def _text(infos: tuple[TensorInfo, ...]) -> str:
    return ", ".join(f"{one.name} {one.type}{list(one.shape or ())}" for one in infos) or "none"


def _other_identity(identities: list[dict[str, Any] | None]) -> str:
    """Return in which field an identity differs from the first; details may tell of the moment, and do not count."""
    first = identities[0] or {}
    for one in identities[1:]:
        for key, was in first.items():
            now = (one or {}).get(key)
            if key != "details" and now != was:
                return f"{key} was '{was}', now '{now}'"
    return ""
