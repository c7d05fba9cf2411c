"""Latency: whether a device keeps the percentiles, the maximum, the jitter and the deadlines that its profile declares.

One case for every item of `declares.latency`: `latency/<model>/<scenario>`, with the variant and the batch in the name where they
are not float32 and 1. A requirement with `aspect: drift` has one case `latency/<model>/sustained` per declared model instead: load
without a pause, which may become no slower. Where nothing is declared there is no case, and a MUST stays open by itself.

The child times a session that profiles nothing, with the outputs in the host's memory before the clock stops (`timed_run`), and
measures itself with the same generator. The judge has every sample: n was fixed before the run, limits are decided by the
two-sided binomial rule, and what was found about the run (a result cache, a drift, a generator that was late) is named.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from conformance.checks.models import SALT
from conformance.checks.support.port import Planned
from conformance.checks.support.timed_generation import measure_generation
from conformance.checks.support.timed_judging import judge_timed
from conformance.checks.support.timed_plan import BITWISE, extent, queries_needed
from conformance.checks.support.timed_run import measure_queries
from conformance.numerics.modes import PrecisionMode
from conformance.observation import Observation
from conformance.records import Basis, Case, Judgement, Outcome
from conformance.reference.challenges import salted
from conformance.reference.model_index import known_model, load_models

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from conformance.checks.support.port import Device, PlanContext, Requested
    from conformance.observation import Seen
    from conformance.reference.model_index import ReferenceModel, Variant
    from conformance.workload import Workload

MULTI_STREAM = 8
"""Samples of a query of multi-stream where the profile does not say: MLPerf's number."""
SEED = 20_260
DRIFT = "drift"
WANTED: dict[str, tuple[tuple[str, ...], ...]] = {
    "accelerator-card": (("back-to-back", "single-stream"), ("paced",)),
    "inference-server": (("server",),),
    "intelligent-sensor": (("paced",),),
    "inspection-terminal": (("paced",),),
    "all": (),
}
"""For each category what has to be declared for its latency to be shown: one scenario of each group."""


def plan(requested: Requested, context: PlanContext) -> Iterable[Planned]:
    """Return a case for each declared latency, or, for `aspect: drift`, for each model with one."""
    items = context.latency
    if requested.params["aspect"] != DRIFT:
        yield from _undeclared(requested, context)
    if requested.params["aspect"] == DRIFT:
        models = {(one["model"], one["variant"], one["batch"]): one for one in reversed(items)}
        items = tuple(
            {"model": model, "variant": variant, "batch": batch, "scenario": "sustained", "warm_up_s": one["warm_up_s"]}
            for (model, variant, batch), one in models.items()
            if one["scenario"] != "generation"
        )
    for item in items:
        yield _planned(requested, context, item, len(context.latency))


def _undeclared(requested: Requested, context: PlanContext) -> Iterable[Planned]:
    """Yield a case that nobody can measure for each kind of scenario that the category wants and the profile leaves out."""
    wanted = requested.params["set"]
    models = {one.name for one in load_models() if wanted in one.categories}
    declared = {item["scenario"] for item in context.latency if item["model"] in models}
    for group in WANTED[wanted]:
        if declared.isdisjoint(group):
            told = f"the profile declares no latency in the scenario {' or '.join(group)}"
            params = {"unknown": told, "remedy": f"declare one under declares.latency, with scenario: {group[0]}"}
            yield Planned(
                Case(
                    id=f"latency/{group[0]}/undeclared",
                    check="latency",
                    requirements=(requested.id,),
                    why=requested.why,
                    smoke=True,
                    params=params,
                )
            )


def _planned(requested: Requested, context: PlanContext, item: Mapping[str, Any], count: int) -> Planned:
    model, variant = _find(item)
    scenario, batch = item["scenario"], item["batch"]
    streams = item.get("streams") or (MULTI_STREAM if scenario == "multi-stream" else 1)
    wanted = requested.params["set"]
    unasked = model is not None and wanted != "all" and wanted not in model.categories
    why = f"{wanted} is not judged by the latency of {item['model']}" if unasked else ""
    lasting = extent(context.level, item, count)
    case = Case(
        id=_id(item),
        check="latency",
        requirements=(requested.id,),
        why=why or requested.why,
        basis=Basis.UNCLAIMED if why else Basis.DECLARED,
        smoke=scenario != "sustained",
        timed=True,
        cost_ms=2500.0 * lasting.measured_s,
        lasts_s=lasting.longest_s,
        unsupported=why,
        params={
            "item": {name: value for name, value in item.items() if value is not None},
            "scenario": scenario,
            "level": context.level,
            "extent": lasting._asdict(),
            "needed": queries_needed(item),
            "streams": streams,
            "asks_per_query": streams if scenario == "multi-stream" else 1,
            "period_ms": item.get("period_ms"),
            "rate_per_s": item.get("rate_per_s"),
            "seed": SEED + salted(SALT, context.challenge),
            "unknown": _unknown(item, model, variant),
            "is_bitwise": context.determinism in BITWISE,
            "provider": context.target.provider,
            "allowed_host_ops": [] if variant is None else context.allowed_host_ops(context.uses(variant)),
            "outputs": [] if variant is None else [info.name for info in variant.outputs],
            "types": {} if variant is None else {info.name: info.type for info in variant.outputs},
        },
    )
    if model is None or variant is None:
        return Planned(case)
    salt = salted(SALT, context.challenge)
    mode = context.precision_mode(variant.kind)
    expected = partial(_expected, model, variant, salt, mode, scenario)
    return Planned(case, expected, partial(_workload, model, variant, salt, scenario, batch))


def _id(item: Mapping[str, Any]) -> str:
    variant = "" if item["variant"] == "float32" else f"{item['variant']}/"
    batch = "" if item["batch"] == 1 else f"-batch{item['batch']}"
    return f"latency/{item['model']}/{variant}{item['scenario']}{batch}"


def _find(item: Mapping[str, Any]) -> tuple[ReferenceModel | None, Variant | None]:
    model = known_model(item["model"])
    variants = model.variants if model is not None else ()
    return model, next((one for one in variants if one.name == item["variant"]), None)


def _unknown(item: Mapping[str, Any], model: ReferenceModel | None, variant: Variant | None) -> str:
    """Return why a declared latency cannot be measured at all; empty where it can."""
    if model is None:
        return f"there is no reference model '{item['model']}': {', '.join(one.name for one in load_models())}"
    if variant is None:
        return f"{model.name} has no variant '{item['variant']}': {', '.join(one.name for one in model.variants)}"
    is_decoder = "prefill" in variant.judged
    if item["scenario"] == "generation" and not is_decoder:
        return f"{model.name} is no decoder: it generates no tokens"
    if is_decoder and item["batch"] != 1:
        return f"{model.name} has no batch"
    return ""


def _workload(model: ReferenceModel, variant: Variant, salt: int, scenario: str, batch: int) -> Workload:
    from conformance.reference import timed  # what makes workloads loads onnx, which planning does without

    if scenario == "generation":
        return timed.generation(model, variant, salt)
    return timed.workload(model, variant, salt, batch)


def _expected(
    model: ReferenceModel, variant: Variant, salt: int, mode: dict[str, Any], scenario: str
) -> list[list[Any]]:
    """Return what the outputs of the first lot are judged by, as one request of a model's agreement case; or nothing."""
    from conformance.reference import timed

    if scenario == "generation":
        return []
    found = timed.expected(model, variant, salt, PrecisionMode.of(mode))
    return [found] if found else []


def measure(case: Case, device: Device) -> Observation:
    """Measure in the child."""
    if case.params["unknown"]:
        return Observation(has_witness=device.adapter.has_witness)
    measuring = measure_generation if case.params["scenario"] == "generation" else measure_queries
    return measuring(case, device)


def judge(case: Case, seen: Seen, expected: list[list[Any]]) -> Judgement:
    """Rejected, wrong outputs, wrong place, over a limit, undecided: the first that holds decides."""
    if case.params["unknown"]:
        return Judgement(
            outcome=Outcome.UNMEASURED,
            reason=case.params["unknown"],
            remedy=case.params.get("remedy", "declare a model that there is"),
        )
    judged = judge_timed(case, seen, expected)
    return msgspec.structs.replace(judged, reason=judged.reason[:1000])
