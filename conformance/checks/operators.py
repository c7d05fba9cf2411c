"""Operators: ONNX's own backend cases, on the device under test, with witnesses on every one.

A case is claimed when every operator version and every type in it is claimed. A claimed case that the device rejects is
FAIL. An unclaimed one is UNSUPPORTED, and on the full level it is tried all the same so that the report can say what the
device does with it. Values are judged exactly where they are exact, else by ONNX's own tolerance (rtol 1e-3, atol 1e-7
unless the case says otherwise).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from conformance.checks.support.port import Planned
from conformance.checks.support.running import run_on_device
from conformance.checks.support.valuing import judge_faults, judge_values
from conformance.checks.support.witnessing import judge_placement
from conformance.observation import Observation
from conformance.records import Basis, Case, Judgement, Measurement, Outcome
from conformance.workload import ModelRef, NamedValue, Workload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.checks.support.port import Device, PlanContext, Requested
    from conformance.observation import Seen
    from conformance.tensors import Value


def plan(requested: Requested, context: PlanContext) -> Iterable[Planned]:
    """Return one case per ONNX backend case: scope `declared` judges the claims, `minimum` what the category demands."""
    suite = context.suite()
    scope = requested.params.get("scope", "declared")
    claims = context.claims if scope == "declared" else context.minimum
    if claims is None:
        return
    smoke_seen: set[str] = set()
    for entry in suite.entries:
        if entry.invalid:
            continue
        uses = context.uses(entry)
        unclaimed = claims.why_unclaimed(entry.opset_imports, uses, entry.types)
        if scope == "minimum" and unclaimed:
            continue
        subject = entry.case_id.rsplit("/", 1)[0]
        is_smoke = not unclaimed and subject not in smoke_seen and entry.kind != "real"
        smoke_seen.add(subject)
        basis = Basis.REQUIRED if scope == "minimum" else Basis.DECLARED
        case = Case(
            id=entry.case_id,
            check="operators",
            requirements=(requested.id,),
            why=unclaimed or requested.why,
            basis=Basis.UNCLAIMED if unclaimed else basis,
            smoke=is_smoke,
            cost_ms=entry.cost_ms,
            output_nbytes=entry.output_nbytes,
            unsupported=unclaimed,
            params=_params(entry, context, uses),
            workload=_workload(entry),
        )
        yield Planned(case, partial(_expected, suite, entry))


def _expected(suite: Any, entry: Any) -> list[list[Value]]:
    return [suite.expected(entry, dataset) for dataset in range(len(entry.datasets))]


def _params(entry: Any, context: PlanContext, uses: list[Any]) -> dict[str, Any]:
    target = context.target
    return {
        "provider": target.provider,
        "allowed_host_ops": context.allowed_host_ops(uses),
        "rtol": entry.rtol,
        "atol": entry.atol,
        "outputs": [info.name for info in entry.output_infos],
        "needs": list(entry.needs),
    }


def _workload(entry: Any) -> Workload:
    return Workload(
        model=ModelRef(store="inputs", offset=entry.model.offset, nbytes=entry.model.nbytes),
        datasets=[[NamedValue(name, ref) for name, ref in dataset.inputs] for dataset in entry.datasets],
    )


def measure(case: Case, device: Device) -> Observation:
    """Run the case's data sets in one session; see `run_on_device` for the modes."""
    workload = case.workload
    assert workload is not None  # noqa: S101 - planned above
    missing = device.missing(case.params["needs"])
    if missing:
        return Observation(missing=missing)
    sessions = run_on_device(device, device.model(workload.model), workload.datasets)
    return Observation(sessions=sessions, has_witness=device.adapter.has_witness)


def judge(case: Case, seen: Seen, expected: list[list[Value]]) -> Judgement:
    """Rejected, inputs changed, wrong names, wrong values, wrong place: the first that holds decides."""
    sessions = seen.observation.sessions
    params = case.params
    values = Judgement(outcome=Outcome.ERROR, reason="no inference was made")
    ran = [at for at, session in enumerate(sessions) if session.inferences]
    for at in ran or [len(sessions) - 1]:  # two where the first had every node folded away: both must be right
        fault = judge_faults(sessions[: at + 1])
        if fault is not None:
            return fault
        values = judge_values(
            sessions[at], seen.values[at], expected, names=params["outputs"], rtol=params["rtol"], atol=params["atol"]
        )
        if values.outcome is not Outcome.PASS:
            return values
    if not seen.observation.has_witness:
        note = Measurement(name="placement", value="not shown", limit="shown")
        return Judgement(outcome=Outcome.PASS, context="placement not shown", measurements=(*values.measurements, note))
    placed = judge_placement(
        sessions[ran[-1]].witnesses, params["provider"], allowed_host_ops=params["allowed_host_ops"]
    )
    refused = sessions[-1].fault
    context = f"{sessions[-1].mode} session" + (f": {refused.kind}: {refused.message}" if refused else "")
    measurements = (*values.measurements, *placed.measurements)
    return Judgement(outcome=placed.outcome, reason=placed.reason, context=context, measurements=measurements)
