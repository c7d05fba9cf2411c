"""Quantities come with an uncertainty that covers the truth about as often as it says, and decisions leave a guard band."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.metering.decision import decide
from conformance.metering.load_step import find_load_step
from conformance.metering.phases import IDLE, MEASURED, named
from conformance.metering.quantities import (
    counted_energy,
    energy_of,
    energy_per_inference,
    largest_of,
    mean_of,
    settled,
)
from conformance.metering.simulated import Device, Meter, simulate
from conformance.metering.trace import Descriptor, Quantity
from conformance.metering.uncertainty import COVERAGE, Amount, Uncertainty, of_mean, of_meter
from conformance.metering.validity import examine


def test_the_expanded_uncertainty_is_the_root_of_its_parts_times_k() -> None:
    parts = Uncertainty(meter=3.0, resolution=4.0, sampling=12.0, statistical=84.0)
    assert parts.combined == pytest.approx(85.0)
    assert parts.expanded == pytest.approx(COVERAGE * 85.0)
    assert parts.largest == "statistical"
    assert parts.scaled(-2.0).combined == pytest.approx(170.0)


def test_what_a_sheet_states_is_divided_by_its_coverage_factor() -> None:
    described = Descriptor(
        channel="x",
        quantity=Quantity.POWER,
        scope="wall",
        kind="averaged",
        uncertainty_relative=0.01,
        uncertainty_absolute=0.5,
    )
    assert of_meter(described, 100.0) == pytest.approx(0.75)


def test_the_standard_error_of_dependent_readings_covers_their_mean() -> None:
    draw = np.random.default_rng(5)
    covered = 0
    for _ in range(400):
        kicks = draw.normal(0.0, 1.0, 600)
        value = np.empty(600)
        last = 0.0
        for index, kick in enumerate(kicks.tolist()):
            last = 0.8 * last + kick
            value[index] = last
        covered += abs(value.mean()) <= COVERAGE * of_mean(value)
    assert covered / 400 > 0.93


@pytest.mark.parametrize("seed", range(6))
def test_power_and_energy_are_the_truth_within_their_uncertainty(seed: int) -> None:
    found = simulate(meter=Meter(offset_s=0.3, window_s=0.2, gain=1.004), seed=seed)
    series = examine(found.trace, "meter/power").series
    step = find_load_step(series, found.phases)
    measured = named(found.phases, MEASURED)[0]
    mean, idle = mean_of(settled(series, measured, step)), mean_of(settled(series, named(found.phases, IDLE)[0], step))
    assert mean is not None
    assert idle is not None
    assert abs(mean.value - found.mean_w) < mean.expanded < 2.0
    assert abs(idle.value - found.idle_w) < idle.expanded + 0.4
    energy = energy_of(mean, measured)
    counted = counted_energy(examine(found.trace, "meter/energy").series, measured, step)
    assert counted is not None
    truth = found.mean_w * measured.seconds
    assert abs(energy.value - truth) < energy.expanded
    assert abs(counted.value - truth) < counted.expanded
    each = energy_per_inference(mean, idle, measured)
    assert abs(each.value - found.millijoules) < each.expanded < 0.1 * each.value


def test_a_wrapping_counter_gives_the_energy_of_one_that_does_not() -> None:
    plain, wrapping = simulate(), simulate(meter=Meter(wraps_at=137.0))
    measured = named(plain.phases, MEASURED)[0]
    step = find_load_step(examine(plain.trace, "meter/power").series, plain.phases)
    first, second = (
        counted_energy(examine(one.trace, "meter/energy").series, measured, step) for one in (plain, wrapping)
    )
    assert first is not None
    assert second is not None
    assert first.value == pytest.approx(second.value)


def test_the_largest_reading_is_lone_where_no_other_comes_near() -> None:
    found = simulate(Device(wander_w=0.2), Meter(noise_w=0.05, relative=0.0))
    series = examine(found.trace, "meter/power").series
    inside = settled(series, named(found.phases, MEASURED)[0], find_load_step(series, found.phases))
    top = largest_of(inside)
    assert top is not None
    assert not top.is_lone
    assert abs(top.value - found.largest_w) < 0.5
    spike = inside.value.copy()
    spike[30] = 90.0
    lone = largest_of(inside._replace(value=spike))
    assert lone is not None
    assert lone.is_lone
    decision = decide("max_w", lone, 75.0)
    assert decision.outcome == "open"
    assert "one reading" in decision.reason
    spike[31] = 89.9
    twice = largest_of(inside._replace(value=spike))
    assert twice is not None
    assert decide("max_w", twice, 75.0).outcome == "fail"


def test_too_few_readings_make_no_quantity() -> None:
    found = simulate()
    series = examine(found.trace, "meter/power").series
    few = series.within(float(series.at_ns[0]), float(series.at_ns[6]))
    assert mean_of(few) is None
    assert largest_of(few) is None


@pytest.mark.parametrize(
    ("value", "outcome"),
    [(98.0, "pass"), (97.9, "pass"), (98.1, "open"), (100.0, "open"), (102.0, "open"), (102.1, "fail")],
)
def test_the_guard_band_is_as_wide_as_the_uncertainty_on_both_sides(value: float, outcome: str) -> None:
    amount = Amount(value, "W", Uncertainty(meter=1.0), 100)
    decision = decide("max_w", amount, 100.0)
    assert decision.outcome == outcome
    assert bool(decision.settles) is (outcome == "open")
    assert "100 W" in decision.reason


def test_what_may_still_come_counts_against_a_pass_and_never_for_a_fail() -> None:
    amount = Amount(90.0, "W", Uncertainty(statistical=1.0), 100)
    assert decide("max_w", amount, 100.0, headroom=5.0).outcome == "pass"
    assert decide("max_w", amount, 100.0, headroom=9.0).outcome == "open"
    assert decide("max_w", amount, 100.0, headroom=float("inf")).outcome == "open"
    assert decide("max_w", amount, 50.0, headroom=float("inf")).outcome == "fail"


def test_what_would_settle_it_follows_from_the_largest_part() -> None:
    for part, word in (
        ("meter", "accuracy"),
        ("resolution", "finer"),
        ("sampling", "more often"),
        ("statistical", "longer run"),
    ):
        amount = Amount(100.0, "W", Uncertainty(**{part: 5.0}), 100)
        assert word in decide("max_w", amount, 101.0).settles
