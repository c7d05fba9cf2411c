"""Which readings are readings: what a meter says that is no measurement is named, and never counts as a number.

A missing sensor shows as 0, −1, None or NaN; a dead one repeats its last value; a clock that is set jumps; a wrong unit is
three orders of magnitude off. Each has a name here. A fault that spoils the channel is fatal; lone dropouts are taken out and
leave gaps, and a gap inside a phase that is judged makes that phase undecided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from conformance.metering.series import Series, series_of, unwrapped
from conformance.metering.trace import UNITS, Quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.metering.phases import Phase
    from conformance.metering.trace import Trace
    from conformance.tensors import Array

DEAD_SHARE = 0.2
"""A channel of which more than this share is no reading is not believed in the rest either."""
GAP_INTERVALS = 5.0
"""Neighbouring readings farther apart than this many intervals leave a gap."""
SENTINELS = (0.0, -1.0)
NEIGHBOUR_C = 3.0
"""A temperature of 0 or −1 is one where its neighbours lie no farther than this from it."""
PLAUSIBLE = {
    Quantity.POWER: (0.0, 1e6),
    Quantity.TEMPERATURE: (-90.0, 250.0),
    Quantity.ENERGY: (0.0, 1e18),
    Quantity.CLOCK: (0.0, 1e5),
    Quantity.UTILISATION: (0.0, 1.0),
    Quantity.THROTTLE: (0.0, 2.0**64),
}
"""What no reading lies outside of, whatever its meter claims; 250 °C, so that a temperature in kelvin is none."""
THOUSAND = (300.0, 3000.0)
"""A ratio in between means milli or kilo."""


class Fault(NamedTuple):
    """Something wrong with a channel."""

    name: str
    """`no reading`, `sentinel`, `not a number`, `out of range`, `frozen`, `counter goes back`, `clock jumps`, `wrong unit`."""
    reason: str
    is_fatal: bool


class Examined(NamedTuple):
    """A channel with only what is a reading, and what was wrong with the rest."""

    series: Series
    faults: tuple[Fault, ...]

    @property
    def fatal(self) -> Fault | None:
        """Return the first fault that spoils the channel; None where it can be used."""
        return next((one for one in self.faults if one.is_fatal), None)

    def gap_in(self, begin_ns: float, end_ns: float) -> float:
        """Return the longest stretch without a reading between two times, in seconds; 0 where none is a gap."""
        inside = self.series.within(begin_ns, end_ns).at_ns
        times = np.concatenate([[begin_ns], inside, [end_ns]])
        longest = float(np.diff(times).max()) * 1e-9
        return longest if longest > GAP_INTERVALS * self.series.interval_s else 0.0


def examine(trace: Trace, channel: str) -> Examined:
    """Return a channel's usable readings and its faults. Every kind of fault is looked for; the gravest comes first."""
    raw = series_of(trace, channel)
    faults = list(_clock_faults(raw, trace))
    is_reading, dropouts = _mask(raw)
    share = 1.0 - float(is_reading.mean()) if raw.size else 1.0
    for name, reason in dropouts:
        faults.append(Fault(name, reason, share > DEAD_SHARE))
    series = raw.take(is_reading)
    if series.size < 3 and not dropouts:
        told = f"{channel} gave {series.size} readings" if series.size else f"{channel} gave no reading"
        faults.append(Fault("no reading", told, is_fatal=True))
    if raw.descriptor.kind == "counter" and series.size > 1:
        series, backwards = unwrapped(series)
        if backwards:
            faults.append(Fault("counter goes back", f"{channel}: {backwards}", is_fatal=True))
    frozen = _frozen(series)
    if frozen:
        faults.append(Fault("frozen", frozen, is_fatal=True))
    faults.sort(key=lambda one: not one.is_fatal)
    return Examined(series, tuple(faults))


def _mask(raw: Series) -> tuple[Array, list[tuple[str, str]]]:
    """Return bool[n] of what is a reading, and the dropouts by name with how many there are."""
    value, described = raw.value, raw.descriptor
    unit = UNITS[described.quantity]
    is_none = np.array([np.isnan(one) and bool(note) for one, note in zip(value, raw.notes, strict=True)], dtype=bool)
    bad_number = ~np.isfinite(value) & ~is_none
    is_sentinel = _sentinels(value, described.quantity, described.kind)
    low, high = PLAUSIBLE[described.quantity]
    low = max(low, described.valid_low if described.valid_low is not None else low)
    high = min(high, described.valid_high if described.valid_high is not None else high)
    with np.errstate(invalid="ignore"):
        is_outside = ((value < low) | (value > high)) & ~is_sentinel & ~bad_number
    dropouts: list[tuple[str, str]] = []
    for name, mask, what in (
        ("no reading", is_none, "gave nothing"),
        ("not a number", bad_number, "gave no number"),
        ("sentinel", is_sentinel, "gave 0 or −1, which stands for no reading,"),
        ("out of range", is_outside, f"lies outside {low:g} to {high:g} {unit}".rstrip()),
    ):
        count = int(mask.sum())
        if count:
            first = int(np.argmax(mask))
            why = f": {raw.notes[first]}" if name == "no reading" else f", first {value[first]:g} {unit}".rstrip()
            dropouts.append((name, f"{described.channel} {what} in {count} of {raw.size} readings{why}"))
    return ~(is_none | bad_number | is_sentinel | is_outside), dropouts


def _sentinels(value: Array, quantity: Quantity, kind: str) -> Array:
    """Return bool[n]: which values stand for no reading. A clock, a share and a throttle state may be 0."""
    listed = SENTINELS if quantity in (Quantity.POWER, Quantity.TEMPERATURE) else SENTINELS[1:]
    is_sentinel = np.isin(value, listed)
    if quantity is Quantity.ENERGY and kind == "counter" and value.size > 1:
        # A counter that was set to 0 is seen by its going back; one that stays at 0 never counts.
        is_sentinel |= (value == 0) & bool(np.all(value[np.isfinite(value)] == 0))
    if quantity is Quantity.TEMPERATURE and is_sentinel.any():
        others = np.flatnonzero(~is_sentinel & np.isfinite(value))
        for at in np.flatnonzero(is_sentinel) if others.size else ():
            nearest = others[np.argmin(np.abs(others - at))]
            is_sentinel[at] = abs(value[nearest] - value[at]) > NEIGHBOUR_C
    return is_sentinel


def _clock_faults(raw: Series, trace: Trace) -> list[Fault]:
    """Return where the times of the readings cannot be those of one steady clock."""
    channel, times = raw.descriptor.channel, raw.at_ns
    if not times.size:
        return []
    steps = np.diff(times) * 1e-9
    back = np.flatnonzero(steps < 0)
    if back.size:
        told = f"the clock of {channel} goes back by {-steps[back[0]]:.3g} s after reading {int(back[0])}"
        return [Fault("clock jumps", told, is_fatal=True)]
    slack = GAP_INTERVALS * raw.interval_s * 1e9 + 1e9
    if trace.ended_ns > trace.started_ns:
        early, late = trace.started_ns - int(times[0]), int(times[-1]) - trace.ended_ns
        if max(early, late) > slack:
            told = f"{max(early, late) * 1e-9:.4g} s {'before' if early > late else 'after'} sampling"
            return [Fault("clock jumps", f"{channel} has readings {told}: a clock was set meanwhile", is_fatal=True)]
    return []


def _frozen(series: Series) -> str:
    """Return why a channel has died on one value: it never moves, or stands still for longer than chance explains.

    Within a stretch of equal values of length L, each further one would have moved with the share p of neighbours that
    differ elsewhere: (1 − p)^L, times the number of places where a stretch may begin, is how often chance does it. A channel
    that shows steps coarser than a thousandth of its value may stand still, and so may a temperature.
    """
    value, described = series.value, series.descriptor
    if described.quantity not in (Quantity.POWER, Quantity.ENERGY) or value.size < 20:
        return ""
    differs = np.diff(value) != 0
    unit = UNITS[described.quantity]
    if not differs.any():
        return f"{described.channel} shows {value[0]:g} {unit} in every one of {value.size} readings"
    resolution = described.resolution or 0.0
    if described.quantity is Quantity.POWER and resolution > 1e-3 * float(np.median(np.abs(value))):
        return ""
    edges = np.flatnonzero(np.concatenate([[True], differs, [True]]))
    runs = np.diff(edges) - 1  # how many neighbours in a row are equal
    longest = int(runs.max())
    elsewhere = differs.size - longest
    moves = float(differs.sum()) / max(elsewhere, 1)
    chance = differs.size * (1.0 - min(moves, 0.999)) ** longest
    seconds = longest * series.interval_s
    if longest < 20 or seconds < 1.0 or chance > 1e-6:
        return ""
    at = int(edges[int(runs.argmax())])
    return f"{described.channel} stands still at {value[at]:g} {unit} for {longest + 1} readings, and moves elsewhere"


def gap_reason(examined: Examined, phase: Phase, edge_s: float = 0.0) -> str:
    """Return which stretch of a phase no reading covers; empty where readings cover it. `edge_s` at both ends is not looked at."""
    gap = examined.gap_in(phase.begin_ns + edge_s * 1e9, phase.end_ns - edge_s * 1e9)
    if not gap:
        return ""
    return (
        f"sampling gap: {examined.series.descriptor.channel} has no reading for {gap:.3g} s of the phase {phase.name}"
    )


def unit_fault(
    channel: str, power_w: float, limits_w: Sequence[float], others: Sequence[tuple[str, float]]
) -> Fault | None:
    """Return that a power under load is in the wrong unit: 300 to 3,000 times off, against declared limits or other meters.

    `limits_w` are what the device declares to draw at most. A reading a thousand times below would pass every limit, so both
    directions count. Among meters that differ so, the one that fits the declaration is right; without one neither is believed.
    """
    low, high = THOUSAND
    largest = max(limits_w, default=0.0)
    if largest > 0 and power_w > 0:
        ratio = power_w / largest
        if low <= ratio * 1.2 and ratio <= high:
            return _unit(channel, power_w, f"the device declares at most {largest:g} W", "mW for W")
        if low <= 1 / ratio and 1 / ratio <= 10 * high:
            return _unit(channel, power_w, f"the device declares {largest:g} W", "kW for W")
    fits = largest > 0 and 1 / low < power_w / largest < low
    for name, other in others:
        ratio = power_w / other if other > 0 else 1.0
        if not fits and (low <= ratio <= high or low <= 1 / ratio <= high):
            return _unit(channel, power_w, f"{name} shows {other:.4g} W", "mW for W" if ratio > 1 else "kW for W")
    return None


def _unit(channel: str, power_w: float, beside: str, guess: str) -> Fault:
    told = f"{channel} shows {power_w:.4g} W under load, and {beside}: three orders of magnitude, such as {guess}"
    return Fault("wrong unit", told, is_fatal=True)
