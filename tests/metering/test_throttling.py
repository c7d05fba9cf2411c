"""Throttling is judged against the declared envelope: inside it fails with what it costs, and nothing confirms itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conformance.metering.beats import Beats, find_slowing, read_beats
from conformance.metering.phases import SOAK, named
from conformance.metering.simulated import Device, Meter, Simulated, simulate
from conformance.metering.thermometer import judge_thermometer
from conformance.metering.throttling import Envelope, Throttling, judge_throttling
from conformance.metering.timeline import join
from conformance.metering.trace import Quantity, Trace
from conformance.metering.validity import examine

LONG = (("idle", 4.0), ("ranging", 2.0), ("soak", 20.0), ("measured", 8.0), ("cool-down", 6.0))
HOT = Device(rise_c=60.0, constant_s=5.0, throttles_at_c=70.0)


def _run(device: Device, meter: Meter | None = None) -> Simulated:
    return simulate(device, meter or Meter(), LONG)


def _judge(found: Simulated, trace: Trace | None = None, **given: Any) -> Throttling:
    envelope = Envelope(**({"throttle_c": 85.0, "ambient_c": (0.0, 45.0), "measured_c": (23.9, 24.1)} | given))
    beats = read_beats(found.beats)
    timeline = join(trace or found.trace, found.phases, beats)
    phases = {one.name: one for one in found.phases}
    return judge_throttling(timeline, beats, envelope, phases["soak"].begin_ns, phases["measured"].end_ns)


def _without(found: Simulated, *quantities: Quantity) -> Trace:
    kept = [one for one in found.trace.descriptors if one.quantity not in quantities]
    names = {one.channel for one in kept}
    return Trace(
        descriptors=kept,
        readings=[one for one in found.trace.readings if one.channel in names],
        period_ms=found.trace.period_ms,
        started_ns=found.trace.started_ns,
        ended_ns=found.trace.ended_ns,
    )


def test_an_honest_device_does_not_throttle() -> None:
    found = _judge(_run(Device()))
    assert found == Throttling("none")


def test_a_told_throttle_below_its_declared_temperature_is_inside_whatever_the_ambient() -> None:
    for measured in ((23.9, 24.1), None):
        found = _judge(_run(HOT), measured_c=measured)
        assert found.outcome == "inside"
        assert found.at_c == pytest.approx(70.0, abs=0.5)
        assert found.slower == pytest.approx(1 / 0.7 - 1, abs=0.01)
        assert "hardware thermal slowdown" in found.reason
        assert "+43% of latency" in found.reason
        assert ("ambient was not measured" in found.reason) is (measured is None)


def test_above_its_declared_temperature_the_measured_ambient_decides() -> None:
    run = _run(HOT)
    assert _judge(run, throttle_c=65.0).outcome == "inside"
    unknown = _judge(run, throttle_c=65.0, measured_c=None)
    assert unknown.outcome == "open"
    assert "thermometer of the ambient" in unknown.settles
    outside = _judge(run, throttle_c=65.0, ambient_c=(0.0, 20.0))
    assert outside.outcome == "open"
    assert "within the declared ambient range" in outside.settles


def test_an_undeclared_throttle_shows_in_pace_and_clock() -> None:
    found = _judge(_run(HOT._replace(tells=False)))
    assert found.outcome == "inside"
    assert "undeclared throttle" in found.reason
    assert found.slower == pytest.approx(0.43, abs=0.02)


def test_without_a_clock_a_slow_host_cannot_be_told_from_a_throttle() -> None:
    run = _run(HOT._replace(tells=False))
    power = _judge(run, _without(run, Quantity.CLOCK, Quantity.THROTTLE))
    assert power.outcome == "open"
    assert "undeclared throttle or a slow host" in power.reason
    pace = _judge(run, _without(run, Quantity.CLOCK, Quantity.THROTTLE, Quantity.POWER, Quantity.ENERGY))
    assert pace.outcome == "open"
    assert "clock channel" in pace.settles


def test_a_cap_on_power_is_told_and_is_no_throttle_by_heat() -> None:
    run = _run(Device())
    readings = [
        type(one)(one.channel, one.at_ns, one.took_ns, 4.0, "software power cap")
        if one.channel == "meter/throttle"
        else one
        for one in run.trace.readings
    ]
    capped = Trace(
        descriptors=run.trace.descriptors,
        readings=readings,
        period_ms=100.0,
        started_ns=run.trace.started_ns,
        ended_ns=run.trace.ended_ns,
    )
    found = _judge(run, capped)
    assert found.outcome == "none"
    assert found.capped == 1.0


@pytest.mark.parametrize("seed", range(20))
def test_noise_and_single_spikes_are_no_slowing_and_a_step_is_found_where_it_is(seed: int) -> None:
    draw = np.random.default_rng(seed)
    value = draw.normal(2e6, 2e4, 60)
    value[draw.integers(0, 60, 3)] *= 3
    end = np.arange(60, dtype=np.int64) * 500_000_000
    beats = Beats(end, np.full(60, 250), value, value)
    assert find_slowing(beats) is None
    value = value.copy()
    value[40:] *= 1.15
    slowing = find_slowing(beats._replace(median_ns=value))
    assert slowing is not None
    assert slowing.share == pytest.approx(0.15, abs=0.03)
    assert abs(slowing.at_ns - end[39]) <= 1_000_000_000


def test_a_faster_pace_and_a_short_run_are_no_slowing() -> None:
    value = np.concatenate([np.full(20, 2.2e6), np.full(20, 2.0e6)]) + np.random.default_rng(2).normal(0, 1e3, 40)
    end = np.arange(40, dtype=np.int64)
    assert find_slowing(Beats(end, end, value, value)) is None
    assert find_slowing(Beats(end[:5], end[:5], value[::-1][:5], value[:5])) is None


def test_beats_of_a_child_are_read_with_care() -> None:
    rows: list[Any] = [
        [5, 1, 2, 3],
        "x",
        [1, 2, 3],
        [4, 1, 2, 3],
        [6, -1, 2, 3],
        [7, 1.5, 2, 3],
        [8, 1, 2, True],
        [9, 4, 5, 6],
    ]
    assert read_beats(rows).end_ns.tolist() == [5, 9]
    assert read_beats(None).end_ns.size == 0


def test_the_timeline_has_everything_on_one_clock() -> None:
    found = simulate(HOT, Meter(offset_s=0.5), LONG)
    timeline = join(found.trace, found.phases, read_beats(found.beats), {"meter/power": -0.5e9})
    assert timeline.phases[0] == ("idle", 0.0, 4.0)
    (power,) = timeline.of(Quantity.POWER)
    jump = power.at_s[np.argmax(power.value > 40.0)]
    assert jump == pytest.approx(4.0, abs=0.15)
    (clock,) = timeline.of(Quantity.CLOCK)
    slow = timeline.beat_s[np.argmax(timeline.latency_ms > 2.5)]
    assert clock.at_s[np.argmax(clock.value < 1400)] == pytest.approx(slow, abs=0.8)  # of the same meter, so as far off
    assert len(timeline.of(Quantity.TEMPERATURE)) == 1
    assert len(timeline.of(Quantity.TEMPERATURE, ambient=True)) == 1
    assert clock.near(1e9, 1.0) is None


@pytest.mark.parametrize("lie", ["", "stuck thermometer"])
@pytest.mark.parametrize("resolution", [0.1, 1.0])
def test_a_thermometer_counts_when_it_follows_the_load(lie: str, resolution: float) -> None:
    found = _run(Device(), Meter(lie=lie, resolution_c=resolution))
    idle, load, cool = found.phases[0], found.phases[3], found.phases[4]
    fault = judge_thermometer(examine(found.trace, "meter/temperature").series, idle, load, cool)
    assert (fault is None) is (not lie)
    if fault is not None:
        assert fault.name == "stuck thermometer"


def test_the_ambient_is_no_thermometer_of_the_device_and_a_late_freeze_is_seen() -> None:
    found = _run(Device())
    idle, load, cool = found.phases[0], found.phases[3], found.phases[4]
    fault = judge_thermometer(examine(found.trace, "room/ambient").series, idle, load, cool)
    assert fault is not None
    series = examine(found.trace, "meter/temperature").series
    value = np.where(series.at_ns > named(found.phases, SOAK)[0].end_ns, 53.0, series.value)
    late = judge_thermometer(series._replace(value=value), idle, load, cool)
    assert late is not None
    assert late.name == "stuck thermometer"
    drifting = series._replace(value=np.linspace(30.0, 40.0, series.size))
    other = judge_thermometer(drifting, idle, load, cool)
    assert other is not None
    assert other.name == "thermometer of something else"
