"""Readings made into what declarations speak of: mean and largest power, energy, energy per inference, largest temperature.

Each is taken from the settled part of a phase: what a meter shows within its averaging window after a change still holds
what was before. None where too few readings lie in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conformance.metering.trace import UNITS
from conformance.metering.uncertainty import COVERAGE, Amount, Uncertainty, of_mean, of_meter, of_resolution

if TYPE_CHECKING:
    from conformance.metering.load_step import LoadStep
    from conformance.metering.phases import Phase
    from conformance.metering.series import Series
    from conformance.tensors import Array

LEAST = 8
"""Fewer readings give no mean."""


def settled(series: Series, phase: Phase, step: LoadStep) -> Series:
    """Return a phase's readings on the run's clock, without those that still hold what was before it."""
    moved = series.shifted(step.offset_ns)
    margin = 2 * step.offset_u_ns
    return moved.within(phase.begin_ns + step.window_s * 1e9 + margin, phase.end_ns - margin)


def mean_of(inside: Series) -> Amount | None:
    """Return the mean over time of readings (trapezoid), with its uncertainty; None where there are fewer than eight."""
    if inside.size < LEAST:
        return None
    seconds, value = (inside.at_ns - inside.at_ns[0]) * 1e-9, inside.value
    mean = _over_time(seconds, value)
    # Every other reading is a sampling at half the rate: what the halves differ by, the whole may have missed.
    halves = _over_time(seconds[::2], value[::2]) - _over_time(seconds[1::2], value[1::2])
    parts = Uncertainty(
        of_meter(inside.descriptor, mean), of_resolution(inside.descriptor), abs(halves) / 2, of_mean(value)
    )
    return Amount(mean, UNITS[inside.descriptor.quantity], parts, inside.size)


def _over_time(seconds: Array, value: Array) -> float:
    """Return the integral by trapezoids over the time."""
    return float(np.trapezoid(value, seconds) / (seconds[-1] - seconds[0]))


def largest_of(inside: Series) -> Amount | None:
    """Return the largest reading; None where there are fewer than eight.

    Between two readings the truth may have been higher: by half of what neighbours differ by, of which nine in ten differ by
    less than what counts as sampling uncertainty. And the largest of n readings that scatter by s lies about s·√(2·ln n) above
    what is there: U covers all of it. Whether a second reading comes near says whether it may be a slip of the meter.
    """
    if inside.size < LEAST:
        return None
    ordered = np.sort(inside.value)
    top, second = float(ordered[-1]), float(ordered[-2])
    steps = np.abs(np.diff(inside.value))
    between = float(np.percentile(steps, 90.0)) / 2
    scatter = 1.4826 * float(np.median(steps)) / np.sqrt(2)
    noise = 1.4826 * float(np.median(np.abs(ordered - np.median(ordered))))
    resolution = inside.descriptor.resolution or 0.0
    parts = Uncertainty(of_meter(inside.descriptor, top), of_resolution(inside.descriptor), between / np.sqrt(3), 0.0)
    parts = parts._replace(statistical=scatter * float(np.sqrt(2 * np.log(inside.size))) / COVERAGE)
    is_lone = top - second > max(4 * noise, 2 * resolution, 1e-9 * abs(top)) and top - second > parts.expanded
    return Amount(top, UNITS[inside.descriptor.quantity], parts, inside.size, is_lone=is_lone)


def energy_of(power: Amount, phase: Phase) -> Amount:
    """Return the energy of a phase whose settled part drew a mean power: the trapezoid over the whole of it, in joules."""
    seconds = phase.seconds
    return Amount(power.value * seconds, "J", power.uncertainty.scaled(seconds), power.readings)


def counted_energy(counter: Series, phase: Phase, step: LoadStep) -> Amount | None:
    """Return what an unwrapped counter went up in a phase, in joules; None where no reading lies before or after it.

    The counter is read off on a straight line between the readings on both sides of an edge; its clock's uncertainty and how
    seldom it counts on make the sampling uncertainty, one at each end.
    """
    moved = counter.shifted(step.offset_ns)
    begin, end = float(phase.begin_ns), float(phase.end_ns)
    if moved.size < LEAST or moved.at_ns[0] > begin or moved.at_ns[-1] < end:
        return None
    origin = moved.at_ns[0]
    at = (moved.at_ns - origin).astype(np.float64)
    low, high = np.interp([begin - origin, end - origin], at, moved.value)
    energy = float(high - low)
    watts = energy / phase.seconds
    edge = watts * float(np.hypot(step.offset_u_ns * 1e-9, counter.interval_s / np.sqrt(12)))
    relative = counter.descriptor.uncertainty_relative / max(counter.descriptor.coverage_factor, 1e-9)
    root2 = float(np.sqrt(2))
    parts = Uncertainty(relative * energy, root2 * of_resolution(counter.descriptor), root2 * edge, 0.0)
    return Amount(energy, "J", parts, moved.within(begin, end).size)


def energy_per_inference(busy: Amount, idle: Amount, phase: Phase) -> Amount:
    """Return the energy of one inference above idle, in millijoules: (busy − idle power) × seconds / inferences.

    The meter's relative error is one of the difference, for the same meter reads both; its constant part is kept whole although
    most of it cancels. Scatter and sampling of both powers add.
    """
    factor = 1e3 * phase.seconds / phase.inferences
    net = busy.value - idle.value
    b, i = busy.uncertainty, idle.uncertainty
    # A linear error of gain and zero: u(busy) − u(idle) is the gain's part of the net, u(idle) bounds the zero's.
    meter = float(np.hypot(max(b.meter - i.meter, 0.0), i.meter))
    parts = Uncertainty(
        meter,
        float(np.hypot(b.resolution, i.resolution)),
        float(np.hypot(b.sampling, i.sampling)),
        float(np.hypot(b.statistical, i.statistical)),
    )
    return Amount(net * factor, "mJ", parts.scaled(factor), min(busy.readings, idle.readings))
