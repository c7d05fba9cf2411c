"""What a meter is and what it said: the nouns that telemetry sources write and judges read.

A source describes each of its channels with a `Descriptor` and yields one `Reading` per channel each time it is asked.
A `Trace` is all of that for one case. Everything here is plain data that survives JSON and MessagePack unchanged, so that
a kept trace can be judged again without the meter. Nothing here judges: `metering.validity` says which readings count.

Time is CLOCK_MONOTONIC of the harness's host in nanoseconds, as `time.monotonic_ns` gives it.
"""

from __future__ import annotations

import enum
from typing import Literal

import msgspec


class Quantity(enum.StrEnum):
    """What a channel measures; the value names the unit that every reading is given in."""

    POWER = "power_w"
    ENERGY = "energy_j"
    TEMPERATURE = "temperature_c"
    THROTTLE = "throttle"
    """0 while nothing holds the clocks back, else the source's own bits; the reading's note names the reasons."""
    CLOCK = "clock_mhz"
    UTILISATION = "utilisation"
    """A share from 0 to 1."""


UNITS: dict[Quantity, str] = {
    Quantity.POWER: "W",
    Quantity.ENERGY: "J",
    Quantity.TEMPERATURE: "°C",
    Quantity.THROTTLE: "",
    Quantity.CLOCK: "MHz",
    Quantity.UTILISATION: "",
}
"""The unit of each quantity as a report prints it; empty where it has none."""

Scope = Literal["chip", "board", "module", "package", "system", "wall", "ambient"]
Kind = Literal["instantaneous", "averaged", "counter"]


class Descriptor(msgspec.Struct, frozen=True, kw_only=True):
    """One channel of a meter: what it measures, how well, and of which unit.

    Uncertainty is stated as data sheets state it: ± (`uncertainty_relative` × |reading| + `uncertainty_absolute`), an
    expanded uncertainty with the coverage factor `coverage_factor`; a standard uncertainty has the factor 1.
    """

    channel: str
    """Unique within a trace."""
    quantity: Quantity
    scope: Scope
    kind: Kind
    window_ms: float | None = None
    """How long an averaged reading averages; None where the source does not say."""
    period_ms: float | None = None
    """How often the meter itself makes a new value; None where the source does not say."""
    resolution: float | None = None
    """The step between two neighbouring values, in the quantity's unit."""
    uncertainty_relative: float = 0.0
    uncertainty_absolute: float = 0.0
    """In the quantity's unit."""
    coverage_factor: float = 2.0
    valid_low: float | None = None
    valid_high: float | None = None
    """What the meter can show at all: a value outside is no reading."""
    wraps_at: float | None = None
    """For counters: the value at which it starts again at 0."""
    bound_to: str = ""
    """The unit it measures, as the bench knows it: UUID, PCI address, outlet."""
    calibration: str = ""
    """Certificate; empty where the meter has none."""
    calibrated_until: str = ""
    """A date, RFC 3339."""


class Reading(msgspec.Struct, frozen=True, array_like=True):
    """One answer of one channel."""

    channel: str
    at_ns: int
    """When the source was asked."""
    took_ns: int
    """How long the answer took."""
    value: float | None
    """In the unit of the channel's quantity; None where there was no reading."""
    note: str = ""
    """Why there was none; for throttling the reasons by name."""


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """All that the meters said while a case ran."""

    descriptors: list[Descriptor] = []
    readings: list[Reading] = []
    failures: list[str] = []
    """Sources that gave nothing or stopped, each as `reason: remedy`."""
    period_ms: float = 0.0
    """How often the sampler meant to ask."""
    started_ns: int = 0
    ended_ns: int = 0
