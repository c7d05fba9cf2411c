"""The check of temperature: a cool device passes, a hot or throttling one fails, and what was not seen is not passed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from conformance.checks import thermal
from conformance.checks.support.port import Planned, Requested
from conformance.metering.simulated import Device, Meter, Simulated, simulate
from conformance.metering.trace import Descriptor, Quantity
from conformance.observation import InferenceSeen, Observation, Seen, SessionSeen
from conformance.plan import Context
from conformance.prepare import prepare, target_of
from conformance.profile.budgets import Thermal
from conformance.records import Case, Judgement, Outcome, Witness
from conformance.tensors import to_ref
from conformance.workload import NamedValue

LONG = (("idle", 4.0), ("ranging", 2.0), ("soak", 56.0), ("measured", 6.0), ("cool-down", 8.0))
SHORT = (("idle", 4.0), ("ranging", 2.0), ("soak", 12.0), ("measured", 6.0), ("cool-down", 6.0))
COOL = Device(rise_c=30.0, constant_s=5.0)
HOT = Device(rise_c=60.0, constant_s=5.0, throttles_at_c=70.0)


def answered(facts: dict[str, Any]) -> Seen:
    values = [[("y", np.full((2, 3), at, dtype=np.float32))] for at in range(16)]
    made = [InferenceSeen(outputs=[NamedValue(n, to_ref(v)) for n, v in one]) for one in values]
    here = (Witness(source="assignment", nodes={"CPUExecutionProvider": 3}),)
    sessions = [SessionSeen(mode="strict", inferences=one, witnesses=here) for one in (made, made[:8])]
    observation = Observation(sessions=sessions, has_witness=True, facts={"answered": list(range(8))} | facts)
    return Seen(observation, [values, values[:8]])


def case_of(**params: Any) -> Case:
    given = {
        "kind": "soak",
        "scenario": "closed loop",
        "level": "full",
        "schedule": [["idle", 1.0]],
        "unknown": "",
        "load": "load: encoder",
        "is_bitwise": True,
        "provider": "CPUExecutionProvider",
        "allowed_host_ops": [],
        "outputs": ["y"],
        "types": {"y": "tensor(float)"},
        "max_c": 90.0,
        "throttle_c": 85.0,
        "soak_s": None,
        "ambient_c": [0.0, 45.0],
        "cooling": "active",
        "airflow_m_s": None,
        "over_range": False,
    }
    return Case(id="thermal/encoder/soak", check="thermal", requirements=("THM-001",), why="", params=given | params)


def run(device: Device = COOL, schedule: Any = LONG, seed: int = 0, **meter: Any) -> Simulated:
    return simulate(device, Meter(**({"period_s": 0.2} | meter)), schedule, seed)


def judge(found: Simulated, **params: Any) -> Judgement:
    return thermal.judge(case_of(**params), answered(found.facts), [])


def without(found: Simulated, is_out: Callable[[Descriptor], bool]) -> dict[str, Any]:
    kept = [one for one in found.trace.descriptors if not is_out(one)]
    names = {one.channel for one in kept}
    readings = [one for one in found.trace.readings if one.channel in names]
    trace = msgspec.structs.replace(found.trace, descriptors=kept, readings=readings)
    return found.facts | {"telemetry": msgspec.to_builtins(trace)}


@pytest.mark.parametrize("resolution", [0.1, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_device_that_stays_cool_passes_with_its_ambient_told(resolution: float, seed: int) -> None:
    found = run(resolution_c=resolution, seed=seed)
    judged = judge(found)
    assert (judged.outcome, judged.reason) == (Outcome.PASS, "")
    values = {one.name: one.value for one in judged.measurements}
    assert values["max_c"] == pytest.approx(found.largest_c, abs=0.6 * resolution)
    assert values["throttled_share"] == 0
    assert "ambient measured 24.0 to 24.0 ± 0.5 °C, declared 0 to 45 °C" in judged.context
    assert "cooling declared active, not looked at" in judged.context
    assert "per minute after 64 s" in judged.context


def test_a_device_that_is_too_hot_fails_even_before_it_is_steady() -> None:
    for schedule in (LONG, SHORT):
        judged = judge(run(schedule=schedule), max_c=45.0)
        assert judged.outcome is Outcome.FAIL
        assert "limit 45 °C" in judged.reason
    beyond = judge(run(COOL._replace(ambient_c=60.0)), max_c=45.0, throttle_c=None)
    assert beyond.outcome is Outcome.INCONCLUSIVE
    assert "within the declared ambient range" in beyond.remedy


def test_what_is_not_steady_or_not_soaked_is_undecided_with_the_time_that_is_wanted() -> None:
    slow = judge(run(COOL._replace(constant_s=60.0)))
    assert slow.outcome is Outcome.INCONCLUSIVE
    assert "not steady" in slow.reason
    assert "s longer" in slow.remedy
    short = judge(run(schedule=SHORT))
    assert short.outcome is Outcome.INCONCLUSIVE
    assert "soaked 20 s of the 60 s" in short.reason
    declared = judge(run(), soak_s=600.0)
    assert declared.outcome is Outcome.INCONCLUSIVE
    assert "of the 600 s" in declared.reason
    easy = judge(run(schedule=SHORT), soak_s=1.0)  # nobody sets his own bar
    assert easy.outcome is Outcome.INCONCLUSIVE


def test_throttling_inside_the_declared_envelope_fails_with_its_cost() -> None:
    judged = judge(run(HOT))
    assert judged.outcome is Outcome.FAIL
    assert "hardware thermal slowdown" in judged.reason
    assert "+43% of latency" in judged.reason
    values = {one.name: one for one in judged.measurements}
    assert values["throttled_share"].met is False
    assert values["slower_when_throttled"].value == pytest.approx(0.43, abs=0.01)


def test_an_undeclared_throttle_fails_where_the_clock_shows_it() -> None:
    judged = judge(run(HOT._replace(tells=False)))
    assert judged.outcome is Outcome.FAIL
    assert "undeclared throttle" in judged.reason


def test_above_the_declared_temperature_an_unmeasured_ambient_leaves_it_open() -> None:
    facts = without(run(HOT), lambda one: one.scope == "ambient")
    judged = thermal.judge(case_of(throttle_c=60.0), answered(facts), [])
    assert judged.outcome is Outcome.INCONCLUSIVE
    assert "ambient was not measured" in judged.reason
    assert "scope: ambient" in judged.remedy


def test_a_stuck_thermometer_is_named_and_never_passes() -> None:
    judged = judge(run(lie="stuck thermometer"))
    assert judged.outcome is Outcome.UNMEASURED
    assert "stuck thermometer" in judged.reason
    assert judged.remedy


def test_a_clock_step_of_an_hour_is_named() -> None:
    judged = judge(run(lie="clock step"))
    assert judged.outcome is Outcome.UNMEASURED
    assert "clock jumps" in judged.reason


def test_a_gap_in_what_is_measured_is_undecided() -> None:
    found = run()
    measured = found.phases[3]
    readings = [
        one
        for one in found.trace.readings
        if not (one.channel == "meter/temperature" and measured.begin_ns + 1e9 < one.at_ns < measured.begin_ns + 4e9)
    ]
    trace = msgspec.structs.replace(found.trace, readings=readings)
    judged = thermal.judge(case_of(), answered(found.facts | {"telemetry": msgspec.to_builtins(trace)}), [])
    assert judged.outcome is Outcome.INCONCLUSIVE
    assert "sampling gap" in judged.reason


def test_no_thermometer_is_unmeasured() -> None:
    facts = without(run(), lambda one: one.quantity is Quantity.TEMPERATURE)
    judged = thermal.judge(case_of(), answered(facts), [])
    assert judged.outcome is Outcome.UNMEASURED
    assert "no meter shows the temperature" in judged.reason
    assert "ambient was not measured" in judged.context
    nothing = thermal.judge(case_of(), Seen(Observation(), []), [])
    assert nothing.outcome is Outcome.UNMEASURED
    assert "`telemetry:`" in nothing.remedy


def test_an_undeclared_maximum_keeps_the_requirement_open() -> None:
    judged = judge(run(), max_c=None)
    assert judged.outcome is Outcome.UNMEASURED
    assert judged.remedy == "declare thermal.max_c in the profile"


@pytest.mark.parametrize(
    ("ambient", "declared", "outcome"),
    [(24.0, [0.0, 25.0], Outcome.PASS), (24.0, [0.0, 45.0], Outcome.INCONCLUSIVE), (24.0, None, Outcome.UNMEASURED)],
)
def test_a_requirement_over_the_ambient_range_wants_its_upper_end(
    ambient: float, declared: list[float] | None, outcome: Outcome
) -> None:
    found = run(COOL._replace(ambient_c=ambient))
    assert judge(found, over_range=True, ambient_c=declared).outcome is outcome
    facts = without(found, lambda one: one.scope == "ambient")
    unseen = thermal.judge(case_of(over_range=True, ambient_c=declared), answered(facts), [])
    assert unseen.outcome is Outcome.UNMEASURED


def _plan(aspect: str, **declared: Any) -> list[Planned]:
    loaded, _ = prepare("reference-cpu")
    context = Context(loaded, target_of(loaded)._replace(has_telemetry=True), lambda: None, level="smoke")
    context.thermal = Thermal(**declared).model_dump() if declared else None
    return list(thermal.plan(Requested("THM-002", "SHOULD", {"aspect": aspect, "set": "all"}, "asked"), context))


def test_one_soak_serves_both_requirements_where_a_throttle_temperature_is_declared() -> None:
    (soak,), (throttle,) = (_plan(one, max_c=90.0, throttle_c=85.0, ambient_c=(0, 45)) for one in ("soak", "throttle"))
    assert soak.case == throttle.case
    assert soak.case.id == "thermal/encoder/soak"
    assert soak.case.params["ambient_c"] == [0.0, 45.0]
    assert sum(seconds for _, seconds in soak.case.params["schedule"]) <= 9.0
    (undeclared,) = _plan("throttle", max_c=90.0)
    judged = thermal.judge(undeclared.case, Seen(Observation(), []), [])
    assert judged.outcome is Outcome.UNMEASURED
    assert "thermal.throttle_c" in judged.remedy
    (ranged,) = _plan("range", max_c=90.0)
    assert ranged.case.params["over_range"] is True
