"""A device and a meter of known truth: what a trace looks like when everything is right, and when something lies.

The device idles and works as its phases say, warms with two time constants, and may throttle. The meter averages, rounds, scatters,
has a gain and a clock of its own, and takes one of the faults below by name. Judges are tried on what comes out; the truth comes with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from conformance.metering.phases import COOL_DOWN, GAP, IDLE, MEASURED, RANGING, SOAK, STEP, Phase
from conformance.metering.trace import Descriptor, Quantity, Reading, Trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.tensors import Array

SECOND = 1_000_000_000
SHORT = (
    (IDLE, 3.0),
    (STEP, 1.6),
    (GAP, 1.4),
    (STEP, 1.2),
    (GAP, 1.8),
    (RANGING, 1.0),
    (SOAK, 4.0),
    (MEASURED, 6.0),
    (COOL_DOWN, 2.0),
)
LIES = (
    "constant power",
    "power of another device",
    "milliwatts",
    "kilowatts",
    "averaged",
    "zero",
    "minus one",
    "none",
    "nan",
    "freezes",
    "clock step",
    "gap",
    "counter set back",
    "stuck thermometer",
)


class Device(NamedTuple):
    """The truth."""

    idle_w: float = 20.0
    busy_w: float = 60.0
    wander_w: float = 0.4
    """Standard deviation of what the power wanders by, with a correlation time of 0.3 s."""
    ambient_c: float = 24.0
    rise_c: float = 30.0
    """How much warmer it is than the ambient when it has worked for long."""
    constant_s: float = 2.0
    """Its thermal time constant."""
    latency_ms: float = 2.0
    throttles_at_c: float | None = None
    """From this temperature on it works at `throttled` of its speed and power."""
    throttled: float = 0.7
    tells: bool = True
    """Whether it says that it throttles."""


class Meter(NamedTuple):
    """How the truth is seen."""

    period_s: float = 0.1
    window_s: float = 0.0
    noise_w: float = 0.1
    gain: float = 1.0
    resolution_w: float = 0.01
    resolution_c: float = 0.1
    offset_s: float = 0.0
    """How far its clock is ahead."""
    relative: float = 0.01
    """Expanded relative uncertainty that it states."""
    lie: str = ""
    wraps_at: float | None = None


class Simulated(NamedTuple):
    """A run with its truth."""

    trace: Trace
    phases: list[Phase]
    beats: list[list[int]]
    mean_w: float
    """Mean power of the measured phase."""
    largest_w: float
    idle_w: float
    largest_c: float
    millijoules: float
    """Energy of one inference above idle."""

    @property
    def facts(self) -> dict[str, Any]:
        """Return what an observation would hold."""
        phases = [list(one) for one in self.phases]
        return {"telemetry": msgspec.to_builtins(self.trace), "phases": phases, "beats": self.beats}


_FINE = 0.005
"""Seconds between two points of the truth."""


HONEST, TRUE = Device(), Meter()


def simulate(
    device: Device = HONEST, meter: Meter = TRUE, schedule: Sequence[tuple[str, float]] = SHORT, seed: int = 0
) -> Simulated:
    """Return the trace, phases and beats of one run, with the truth."""
    draw = np.random.default_rng(seed)
    begin = 5_000 * SECOND
    total = sum(seconds for _, seconds in schedule)
    at = np.arange(-1.0, total + 1.0, _FINE)
    busy = np.zeros(at.size)
    phases, clock = [], 0.0
    for name, seconds in schedule:
        works = name not in (IDLE, GAP, COOL_DOWN)
        if works:
            busy[(at >= clock) & (at < clock + seconds)] = 1.0
        count = int(seconds * 1e3 / device.latency_ms) if works else 0
        phases.append(Phase(name, begin + round(clock * SECOND), begin + round((clock + seconds) * SECOND), count))
        clock += seconds
    speed, celsius = _warm(at, busy, device)
    power = device.idle_w + busy * speed * (device.busy_w - device.idle_w) + _wander(at.size, device, draw)
    measured = next(one for one in phases if one.name == MEASURED)
    inside = (at >= (measured.begin_ns - begin) / SECOND) & (at < (measured.end_ns - begin) / SECOND)
    seen = _seen_power(at, power, meter, draw)
    descriptors, readings = _readings(at, seen, celsius, speed, device, meter, begin)
    mean = float(power[inside].mean())
    idle = float(power[(at >= 0) & (busy == 0)].mean())
    beats = _beats(at, busy, speed, device, begin)
    trace = Trace(
        descriptors=descriptors,
        readings=readings,
        period_ms=meter.period_s * 1e3,
        started_ns=begin - SECOND,
        ended_ns=begin + round((total + 1) * SECOND),
    )
    net = (mean - idle) * measured.seconds / measured.inferences * 1e3
    return Simulated(trace, phases, beats, mean, float(power[inside].max()), idle, float(celsius.max()), net)


def _wander(size: int, device: Device, draw: Any) -> Array:
    decay = float(np.exp(-_FINE / 0.3))
    kicks = draw.normal(0.0, device.wander_w * np.sqrt(1 - decay**2), size)
    wander = np.empty(size)
    last = 0.0
    for index, kick in enumerate(kicks.tolist()):
        last = decay * last + kick
        wander[index] = last
    return wander


def _warm(at: Array, busy: Array, device: Device) -> tuple[Array, Array]:
    """Return the speed and the temperature of the device over time."""
    speed, celsius = np.ones(at.size), np.empty(at.size)
    warmth = 0.0
    limit = device.throttles_at_c
    is_throttled = False
    for index, works in enumerate(busy.tolist()):
        if limit is not None:
            is_throttled = device.ambient_c + warmth >= limit or (is_throttled and works > 0)
        speed[index] = device.throttled if is_throttled else 1.0
        warmth += (device.rise_c * works * speed[index] - warmth) * _FINE / device.constant_s
        celsius[index] = device.ambient_c + warmth
    return speed, celsius


def _seen_power(at: Array, power: Array, meter: Meter, draw: Any) -> Array:
    """Return what the meter would show at each point of the truth."""
    seen = power * meter.gain
    window = 3.0 if meter.lie == "averaged" else meter.window_s
    width = max(1, round(window / _FINE))
    total = np.concatenate([[0.0], np.cumsum(seen)])
    start = np.maximum(np.arange(at.size) + 1 - width, 0)
    seen = (total[1:] - total[start]) / (np.arange(at.size) + 1 - start)
    seen = seen + draw.normal(0.0, meter.noise_w, at.size)
    if meter.lie == "constant power":
        seen = np.full(at.size, 45.0)
    elif meter.lie == "power of another device":
        steps = np.repeat(draw.uniform(20.0, 60.0, at.size), round(1.3 / _FINE))[: at.size]
        seen = steps + draw.normal(0.0, meter.noise_w, at.size)
    elif meter.lie == "freezes":
        seen[at > 12.0] = seen[np.searchsorted(at, 12.0)]
    return np.round(seen / meter.resolution_w) * meter.resolution_w


def _readings(
    at: Array, seen: Array, celsius: Array, speed: Array, device: Device, meter: Meter, begin: int
) -> tuple[list[Descriptor], list[Reading]]:
    lie, stated = meter.lie, meter.relative
    kind: Any = "averaged" if meter.window_s else "instantaneous"
    factor = {"milliwatts": 1e3, "kilowatts": 1e-3}.get(lie, 1.0)
    energy = np.cumsum(seen) * _FINE
    if lie == "counter set back":
        energy = np.where(at > 9.0, energy - energy[np.searchsorted(at, 9.0)], energy)
    if meter.wraps_at:
        energy = energy % meter.wraps_at
    descriptors = [
        Descriptor(
            channel="meter/power",
            quantity=Quantity.POWER,
            scope="board",
            kind=kind,
            window_ms=meter.window_s * 1e3 if meter.window_s else None,
            resolution=meter.resolution_w,
            uncertainty_relative=stated,
        ),
        Descriptor(
            channel="meter/energy",
            quantity=Quantity.ENERGY,
            scope="board",
            kind="counter",
            resolution=1e-3,
            uncertainty_relative=stated,
            wraps_at=meter.wraps_at,
        ),
        Descriptor(
            channel="meter/temperature",
            quantity=Quantity.TEMPERATURE,
            scope="chip",
            kind="instantaneous",
            resolution=meter.resolution_c,
            uncertainty_absolute=0.5,
        ),
        Descriptor(
            channel="room/ambient",
            quantity=Quantity.TEMPERATURE,
            scope="ambient",
            kind="instantaneous",
            resolution=0.1,
            uncertainty_absolute=0.5,
        ),
        Descriptor(channel="meter/throttle", quantity=Quantity.THROTTLE, scope="chip", kind="instantaneous"),
        Descriptor(channel="meter/clock", quantity=Quantity.CLOCK, scope="chip", kind="instantaneous", resolution=1.0),
    ]
    readings: list[Reading] = []
    for moment in np.arange(-0.9, float(at[-1]) - 0.1, meter.period_s).tolist():
        if lie == "gap" and 12.0 < moment < 14.5:
            continue
        index = int(np.searchsorted(at, moment))
        when = begin + round((moment + meter.offset_s) * SECOND)
        if lie == "clock step" and moment > 9.0:
            when += 3600 * SECOND
        is_out = moment > 10.0 and lie in ("zero", "minus one", "none", "nan")
        wrong = {"zero": 0.0, "minus one": -1.0, "none": None, "nan": float("nan")}.get(lie)
        watts: float | None = wrong if is_out else float(seen[index]) * factor
        degrees = 41.0 if lie == "stuck thermometer" else float(celsius[index])
        degrees = round(degrees / meter.resolution_c) * meter.resolution_c
        held = bool(speed[index] < 1.0) and device.tells
        rows: tuple[tuple[str, float | None, str], ...] = (
            ("meter/power", watts, "the meter gave nothing" if watts is None else ""),
            ("meter/energy", float(energy[index]), ""),
            ("meter/temperature", degrees, ""),
            ("room/ambient", round(device.ambient_c, 1), ""),
            ("meter/throttle", 64.0 if held else 0.0, "hardware thermal slowdown" if held else ""),
            ("meter/clock", round(1500.0 * float(speed[index])), ""),
        )
        readings += [Reading(channel, when, 1_000_000, value, note) for channel, value, note in rows]
    return descriptors, readings


def _beats(at: Array, busy: Array, speed: Array, device: Device, begin: int) -> list[list[int]]:
    rows = []
    for edge in np.arange(0.5, float(at[-1]), 0.5).tolist():
        chosen = (at > edge - 0.5) & (at <= edge)
        if busy[chosen].min() < 1.0:
            continue
        median = device.latency_ms * 1e6 / float(np.median(speed[chosen]))
        rows.append([begin + round(edge * SECOND), int(0.5e9 / median), round(median), round(median * 1.2)])
    return rows
