"""Traces that are made up, and say so: shaped like what NVML gives of a card that goes from idle to busy and back.

No GPU was measured for them. They exercise the path of replay; they are no evidence about any device.
"""

from __future__ import annotations

import numpy as np

from conformance.metering.trace import Descriptor, Quantity, Reading, Trace

MADE = "synthetic: drawn from a seed, no device was measured"
POWER, ENERGY, HEAT = "nvml/power instant", "nvml/energy", "nvml/temperature"


def synthetic_nvml(
    seed: int, *, idle_w: float = 60.0, busy_w: float = 300.0, phase_s: float = 2.0, period_ms: float = 100.0
) -> Trace:
    """Return idle, busy and idle again: power with noise, energy as its integral, a temperature that lags behind it."""
    random = np.random.default_rng(seed)
    count = round(3 * phase_s * 1000 / period_ms)
    step_ns = round(period_ms * 1e6)
    busy = (np.arange(count) // (count // 3)) == 1
    power = np.where(busy, busy_w, idle_w) + random.normal(0.0, 2.0, count)
    energy = 1e6 + np.cumsum(power) * period_ms / 1000
    heat = np.empty(count)
    level = 35.0
    for at in range(count):
        level += (30.0 + 0.12 * power[at] - level) * period_ms / 5000
        heat[at] = np.floor(level)  # NVML gives whole degrees
    readings = []
    for at in range(count):
        begun = 1_000_000_000_000 + at * step_ns + int(random.integers(0, 200_000))
        took = int(random.integers(20_000, 400_000))
        for channel, value in ((POWER, power[at]), (ENERGY, energy[at]), (HEAT, heat[at])):
            readings.append(Reading(channel, begun, took, float(value)))
    bound = {"bound_to": "GPU-synthetic", "calibration": "none: synthetic"}
    descriptors = [
        Descriptor(channel=POWER, quantity=Quantity.POWER, scope="board", kind="instantaneous", uncertainty_relative=0.05, **bound),
        Descriptor(channel=ENERGY, quantity=Quantity.ENERGY, scope="board", kind="counter", uncertainty_relative=0.05, **bound),
        Descriptor(channel=HEAT, quantity=Quantity.TEMPERATURE, scope="chip", kind="instantaneous", uncertainty_absolute=5.0, **bound),
    ]  # fmt: skip
    return Trace(descriptors=descriptors, readings=readings, period_ms=period_ms)
