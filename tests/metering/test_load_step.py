"""A meter counts once it has shown when this device worked; what does not is called by its name."""

from __future__ import annotations

import pytest

from conformance.metering.load_step import LoadStep, find_load_step
from conformance.metering.phases import GAP, IDLE, Phase
from conformance.metering.series import power_of
from conformance.metering.simulated import Device, Meter, Simulated, simulate
from conformance.metering.validity import examine

SEEDS = range(5)


def _step(found: Simulated, channel: str = "meter/power") -> LoadStep:
    series = examine(found.trace, channel).series
    return find_load_step(power_of(series) if channel == "meter/energy" else series, found.phases)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("offset", [-0.7, 0.0, 0.4])
@pytest.mark.parametrize("window", [0.0, 0.3])
def test_an_honest_meter_is_seen_and_its_clock_set_right(seed: int, offset: float, window: float) -> None:
    step = _step(simulate(meter=Meter(offset_s=offset, window_s=window), seed=seed))
    assert step.is_seen
    assert step.step == pytest.approx(40.0, abs=1.5)
    assert step.offset_ns * 1e-9 == pytest.approx(-offset, abs=0.1)
    assert abs(step.offset_ns * 1e-9 + offset) < 4e-9 * step.offset_u_ns
    assert step.explained > 0.9
    assert step.errors > 10


@pytest.mark.parametrize("seed", SEEDS)
def test_a_small_step_is_seen_in_noise_and_none_is_not(seed: int) -> None:
    small = simulate(Device(idle_w=50.0, busy_w=53.0), Meter(noise_w=0.3), seed=seed)
    assert _step(small).is_seen
    none = simulate(Device(idle_w=50.0, busy_w=50.0), Meter(noise_w=0.3), seed=seed)
    assert _step(none).name == "power of another device"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("lie", "name"),
    [
        ("constant power", "constant power"),
        ("power of another device", "power of another device"),
        ("averaged", "averaged over the burst"),
    ],
)
def test_what_does_not_show_the_step_is_named(lie: str, name: str, seed: int) -> None:
    step = _step(simulate(meter=Meter(lie=lie), seed=seed))
    assert step.name == name
    assert step.reason


def test_a_meter_that_says_that_it_averages_for_too_long_is_named_without_a_fit() -> None:
    step = _step(simulate(meter=Meter(window_s=2.0)))
    assert step.name == "averaged over the burst"
    assert "averages over 2 s" in step.reason


def test_a_meter_that_is_asked_too_seldom_is_named() -> None:
    assert _step(simulate(meter=Meter(period_s=1.0))).name == "sampled too slowly"


def test_power_from_a_counter_shows_the_step_too() -> None:
    step = _step(simulate(meter=Meter(wraps_at=137.0)), "meter/energy")
    assert step.is_seen
    assert step.step == pytest.approx(40.0, abs=1.0)


def test_the_sign_matters() -> None:
    found = simulate(Device(idle_w=60.0, busy_w=20.0))
    assert _step(found).name == "power of another device"


def test_phases_an_hour_away_are_no_phases_of_these_readings() -> None:
    found = simulate()
    hour = 3600 * 1_000_000_000
    moved = [one._replace(begin_ns=one.begin_ns + hour, end_ns=one.end_ns + hour) for one in found.phases]
    step = find_load_step(examine(found.trace, "meter/power").series, moved)
    assert step.name == "clocks apart"
    assert "3601" in step.reason


def test_a_clock_off_by_more_than_is_looked_for_is_not_aligned() -> None:
    assert not _step(simulate(meter=Meter(offset_s=1.9))).is_seen


def test_a_run_without_bursts_shows_nothing() -> None:
    found = simulate()
    phases = [Phase(IDLE, one.begin_ns, one.end_ns, 0) for one in found.phases if one.name in (IDLE, GAP)]
    assert find_load_step(examine(found.trace, "meter/power").series, phases).name == "no bursts"
