"""Planning a power or thermal case: which variant of which reference model is the load, how long its phases last, who judges its answers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from conformance.checks.models import SALT
from conformance.checks.support.port import Planned
from conformance.checks.support.powering import schedule
from conformance.checks.support.timed_plan import BITWISE
from conformance.numerics.modes import PrecisionMode
from conformance.records import SHARED, Basis, Case, Judgement, Outcome
from conformance.reference.challenges import salted
from conformance.reference.model_index import known_model, load_models

if TYPE_CHECKING:
    from conformance.checks.support.port import PlanContext, Requested
    from conformance.reference.model_index import ReferenceModel, Variant
    from conformance.workload import Workload

LOADS = {
    "accelerator-card": ("encoder", 32, "board"),
    "inference-server": ("encoder", 32, "system"),
    "inspection-terminal": ("defect-segmentation", 8, "system"),
    "intelligent-sensor": ("stereo-depth", 8, "module"),
    "all": ("encoder", 32, "package"),
}
"""For each category the model and batch that are the load, and what the device takes in: a host's processor is a package."""


def load_case(
    requested: Requested,
    context: PlanContext,
    kind: str,
    name: str,
    batch: int,
    *,
    check: str,
    judged: dict[str, Any],
    smoke: bool = False,
) -> Planned:
    """Return the case `<check>/<model>/<kind>` that runs a model as a load. `judged` is what its judge needs."""
    model = known_model(name)
    variant, unclaimed = _choose(context, model)
    unknown = (
        ""
        if model is not None
        else f"there is no reference model '{name}': {', '.join(one.name for one in load_models())}"
    )
    is_looked_at = context.target.has_telemetry and variant is not None and not unclaimed
    phases = schedule(kind, context.level, judged.get("soak_s")) if is_looked_at else []
    seconds = sum(seconds for _, seconds in phases)
    suffix = "" if kind != "energy" or batch == 1 else f"-batch{batch}"
    case = Case(
        id=f"{check}/{name}/{kind}{suffix}",
        check=check,
        requirements=(requested.id,),
        why=unclaimed or requested.why,
        basis=Basis.UNCLAIMED if unclaimed else Basis.DECLARED,
        smoke=smoke,
        order=SHARED,
        timed=True,
        telemetry=True,
        cost_ms=1e3 * seconds,
        lasts_s=seconds,
        unsupported=unclaimed,
        params={
            **judged,
            "kind": kind,
            "scenario": "closed loop",
            "level": context.level,
            "schedule": phases,
            "unknown": unknown,
            "load": f"load: {name}/{variant.name}, batch {batch}, back to back" if variant is not None else "",
            "is_bitwise": context.determinism in BITWISE,
            "provider": context.target.provider,
            "allowed_host_ops": [] if variant is None else context.allowed_host_ops(context.uses(variant)),
            "outputs": [] if variant is None else [info.name for info in variant.outputs],
            "types": {} if variant is None else {info.name: info.type for info in variant.outputs},
        },
    )
    if model is None or variant is None or not phases:
        return Planned(case)
    salt = salted(SALT, context.challenge)
    expected = partial(_expected, model, variant, salt, context.precision_mode(variant.kind))
    return Planned(
        case, expected, partial(_workload, model, variant, salt, 1 if "prefill" in variant.judged else batch)
    )


def why_unknown(case: Case) -> Judgement | None:
    """Return UNMEASURED where a profile declares a model that there is none of."""
    if not case.params["unknown"]:
        return None
    return Judgement(outcome=Outcome.UNMEASURED, reason=case.params["unknown"], remedy="declare a model that there is")


def _choose(context: PlanContext, model: ReferenceModel | None) -> tuple[Variant | None, str]:
    """Return the variant that is the load, and why it is not asked of this device; empty where it is.

    The first variant that the device claims; without one, float32 where the category's minimum holds it.
    """
    if model is None:
        return None, ""
    whys = [context.claims.why_unclaimed(one.opset_imports, context.uses(one), one.types) for one in model.variants]
    claimed = [one for one, why in zip(model.variants, whys, strict=True) if not why]
    if claimed:
        return claimed[0], ""
    first = model.variants[0]
    return first, "" if context.demands(first) else whys[0]


def _workload(model: ReferenceModel, variant: Variant, salt: int, batch: int) -> Workload:
    from conformance.reference import timed  # what makes workloads loads onnx, which planning does without

    return timed.workload(model, variant, salt, batch)


def _expected(model: ReferenceModel, variant: Variant, salt: int, mode: dict[str, Any]) -> list[list[Any]]:
    """Return what the answers to the first lot are judged by; nothing where the variant has no such case."""
    from conformance.reference import timed

    found = timed.expected(model, variant, salt, PrecisionMode.of(mode))
    return [found] if found else []
