"""The readings of one channel as arrays, and power made from an energy counter."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from conformance.metering.trace import Descriptor, Quantity

if TYPE_CHECKING:
    from conformance.metering.trace import Trace
    from conformance.tensors import Array


class Series(NamedTuple):
    """Readings of one channel in the order in which they were taken."""

    descriptor: Descriptor
    at_ns: Array
    """int64[n]: the middle of the time that the answer took."""
    value: Array
    """float64[n]; NaN where there was no reading."""
    notes: tuple[str, ...] = ()
    interval_s: float = 0.1
    """How often a new value can be had: the sampler's period or the meter's own, whichever is longer."""
    shortest_window_s: float = 0.0
    """For power from a counter: the interval between two of its readings, over which it is a mean."""

    @property
    def size(self) -> int:
        """Return the number of readings."""
        return int(self.at_ns.size)

    @property
    def window_s(self) -> float | None:
        """Return over how long one value averages: 0 for an instantaneous one, None where the meter does not say."""
        one = self.descriptor
        if one.kind == "averaged":
            return None if one.window_ms is None else one.window_ms * 1e-3
        return self.shortest_window_s

    def within(self, begin_ns: float, end_ns: float) -> Series:
        """Return the readings between two times."""
        return self.take((self.at_ns >= begin_ns) & (self.at_ns <= end_ns))

    def take(self, chosen: Array) -> Series:
        """Return the readings of a bool[n] mask."""
        notes = tuple(note for note, one in zip(self.notes, chosen, strict=True) if one) if self.notes else ()
        return self._replace(at_ns=self.at_ns[chosen], value=self.value[chosen], notes=notes)

    def shifted(self, offset_ns: float) -> Series:
        """Return the readings with the meter's clock set right: `offset_ns` is added to each time."""
        return self._replace(at_ns=self.at_ns + np.int64(round(offset_ns)))


def series_of(trace: Trace, channel: str) -> Series:
    """Return all readings of a channel, those without a value included; KeyError where the trace has no such channel."""
    descriptor = next((one for one in trace.descriptors if one.channel == channel), None)
    if descriptor is None:
        raise KeyError(channel)
    readings = [one for one in trace.readings if one.channel == channel]
    at_ns = np.array([one.at_ns + one.took_ns // 2 for one in readings], dtype=np.int64)
    value = np.array([np.nan if one.value is None else one.value for one in readings], dtype=np.float64)
    interval = max(trace.period_ms, descriptor.period_ms or 0.0) * 1e-3
    if interval <= 0:
        interval = float(np.median(np.diff(at_ns))) * 1e-9 if at_ns.size > 1 else 1.0
    notes = tuple(one.note or ("no word why" if one.value is None else "") for one in readings)
    return Series(descriptor, at_ns, value, notes, interval)


def channels_of(trace: Trace, quantity: Quantity) -> list[Descriptor]:
    """Return the channels of a quantity, in the trace's order."""
    return [one for one in trace.descriptors if one.quantity is quantity]


def unwrapped(series: Series) -> tuple[Series, str]:
    """Return a counter without its wraps, and where it went backwards otherwise: empty where it did not.

    A step down is a wrap where the meter says at which value it starts again and the rate that follows is not beyond eight
    times the fastest of all other steps: a counter that somebody set back makes a leap.
    """
    value, wraps_at = series.value, series.descriptor.wraps_at
    steps = np.diff(value)
    down = np.flatnonzero(steps < 0)
    if not down.size:
        return series, ""
    if wraps_at is None:
        at = int(down[0])
        return series, f"the counter goes back from {value[at]:.6g} to {value[at + 1]:.6g} and is not said to wrap"
    seconds = np.maximum(np.diff(series.at_ns), 1) * 1e-9
    fastest = float((steps / seconds)[steps >= 0].max(initial=0.0))
    for at in down.tolist():
        rate = float(steps[at] + wraps_at) / float(seconds[at])
        if not 0 <= rate <= 8 * fastest:
            told = f"the counter goes back from {value[at]:.6g} to {value[at + 1]:.6g}"
            return (
                series,
                f"{told}: as a wrap at {wraps_at:.6g} that would be {rate:.3g} W, and it never exceeds {fastest:.3g} W",
            )
    if fastest * float(seconds.max()) >= wraps_at:
        return series, f"between two readings {seconds.max():.3g} s apart the counter may have wrapped more than once"
    turns = np.concatenate([[0], np.cumsum(steps < 0)])
    return series._replace(value=value + turns * wraps_at), ""


def power_of(counter: Series) -> Series:
    """Return the mean power between neighbouring readings of an unwrapped counter at which it moved on, in watts.

    Each value lies in the middle of its interval. A reading that repeats the one before is left out: the meter had not
    counted on yet, and what it counts later belongs to the whole stretch.
    """
    moved = np.concatenate([[True], np.diff(counter.value) > 0])
    at, energy = counter.at_ns[moved], counter.value[moved]
    seconds = np.diff(at) * 1e-9
    given = counter.descriptor
    typical = float(np.median(seconds)) if seconds.size else counter.interval_s
    described = msgspec.structs.replace(
        given,
        quantity=Quantity.POWER,
        uncertainty_absolute=0.0,
        resolution=None if given.resolution is None or not typical else given.resolution / typical,
        valid_low=None,
        valid_high=None,
        wraps_at=None,
    )
    return Series(
        described,
        at[:-1] + np.diff(at) // 2,
        np.diff(energy) / np.maximum(seconds, 1e-9),
        (),
        max(counter.interval_s, typical),
        typical,
    )
