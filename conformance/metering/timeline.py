"""One timeline: latency, power, temperature, clocks and throttle reasons of a run on the run's own clock.

It is what plots draw and what throttling is judged from. Times are seconds from the beginning of the first phase.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from conformance.metering.validity import examine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conformance.metering.beats import Beats
    from conformance.metering.phases import Phase
    from conformance.metering.trace import Quantity, Trace
    from conformance.tensors import Array


class Line(NamedTuple):
    """What one channel showed over time."""

    channel: str
    quantity: Quantity
    scope: str
    at_s: Array
    """float64[n]."""
    value: Array
    """float64[n]."""
    notes: tuple[str, ...] = ()

    def near(self, at_s: float, within_s: float = float("inf")) -> float | None:
        """Return the value nearest to a time; None where none lies that near."""
        if not self.at_s.size:
            return None
        nearest = int(np.argmin(np.abs(self.at_s - at_s)))
        return float(self.value[nearest]) if abs(self.at_s[nearest] - at_s) <= within_s else None


class Timeline(NamedTuple):
    """Everything on one clock."""

    origin_ns: int
    phases: tuple[tuple[str, float, float], ...]
    """Name, begin and end in seconds."""
    beat_s: Array
    """float64[m]: ends of the beats."""
    latency_ms: Array
    """float64[m]: median of each beat."""
    longest_ms: Array
    """float64[m]."""
    lines: tuple[Line, ...]
    """One for each channel with at least one usable reading, a fault of the whole channel notwithstanding."""

    def of(self, quantity: Quantity, *, ambient: bool = False) -> list[Line]:
        """Return the lines of a quantity: of the device, or of what surrounds it."""
        return [one for one in self.lines if one.quantity is quantity and (one.scope == "ambient") is ambient]


def join(trace: Trace, phases: Sequence[Phase], beats: Beats, offset_ns: Mapping[str, float] | None = None) -> Timeline:
    """Return the timeline of a run. `offset_ns` sets the clocks of channels right, as their load steps found it.

    A channel without an offset of its own takes that of another of the same meter (the part of its name before the first `/`).
    """
    origin = phases[0].begin_ns if phases else trace.started_ns
    known = dict(offset_ns or {})
    of_meter = {name.partition("/")[0]: offset for name, offset in known.items()}
    lines = []
    for described in trace.descriptors:
        series = examine(trace, described.channel).series
        if not series.size:
            continue
        offset = known.get(described.channel, of_meter.get(described.channel.partition("/")[0], 0.0))
        at_s = (series.shifted(offset).at_ns - origin) * 1e-9
        lines.append(Line(described.channel, described.quantity, described.scope, at_s, series.value, series.notes))
    return Timeline(
        origin,
        tuple((one.name, (one.begin_ns - origin) * 1e-9, (one.end_ns - origin) * 1e-9) for one in phases),
        (beats.end_ns - origin) * 1e-9,
        beats.median_ns * 1e-6,
        beats.longest_ns * 1e-6,
        tuple(lines),
    )
