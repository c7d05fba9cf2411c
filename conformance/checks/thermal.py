"""Temperature: whether a device that works long stays within its declared limits, and does not slow itself down meanwhile.

`thermal/<model>/soak` keeps a device busy until it should be steady, then looks at it, and lets it cool: a thermometer counts only
when it rose with the load and fell without it. The largest temperature has to stay below the declared maximum with its uncertainty and
what it may still rise by; a device that is not steady yet is undecided, with the time that is wanted. Throttling inside the declared
envelope fails, with what it costs in latency (`metering.throttling`). Ambient is measured, or the verdict says that it was not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from conformance.checks.support.metered import (
    LISTED,
    RANK,
    Run,
    as_measured,
    none_usable,
    read_run,
    unmeasured,
    worst_of,
)
from conformance.checks.support.port import Planned
from conformance.checks.support.powering import THERMAL, measure_phases
from conformance.checks.support.powering_plan import LOADS, load_case, why_unknown
from conformance.metering.decision import decide
from conformance.metering.phases import COOL_DOWN, IDLE, RANGING, SOAK, named
from conformance.metering.quantities import largest_of
from conformance.metering.series import channels_of
from conformance.metering.steady import TOLERANCE_C, Steadiness, judge_steadiness
from conformance.metering.thermometer import judge_thermometer
from conformance.metering.throttling import Envelope, judge_throttling
from conformance.metering.timeline import join
from conformance.metering.trace import Quantity
from conformance.metering.uncertainty import of_meter, of_resolution
from conformance.metering.validity import Examined, examine, gap_reason
from conformance.records import Case, Judgement, Measurement, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.checks.support.port import Device, PlanContext, Requested
    from conformance.metering.uncertainty import Amount
    from conformance.observation import Observation, Seen

LEAST_SOAK_S = 60.0
"""Nobody's soak is shorter than this, whatever is declared."""
NEAR_END_C = 3.0
"""A run shows a range of ambient temperatures when it was no farther than this below its upper end."""


def plan(requested: Requested, context: PlanContext) -> Iterable[Planned]:
    """Return the one case of a model. For `aspect: throttle` it is the same, unless no throttle temperature is declared."""
    declared = context.thermal or {}
    names = ("max_c", "throttle_c", "soak_s", "ambient_c", "cooling", "airflow_m_s")
    judged = {name: declared.get(name) for name in names}
    judged["ambient_c"] = list(judged["ambient_c"]) if judged["ambient_c"] else None
    judged["over_range"] = requested.params["aspect"] == "range"
    if requested.params["aspect"] == "throttle" and judged["throttle_c"] is None:
        yield Planned(
            Case(
                id="thermal/throttle/undeclared",
                check="thermal",
                requirements=(requested.id,),
                why=requested.why,
                params={"kind": "throttle", "schedule": []},
            )
        )
        return
    model, batch, _ = LOADS[requested.params["set"]]
    yield load_case(requested, context, THERMAL, model, batch, check="thermal", judged=judged, smoke=True)


def measure(case: Case, device: Device) -> Observation:
    """Run the phases; nothing where no meter looks."""
    return measure_phases(case, device)


class _Soaked(NamedTuple):
    """One thermometer of the device that followed the load."""

    examined: Examined
    largest: Amount
    steadiness: Steadiness


def judge(case: Case, seen: Seen, expected: list[list[Any]]) -> Judgement:
    """No thermometer, wrong answers, throttling, too hot, not steady: the gravest decides."""
    if case.params["kind"] == "throttle":
        told = "the profile declares no temperature at which the device begins to slow down"
        return unmeasured(told, "declare thermal.throttle_c in the profile")
    unknown = why_unknown(case)
    if unknown is not None:
        return unknown
    run = read_run(case, seen, expected)
    if isinstance(run, Judgement):
        return run
    soaked, wrong = _thermometers(run)
    ambient, about_ambient = _ambient(run)
    hottest = max(soaked, key=lambda one: one.largest.value, default=None)
    limits = case.params["ambient_c"]
    envelope = Envelope(
        throttle_c=case.params["throttle_c"],
        ambient_c=tuple(limits) if limits else None,
        measured_c=None if ambient is None else ambient[:2],
        device_u_c=0.0 if hottest is None else hottest.largest.expanded,
        ambient_u_c=0.0 if ambient is None else ambient[2],
    )
    judged = [_judge_throttling(run, envelope)]
    if hottest is None:
        judged.append(none_usable(run, wrong, "the temperature"))
    else:
        judged += [_judge_maximum(case, run, one, is_hottest=one is hottest, envelope=envelope) for one in soaked]
        judged.append(_judge_ambient(case, envelope))
    found = worst_of(judged)
    level = f"level {case.params['level']}" + ("" if case.params["level"] == "certify" else ": too short to certify")
    declared = [f"cooling declared {case.params['cooling']}, not looked at"] if case.params["cooling"] else []
    notes = [found.context, level, case.params["load"], envelope.told(), about_ambient, *declared, *run.trace.failures]
    others = [f"{name}: {why}" for name, why in wrong] if hottest is not None else []
    context = "; ".join(one for one in (*notes, *others) if one)
    return msgspec.structs.replace(found, context=context, measurements=(*found.measurements, *run.told))


def _thermometers(run: Run) -> tuple[list[_Soaked], list[tuple[str, str]]]:
    """Return the device's thermometers that followed the load, and of the others the name and the reason of what is wrong."""
    found: list[_Soaked] = []
    wrong: list[tuple[str, str]] = []
    begin, end = named(run.phases, RANGING)[0].begin_ns, run.measured.end_ns
    for described in channels_of(run.trace, Quantity.TEMPERATURE):
        if RANK[described.scope] < 0:
            continue
        examined = examine(run.trace, described.channel)
        if examined.fatal is not None:
            wrong.append((examined.fatal.name, examined.fatal.reason))
            continue
        idle, cool = named(run.phases, IDLE), named(run.phases, COOL_DOWN)
        fault = judge_thermometer(examined.series, idle[0], run.measured, cool[-1]) if idle and cool else None
        if fault is not None:
            wrong.append((fault.name, fault.reason))
            continue
        largest = largest_of(examined.series.within(begin, end))
        if largest is None:
            wrong.append(("sampled too slowly", f"{described.channel} has fewer than eight readings under load"))
            continue
        tolerance = max(TOLERANCE_C, 3 * (described.resolution or 0.0))
        found.append(_Soaked(examined, largest, judge_steadiness(examined.series, begin, end, tolerance)))
    return found, wrong


def _ambient(run: Run) -> tuple[tuple[float, float, float] | None, str]:
    """Return lowest and highest ambient of the run with the expanded uncertainty, None where none was measured; and why not."""
    begin, end = run.phases[0].begin_ns, run.measured.end_ns
    why = "no channel with scope: ambient"
    for described in channels_of(run.trace, Quantity.TEMPERATURE):
        if described.scope != "ambient":
            continue
        examined = examine(run.trace, described.channel)
        inside = examined.series.within(begin, end)
        if examined.fatal is None and inside.size:
            low, high = float(inside.value.min()), float(inside.value.max())
            standard = (of_meter(described, high) ** 2 + of_resolution(described) ** 2) ** 0.5
            return (low, high, 2.0 * standard), ""
        why = examined.fatal.reason if examined.fatal is not None else f"{described.channel} gave nothing meanwhile"
    return None, f"no ambient: {why}"


def _judge_throttling(run: Run, envelope: Envelope) -> Judgement:
    timeline = join(run.trace, run.phases, run.beats)
    begin, end = named(run.phases, SOAK)[0].begin_ns, run.measured.end_ns
    found = judge_throttling(timeline, run.beats, envelope, begin, end)
    told = [Measurement(name="throttled_share", value=round(found.share, 4), limit="0", met=found.outcome != "inside")]
    if found.slower is not None:
        told.append(Measurement(name="slower_when_throttled", value=round(found.slower, 4)))
    if found.capped:
        told.append(Measurement(name="power_capped_share", value=round(found.capped, 4)))
    if found.outcome == "inside":
        return Judgement(outcome=Outcome.FAIL, reason=found.reason, measurements=tuple(told))
    if found.outcome == "open":
        return Judgement(
            outcome=Outcome.INCONCLUSIVE, reason=found.reason, remedy=found.settles, measurements=tuple(told)
        )
    silent = not timeline.of(Quantity.THROTTLE) and not timeline.of(Quantity.CLOCK)
    context = "no throttle or clock channel: throttling looked for in the pace of inferences alone" if silent else ""
    return Judgement(outcome=Outcome.PASS, context=context, measurements=tuple(told))


def _judge_maximum(case: Case, run: Run, one: _Soaked, *, is_hottest: bool, envelope: Envelope) -> Judgement:
    """Judge what one thermometer showed; the hottest gives the measurement of the case its name."""
    channel, limit = one.examined.series.descriptor.channel, case.params["max_c"]
    name = "max_c" if is_hottest else f"max_c[{channel}]"
    steadiness = one.steadiness
    about = f"{channel} {steadiness.told('°C')}"
    if limit is None:
        told = tuple(as_measured(name, one.largest))
        reason = f"max_c: the profile declares none; {channel} showed {one.largest}"
        return Judgement(
            outcome=Outcome.UNMEASURED,
            reason=reason,
            remedy="declare thermal.max_c in the profile",
            context=about,
            measurements=told,
        )
    decision = decide(f"{name} of {channel}", one.largest, limit, headroom=steadiness.rise)
    outcome = {"pass": Outcome.PASS, "fail": Outcome.FAIL, "open": Outcome.INCONCLUSIVE}[decision.outcome]
    reason, remedy = decision.reason, decision.settles
    if outcome is Outcome.FAIL and envelope.is_inside() is False:
        outcome, reason, remedy = (
            Outcome.INCONCLUSIVE,
            f"{reason}; {envelope.told()}",
            "a run within the declared ambient range",
        )
    wanted = max(LEAST_SOAK_S, case.params["soak_s"] or 0.0)
    if outcome is not Outcome.FAIL and steadiness.soaked_s < wanted:
        outcome = Outcome.INCONCLUSIVE
        reason = f"{name}: soaked {steadiness.soaked_s:.3g} s of the {wanted:g} s that are wanted; so far {one.largest}, limit {limit:g} °C"
        remedy = "run at a higher --level"
    elif outcome is not Outcome.FAIL and not steadiness.is_steady:
        outcome = Outcome.INCONCLUSIVE
        reason = f"{name}: not steady: {about}; so far {one.largest}, limit {limit:g} °C"
        remedy = f"soak about {steadiness.wanted_s:.0f} s longer: declare thermal.soak_s, and run at --level certify"
    gap = gap_reason(one.examined, run.measured)
    if gap and outcome is Outcome.PASS:
        outcome, reason, remedy = Outcome.INCONCLUSIVE, f"{name}: {gap}", "a run in which the meter answers throughout"
    return Judgement(
        outcome=outcome,
        reason="" if outcome is Outcome.PASS else reason,
        remedy=remedy,
        context=about,
        measurements=tuple(as_measured(name, one.largest, limit, outcome)),
    )


def _judge_ambient(case: Case, envelope: Envelope) -> Judgement:
    """Judge whether the run stands for the declared ambient range, where the requirement is about all of it."""
    if not case.params["over_range"]:
        return Judgement(outcome=Outcome.PASS)
    declared, measured = envelope.ambient_c, envelope.measured_c
    if declared is None:
        told = "the profile declares no ambient range"
        return unmeasured(told, "declare thermal.ambient_c in the profile")
    if measured is None:
        told = "the requirement is about the whole ambient range, and the ambient was not measured"
        return unmeasured(told, LISTED.replace("sees the device", "shows the ambient (scope: ambient)"))
    if measured[1] < declared[1] - NEAR_END_C:
        told = f"shown at an ambient of {measured[1]:.1f} °C, and declared up to {declared[1]:g} °C"
        return Judgement(
            outcome=Outcome.INCONCLUSIVE,
            reason=told,
            remedy=f"a run at an ambient of {declared[1]:g} °C, as in a climate chamber",
        )
    return Judgement(outcome=Outcome.PASS)
