"""Judging the outputs of a session against expected values: what the operator and session checks share. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.checks.support.compare import compare
from conformance.records import UNAVAILABLE, Judgement, Measurement, Outcome

if TYPE_CHECKING:
    from conformance.observation import InferenceSeen, SessionSeen
    from conformance.records import DeviceFault
    from conformance.tensors import Value

OutputValues = list[tuple[str, "Value"]]


def judge_faults(sessions: list[SessionSeen]) -> Judgement | None:
    """Return FAIL where the last session was refused or failed, None where every request was answered.

    What our own adapter cannot do (`Unavailable`) is ERROR, unless the device itself refused in an earlier mode.
    """
    if not sessions:
        return Judgement(outcome=Outcome.ERROR, reason="no session was tried")
    session = sessions[-1]
    if session.fault is not None:
        refusals = "; ".join(f"{s.mode}: {s.fault.kind}: {s.fault.message}" for s in sessions if s.fault is not None)
        own = [s.fault for s in sessions if s.fault is not None and s.fault.kind != UNAVAILABLE]
        worst = own[-1] if own else session.fault
        return _rejected(worst, worst.phase, refusals)
    for inference in session.inferences:
        if inference.fault is not None:
            return _rejected(inference.fault, "run", f"{session.mode} session: {inference.fault.message}")
    return None


def _rejected(fault: DeviceFault, phase: str, context: str) -> Judgement:
    if fault.kind == UNAVAILABLE:
        reason = f"the adapter cannot do this: {first_line(fault.message)}"
        return Judgement(outcome=Outcome.ERROR, reason=reason, context=context)
    reason = f"rejected at {phase}: {fault.kind}: {first_line(fault.message)}"
    return Judgement(outcome=Outcome.FAIL, reason=reason, context=context)


def judge_values(
    session: SessionSeen,
    values: list[OutputValues],
    expected: list[list[Value]],
    *,
    names: list[str],
    rtol: float,
    atol: float,
) -> Judgement:
    """Compare every output of every inference; names, order and count must agree exactly, inputs must be unchanged."""
    if not expected or len(values) != len(expected):
        return Judgement(
            outcome=Outcome.ERROR, reason=f"{len(values)} inferences were made, {len(expected)} are expected"
        )
    limit = f"rtol {rtol:g}, atol {atol:g}" if rtol or atol else "exact"
    worst = 0.0
    for at, (got, wanted) in enumerate(zip(values, expected, strict=True)):
        strange = judge_inputs(session.inferences[at]) or judge_names(got, names)
        if strange is not None:
            return strange
        if len(wanted) != len(names):
            return Judgement(outcome=Outcome.FAIL, reason=f"{len(names)} outputs, {len(wanted)} are expected")
        for (name, actual), want in zip(got, wanted, strict=True):
            found = compare(want, actual, rtol=rtol, atol=atol, name=name)
            if not found.ok:
                return Judgement(
                    outcome=Outcome.FAIL,
                    reason=found.mismatch,
                    context=f"{found.mismatched} of {found.total} elements differ; inference {at}; {session.mode} session",
                    measurements=(_margin(found.margin, limit, met=False),),
                )
            worst = max(worst, found.margin)
    return Judgement(outcome=Outcome.PASS, measurements=(_margin(worst, limit, met=True),))


def judge_inputs(inference: InferenceSeen) -> Judgement | None:
    """Return FAIL where the device changed its inputs, else None."""
    if not inference.inputs_changed:
        return None
    changed = ", ".join(inference.inputs_changed)
    return Judgement(outcome=Outcome.FAIL, reason=f"the device changed its inputs: {changed}")


def judge_names(got: OutputValues, names: list[str]) -> Judgement | None:
    """Return FAIL where the outputs are not exactly those of the model in its order, else None."""
    told = [name for name, _ in got]
    if told == names:
        return None
    reason = "the outputs are not those of the model, in its order"
    return Judgement(outcome=Outcome.FAIL, reason=reason, actual=", ".join(told), expected=", ".join(names))


def _margin(worst: float, limit: str, *, met: bool) -> Measurement:
    return Measurement(name="worst_error", value=worst, unit="of the limit", limit=limit, margin=worst, met=met)


def first_line(message: str) -> str:
    """Return the first line of what a runtime said, at most 300 characters."""
    return message.strip().splitlines()[0][:300] if message.strip() else "no message"
