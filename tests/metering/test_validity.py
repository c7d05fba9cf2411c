"""What is no reading never counts: each way in which a meter says nothing is named, and an honest channel has no fault."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from conformance.metering.phases import Phase
from conformance.metering.series import power_of, series_of, unwrapped
from conformance.metering.simulated import Meter, simulate
from conformance.metering.trace import Descriptor, Quantity, Reading, Trace
from conformance.metering.validity import examine, gap_reason, unit_fault

SECOND = 1_000_000_000


def _trace(
    values: list[float | None],
    quantity: Quantity = Quantity.POWER,
    *,
    times: list[float] | None = None,
    **given: object,
) -> Trace:
    at = times if times is not None else [0.1 * index for index in range(len(values))]
    described = Descriptor(
        channel="m/x",
        quantity=quantity,
        scope="board",
        **({"kind": "instantaneous"} | given),  # type: ignore[arg-type]
    )
    readings = [Reading("m/x", round(t * SECOND), 0, v) for t, v in zip(at, values, strict=True)]
    return Trace(descriptors=[described], readings=readings, period_ms=100.0)


def _noisy(count: int = 100, mean: float = 50.0, seed: int = 3) -> list[float | None]:
    return [float(one) for one in np.round(np.random.default_rng(seed).normal(mean, 0.5, count), 3)]


def test_an_honest_channel_has_no_fault_and_keeps_every_reading() -> None:
    found = simulate()
    for channel in (
        "meter/power",
        "meter/energy",
        "meter/temperature",
        "room/ambient",
        "meter/clock",
        "meter/throttle",
    ):
        examined = examine(found.trace, channel)
        assert examined.faults == ()
        assert examined.series.size == series_of(found.trace, channel).size


@pytest.mark.parametrize(
    ("lie", "name"),
    [
        ("zero", "sentinel"),
        ("minus one", "sentinel"),
        ("none", "no reading"),
        ("nan", "not a number"),
        ("constant power", "frozen"),
        ("freezes", "frozen"),
        ("clock step", "clock jumps"),
    ],
)
def test_each_way_of_saying_nothing_is_named(lie: str, name: str) -> None:
    examined = examine(simulate(meter=Meter(lie=lie)).trace, "meter/power")
    assert examined.fatal is not None
    assert examined.fatal.name == name
    assert "meter/power" in examined.fatal.reason


@pytest.mark.parametrize("value", [0.0, -1.0, None, float("nan"), float("inf"), -3.0, 2e6])
def test_a_lone_dropout_is_taken_out_and_told_and_never_counts(value: float | None) -> None:
    values = _noisy()
    values[40] = value
    examined = examine(_trace(values), "m/x")
    assert examined.fatal is None
    assert len(examined.faults) == 1
    assert examined.series.size == 99
    assert examined.series.value.min() > 47.0
    assert examined.series.value.max() < 53.0


def test_a_channel_of_nothing_is_no_channel() -> None:
    assert examine(_trace([]), "m/x").fatal is not None
    gone = examine(_trace([None] * 20), "m/x")
    assert gone.fatal is not None
    assert gone.fatal.name == "no reading"


def test_what_the_meter_cannot_show_is_out_of_range() -> None:
    examined = examine(_trace([*_noisy(70), *([700.0] * 30)], valid_high=600.0), "m/x")
    assert examined.fatal is not None
    assert examined.fatal.name == "out of range"


@pytest.mark.parametrize("values", [[338.2] * 30, [45_000.0] * 30])
def test_kelvin_and_thousandths_of_degrees_are_out_of_range(values: list[float | None]) -> None:
    examined = examine(_trace(values, Quantity.TEMPERATURE), "m/x")
    assert examined.fatal is not None
    assert examined.fatal.name == "out of range"


def test_zero_degrees_between_degrees_is_a_temperature_and_between_forties_is_none() -> None:
    cold = examine(_trace([1.0, 0.0, -1.0, 0.0, 2.0] * 6, Quantity.TEMPERATURE), "m/x")
    assert cold.faults == ()
    warm = examine(_trace([41.0, 0.0, 42.0, 41.0, 43.0] * 6, Quantity.TEMPERATURE), "m/x")
    assert [one.name for one in warm.faults] == ["sentinel"]
    assert warm.series.value.min() > 40


def test_a_coarse_or_quiet_channel_may_stand_still_and_a_fine_one_may_not() -> None:
    coarse = examine(_trace([50.0] * 30 + [51.0] * 60 + [50.0] * 30, resolution=1.0), "m/x")
    assert coarse.faults == ()
    still = examine(_trace([*_noisy(60), *([50.123] * 40), *_noisy(20, seed=8)]), "m/x")
    assert still.fatal is not None
    assert still.fatal.name == "frozen"
    steady = examine(_trace([41.0] * 100, Quantity.TEMPERATURE), "m/x")
    assert steady.faults == ()  # whether a thermometer is stuck, load and cool-down tell


def test_a_meter_that_is_slower_than_it_is_asked_is_not_frozen() -> None:
    values = [one for one in _noisy(40) for _ in range(10)]
    assert examine(_trace(values), "m/x").faults == ()


def test_a_clock_that_goes_back_is_named() -> None:
    times = [0.1 * index - (5.0 if index > 50 else 0.0) for index in range(100)]
    examined = examine(_trace(_noisy(), times=times), "m/x")
    assert examined.fatal is not None
    assert examined.fatal.name == "clock jumps"


def test_a_gap_inside_a_phase_is_told_and_one_outside_is_not() -> None:
    found = simulate(meter=Meter(lie="gap"))
    examined = examine(found.trace, "meter/power")
    assert examined.fatal is None
    phases = {one.name: one for one in found.phases}
    assert "sampling gap" in gap_reason(examined, phases["soak"])
    assert gap_reason(examined, phases["idle"]) == ""
    honest = examine(simulate().trace, "meter/power")
    assert all(gap_reason(honest, one) == "" for one in found.phases)


def test_a_phase_that_readings_do_not_reach_is_a_gap() -> None:
    examined = examine(_trace(_noisy()), "m/x")
    assert "no reading for" in gap_reason(examined, Phase("measured", 0, 20 * SECOND, 1))


def test_a_counter_that_wraps_counts_on() -> None:
    plain, wrapped = simulate(), simulate(meter=Meter(wraps_at=137.0))
    told = examine(wrapped.trace, "meter/energy")
    assert told.faults == ()
    truth = series_of(plain.trace, "meter/energy").value
    assert series_of(wrapped.trace, "meter/energy").value.max() < 137.0
    assert np.allclose(told.series.value - told.series.value[0], truth - truth[0], atol=1e-9)


def test_a_counter_that_is_set_back_is_no_wrap() -> None:
    for wraps_at in (None, 262_143.0):
        trace = simulate(meter=Meter(lie="counter set back")).trace
        described = [msgspec.structs.replace(one, wraps_at=wraps_at) for one in trace.descriptors]
        examined = examine(msgspec.structs.replace(trace, descriptors=described), "meter/energy")
        assert examined.fatal is not None
        assert examined.fatal.name == "counter goes back"


def test_a_counter_that_may_have_wrapped_twice_in_a_gap_is_not_believed() -> None:
    at = [0.1 * index for index in range(40)] + [9.0 + 0.1 * index for index in range(40)]
    values: list[float | None] = [(50.0 * t) % 100.0 for t in at]
    series = series_of(_trace(values, Quantity.ENERGY, times=at, kind="counter", wraps_at=100.0), "m/x")
    assert "more than once" in unwrapped(series)[1]


def test_power_from_a_counter_is_the_mean_between_its_steps() -> None:
    at = [0.1 * index for index in range(41)]
    values: list[float | None] = [round(60.0 * t / 2.0) * 2.0 for t in at]  # counts in steps of 2 J
    power = power_of(series_of(_trace(values, Quantity.ENERGY, kind="counter", resolution=2.0), "m/x"))
    assert power.descriptor.quantity is Quantity.POWER
    assert float(np.mean(power.value)) == pytest.approx(60.0, rel=0.05)
    assert power.descriptor.resolution == pytest.approx(2.0 / 0.1)


@pytest.mark.parametrize(
    ("watts", "limits", "others", "is_wrong"),
    [
        (60.0, [75.0], [], False),
        (60_000.0, [75.0], [], True),
        (0.06, [75.0], [], True),
        (110.0, [75.0], [], False),  # over its limit, in the right unit
        (1.0, [75.0], [], False),
        (60_000.0, [], [("wall", 70.0)], True),
        (70.0, [75.0], [("board", 60_000.0)], False),  # the other one is wrong
        (70.0, [], [("board", 66.0)], False),
        (60.0, [], [], False),
    ],
)
def test_three_orders_of_magnitude_are_a_wrong_unit(
    watts: float, limits: list[float], others: list[tuple[str, float]], is_wrong: bool
) -> None:
    fault = unit_fault("m/x", watts, limits, others)
    assert (fault is not None) is is_wrong
    if fault is not None:
        assert fault.name == "wrong unit"
