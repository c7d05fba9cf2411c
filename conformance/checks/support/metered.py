"""From what meters said to something that may be judged: the half that power and thermal cases share. Pure.

First the run itself: it has to have happened, in the right place, with right answers. Then the meters: one that is not there, gives no
numbers, shows no load step or shows another unit is UNMEASURED under its own name, with what mends it. Among those that are left
the one whose scope is that of the device goes first, then the most accurate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from conformance.checks.support.timed_answers import judge_answers
from conformance.metering.beats import Beats, read_beats
from conformance.metering.load_step import LoadStep, find_load_step
from conformance.metering.phases import MEASURED, Phase, named, read_phases
from conformance.metering.quantities import mean_of, settled
from conformance.metering.series import Series, channels_of, power_of
from conformance.metering.trace import Descriptor, Quantity, Trace
from conformance.metering.uncertainty import of_meter
from conformance.metering.validity import Examined, examine, unit_fault
from conformance.records import Judgement, Measurement, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.metering.uncertainty import Amount
    from conformance.observation import Seen
    from conformance.records import Case

RANK = {"chip": 0, "package": 0, "module": 1, "board": 1, "system": 2, "wall": 2, "ambient": -1}
"""How much of a device a scope takes in: a chip's meter misses what the board draws, and one at the wall adds the host."""
LISTED = "list a meter that sees the device under `telemetry:` in the bench file, and give it with --bench"
REMEDIES = {
    "no reading": "see whether the meter answers to its own tool; `conformance doctor` names what is missing",
    "sentinel": "the meter shows 0 or −1 where it has no reading: use one that measures this device",
    "not a number": "use a meter that gives numbers; `conformance doctor` shows what each gives",
    "out of range": "mend the unit or the range of the meter in the bench file",
    "frozen": "restart the meter or its driver, or use another",
    "counter goes back": "do not reset the counter during a run, or state where it wraps",
    "clock jumps": "keep the clock of the meter's host from being set during a run",
    "wrong unit": "state the meter's unit in the bench file",
    "constant power": "use a meter that measures this device",
    "power of another device": "bind the meter to this device by its UUID, PCI address or outlet, and keep others off the same supply",
    "stuck thermometer": "restart the thermometer or its driver, or use another",
    "thermometer of something else": "use a thermometer of this device, or run at a higher --level so that it warms enough to be seen",
    "averaged over the burst": "use a meter that averages over a shorter time, or run at --level certify with its longer bursts",
    "sampled too slowly": "read the meter more often (`period_ms`), or run at --level certify with its longer bursts",
    "clocks apart": "read the meters on the host that runs the device's child, and keep its clock from being set",
    "no bursts": "report this: the run held no load step",
}


class Run(NamedTuple):
    """A run with meters beside it."""

    trace: Trace
    phases: list[Phase]
    beats: Beats
    told: tuple[Measurement, ...]
    """What the answers under load were found to be."""

    @property
    def measured(self) -> Phase:
        """Return the phase that counts."""
        return named(self.phases, MEASURED)[0]


class PowerMeter(NamedTuple):
    """A power channel that saw the load step."""

    examined: Examined
    """Its power: as read, or made from an energy counter."""
    step: LoadStep
    counter: Series | None
    """The counter that the power was made from."""
    above: int
    """How much more than the device its scope takes in: 0 the same, below 0 less."""
    busy_w: float

    @property
    def descriptor(self) -> Descriptor:
        """Return the channel."""
        return self.examined.series.descriptor

    def told(self) -> str:
        """Return one line on the meter and what it showed."""
        one = self.descriptor
        kind = one.kind if one.window_ms is None else f"{one.kind} over {one.window_ms:g} ms"
        certificate = f", {one.calibration}" if one.calibration else ", no calibration certificate"
        until = f" until {one.calibrated_until}" if one.calibrated_until else ""
        step = self.step
        shown = f"load step {step.step:.4g} W, {step.errors:.3g} standard errors clear, chance {step.chance:.1g}"
        clock = f"clock {step.offset_ns * 1e-6:+.0f} ± {2e-6 * step.offset_u_ns:.0f} ms"
        bound = f" of {one.bound_to}" if one.bound_to else ""
        return f"{one.channel}{bound} ({one.scope}, {kind}{certificate}{until}): {shown}, {clock}"


def read_run(case: Case, seen: Seen, expected: list[list[Any]]) -> Run | Judgement:
    """Return the run, or why there is none to judge: nothing was measured, or what was answered under load is wrong."""
    facts = seen.observation.facts
    if not case.params["schedule"] or "telemetry" not in facts:  # a child's own word is no meter's
        return unmeasured("no meter looked at the device: the bench file has no telemetry source", LISTED)
    try:
        trace = msgspec.convert(facts["telemetry"], Trace)
    except msgspec.ValidationError as error:
        return Judgement(outcome=Outcome.ERROR, reason=f"the trace of the meters cannot be read: {error}")
    if not trace.descriptors:
        return dead(trace) or unmeasured(
            "no meter looked at the device: the bench file has no telemetry source", LISTED
        )
    answers = judge_answers(case, seen, expected)
    if answers.outcome is not Outcome.PASS:
        return answers
    phases, wrong = read_phases(facts.get("phases"))
    if wrong or not named(phases, MEASURED):
        return Judgement(outcome=Outcome.ERROR, reason=f"the run cannot be judged: {wrong or 'it was never measured'}")
    return Run(trace, phases, read_beats(facts.get("beats")), answers.measurements)


def unmeasured(reason: str, remedy: str) -> Judgement:
    """Return UNMEASURED."""
    return Judgement(outcome=Outcome.UNMEASURED, reason=reason, remedy=remedy)


def dead(trace: Trace) -> Judgement | None:
    """Return UNMEASURED with a source's own reason and remedy; None where no source failed."""
    if not trace.failures:
        return None
    first = trace.failures[0]
    remedy = first.rpartition(": ")[2] if ": " in first else LISTED
    return Judgement(outcome=Outcome.UNMEASURED, reason=first, remedy=remedy, context="; ".join(trace.failures[1:]))


def find_power(run: Run, rank: int, limits_w: Sequence[float]) -> tuple[list[PowerMeter], list[tuple[str, str]]]:
    """Return the meters that saw the load step, best first, and of the others the name and the reason of what is wrong.

    `rank` is how much the device under test takes in; `limits_w` are the powers that it declares.
    """
    found: list[PowerMeter] = []
    wrong: list[tuple[str, str]] = []
    for described in [*channels_of(run.trace, Quantity.POWER), *channels_of(run.trace, Quantity.ENERGY)]:
        if RANK[described.scope] < 0:
            continue
        examined = examine(run.trace, described.channel)
        fatal = examined.fatal
        if fatal is not None:
            wrong.append((fatal.name, fatal.reason))
            continue
        counter = examined.series if described.quantity is Quantity.ENERGY else None
        if counter is not None:
            examined = examined._replace(series=power_of(counter))
        step = find_load_step(examined.series, run.phases)
        if not step.is_seen:
            wrong.append((step.name, step.reason))
            continue
        busy = mean_of(settled(examined.series, run.measured, step))
        busy_w = busy.value if busy is not None else step.busy
        found.append(PowerMeter(examined, step, counter, RANK[described.scope] - rank, busy_w))
    right: list[PowerMeter] = []
    for one in found:
        others = [(other.descriptor.channel, other.busy_w) for other in found if other is not one]
        fault = unit_fault(one.descriptor.channel, one.busy_w, limits_w, others)
        if fault is None:
            right.append(one)
        else:
            wrong.append((fault.name, fault.reason))
    right.sort(key=_preference)
    return right, wrong


def _preference(one: PowerMeter) -> tuple[int, float, float, bool]:
    """Its scope first, then a short average, then its accuracy."""
    stated = of_meter(one.descriptor, one.busy_w)
    return abs(one.above), max(0.0, one.step.window_s - 0.2), stated, one.counter is None


def none_usable(run: Run, wrong: Sequence[tuple[str, str]], what: str) -> Judgement:
    """Return UNMEASURED for a quantity that no meter shows: under the first meter's fault, else a dead source's own words."""
    if wrong:
        name, reason = wrong[0]
        told = "; ".join(f"{other}: {why}" for other, why in wrong[1:])
        remedy = REMEDIES.get(name, LISTED)
        return Judgement(outcome=Outcome.UNMEASURED, reason=f"{name}: {reason}", remedy=remedy, context=told)
    return dead(run.trace) or unmeasured(f"no meter shows {what} of the device", LISTED)


def as_measured(
    name: str, amount: Amount, limit: float | None = None, outcome: Outcome | None = None
) -> list[Measurement]:
    """Return an amount with its limit and, as a second line, its expanded uncertainty with each part."""
    met = {Outcome.PASS: True, Outcome.FAIL: False}.get(outcome) if outcome is not None else None
    given = amount.uncertainty
    parts = ", ".join(f"{part} {value:.2g}" for part, value in given._asdict().items())
    return [
        Measurement(
            name=name,
            value=_rounded(amount.value),
            unit=amount.unit,
            limit="" if limit is None else f"≤ {limit:g}",
            margin=amount.value / limit if limit else None,
            met=met,
        ),
        Measurement(
            name=f"{name}_uncertainty", value=_rounded(amount.expanded), unit=f"{amount.unit} (k = 2; u: {parts})"
        ),
    ]


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


SEVERITY = (Outcome.FAIL, Outcome.ERROR, Outcome.INCONCLUSIVE, Outcome.UNMEASURED)


def worst_of(judged: Sequence[Judgement]) -> Judgement:
    """Return the gravest of several judgements of one run, with everything that was measured; PASS where all are, and there is one."""
    told = tuple(one for each in judged for one in each.measurements)
    context = "; ".join(dict.fromkeys(one.context for one in judged if one.context))
    for outcome in SEVERITY:
        found = [one for one in judged if one.outcome is outcome]
        if found:
            reason = "; ".join(one.reason for one in found)
            remedy = "; ".join(dict.fromkeys(one.remedy for one in found if one.remedy))
            return Judgement(outcome=outcome, reason=reason, remedy=remedy, context=context, measurements=told)
    if not judged or any(one.outcome is not Outcome.PASS for one in judged):
        return Judgement(outcome=Outcome.ERROR, reason="nothing was judged that could pass", measurements=told)
    return Judgement(outcome=Outcome.PASS, context=context, measurements=told)
