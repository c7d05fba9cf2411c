"""Operators: ONNX's own backend cases, on the device under test, with witnesses on every one.

A case is claimed when every operator version and every type in it is claimed. A claimed case that the device rejects is
FAIL. An unclaimed one is UNSUPPORTED, and on the full level it is tried all the same so that the report can say what the
device does with it. The first case of each operator version and type is run once more in its session, for a device that is right
only once. Values are judged by the limit of their tier for the declared precision (docs/numerics.md); ONNX's own tolerance (rtol
1e-3, atol 1e-7 unless the case says otherwise) stays where no limit is known, and the measurement says why.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from conformance.checks.support.limiting import judge_limits
from conformance.checks.support.port import Planned
from conformance.checks.support.running import run_on_device
from conformance.checks.support.valuing import judge_values
from conformance.checks.support.witnessing import judge_sessions
from conformance.observation import Observation
from conformance.records import Basis, Case, Judgement
from conformance.workload import ModelRef, NamedValue, Workload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.checks.support.port import Device, PlanContext, Requested
    from conformance.checks.support.valuing import OutputValues
    from conformance.observation import Seen, SessionSeen

RANDOM = frozenset(
    {"Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
"""Operators whose second answer need not be the first."""


def plan(requested: Requested, context: PlanContext) -> Iterable[Planned]:
    """Return one case per ONNX backend case: scope `declared` judges the claims, `minimum` what the category demands."""
    from conformance.reference.suite_limits import FLOATS

    suite = context.suite()
    scope = requested.params.get("scope", "declared")
    claims = context.claims if scope == "declared" else context.minimum
    if claims is None:
        return
    limits = suite.limits({kind: context.precision_mode(kind) for kind in FLOATS})
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
        # Once more in the same session, for one case of each: for all it would cost 9 % of the run (of 11 CPU seconds).
        is_twice = is_smoke and not any(use.op in RANDOM for use in uses)
        basis = Basis.REQUIRED if scope == "minimum" else Basis.DECLARED
        case = Case(
            id=entry.case_id,
            check="operators",
            requirements=(requested.id,),
            why=unclaimed or requested.why,
            basis=Basis.UNCLAIMED if unclaimed else basis,
            smoke=is_smoke,
            cost_ms=entry.cost_ms,
            output_nbytes=_output_nbytes(entry, is_twice=is_twice),
            unsupported=unclaimed,
            params=_params(entry, context, uses),
            workload=_workload(entry, is_twice=is_twice),
        )
        yield Planned(case, partial(_expected, suite, limits, entry, is_twice=is_twice))


def _expected(suite: Any, limits: Any, entry: Any, *, is_twice: bool) -> list[list[Any]]:
    """Return per data set the limits of the outputs; or, after why there are none, what ONNX expects of them."""
    each: list[list[Any]] | str = limits.of(entry.case_id)
    if isinstance(each, str):
        why = each
        each = [[ByTolerance(why), *suite.expected(entry, dataset)] for dataset in range(len(entry.datasets))]
    return each + each[:1] if is_twice else each


def _output_nbytes(entry: Any, *, is_twice: bool) -> int | None:
    nbytes: int | None = entry.output_nbytes
    return nbytes if nbytes is None or not is_twice else 2 * nbytes


def _params(entry: Any, context: PlanContext, uses: list[Any]) -> dict[str, Any]:
    target = context.target
    return {
        "provider": target.provider,
        "allowed_host_ops": context.allowed_host_ops(uses),
        "rtol": entry.rtol,
        "atol": entry.atol,
        "sets": [],
        "outputs": [info.name for info in entry.output_infos],
        "needs": list(entry.needs),
    }


def _workload(entry: Any, *, is_twice: bool) -> Workload:
    sets = [[NamedValue(name, ref) for name, ref in dataset.inputs] for dataset in entry.datasets]
    return Workload(
        model=ModelRef(store="inputs", offset=entry.model.offset, nbytes=entry.model.nbytes),
        datasets=sets + sets[:1] if is_twice else sets,
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


def judge(case: Case, seen: Seen, expected: list[list[Any]]) -> Judgement:
    """Rejected, inputs changed, wrong names, wrong values, wrong place: the first that holds decides."""
    return judge_sessions(case, seen, partial(_judge_values, case.params, expected))


class ByTolerance(NamedTuple):
    """Stands before the expected values of a case that no limit is known for."""

    why: str


def _judge_values(
    params: dict[str, Any], expected: list[list[Any]], session: SessionSeen, values: list[OutputValues]
) -> Judgement:
    if not expected or not expected[0] or not isinstance(expected[0][0], ByTolerance):
        return judge_limits(params, expected, session, values)
    wanted = [one[1:] for one in expected]
    tolerance = {"rtol": params["rtol"], "atol": params["atol"]}
    judged = judge_values(session, values, wanted, names=params["outputs"], **tolerance)
    why = f"ONNX's own tolerance: {expected[0][0].why}"
    told = tuple(msgspec.structs.replace(one, limit=f"{one.limit} ({why})") for one in judged.measurements)
    return msgspec.structs.replace(judged, measurements=told)
