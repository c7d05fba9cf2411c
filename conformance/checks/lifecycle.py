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
from conformance.checks.support.using import find_mode, judge_first, name_values, why_unasked, with_first
from conformance.checks.support.valuing import judge_faults, judge_values
from conformance.errors import AdapterError
from conformance.observation import Observation, SessionSeen
from conformance.records import Basis, Case, DeviceFault, Identity, Judgement, Measurement, Outcome, TensorInfo
from conformance.reference import probes
from conformance.tensors import element_of
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
_CASES = {"stable-interface": SESSIONS, "reopen": REOPENED + 1, "restart": 3}
"""The cases, and how many sessions each makes."""


def plan(requested: Requested, context: PlanContext) -> Iterable[Planned]:
    """Return the three cases; UNSUPPORTED where the profile does not claim what the probe uses."""
    unclaimed = why_unasked(context, "four_outputs")
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
    seen = Observation(sessions=sessions, facts={"identities": msgspec.to_builtins(identities)})
    return with_first(first, seen)


def _bind_again(device: Device, mode: Mode, sessions: list[SessionSeen]) -> Identity | None:
    """Let the device go and bind it again; where that fails, add what was said as a session that failed."""
    device.enter("open")
    try:
        device.adapter.release()
    except (RuntimeFault, Unavailable) as error:
        sessions.append(SessionSeen(mode=mode.value, fault=fault_of(error, "open")))
        return None
    return _bind(device, mode, sessions)


def _bind(device: Device, mode: Mode, sessions: list[SessionSeen]) -> Identity | None:
    device.enter("open")
    try:
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
    """Ask a fresh process, for which the device is free meanwhile; then bind it again here and ask once more."""
    device.enter("open")
    try:
        device.adapter.release()
    except (RuntimeFault, Unavailable) as error:
        sessions.append(SessionSeen(mode=mode.value, fault=fault_of(error, "open")))
        return
    told = ask(device.adapter, model, mode, sets)
    sessions.append(told.session)
    identities.append(told.identity)
    identity = _bind(device, mode, sessions)
    if identity is not None:
        identities.append(identity)
        sessions.append(run_session(device, model, sets, mode))


def judge(case: Case, seen: Seen, expected: list[list[Value]]) -> Judgement:
    """The same device, the same interface and exact answers, every time."""
    wrong, seen = judge_first(seen, expected, OUTPUTS)
    if wrong is not None:
        return wrong
    sessions, name = seen.observation.sessions, case.params["probe"]
    judged = Judgement(outcome=Outcome.ERROR, reason="no session was tried")
    for at, session in enumerate(sessions):
        fault = judge_faults([session])
        if fault is not None:
            return msgspec.structs.replace(fault, context=f"{_which(name, at)}; {fault.context}")
        differs = _differs(session, sessions[0])
        if differs is not None:
            return msgspec.structs.replace(differs, reason=f"{differs.reason}, {_which(name, at)}")
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


def _differs(session: SessionSeen, first: SessionSeen) -> Judgement | None:
    """Return FAIL where a session's declared inputs and outputs differ from the model's, or from the first session's.

    Of the model's, names and order count always; types as ONNX or numpy spell them; shapes where they are told.
    """
    for what, got, before, model in (
        ("inputs", session.inputs, first.inputs, _INPUTS_DECLARED),
        ("outputs", session.outputs, first.outputs, _OUTPUTS_DECLARED),
    ):
        if got != before:
            reason = f"the session declares other {what} than the one before"
            return Judgement(outcome=Outcome.FAIL, reason=reason, actual=_text(got), expected=_text(before))
        wanted = tuple(TensorInfo(name=name, type=kind, shape=tuple(shape)) for name, kind, shape in model)
        is_as_wanted = len(got) == len(wanted) and all(map(_agrees, got, wanted))
        if got and not is_as_wanted:  # a runtime may declare nothing
            reason = f"the session declares other {what} than the model"
            return Judgement(outcome=Outcome.FAIL, reason=reason, actual=_text(got), expected=_text(wanted))
    return None


def _agrees(got: TensorInfo, want: TensorInfo) -> bool:
    """Return whether nothing that was told of a tensor differs; a dimension that is None or a name tells nothing."""
    if (got.name, element_of(got.type)) != (want.name, element_of(want.type)):
        return False
    if got.shape is None or want.shape is None:
        return True
    return len(got.shape) == len(want.shape) and all(
        one == other for one, other in zip(got.shape, want.shape, strict=True) if isinstance(one, int)
    )


def _text(infos: tuple[TensorInfo, ...]) -> str:
    told = (
        f"{one.name} {one.type}, shape not told" if one.shape is None else f"{one.name} {one.type}{_sizes(one.shape)}"
        for one in infos
    )
    return "; ".join(told) or "none"


def _sizes(shape: tuple[int | str | None, ...]) -> str:
    return f"[{', '.join('?' if one is None else str(one) for one in shape)}]"


def _other_identity(identities: list[dict[str, Any] | None]) -> str:
    """Return in which field an identity differs from the first; details may tell of the moment, and do not count."""
    first = identities[0] or {}
    for one in identities[1:]:
        for key, was in first.items():
            now = (one or {}).get(key)
            if key != "details" and now != was:
                return f"{key} was '{was}', now '{now}'"
    return ""
