"""What a runtime offers beside plain runs: options, the caller's buffers, fixed dimensions, compiled models, a cache folder.

An adapter says which of them its runtime has (`Feature`), and those have to work; the others are not claimed. One case asks
every device: two models that differ in their weights alone, which a cache with too short a key confuses.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from conformance.adapters.runtime.port import Feature
from conformance.checks.support import offering
from conformance.checks.support.port import Planned
from conformance.checks.support.using import find_mode, judge_first, name_values, why_unasked, with_first
from conformance.checks.support.valuing import judge_faults, judge_values
from conformance.observation import Observation
from conformance.records import Basis, Case, Judgement, Measurement, Outcome
from conformance.reference import probes
from conformance.workload import ModelRef, Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from conformance.checks.support.port import Device, PlanContext, Requested
    from conformance.observation import Seen
    from conformance.tensors import Array, Value

FIXED = 3
"""The size that the symbolic dimension is given."""
FIRST, SECOND = 151, 161
"""Salts of the two sets of weights."""

Sets = list[tuple[dict[str, "Array"], list["Array"]]]


class Offer(NamedTuple):
    """A case: its models (the first is the workload's), data sets with exact outputs, and the feature that it needs."""

    name: str
    models: list[bytes]
    sets: Sets
    feature: Feature | None = None
    probe: str = "matmul_weights"


def _offers(opset: int) -> Iterable[Offer]:
    relu, weighted = probes.matmul_relu, probes.matmul_weights
    pair = [probes.weighted_model(FIRST, opset), probes.weighted_model(SECOND, opset)]
    one, other = weighted(171, FIRST), weighted(171, SECOND)  # the same inputs: only the weights tell the answers apart
    yield Offer("other-weights", pair, [one, other, one])
    plain = probes.probe_model("matmul_relu", opset)
    yield Offer("options", [plain], [relu(181)], Feature.OPTIONS, "matmul_relu")
    yield Offer("binding", [plain], [relu(183), relu(185), relu(187)], Feature.BINDING, "matmul_relu")
    batches = [probes.matmul_relu_batch(rows, 190 + rows) for rows in (FIXED, 5, 1, FIXED)]
    dynamic = probes.probe_model("matmul_relu_batch", opset)
    yield Offer("fixed-dimension", [dynamic], batches, Feature.FIXED_DIMENSIONS, "matmul_relu_batch")
    yield Offer("compiled-model", pair[:1], [one, weighted(173, FIRST)], Feature.COMPILED_MODELS)
    yield Offer("compiled-other-weights", pair, [one, other, one], Feature.COMPILED_MODELS)
    yield Offer("cache-folder", pair, [one, one, other, one], Feature.CACHE_FOLDER)


def plan(requested: Requested, context: PlanContext) -> Iterable[Planned]:
    """Return a case per offer; UNSUPPORTED where the runtime does not offer it or the profile does not claim what it uses."""
    for offer in _offers(context.probe_opset()):
        unclaimed = why_unasked(context, offer.probe)
        if not unclaimed and offer.feature is not None and offer.feature not in context.target.features:
            unclaimed = f"the adapter does not say that its runtime offers {offer.feature.replace('-', ' ')}"
        case = Case(
            id=f"interface/offers/{offer.name}",
            check="offers",
            requirements=(requested.id,),
            why=unclaimed or requested.why,
            basis=Basis.UNCLAIMED if unclaimed else Basis.DECLARED,
            smoke=True,
            cost_ms=10.0,
            unsupported=unclaimed,
            params={"offer": offer.name, "models": offer.models[1:]},
            workload=Workload(
                model=ModelRef(data=offer.models[0]), datasets=[name_values(inputs) for inputs, _ in offer.sets]
            ),
        )
        yield Planned(case, partial(list, [list(outputs) for _, outputs in offer.sets]))


def measure(case: Case, device: Device) -> Observation:
    """Find the mode in which the model runs at all, then use what is offered."""
    workload: Any = case.workload
    model = device.model(workload.model)
    start = workload.datasets[:1]
    mode, first = find_mode(device, model, start)
    if mode is None:
        return Observation(sessions=first)
    uses: dict[str, Callable[[offering.Bench], Observation]] = {
        "other-weights": offering.alternate,
        "options": offering.read_options,
        "binding": offering.bind,
        "fixed-dimension": partial(offering.fix_dimension, {"n": FIXED}),
        "compiled-model": offering.load_compiled,
        "compiled-other-weights": offering.load_compiled,
        "cache-folder": offering.fill_cache,
    }
    bench = offering.Bench(device, mode, [model, *case.params["models"]], workload.datasets)
    return with_first(first, uses[case.params["offer"]](bench))


def judge(case: Case, seen: Seen, expected: list[list[Value]]) -> Judgement:
    """Every answer exactly, and what each offer promises beside."""
    wrong, seen = judge_first(seen, expected, ["y"])
    if wrong is not None:
        return wrong
    name, facts = case.params["offer"], seen.observation.facts
    if name == "fixed-dimension":
        return _judge_fixed(seen, expected)
    fault = judge_faults(seen.observation.sessions)
    if fault is not None:
        return fault
    if name == "binding":
        return _judge_bound(seen, expected)
    judged = Judgement(outcome=Outcome.ERROR, reason="no session was tried")
    at = 0
    for session, values in zip(seen.observation.sessions, seen.values, strict=True):
        earlier = judge_faults([session])
        wanted = expected[at : at + len(values)]
        at += len(values)
        judged = earlier or judge_values(session, values, wanted, names=["y"], rtol=0.0, atol=0.0)
        if judged.outcome is not Outcome.PASS:
            return _say_whose(judged, values, expected)
    if at != len(expected):
        return Judgement(outcome=Outcome.ERROR, reason=f"{at} inferences were made, {len(expected)} are expected")
    if name == "options":
        return _judge_settings(facts["settings"], judged)
    shown = (*judged.measurements, *_tell(facts))
    if name == "cache-folder" and not facts.get(offering.COLD):
        # A runtime may keep what it compiles (the port), so that is no FAIL; and a cache that is empty has shown nothing.
        reason = "the option had no effect that can be seen: the folder holds no file after the first session"
        remedy = "set the provider's options that make it cache, or leave out `cache_option`"
        return Judgement(outcome=Outcome.UNMEASURED, reason=reason, remedy=remedy, measurements=shown)
    return Judgement(outcome=Outcome.PASS, measurements=shown)


def _say_whose(judged: Judgement, values: Any, expected: list[list[Value]]) -> Judgement:
    """Name the fault where an answer is the right one of another model or run: something stale was served."""
    got = [value for run in values for _, value in run]
    if judged.outcome is Outcome.FAIL and any(_same(one, want) for one in got for (want,) in expected):
        reason = f"the answer is that of another model or run: {judged.reason}"
        return Judgement(outcome=Outcome.FAIL, reason=reason, context=judged.context, measurements=judged.measurements)
    return judged


def _same(one: Value, want: Value) -> bool:
    return getattr(one, "shape", 0) == getattr(want, "shape", 1) and bool((one == want).all())  # type: ignore[union-attr]


def _tell(facts: dict[str, Any]) -> list[Measurement]:
    return [Measurement(name=name, value=value) for name, value in facts.items()]


def _judge_fixed(seen: Seen, expected: list[list[Value]]) -> Judgement:
    """The fixed size is right, before and after; another size is refused or right; and the session says which it takes."""
    sessions = seen.observation.sessions
    session, values = sessions[-1], seen.values[-1]
    if session.fault is not None or len(values) != len(expected):
        return judge_faults(sessions) or Judgement(
            outcome=Outcome.ERROR, reason=f"{len(values)} inferences were made, {len(expected)} are expected"
        )
    for info in session.inputs:
        if info.name == "a" and info.shape is not None and info.shape[0] not in (FIXED, None):  # None tells nothing
            reason = f"the dimension was fixed as {FIXED}, and the session declares {info.name} {list(info.shape)}"
            return Judgement(outcome=Outcome.FAIL, reason=reason)
    judged, refused = Judgement(outcome=Outcome.ERROR, reason="nothing was run"), 0
    for at, (got, wanted) in enumerate(zip(values, expected, strict=True)):
        inference = session.inferences[at]
        is_other = getattr(wanted[0], "shape", (0,))[0] != FIXED
        if inference.fault is not None and is_other:
            refused += 1
            continue
        one = type(session)(mode=session.mode, inferences=[inference])
        judged = judge_faults([one]) or judge_values(one, [got], [wanted], names=["y"], rtol=0.0, atol=0.0)
        if judged.outcome is not Outcome.PASS:
            return judged
    told = Measurement(name="other sizes refused", value=refused)
    return Judgement(outcome=Outcome.PASS, measurements=(*judged.measurements, told))


def _judge_bound(seen: Seen, expected: list[list[Value]]) -> Judgement:
    """Each run in its own buffer, the buffers before untouched, and nothing beside them written to."""
    facts = seen.observation.facts
    if facts["beside"]:
        return Judgement(outcome=Outcome.FAIL, reason=f"the device wrote beside the bound memory: {facts['beside'][0]}")
    first, second, third = expected
    wanted = [first, second, third, second]  # the second buffer is looked at again after the third run
    judged = judge_values(seen.observation.sessions[-1], seen.values[-1], wanted, names=["y"], rtol=0.0, atol=0.0)
    at = (judged.context.partition("inference ")[2] or "0").partition(";")[0]
    if judged.outcome is Outcome.FAIL:
        what = "a bound output, after another was bound and run" if at == "3" else "a bound output"
        return Judgement(
            outcome=Outcome.FAIL,
            reason=f"{what}: {judged.reason}",
            context=judged.context,
            measurements=judged.measurements,
        )
    return judged


def _judge_settings(settings: list[list[str | None]], judged: Judgement) -> Judgement:
    """What differs or is not there fails; what the runtime does not tell is unverified, and all of that is no evidence."""
    shown, silent = [], []
    for name, wanted, actual in settings:
        shown.append(
            Measurement(
                name=str(name),
                value="unverified" if actual is None else actual,
                limit=str(wanted),
                met=None if actual is None else _norm(actual) == _norm(wanted),
            )
        )
        if actual is None:
            silent.append(str(name))
        elif _norm(actual) != _norm(wanted):
            how = f"the runtime says '{actual}'" if actual else "the runtime's own list does not have it"
            return Judgement(
                outcome=Outcome.FAIL,
                reason=f"{name} is set to '{wanted}', and {how}",
                actual=actual,
                expected=str(wanted),
                measurements=tuple(shown),
            )
    note = f"unverified, the runtime does not report it: {', '.join(silent)}" if silent else ""
    if len(silent) == len(shown):
        reason = note or "the runtime reports no option"
        return Judgement(outcome=Outcome.UNMEASURED, reason=reason, measurements=tuple(shown))
    return Judgement(outcome=Outcome.PASS, context=note, measurements=(*judged.measurements, *shown))


def _norm(text: str | None) -> str | float:
    """Make `True` and `1`, `FP32` and `fp32`, `1.0` and `1` the same."""
    plain = (text or "").strip().lower()
    plain = {"true": "1", "false": "0"}.get(plain, plain)
    try:
        return float(plain)
    except ValueError:
        return plain
