"""Throttling: whether the device slows itself down where it declares not to, and what that costs.

Two kinds of evidence. The device says so: a throttle channel that is not 0, with its reasons. Or it shows so: under an unchanged load
the pace of inferences steps down and stays down, and the clock falls with it (a pace alone may be the host's doing).

The envelope is the declared ambient range below the declared throttle temperature. Slowing down below that temperature is outside
what was declared whatever the ambient. Above it, it needs a thermometer of the ambient to say whether the device was inside: the
ambient of a profile or bench file is a declaration, and confirms nothing. A power cap is no throttling by heat; it is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from conformance.metering.beats import find_slowing
from conformance.metering.trace import Quantity

if TYPE_CHECKING:
    from conformance.metering.beats import Beats, Slowing
    from conformance.metering.timeline import Line, Timeline

THERMAL = ("thermal", "temperature", "hot", "critical")
"""Words in a reason that make it one of heat."""
OF_POWER = ("power", "current", "voltage", "board limit", "reliability")
FALL = 0.03
"""By this share a clock has to fall for a slower pace to be the device's own doing."""
AROUND_S = 5.0
"""How long before and after a change clock and power are looked at."""


class Envelope(NamedTuple):
    """Where the device declares to work without slowing down."""

    throttle_c: float | None
    """The temperature at which it declares to begin to slow down; None where none is declared."""
    ambient_c: tuple[float, float] | None
    """The declared ambient range."""
    measured_c: tuple[float, float] | None
    """Lowest and highest ambient that a thermometer showed; None where none was there."""
    device_u_c: float = 0.0
    """Expanded uncertainty of the device's thermometer."""
    ambient_u_c: float = 0.0
    """Expanded uncertainty of the ambient's."""

    def is_inside(self) -> bool | None:
        """Return whether the ambient was within its declared range; None where nothing was measured or declared."""
        if self.measured_c is None or self.ambient_c is None:
            return None
        low, high = self.measured_c
        return low - self.ambient_u_c >= self.ambient_c[0] and high + self.ambient_u_c <= self.ambient_c[1]

    def told(self) -> str:
        """Return one line on the ambient."""
        declared = (
            f", declared {self.ambient_c[0]:g} to {self.ambient_c[1]:g} °C" if self.ambient_c else ", none declared"
        )
        if self.measured_c is None:
            return f"ambient was not measured{declared}"
        return f"ambient measured {self.measured_c[0]:.1f} to {self.measured_c[1]:.1f} ± {self.ambient_u_c:.1f} °C{declared}"


class Throttling(NamedTuple):
    """What was found."""

    outcome: Literal["none", "inside", "outside", "open"]
    """`none`: nothing slowed down. `inside`: within the declared envelope. `outside`: where it is declared to, or no one asked."""
    reason: str = ""
    settles: str = ""
    share: float = 0.0
    """Share of the load's time in which the device said that heat held it back."""
    slower: float | None = None
    """How much longer an inference took meanwhile, as a share; None where the pace does not tell."""
    at_c: float | None = None
    """Device temperature where it began."""
    capped: float = 0.0
    """Share of the load's time in which a cap on power or current held it back."""


def judge_throttling(timeline: Timeline, beats: Beats, envelope: Envelope, begin_ns: int, end_ns: int) -> Throttling:
    """Judge a stretch of unchanged load. Silent sources prove nothing: without evidence of slowing the outcome is `none`."""
    begin_s, end_s = (begin_ns - timeline.origin_ns) * 1e-9, (end_ns - timeline.origin_ns) * 1e-9
    told = [_clipped(line, begin_s, end_s) for line in timeline.of(Quantity.THROTTLE)]
    heat, capped = _said(told)
    during = beats.within(begin_ns, end_ns)
    slowing = find_slowing(during)
    if heat is not None:
        at_s, share, reasons = heat
        at_c = _temperature_at(timeline, at_s)
        cost = _cost(timeline, told, begin_s, end_s)
        if cost is None and slowing is not None:
            cost = slowing.share
        what = f"heat slows the device down ({reasons}) from {at_s - begin_s:.3g} s of load on"
        return _weigh(what, envelope, share, cost, at_c, capped)
    if slowing is None:
        return Throttling("none", capped=capped)
    return _judge_shown(timeline, slowing, envelope, begin_s, capped)


def _said(lines: list[Line]) -> tuple[tuple[float, float, str] | None, float]:
    """Return when heat first held the device back, for which share and by which reasons; and the share of caps on power."""
    capped = 0.0
    for line in lines:
        is_heat = np.array(
            [bool(v) and _is_heat(note) for v, note in zip(line.value, line.notes, strict=True)], dtype=bool
        )
        if line.value.size:
            capped = max(capped, float(((line.value != 0) & ~is_heat).mean()))
        if is_heat.any():
            reasons = sorted({note or "no reason given" for note, one in zip(line.notes, is_heat, strict=True) if one})
            return (float(line.at_s[int(np.argmax(is_heat))]), float(is_heat.mean()), "; ".join(reasons)), capped
    return None, capped


def _is_heat(note: str) -> bool:
    """Return whether a throttle state is one of heat: it says so, or it does not name power instead."""
    words = note.lower()
    return any(one in words for one in THERMAL) or not any(one in words for one in OF_POWER)


def _clipped(line: Line, begin_s: float, end_s: float) -> Line:
    chosen = (line.at_s >= begin_s) & (line.at_s <= end_s)
    notes = tuple(note for note, one in zip(line.notes, chosen, strict=True) if one) if line.notes else ()
    return line._replace(at_s=line.at_s[chosen], value=line.value[chosen], notes=notes or ("",) * int(chosen.sum()))


def _temperature_at(timeline: Timeline, at_s: float) -> float | None:
    """Return the highest temperature of the device near a time."""
    found = [line.near(at_s, AROUND_S) for line in timeline.of(Quantity.TEMPERATURE)]
    return max((one for one in found if one is not None), default=None)


def _cost(timeline: Timeline, lines: list[Line], begin_s: float, end_s: float) -> float | None:
    """Return how much longer an inference took while heat held the device back than while it did not."""
    line = next(
        (one for one in lines if any(bool(v) and _is_heat(n) for v, n in zip(one.value, one.notes, strict=True))), None
    )
    chosen = (timeline.beat_s > begin_s) & (timeline.beat_s <= end_s)
    if line is None or not chosen.any():
        return None
    held = np.array([bool(v) and _is_heat(n) for v, n in zip(line.value, line.notes, strict=True)], dtype=bool)
    nearest = np.clip(np.searchsorted(line.at_s, timeline.beat_s[chosen]), 0, held.size - 1)
    latency, slow = timeline.latency_ms[chosen], held[nearest]
    if slow.all() or not slow.any():
        return None
    return float(np.median(latency[slow]) / np.median(latency[~slow]) - 1.0)


def _weigh(
    what: str, envelope: Envelope, share: float, cost: float | None, at_c: float | None, capped: float
) -> Throttling:
    """Hold throttling by heat against the envelope."""
    price = f", which costs {cost:+.0%} of latency" if cost is not None else ", at a cost in latency that does not show"
    where = f" at {at_c:.1f} °C" if at_c is not None else ""
    reason = f"{what}{where}{price}; {envelope.told()}"
    found = Throttling("open", reason, "", share, cost, at_c, capped)
    inside = envelope.is_inside()
    limit = envelope.throttle_c
    if inside is False:
        return found._replace(settles=f"a run within the declared ambient range; {envelope.told()}")
    if limit is not None and at_c is not None and at_c + envelope.device_u_c < limit:
        return found._replace(outcome="inside", reason=f"{reason}; declared to begin at {limit:g} °C and not before")
    if inside:
        return found._replace(outcome="inside", reason=f"{reason}: inside the declared envelope")
    if at_c is None:
        return found._replace(settles="a thermometer of the device in the bench file's `telemetry:` list")
    return found._replace(settles="a thermometer of the ambient (scope: ambient) in the bench file's `telemetry:` list")


def _judge_shown(timeline: Timeline, slowing: Slowing, envelope: Envelope, begin_s: float, capped: float) -> Throttling:
    """Judge a slower pace that no throttle channel explains."""
    at_s = (slowing.at_ns - timeline.origin_ns) * 1e-9
    pace = f"from {at_s - begin_s:.3g} s of load on inferences take {slowing.after_ms:.4g} ms, {slowing.share:+.0%}"
    at_c = _temperature_at(timeline, at_s)
    clock, power = (_falling(timeline, quantity, at_s) for quantity in (Quantity.CLOCK, Quantity.POWER))
    found = Throttling("open", "", "", 0.0, slowing.share, at_c, capped)
    if capped > 0 and (clock or power):
        told = f"{pace} while a cap on power holds the device back; {envelope.told()}"
        return found._replace(reason=told, settles="a run in the declared power state")
    if not clock:
        # A host that feeds the device more slowly lets its power fall as well.
        shown = (
            f"{power}, and no clock channel tells whether device or host is slow"
            if power
            else "neither clock nor power falls"
        )
        told = f"{'undeclared throttle or a slow host' if power else 'slower'}: {pace}; {shown}; {envelope.told()}"
        return found._replace(
            reason=told, settles="a clock channel in the bench file's `telemetry:` list, and a quiet host"
        )
    what = f"undeclared throttle: {pace} and {clock}, though no throttle reason is told"
    return _weigh(what, envelope, 0.0, slowing.share, at_c, capped)


def _falling(timeline: Timeline, quantity: Quantity, at_s: float) -> str:
    """Return which channel of a quantity falls at a time, and by how much; empty where none does."""
    for line in timeline.of(quantity):
        fall = _fall(line, at_s)
        if fall > FALL:
            return f"{line.channel} falls by {fall:.0%}"
    return ""


def _fall(line: Line, at_s: float) -> float:
    """Return by which share a channel is lower after a time than before it; 0 where it does not show both."""
    before = line.value[(line.at_s >= at_s - AROUND_S) & (line.at_s < at_s - 0.5)]
    after = line.value[(line.at_s > at_s + 0.5) & (line.at_s <= at_s + AROUND_S)]
    if before.size < 3 or after.size < 3:
        return 0.0
    first = float(np.median(before))
    return 1.0 - float(np.median(after)) / first if first > 0 else 0.0
