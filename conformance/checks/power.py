"""Power: whether a device draws no more than it declares: idle, typical, at most, and for one inference.

`power/<model>/load` holds idle, typical, design and maximum power against one run of a reference model in a closed loop.
`power/<model>/energy` takes the energy of one inference above idle, for each model that declares one. `power/states/<name>` says of
each declared power state that nothing here can put the device into it. A meter counts only once it showed when this device worked;
every verdict carries its expanded uncertainty, and a limit within it is undecided (`metering.decision`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from conformance.checks.support.metered import (
    RANK,
    PowerMeter,
    Run,
    as_measured,
    find_power,
    none_usable,
    read_run,
    unmeasured,
    worst_of,
)
from conformance.checks.support.port import Planned
from conformance.checks.support.powering import ENERGY, LOAD, measure_phases
from conformance.checks.support.powering_plan import LOADS, load_case, why_unknown
from conformance.metering.decision import decide
from conformance.metering.phases import IDLE, MEASURED, SOAK, named
from conformance.metering.quantities import (
    counted_energy,
    energy_of,
    energy_per_inference,
    largest_of,
    mean_of,
    settled,
)
from conformance.metering.steady import TOLERANCE_SHARE, judge_steadiness
from conformance.metering.uncertainty import Amount
from conformance.metering.validity import gap_reason
from conformance.records import Case, Judgement, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.checks.support.port import Device, PlanContext, Requested
    from conformance.metering.decision import Decision
    from conformance.metering.phases import Phase
    from conformance.observation import Observation, Seen

STATES = "states"
DECLARABLE = ("idle_w", "typical_w", "max_w")
"""What has to be declared for idle, typical and maximum power to be judged. A design power (tdp_w) may be."""
REST_S = 5.0
"""An idle phase of this length counts in its second half: clocks and caches take seconds to come to rest."""
SLOW_WINDOW_S = 1.0
"""A meter that averages over longer says nothing about a maximum."""


def plan(requested: Requested, context: PlanContext) -> Iterable[Planned]:
    """Return the cases of an aspect: `load`, `energy` or `states`."""
    aspect, declared = requested.params["aspect"], context.power or {}
    model, batch, scope = LOADS[requested.params["set"]]
    if aspect == STATES:
        yield from (_state(requested, one) for one in declared.get("states", ()))
        return
    if aspect == ENERGY:
        for item in declared.get("energy_per_inference", ()):
            judged = {"energy_mj": item["energy_mj"], "scope": scope, "limits_w": _limits(declared)}
            yield load_case(requested, context, ENERGY, item["model"], item["batch"], check="power", judged=judged)
        return
    judged = {name: declared.get(name) for name in (*DECLARABLE, "tdp_w")} | {
        "scope": scope,
        "limits_w": _limits(declared),
    }
    yield load_case(requested, context, LOAD, model, batch, check="power", judged=judged, smoke=True)


def _limits(declared: dict[str, Any]) -> list[float]:
    return [declared[name] for name in ("typical_w", "tdp_w", "max_w") if declared.get(name)]


def _state(requested: Requested, state: dict[str, Any]) -> Planned:
    name = re.sub(r"[^a-z0-9]+", "-", state["name"].lower()).strip("-") or "unnamed"
    return Planned(
        Case(
            id=f"power/states/{name}",
            check="power",
            requirements=(requested.id,),
            why=requested.why,
            params={"kind": STATES, "name": state["name"], "cap_w": state["cap_w"], "schedule": []},
        )
    )


def measure(case: Case, device: Device) -> Observation:
    """Run the phases; nothing where no meter looks."""
    return measure_phases(case, device)


def judge(case: Case, seen: Seen, expected: list[list[Any]]) -> Judgement:
    """No meter, wrong answers, a meter that is none of this device's, over a limit, undecided: the first that holds decides."""
    if case.params["kind"] == STATES:
        told = f"nothing can put the device into the power state '{case.params['name']}': no adapter or bench file sets one"
        return unmeasured(told, "none in this version: the requirement stays open until power states can be set")
    unknown = why_unknown(case)
    if unknown is not None:
        return unknown
    run = read_run(case, seen, expected)
    if isinstance(run, Judgement):
        return run
    meters, wrong = find_power(run, RANK[case.params["scope"]], case.params["limits_w"])
    if not meters:
        return none_usable(run, wrong, "the power")
    judging = _judge_energy if case.params["kind"] == ENERGY else _judge_load
    judged = judging(case, run, meters[0])
    notes = [meters[0].told(), *(f"{name}: {why}" for name, why in wrong), *run.trace.failures]
    level = f"level {case.params['level']}" + ("" if case.params["level"] == "certify" else ": too short to certify")
    context = "; ".join(one for one in (judged.context, level, case.params["load"], *notes) if one)
    return msgspec.structs.replace(judged, context=context, measurements=(*judged.measurements, *run.told))


def _judge_load(case: Case, run: Run, meter: PowerMeter) -> Judgement:
    """Judge every declared power; say of what is not declared that it is not."""
    params = case.params
    series, step = meter.examined.series, meter.step
    idle_phase, measured = _at_rest(named(run.phases, IDLE)[0]), run.measured
    idle, mean = mean_of(settled(series, idle_phase, step)), mean_of(settled(series, measured, step))
    first = next(one for one in run.phases if one.is_busy)
    top = largest_of(
        series.shifted(step.offset_ns).within(first.begin_ns, measured.end_ns)
    )  # a cold chip may draw most
    soak = named(run.phases, SOAK)[0]
    tolerance = TOLERANCE_SHARE * (mean.value if mean is not None else 1.0)
    steadiness = judge_steadiness(series.shifted(step.offset_ns), soak.begin_ns, measured.end_ns, tolerance)
    judged: list[Judgement | None] = []
    for name, amount, phase, rise in (
        ("idle_w", idle, idle_phase, 0.0),
        ("typical_w", mean, measured, steadiness.rise),
        ("tdp_w", mean, measured, steadiness.rise),
        ("max_w", top, measured, steadiness.rise),
    ):
        found = _judge_limit(name, amount, params.get(name), phase, meter, rise)
        if name == "max_w" and step.window_s > SLOW_WINDOW_S and found is not None and found.outcome is Outcome.PASS:
            told = f"max_w: {meter.descriptor.channel} averages over {step.window_s:g} s and cannot show a maximum"
            remedy = "use a meter that averages over 1 s at most"
            found = msgspec.structs.replace(found, outcome=Outcome.INCONCLUSIVE, reason=told, remedy=remedy)
        judged.append(found)
    return worst_of([one for one in judged if one is not None])


def _at_rest(idle: Phase) -> Phase:
    """Return the part of an idle phase in which a device has come to rest: the second half, where there is time for it."""
    if idle.seconds < REST_S:
        return idle
    return idle._replace(begin_ns=(idle.begin_ns + idle.end_ns) // 2)


def _judge_limit(
    name: str, amount: Amount | None, limit: float | None, phase: Phase, meter: PowerMeter, rise: float
) -> Judgement | None:
    """Judge one declared limit; None for a design power that is not declared."""
    if amount is None:
        told = f"{name}: too few settled readings of {meter.descriptor.channel} in the phase {phase.name} ({phase.seconds:.3g} s)"
        return Judgement(
            outcome=Outcome.INCONCLUSIVE,
            reason=told,
            remedy="run at a higher --level, or read the meter more often (`period_ms`)",
        )
    if limit is None:
        if name not in DECLARABLE:
            return None
        told = f"{name}: the profile declares none; measured {amount}"
        remedy = f"declare power.{name} in the profile"
        return Judgement(
            outcome=Outcome.UNMEASURED, reason=told, remedy=remedy, measurements=tuple(as_measured(name, amount))
        )
    decision = decide(name, amount, limit, headroom=rise)
    outcome, reason, remedy = _one_sided(decision, meter)
    gap = gap_reason(meter.examined, phase, meter.step.settle_s)
    if gap and outcome is Outcome.PASS:
        outcome, reason, remedy = Outcome.INCONCLUSIVE, f"{name}: {gap}", "a run in which the meter answers throughout"
    measurements = tuple(as_measured(name, amount, limit, outcome))
    return Judgement(
        outcome=outcome, reason="" if outcome is Outcome.PASS else reason, remedy=remedy, measurements=measurements
    )


def _one_sided(decision: Decision, meter: PowerMeter) -> tuple[Outcome, str, str]:
    """Return the outcome of a decision by a meter that may take in less than the device, or more."""
    scope, channel = meter.descriptor.scope, meter.descriptor.channel
    if decision.outcome == "pass" and meter.above < 0:
        told = f"{decision.reason}: {channel} measures the {scope} alone, and the device draws more"
        return Outcome.INCONCLUSIVE, told, "use a meter of the whole device"
    if decision.outcome == "fail" and meter.above > 0:
        told = f"{decision.reason}: {channel} measures at the {scope}, others' power included"
        return Outcome.INCONCLUSIVE, told, "use a meter of the device alone"
    outcome = {"pass": Outcome.PASS, "fail": Outcome.FAIL, "open": Outcome.INCONCLUSIVE}[decision.outcome]
    return outcome, decision.reason, decision.settles


def _judge_energy(case: Case, run: Run, meter: PowerMeter) -> Judgement:
    """Judge the energy of one inference above idle, by the counter where the meter has one, else by trapezoids of its power."""
    series, step, measured = meter.examined.series, meter.step, run.measured
    idle = mean_of(settled(series, _at_rest(named(run.phases, IDLE)[0]), step))
    busy = mean_of(settled(series, measured, step))
    if idle is None or busy is None:
        told = f"too few settled readings of {meter.descriptor.channel} in the phases {IDLE} and {MEASURED}"
        return Judgement(
            outcome=Outcome.INCONCLUSIVE,
            reason=told,
            remedy="run at a higher --level, or read the meter more often (`period_ms`)",
        )
    energy = counted_energy(meter.counter, measured, step) if meter.counter is not None else None
    if energy is not None:
        shorter = energy.uncertainty.scaled(1 / measured.seconds)
        busy = Amount(energy.value / measured.seconds, "W", shorter, energy.readings)
    each = energy_per_inference(busy, idle, measured)
    judged = _judge_limit("energy_per_inference_mj", each, case.params["energy_mj"], measured, meter, 0.0)
    assert judged is not None  # noqa: S101 - there is a limit
    total = energy if energy is not None else energy_of(busy, measured)
    besides = [*as_measured("measured_energy_j", total), *as_measured("idle_w", idle), *as_measured("typical_w", busy)]
    interval = (
        f"energy of one inference {each.value - each.expanded:.4g} to {each.value + each.expanded:.4g} mJ (k = 2)"
    )
    how = f"{interval}, {measured.inferences} inferences in {measured.seconds:.3g} s"
    return msgspec.structs.replace(judged, context=how, measurements=(*judged.measurements, *besides))
