"""Generated operators: cases of ours, judged by what the declared precision allows.

They cover what ONNX's own cases leave out: versions, types and attribute values; data that cancels, ties or spreads widely; enough
outputs for the tests of a bias. Each is judged by its tier (docs/numerics.md): every bit, a bound from the operator's own
arithmetic, the scatter of Monte Carlo arithmetic, choices by their margin, quantised results by how often they differ. Only what
is claimed, or what the category demands, is planned: what a device makes of the rest, ONNX's own cases tell.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from conformance.checks.support.limiting import judge_limits
from conformance.checks.support.port import Planned
from conformance.checks.support.running import run_on_device
from conformance.checks.support.witnessing import judge_sessions
from conformance.observation import Observation
from conformance.records import SHARED, Basis, Case, Judgement
from conformance.workload import ModelRef, NamedValue, Workload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.checks.support.port import Device, PlanContext, Requested
    from conformance.observation import Seen
    from conformance.tensors import Value


def plan(requested: Requested, context: PlanContext) -> Iterable[Planned]:
    """Return one case per generated case that is claimed (scope `declared`), or that the category demands (`minimum`)."""
    scope = requested.params.get("scope", "declared")
    claims = context.claims if scope == "declared" else context.minimum
    if claims is None:
        return
    modes: dict[str, dict[str, Any]] = {}
    for entry in context.made():
        if entry.needs_zero_size and not context.target.takes_zero_size:
            continue
        mode = modes.setdefault(entry.subject, context.precision_mode(entry.subject))
        if entry.needs_subnormals and mode["subnormals"] == "flushed":
            continue
        uses = context.uses(entry)
        if claims.why_unclaimed(entry.opset_imports, uses, entry.types):
            continue
        case = Case(
            id=entry.case_id,
            check="made",
            requirements=(requested.id,),
            why=requested.why,
            basis=Basis.REQUIRED if scope == "minimum" else Basis.DECLARED,
            smoke=entry.smoke,
            order=SHARED,
            cost_ms=4.0 * max(1, len(entry.sets)),
            params={
                "provider": context.target.provider,
                "allowed_host_ops": context.allowed_host_ops(uses),
                "tier": entry.tier,
                "mode": mode,
                "subject": entry.subject,
                "outputs": entry.outputs,
                "sets": entry.sets,
            },
        )
        challenge = context.challenge
        yield Planned(
            case,
            partial(_expected, entry.case_id, mode, entry.subject, challenge),
            partial(_workload, entry.case_id, challenge),
            foreseen=(entry.case_id, mode, entry.subject, challenge),
            is_from_code=True,
        )


def _workload(case_id: str, challenge: str) -> Workload:
    from conformance.reference.made.limits import made_of
    from conformance.tensors import to_ref

    made = made_of(case_id, challenge)
    sets = [[NamedValue(name, to_ref(value)) for name, value in inputs.items()] for inputs in made.datasets]
    return Workload(model=ModelRef(data=made.model), datasets=sets)


def _expected(case_id: str, mode: dict[str, Any], subject: str, challenge: str) -> list[list[Value]]:
    from conformance.reference.made.limits import limits_of

    return limits_of(case_id, mode, subject, challenge)


def measure(case: Case, device: Device) -> Observation:
    """Run the case's data sets in one session; see `run_on_device` for the modes."""
    workload = case.workload
    assert workload is not None  # noqa: S101 - filled in by the plan
    sessions = run_on_device(device, device.model(workload.model), workload.datasets)
    return Observation(sessions=sessions, has_witness=device.adapter.has_witness)


def judge(case: Case, seen: Seen, expected: list[list[Any]]) -> Judgement:
    """Rejected, inputs changed, wrong names, wrong values, wrong place: the first that holds decides.

    `expected` holds the limits of each data set, one per output (`reference.made.limits`).
    """
    return judge_sessions(case, seen, partial(judge_limits, case.params, expected))
