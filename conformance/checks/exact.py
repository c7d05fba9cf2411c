"""Exact probes (tier 1): what must come out bit for bit in any correct implementation, whatever the order of its sums.

Integers that every declared accumulator holds, integer operators to the ends of their range, ties, saturation, special values,
elements that only move. Scope `declared` asks what the profile claims, `minimum` what the category demands; each probe also says
what the declared precision has to hold for it, and a device that declares less is not asked. No tolerance: any other value is
FAIL.

Scope `advisory` has the probes on which ONNX's texts and IEEE 754 are silent, such as a NaN in Max. Nothing there can be wrong,
so nothing there is FAIL: a difference from what numpy gives is INCONCLUSIVE, under a requirement that is no MUST. It is told,
and costs no verdict.

The first probe of each operator version and type is run twice in its session.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from conformance.checks.support.exactly import judge_exactly
from conformance.checks.support.port import Planned
from conformance.checks.support.running import run_on_device
from conformance.checks.support.valuing import judge_inputs, judge_names
from conformance.checks.support.witnessing import judge_sessions
from conformance.numerics.formats import FORMATS
from conformance.numerics.modes import PrecisionMode
from conformance.observation import Observation
from conformance.records import SHARED, Basis, Case, Judgement, Measurement, Outcome
from conformance.tensors import to_ref
from conformance.workload import ModelRef, NamedValue, Workload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.checks.support.port import Device, PlanContext, Requested
    from conformance.checks.support.valuing import OutputValues
    from conformance.numerics.formats import Format
    from conformance.observation import Seen, SessionSeen
    from conformance.reference.recipes import Needs
    from conformance.tensors import Value

LIMIT = "exact (tier 1)"
FLOATS = ("float32", "float16", "bfloat16", "float64")
"""The types whose declared precision decides whether a probe is asked."""


def plan(requested: Requested, context: PlanContext) -> Iterable[Planned]:
    """Return one case per probe that is claimed (or demanded) and whose needs the declared precision meets."""
    from conformance.reference.exact.index import load_rows

    scope = requested.params.get("scope", "declared")
    claims = context.minimum if scope == "minimum" else context.claims
    if claims is None:
        return
    basis = Basis.REQUIRED if scope == "minimum" else Basis.DECLARED
    modes: dict[str, PrecisionMode] = {}
    seen: set[str] = set()
    for row in load_rows():
        if bool(row.advisory) != (scope == "advisory"):
            continue
        uses = context.uses(row)
        if claims.why_unclaimed(row.opset_imports, uses, row.types):
            continue
        for kind in (one for one in row.types if one in FLOATS and one not in modes):
            modes[kind] = PrecisionMode.of(context.precision_mode(kind))
        if not all(meets(modes[one], row.needs, FORMATS[one]) for one in row.types if one in FLOATS):
            continue
        subject, _, probe = row.case_id.rpartition("/")
        operator = subject.split("/")[1].rpartition("-")[0]
        is_twice = subject not in seen
        is_smoke = scope != "advisory" and operator not in seen
        seen.update((subject, operator))
        case = Case(
            id=row.case_id,
            check="exact",
            requirements=(requested.id,),
            why=requested.why,
            basis=basis,
            smoke=is_smoke,
            order=SHARED,
            cost_ms=2.0,
            params={
                "provider": context.target.provider,
                "allowed_host_ops": context.allowed_host_ops(uses),
                "probe": probe,
                "keeps_zero_sign": row.keeps_zero_sign,
                "advisory": row.advisory,
                "is_twice": is_twice,
            },
        )
        challenge = context.challenge
        yield Planned(
            case,
            partial(_expected, row.case_id, challenge, is_twice=is_twice),
            partial(_workload, row.case_id, challenge, is_twice=is_twice),
            is_from_code=True,
        )


def meets(mode: PrecisionMode, needs: Needs, own: Format) -> bool:
    """Return whether the precision declared for a type holds what a probe needs, as far as the type itself (`own`) does."""
    return (
        mode.operands.bits >= min(needs.operand_bits, own.bits)
        and mode.sums.bits >= needs.sum_bits
        and mode.results.bits >= min(needs.result_bits, own.bits)
        and min(mode.operands.largest, mode.sums.largest, mode.results.largest) >= min(needs.largest, own.largest)
        and not (needs.subnormals and mode.flushes)
        and not (needs.plain_convolution and mode.transforms)
    )


def _workload(case_id: str, challenge: str, *, is_twice: bool) -> Workload:
    from conformance.reference.exact.index import find
    from conformance.reference.recipes import carry_out

    made = carry_out(find(case_id), challenge)
    sets = [[NamedValue(name, to_ref(value)) for name, value in feeds.items()] for feeds in made.datasets]
    return Workload(model=ModelRef(data=made.model), datasets=sets + sets[:1] if is_twice else sets)


def _expected(case_id: str, challenge: str, *, is_twice: bool) -> list[list[Value]]:
    from conformance.reference.exact.index import find
    from conformance.reference.recipes import carry_out

    made = carry_out(find(case_id), challenge)
    each = [list(outputs.values()) for outputs in made.expected or []]
    return each + each[:1] if is_twice else each


def measure(case: Case, device: Device) -> Observation:
    """Run the probe in one session; see `run_on_device` for the modes."""
    workload: Any = case.workload
    sessions = run_on_device(device, device.model(workload.model), workload.datasets)
    return Observation(sessions=sessions, has_witness=device.adapter.has_witness)


def judge(case: Case, seen: Seen, expected: list[list[Value]]) -> Judgement:
    """Rejected, inputs changed, wrong names, wrong values, wrong place: the first that holds decides."""
    judged = judge_sessions(case, seen, partial(judge_probe, case.params, expected))
    advisory = case.params["advisory"]
    if not advisory or judged.outcome is not Outcome.FAIL:
        return judged
    reason = f"{judged.reason}; told, not judged: {advisory}"
    return msgspec.structs.replace(judged, outcome=Outcome.INCONCLUSIVE, reason=reason)


def judge_probe(
    params: dict[str, Any], expected: list[list[Value]], session: SessionSeen, values: list[OutputValues]
) -> Judgement:
    """Judge every output of every inference, bit for bit."""
    if not expected or len(values) != len(expected):
        text = f"{len(values)} inferences were made, {len(expected)} are expected"
        return Judgement(outcome=Outcome.ERROR, reason=text)
    for at, (got, wanted) in enumerate(zip(values, expected, strict=True)):
        names = [f"y{number}" for number in range(len(wanted))]
        strange = judge_inputs(session.inferences[at]) or judge_names(got, names)
        if strange is not None:
            return strange
        for (name, actual), want in zip(got, wanted, strict=True):
            judged = judge_exactly(want, actual, name, params["probe"], keeps_zero_sign=params["keeps_zero_sign"])
            if not judged.ok:
                looks = f"; looks like: {judged.looks_like}" if judged.looks_like else ""
                context = f"inference {at}; {session.mode} session"
                return Judgement(
                    outcome=Outcome.FAIL,
                    reason=judged.reason + looks,
                    context=context,
                    measurements=(_told(met=False),),
                )
    return Judgement(outcome=Outcome.PASS, measurements=(_told(met=True),))


def _told(*, met: bool) -> Measurement:
    share = 0.0 if met else float("inf")
    return Measurement(name="worst_error", value=share, unit="of the limit", limit=LIMIT, margin=share, met=met)
