"""Reference models: whether a device computes what each graph says, and whether it is as good at the task.

Per model and variant: `agreement` judges outputs by how far the graph in float64 scatters when every operation is perturbed
as the declared precision rounds (tier 3, docs/numerics.md); `accuracy` counts the labelled samples that the reference gets
right and the device wrong; a decoder has `prefill`, `decode` (token by token, the cache that came out going in again) and
`two-sequences` (two sessions turn by turn: neither may see the other's cache), each judged step by step as `agreement` is.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from conformance.checks.support.modelling import (
    judge_accuracy,
    judge_agreement,
    run_sequences,
)
from conformance.checks.support.port import Planned
from conformance.checks.support.running import run_on_device
from conformance.checks.support.valuing import judge_faults, judge_inputs
from conformance.checks.support.witnessing import place_judgement
from conformance.numerics.modes import PrecisionMode
from conformance.observation import Observation
from conformance.records import SHARED, Basis, Case, Judgement, Outcome
from conformance.reference import feeds
from conformance.reference.challenges import salted
from conformance.reference.model_index import load_models

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.checks.support.port import Device, PlanContext, Requested
    from conformance.observation import Seen
    from conformance.reference.model_index import ReferenceModel, Variant
    from conformance.workload import Workload

SALT = 0
DECODER = ("prefill", "decode", "two-sequences")


def plan(requested: Requested, context: PlanContext) -> Iterable[Planned]:
    """Return the cases of the models of a category, or of `all`."""
    wanted = requested.params["set"]
    for model in load_models():
        if wanted != "all" and wanted not in model.categories:
            continue
        for variant in model.variants:
            for kind in variant.judged:
                planned = _planned(requested, context, model, variant, kind)
                # What a device makes of a model that it does not claim, eight samples tell as well as a thousand.
                if kind != "accuracy" or planned.case.basis is not Basis.UNCLAIMED:
                    yield planned


def _planned(requested: Requested, context: PlanContext, model: ReferenceModel, variant: Variant, kind: str) -> Planned:
    uses = context.uses(variant)
    unclaimed = context.claims.why_unclaimed(variant.opset_imports, uses, variant.types)
    # The category's own models in float32 are its minimum: a device that does not claim what they need has to run them.
    is_required = variant.name == "float32" and requested.params["set"] != "all" and context.demands(variant)
    if kind in DECODER and not context.target.takes_dynamic_shapes:
        told = "profile does not declare shapes.dynamic, which a growing cache needs"
        unclaimed, is_required = unclaimed or told, False
    unclaimed = "" if is_required else unclaimed
    basis = Basis.REQUIRED if is_required else Basis.DECLARED
    precision = context.precision_mode(variant.kind)
    salt = salted(SALT, context.challenge)
    case = Case(
        id=f"models/{model.name}/{variant.name}/{kind}",
        check="models",
        requirements=(requested.id,),
        why=unclaimed or requested.why,
        basis=Basis.UNCLAIMED if unclaimed else basis,
        smoke=variant.name == "float32" and kind in ("agreement", "prefill"),
        order=SHARED,
        cost_ms=1000.0 if kind == "accuracy" else 50.0,
        unsupported=unclaimed,
        params={
            "kind": kind,
            "title": model.title["en"],
            "opsets": variant.opset_imports,
            "reference": variant.reference,
            "sha256": variant.sha256,
            "salt": salt,
            "task": model.task,
            "margin": variant.margin,
            "batch": feeds.BATCH,
            "precision": precision,
            "outputs": [info.name for info in variant.outputs],
            "types": {info.name: info.type for info in variant.outputs},
            "provider": context.target.provider,
            "allowed_host_ops": context.allowed_host_ops(uses),
        },
    )
    expected = partial(_expected, model, variant, kind, salt, precision)
    return Planned(case, expected, partial(_workload, model, variant, kind, salt))


def _workload(model: ReferenceModel, variant: Variant, kind: str, salt: int) -> Workload:
    """Return model and inputs, made when the case is about to run: all of them at once would fill the memory."""
    from conformance.reference import workloads  # what makes them loads onnx, which planning does without

    return workloads.make(model, variant, kind, salt)


def _expected(
    model: ReferenceModel, variant: Variant, kind: str, salt: int, precision: dict[str, Any]
) -> list[list[Any]]:
    """Return labels and what the reference gets right, or per request the spread of each output."""
    from conformance.reference import answers, spreads

    if kind == "accuracy":
        return [[answers.labels_of(model.task, salt), answers.judged_right(model, variant, salt)]]
    names, mode = [info.name for info in variant.outputs], PrecisionMode.of(precision)
    if kind == "agreement":
        agreed = spreads.agreed(model, variant, salt, mode)
        return [[agreed[name] for name in names]]
    salts = (salt, salt + 100) if kind == "two-sequences" else (salt,)
    last = 1 if kind == "prefill" else None
    sequences = [spreads.decoded(model, variant, one, mode)[:last] for one in salts]
    steps = []
    for at, sequence in enumerate(sequences):
        again = sequences[(at + 1) % len(sequences)][1:2]  # the second step once more, of the sequence beside this one
        steps += [*sequence, *again]
    return [[step[name] for name in names] for step in steps]


def measure(case: Case, device: Device) -> Observation:
    """Run the batches in one session, or the sequences of a decoder in one session each."""
    workload: Any = case.workload
    data = device.model(workload.model)
    if case.params["kind"] in DECODER:
        count = 2 if case.params["kind"] == "two-sequences" else 1
        sessions = run_sequences(device, data, workload.datasets, count)
    else:
        sessions = run_on_device(device, data, workload.datasets)
    return Observation(sessions=sessions, has_witness=device.adapter.has_witness)


def judge(case: Case, seen: Seen, expected: list[list[Any]]) -> Judgement:
    """Rejected, wrong names, wrong values, wrong place: the first that holds decides."""
    sessions = seen.observation.sessions
    ran = [at for at, session in enumerate(sessions) if session.inferences]
    if case.params["kind"] not in DECODER:
        ran = ran[-1:]
    for at in ran or [len(sessions) - 1]:
        fault = judge_faults(sessions[: at + 1])
        if fault is not None:
            return fault
        for inference in sessions[at].inferences:
            changed = judge_inputs(inference)
            if changed is not None:
                return changed
    values = [outputs for at in ran for outputs in seen.values[at]]
    judged = (judge_accuracy if case.params["kind"] == "accuracy" else judge_agreement)(case, values, expected)
    for at in ran:  # a decoder has two sessions, and each has to have run in its place
        if judged.outcome is Outcome.PASS:
            upto = msgspec.structs.replace(seen.observation, sessions=sessions[: at + 1])
            judged = place_judgement(case, upto, judged)
    return judged
