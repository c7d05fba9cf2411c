"""Determinism: whether the same inputs give the same bits, as far as the profile declares it.

The classes, weakest first, each with those before it: `bounded` (every run of the same inputs lies within the limit of the
declared precision), `bitwise-run` (in one session, with other inputs in between and with the host busy), `bitwise-session` (in
fresh sessions), `bitwise-process` (in fresh processes), `batch-invariant` (a row alone, and inside batches of several sizes at
several places). A profile that declares none declares `bounded`. Run are the reference models and, where bits are compared, probes
whose last bits depend on the order of additions.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from conformance.checks.models import SALT
from conformance.checks.support.determining import DIFFERING, UNEXPOSED, Way, measure_way
from conformance.checks.support.differing import baselines, comparable, find_difference
from conformance.checks.support.modelling import judge_agreement
from conformance.checks.support.port import Planned
from conformance.checks.support.valuing import judge_faults, judge_inputs, judge_names
from conformance.checks.support.witnessing import place_judgement
from conformance.numerics.modes import PrecisionMode
from conformance.records import SHARED, Basis, Case, Judgement, Measurement, Outcome
from conformance.reference.challenges import salted
from conformance.reference.model_index import load_models
from conformance.reference.order_probes import has_rows, recipes, result_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from conformance.checks.support.differing import Difference
    from conformance.checks.support.port import Device, PlanContext, Requested
    from conformance.observation import Observation, Seen
    from conformance.reference.model_index import ReferenceModel, Variant
    from conformance.reference.recipes import Recipe
    from conformance.tensors import Value
    from conformance.workload import Workload

Answers = list[list[list[tuple[str, "Value"]]]]
"""Outputs by session and run."""
BATCHES = [(1, 0), (2, 0), (2, 1), (5, 2), (16, 0), (16, 15), (64, 37)]
"""Sizes around which runtimes change their kernels, and where the row stands."""
CLASSES: dict[str, Way] = {
    "bounded": Way([[0, 0, 1, 0, 1, 0, 0, 1, 0, 0]], loaded_from=6),
    "bitwise-run": Way([[0, 1] * 5], loaded_from=6),
    "bitwise-session": Way([[0, 1]] * 4),
    "bitwise-process": Way([[0, 1]] * 3, elsewhere=2),
    "batch-invariant": Way([list(range(len(BATCHES)))], batches=BATCHES),
}
"""The classes of `profile.vocabulary.DETERMINISM` but `none`, weakest first, and how each is run."""
_FIXED = Way([[at] for at in range(len(BATCHES))], batches=BATCHES, is_fixed=True)


class _Subject(NamedTuple):
    """A model or a probe, as far as planning needs it."""

    id: str
    """The subject and variant of the case id: `encoder/float16`."""
    entry: Any
    kind: str
    outputs: dict[str, str]
    """Type by name, in the order of the graph."""
    has_rows: bool
    is_small: bool
    """Whether it is run on the smoke level."""
    is_required: bool
    make: Callable[..., Workload]
    batched: Callable[..., Workload]
    references: Callable[[dict[str, Any]], list[list[Any]]] | None
    """What the first data set should give under a precision; None where only bits are compared."""


def plan(requested: Requested, context: PlanContext) -> Iterable[Planned]:
    """Return the cases of the classes up to the declared one; of `bounded` alone where nothing is claimed, and unclaimed."""
    declared = context.determinism
    names = list(CLASSES)
    wanted = names[: names.index(declared) + 1] if declared in names else names[:1]
    denied = "" if declared in names else f"profile declares determinism: {declared}"
    for one in (*_models(requested, context), *_probes(context)):
        for name in wanted:
            if (name == "batch-invariant" and not one.has_rows) or (name == "bounded" and one.references is None):
                continue
            yield _planned(requested, context, one, name, denied)


def _models(requested: Requested, context: PlanContext) -> Iterator[_Subject]:
    from_set, salt = requested.params.get("set", "all"), salted(SALT, context.challenge)
    for model in load_models():
        if from_set not in ("all", *model.categories):
            continue
        for variant in model.variants:
            required = variant.name == "float32" and from_set != "all" and context.demands(variant)
            is_decoder = "prefill" in variant.judged
            if is_decoder and not context.target.takes_dynamic_shapes:
                continue
            why = context.claims.why_unclaimed(variant.opset_imports, context.uses(variant), variant.types)
            if why and not required:
                continue
            yield _Subject(
                f"{model.name}/{variant.name}",
                variant,
                variant.kind,
                {info.name: info.type for info in variant.outputs},
                not is_decoder,
                variant.name == "float32",
                required,
                partial(_model_workload, model, variant, salt),
                partial(_model_batches, model, variant, salt),
                partial(_references, model, variant, salt) if is_decoder or "agreement" in variant.judged else None,
            )


def _probes(context: PlanContext) -> Iterator[_Subject]:
    for recipe in recipes():
        uses = context.uses(recipe)
        given = (recipe.opset_imports, uses, recipe.types)
        required = context.minimum is not None and not context.minimum.why_unclaimed(*given)
        if not required and context.claims.why_unclaimed(*given):
            continue
        yield _Subject(
            recipe.case_id.split("/", 1)[1],
            recipe,
            recipe.kind,
            dict.fromkeys(result_names(recipe), f"tensor({recipe.kind})"),
            has_rows(recipe),
            recipe.kind == "float32",
            required,
            partial(_probe_workload, recipe, context.challenge),
            partial(_probe_batches, recipe, context.challenge),
            None,
        )


def _planned(requested: Requested, context: PlanContext, one: _Subject, name: str, denied: str) -> Planned:
    way = CLASSES[name]
    if name == "batch-invariant" and not context.target.takes_dynamic_shapes:
        way = _FIXED
    precision = context.precision_mode(one.kind)
    is_process = name == "bitwise-process"
    basis = Basis.REQUIRED if one.is_required else Basis.DECLARED
    case = Case(
        id=f"determinism/{one.id}/{name}",
        check="determinism",
        requirements=(requested.id,),
        why=denied or requested.why,
        basis=Basis.UNCLAIMED if denied else basis,
        smoke=one.is_small and name in ("bounded", "bitwise-run"),
        order=1 if is_process else SHARED,
        cost_ms=1000.0 if is_process else 60.0,
        unsupported=denied,
        may_lose_device=is_process,
        params={
            "class": name,
            "what": _WHAT[name],
            "schedule": way.schedule,
            "loaded_from": way.loaded_from,
            "elsewhere": way.elsewhere,
            "batches": way.batches,
            "is_fixed": way.is_fixed,
            "outputs": list(one.outputs),
            "types": one.outputs,
            "precision": precision,
            "provider": context.target.provider,
            "allowed_host_ops": context.allowed_host_ops(context.uses(one.entry)),
        },
    )
    make = partial(one.batched, is_fixed=way.is_fixed) if way.batches is not None else one.make
    if name == "bounded" and one.references is not None:
        return Planned(case, partial(one.references, precision), make)
    return Planned(case, partial(_nodes, make), make, is_from_code=True)


_WHAT = {
    "bounded": "every run of the same inputs lies within the limit, with other inputs in between and the host busy",
    "bitwise-run": "every run of one session gives the same bits, with other inputs in between and the host busy",
    "bitwise-session": "every fresh session gives the same bits",
    "bitwise-process": "every fresh process gives the same bits",
    "batch-invariant": "a row gives the same bits alone and inside a batch, whatever its size and the row's place",
}


# What makes workloads loads onnx, which planning does without.


def _model_workload(model: ReferenceModel, variant: Variant, salt: int) -> Workload:
    from conformance.reference import repeats

    return repeats.of_model(model, variant, salt)


def _model_batches(model: ReferenceModel, variant: Variant, salt: int, *, is_fixed: bool) -> Workload:
    from conformance.reference import repeats

    return repeats.batches_of_model(model, variant, salt, BATCHES, is_fixed=is_fixed)


def _probe_workload(recipe: Recipe, challenge: str) -> Workload:
    from conformance.reference import repeats

    return repeats.of_probe(recipe, challenge)


def _probe_batches(recipe: Recipe, challenge: str, *, is_fixed: bool) -> Workload:
    from conformance.reference import repeats

    return repeats.batches_of_probe(recipe, challenge, BATCHES, is_fixed=is_fixed)


def _nodes(make: Callable[[], Workload]) -> list[list[Value]]:
    from conformance.reference import repeats

    return [list(one) for one in repeats.nodes(make())]


def _references(model: ReferenceModel, variant: Variant, salt: int, precision: dict[str, Any]) -> list[list[Any]]:
    """Return the spread of each output for the first data set: the same, and kept together with, what `models` judges by."""
    from conformance.reference import spreads

    mode, is_decoder = PrecisionMode.of(precision), "prefill" in variant.judged
    decoded = spreads.decoded(model, variant, salt, mode) if is_decoder else []
    found = decoded[0] if is_decoder else spreads.agreed(model, variant, salt, mode)
    return [[found[info.name] for info in variant.outputs]]


def measure(case: Case, device: Device) -> Observation:
    """Run the schedule in the child."""
    workload: Any = case.workload
    params = case.params
    batches = params["batches"]
    way = Way(
        params["schedule"],
        params["loaded_from"],
        params["elsewhere"],
        None if batches is None else [(size, place) for size, place in batches],
        params["is_fixed"],
    )
    return measure_way(device, workload, way, is_explained=params["class"] != "bounded")


def judge(case: Case, seen: Seen, expected: list[list[Any]]) -> Judgement:
    """Rejected, wrong names, other bits (or beyond the limit), wrong place: the first that holds decides."""
    sessions, schedule = seen.observation.sessions, case.params["schedule"]
    fault = judge_faults(sessions)
    if fault is not None:
        return fault
    ran = [at for at, session in enumerate(sessions) if session.inferences]
    for at in ran:
        for number, inference in enumerate(sessions[at].inferences):
            wrong = judge_faults([sessions[at]]) or judge_inputs(inference)
            wrong = wrong or judge_names(seen.values[at][number], case.params["outputs"])
            if wrong is not None:
                return wrong
    answers = [seen.values[at] for at in ran]
    if [len(one) for one in answers] != [len(one) for one in schedule]:
        made = sum(len(one) for one in answers)
        reason = f"{made} runs were made, {sum(map(len, schedule))} are expected"
        return Judgement(outcome=Outcome.ERROR, reason=reason)
    if case.params["class"] == "bounded":
        first = [
            outputs for at, one in enumerate(answers) for outputs, of in zip(one, schedule[at], strict=True) if of == 0
        ]
        judged = judge_agreement(case, first, expected * len(first))
        judged = msgspec.structs.replace(judged, measurements=(*judged.measurements, _spread(case, answers)))
    else:
        judged = _judge_bits(case, seen.observation, answers, expected)
    if judged.outcome is not Outcome.PASS:
        return judged
    session = msgspec.structs.replace(seen.observation, sessions=sessions[: ran[0] + 1])
    return place_judgement(case, session, judged)


def _spread(case: Case, answers: Answers) -> Measurement:
    """Return how many runs give other bits than the first of the same inputs: it informs, where only a bound is declared."""
    found, total = _differences(case, answers)
    return Measurement(name="differing_runs", value=len(found), unit=f"of {total}")


def _differences(case: Case, answers: Answers) -> tuple[list[tuple[tuple[int, int], Difference]], int]:
    """Return the first difference of each run that has one, by (session, run), and how many runs were compared."""
    schedule, batches = case.params["schedule"], case.params["batches"]
    found: list[tuple[tuple[int, int], Difference]] = []
    against = baselines(schedule, batches)
    for (at, number), (to, before) in against.items():
        now, then = schedule[at][number], schedule[to][before]
        pairs = zip(answers[to][before], answers[at][number], strict=True)
        differences = (
            find_difference(name, comparable(old, batches, then), comparable(new, batches, now))
            for (name, old), (_, new) in pairs
        )
        first = next((one for one in differences if one is not None), None)
        if first is not None:
            found.append(((at, number), first))
    return found, len(against)


def _judge_bits(case: Case, observation: Observation, answers: Answers, expected: list[list[Value]]) -> Judgement:
    """Return PASS where all is the same that should be, else FAIL with the first difference and how many runs have one."""
    found, total = _differences(case, answers)
    told = Measurement(name="differing_runs", value=len(found), unit=f"of {total}", limit="0", met=not found)
    if not found:
        return Judgement(outcome=Outcome.PASS, measurements=(told,))
    (at, number), worst = found[0]
    apart = "" if worst.ulps is None else f" by up to {worst.ulps} ULP{'' if worst.ulps == 1 else 's'}"
    context = (
        f"{worst.differing} of {worst.total} elements differ{apart}",
        _which(case, at, number),
        f"{len(found)} of {total} runs differ from the first of the same inputs",
        _first_node(observation.facts, expected),
    )
    reason = f"{worst.where} = {worst.actual}, was {worst.before}: not {case.params['class']}"
    ulps = () if worst.ulps is None else (Measurement(name="largest_difference", value=worst.ulps, unit="ULP"),)
    return Judgement(
        outcome=Outcome.FAIL,
        reason=reason,
        actual=worst.actual,
        expected=worst.before,
        context="; ".join(filter(None, context)),
        measurements=(told, *ulps),
    )


def _which(case: Case, at: int, number: int) -> str:
    """Say in words which run it is that differs."""
    params = case.params
    if params["batches"] is not None:
        size, place = params["batches"][params["schedule"][at][number]]
        return f"the row in place {place} of a batch of {size}, beside the row alone"
    if params["elsewhere"]:
        return f"in fresh process {at} of {params['elsewhere']}"
    if len(params["schedule"]) > 1:
        return f"in session {at + 1} of {len(params['schedule'])}"
    is_loaded = params["loaded_from"] is not None and number >= params["loaded_from"]
    return f"in run {number + 1} of {len(params['schedule'][0])}" + (", with the host busy" if is_loaded else "")


def _first_node(facts: dict[str, Any], expected: list[list[Value]]) -> str:
    """Say at which node the runs part company, by the model with its inner results exposed."""
    differing, refused = set(facts.get(DIFFERING, ())), facts.get(UNEXPOSED, "")
    names, nodes = ([str(one) for one in part] for part in expected[0])  # type: ignore[union-attr]
    for name, node in zip(names, nodes, strict=True):
        if name in differing:
            return f"the first node that differs, with inner results exposed: {node} (result '{name}')"
    if refused:
        return f"the node was not found: the model with its inner results exposed was refused: {refused}"
    return "the node was not found: with inner results exposed nothing differs"
