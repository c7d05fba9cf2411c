"""Steady is what would not change in as long again; what is not says how long it wants."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.metering.series import Series
from conformance.metering.steady import judge_steadiness, slope_of
from conformance.metering.trace import Descriptor, Quantity

SECOND = 1_000_000_000


def _soak(
    seconds: float, constant: float, rise: float = 40.0, *, resolution: float = 0.1, noise: float = 0.1, seed: int = 1
) -> Series:
    at = np.arange(0.0, seconds, 0.1)
    value = 25.0 + rise * (1 - np.exp(-at / constant)) + np.random.default_rng(seed).normal(0.0, noise, at.size)
    described = Descriptor(
        channel="t", quantity=Quantity.TEMPERATURE, scope="chip", kind="instantaneous", resolution=resolution
    )
    return Series(described, (at * SECOND).astype(np.int64), np.round(value / resolution) * resolution)


@pytest.mark.parametrize(
    ("seconds", "constant", "is_steady"),
    [
        (600, 60, True),
        (600, 80, True),
        (600, 200, False),
        (60, 60, False),
        (60, 600, False),
        (120, 5, True),
        (300, 3000, False),
    ],
)
def test_a_soak_of_several_time_constants_is_steady_and_no_other(
    seconds: float, constant: float, is_steady: bool
) -> None:
    found = judge_steadiness(_soak(seconds, constant), 0, seconds * SECOND, 1.0)
    assert found.is_steady is is_steady
    assert (found.wanted_s > 0) is not is_steady
    assert ("more are wanted" in found.told("°C")) is not is_steady


def test_the_time_that_is_wanted_is_about_what_it_takes() -> None:
    found = judge_steadiness(_soak(200, 100, noise=0.02), 0, 200 * SECOND, 1.0)
    total = 200 + found.wanted_s
    assert 500 < total < 900
    assert judge_steadiness(_soak(total, 100, noise=0.02), 0, total * SECOND, 1.0).is_steady


def test_the_rise_that_may_still_come_is_bounded() -> None:
    for seed in range(20):
        found = judge_steadiness(_soak(300, 100, seed=seed), 0, 300 * SECOND, 1.0)
        assert found.rise > 40.0 * np.exp(-3.0) * 0.9  # what is left of an exponential after three time constants


def test_coarse_steps_and_few_readings_are_not_taken_for_steady() -> None:
    coarse = judge_steadiness(_soak(60, 600, rise=6.0, resolution=1.0, noise=0.0), 0, 60 * SECOND, 0.5)
    assert not coarse.is_steady
    few = judge_steadiness(_soak(1.0, 1.0), 0, SECOND, 1.0)
    assert not few.is_steady
    assert few.rise == np.inf


def test_the_slope_is_the_truth_within_its_uncertainty() -> None:
    outside = 0
    for seed in range(200):
        draw = np.random.default_rng(seed)
        at = np.arange(0.0, 60.0, 0.1)
        described = Descriptor(
            channel="t", quantity=Quantity.POWER, scope="board", kind="instantaneous", resolution=0.01
        )
        series = Series(described, (at * SECOND).astype(np.int64), 50 + 0.02 * at + draw.normal(0, 0.5, at.size))
        slope, standard = slope_of(series)
        outside += abs(slope - 0.02) > 2 * standard
    assert outside / 200 < 0.08
