"""The check of power: honest devices pass, devices over their limits fail, and each lying meter is named and never passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from conformance.checks import power
from conformance.checks.support.port import Planned, Requested
from conformance.metering.simulated import LIES, Device, Meter, Simulated, simulate
from conformance.metering.trace import Descriptor, Quantity, Reading
from conformance.observation import InferenceSeen, Observation, Seen, SessionSeen
from conformance.plan import Context
from conformance.prepare import prepare, target_of
from conformance.profile.budgets import EnergyPerInference, Power, PowerState
from conformance.records import Case, Judgement, Outcome, Witness
from conformance.tensors import to_ref
from conformance.workload import NamedValue

HERE = (Witness(source="assignment", nodes={"CPUExecutionProvider": 3}),)
DECLARED = {"idle_w": 25.0, "typical_w": 70.0, "max_w": 75.0}
HONEST = Meter()


def answered(facts: dict[str, Any], provider: str = "CPUExecutionProvider", **changes: Any) -> Seen:
    """Return what a judge gets of a run whose answers under load are those of its accuracy run."""
    values = [[("y", np.full((2, 3), at, dtype=np.float32))] for at in range(16)]
    made = [InferenceSeen(outputs=[NamedValue(n, to_ref(v)) for n, v in one]) for one in values]
    witnesses = (Witness(source="assignment", nodes={provider: 3}),)
    accuracy = SessionSeen(mode="strict", inferences=made, witnesses=witnesses)
    timed = SessionSeen(mode="strict", inferences=made[:8], witnesses=witnesses)
    observation = Observation(
        sessions=[accuracy, timed], has_witness=True, facts={"answered": list(range(8))} | facts, **changes
    )
    return Seen(observation, [values, values[:8]])


def case_of(**params: Any) -> Case:
    given = {
        "kind": "load",
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
        "scope": "board",
        "limits_w": [70.0, 75.0],
        "tdp_w": None,
    }
    return Case(
        id="power/encoder/load", check="power", requirements=("PWR-001",), why="", params=given | DECLARED | params
    )


def judge(found: Simulated, **params: Any) -> Judgement:
    return power.judge(case_of(**params), answered(found.facts), [])


def changed(found: Simulated, change: Callable[[Descriptor], Descriptor | None]) -> dict[str, Any]:
    """Return the facts with channels changed or taken out."""
    kept = [new for one in found.trace.descriptors if (new := change(one)) is not None]
    names = {one.channel for one in kept}
    readings = [one for one in found.trace.readings if one.channel in names]
    trace = msgspec.structs.replace(found.trace, descriptors=kept, readings=readings)
    return found.facts | {"telemetry": msgspec.to_builtins(trace)}


def only(*channels: str) -> Callable[[Descriptor], Descriptor | None]:
    return lambda one: one if one.channel in channels else None


def named_values(judged: Judgement) -> dict[str, Any]:
    return {one.name: one.value for one in judged.measurements}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("meter", [HONEST, Meter(offset_s=0.5, window_s=0.3), Meter(wraps_at=137.0), Meter(gain=0.997)])
def test_an_honest_device_passes_with_every_quantity_and_its_uncertainty(seed: int, meter: Meter) -> None:
    found = simulate(meter=meter, seed=seed)
    judged = judge(found, tdp_w=72.0)
    assert (judged.outcome, judged.reason) == (Outcome.PASS, "")
    values = named_values(judged)
    assert values["typical_w"] == pytest.approx(found.mean_w, abs=values["typical_w_uncertainty"])
    assert values["idle_w"] == pytest.approx(found.idle_w, abs=values["idle_w_uncertainty"] + 0.4)
    assert values["max_w"] == pytest.approx(found.largest_w, abs=values["max_w_uncertainty"] + 0.5)
    assert "load step" in judged.context
    assert "too short to certify" in judged.context
    parts = next(one.unit for one in judged.measurements if one.name == "max_w_uncertainty")
    assert all(word in parts for word in ("k = 2", "meter", "resolution", "sampling", "statistical"))


@pytest.mark.parametrize(
    ("limit", "value", "word"),
    [("idle_w", 15.0, "idle_w"), ("typical_w", 50.0, "typical_w"), ("max_w", 55.0, "max_w"), ("tdp_w", 50.0, "tdp_w")],
)
def test_a_device_over_a_limit_fails_by_its_name(limit: str, value: float, word: str) -> None:
    judged = judge(simulate(), **{limit: value})
    assert judged.outcome is Outcome.FAIL
    assert word in judged.reason
    assert f"limit {value:g} W" in judged.reason
    failed = next(one for one in judged.measurements if one.name == limit)
    assert failed.met is False
    assert failed.margin is not None
    assert failed.margin > 1


def test_a_limit_within_the_uncertainty_is_undecided_and_says_what_would_settle_it() -> None:
    judged = judge(simulate(meter=Meter(relative=0.2)), typical_w=61.0)
    assert judged.outcome is Outcome.INCONCLUSIVE
    assert "within the uncertainty" in judged.reason
    assert "higher accuracy" in judged.remedy


@pytest.mark.parametrize("name", ["idle_w", "typical_w", "max_w"])
def test_what_is_not_declared_keeps_the_requirement_open(name: str) -> None:
    judged = judge(simulate(), **{name: None})
    assert judged.outcome is Outcome.UNMEASURED
    assert judged.remedy == f"declare power.{name} in the profile"
    assert name in named_values(judged)


POWER_LIES = [one for one in LIES if one not in ("stuck thermometer", "counter set back")]
NAMES = {
    "milliwatts": "wrong unit",
    "kilowatts": "wrong unit",
    "averaged": "averaged over the burst",
    "zero": "sentinel",
    "minus one": "sentinel",
    "none": "no reading",
    "nan": "not a number",
    "freezes": "frozen",
    "constant power": "frozen",
    "clock step": "clock jumps",
    "gap": "sampling gap",
}


@pytest.mark.parametrize("lie", POWER_LIES)
@pytest.mark.parametrize("seed", range(3))
def test_every_lying_meter_is_named_and_never_passes(lie: str, seed: int) -> None:
    found = simulate(meter=Meter(lie=lie), seed=seed)
    judged = power.judge(case_of(), answered(changed(found, only("meter/power"))), [])
    assert judged.outcome in (Outcome.UNMEASURED, Outcome.INCONCLUSIVE)
    assert NAMES.get(lie, lie) in judged.reason
    assert judged.remedy


def test_constant_power_of_a_coarse_meter_is_called_so() -> None:
    found = simulate(meter=Meter(lie="constant power", resolution_w=1.0))
    facts = changed(found, lambda one: None if one.quantity is not Quantity.POWER else one)
    trace = msgspec.convert(facts["telemetry"], type(found.trace))
    draw = np.random.default_rng(4)
    readings = [Reading(one.channel, one.at_ns, 0, float(45 + (draw.random() < 0.02))) for one in trace.readings]
    facts["telemetry"] = msgspec.to_builtins(msgspec.structs.replace(trace, readings=readings))
    judged = power.judge(case_of(), answered(facts), [])
    assert judged.outcome is Outcome.UNMEASURED
    assert "constant power" in judged.reason


def test_a_counter_that_is_set_back_is_named_and_a_good_meter_beside_it_still_counts() -> None:
    found = simulate(meter=Meter(lie="counter set back"))
    alone = power.judge(case_of(), answered(changed(found, only("meter/energy"))), [])
    assert alone.outcome is Outcome.UNMEASURED
    assert "counter goes back" in alone.reason
    both = judge(found)
    assert both.outcome is Outcome.PASS
    assert "counter goes back" in both.context


def test_an_energy_counter_alone_serves() -> None:
    found = simulate(meter=Meter(wraps_at=137.0))
    judged = power.judge(case_of(), answered(changed(found, only("meter/energy"))), [])
    assert judged.outcome is Outcome.PASS
    assert named_values(judged)["typical_w"] == pytest.approx(found.mean_w, abs=0.7)


def test_a_meter_of_the_chip_alone_cannot_pass_a_board_and_one_at_the_wall_cannot_fail_it() -> None:
    found = simulate()
    chip = changed(found, lambda one: msgspec.structs.replace(one, scope="chip"))
    wall = changed(found, lambda one: msgspec.structs.replace(one, scope="wall"))
    low = power.judge(case_of(), answered(chip), [])
    assert low.outcome is Outcome.INCONCLUSIVE
    assert "measures the chip alone" in low.reason
    assert power.judge(case_of(max_w=50.0, typical_w=45.0), answered(chip), []).outcome is Outcome.FAIL
    assert power.judge(case_of(), answered(wall), []).outcome is Outcome.PASS
    high = power.judge(case_of(max_w=50.0, typical_w=45.0), answered(wall), [])
    assert high.outcome is Outcome.INCONCLUSIVE
    assert "others' power included" in high.reason


def test_a_slow_average_shows_no_maximum() -> None:
    long = tuple(
        (name, 4 * seconds)
        for name, seconds in (("idle", 3.0), ("step", 1.6), ("gap", 1.4), ("step", 1.8), ("gap", 1.5))
    )
    rest = (("ranging", 2.0), ("soak", 8.0), ("measured", 14.0), ("cool-down", 8.0))
    found = simulate(meter=Meter(window_s=1.5), schedule=(*long, *rest))
    judged = power.judge(case_of(), answered(changed(found, only("meter/power"))), [])
    assert judged.outcome is Outcome.INCONCLUSIVE
    assert "cannot show a maximum" in judged.reason
    assert next(one for one in judged.measurements if one.name == "typical_w").met is True
    over = power.judge(case_of(max_w=50.0), answered(changed(found, only("meter/power"))), [])
    assert over.outcome is Outcome.FAIL  # an average over the limit is a maximum over it


def test_no_meter_and_dead_meters_are_unmeasured_with_the_remedy() -> None:
    nothing = power.judge(case_of(schedule=[]), Seen(Observation(), []), [])
    assert nothing.outcome is Outcome.UNMEASURED
    assert "`telemetry:`" in nothing.remedy
    forged = power.judge(case_of(schedule=[]), answered(simulate().facts), [])
    assert forged.outcome is Outcome.UNMEASURED
    told = "package-0 may be read by root alone: sudo chmod a+r /sys/class/powercap/intel-rapl:0/energy_uj"
    dead = {"telemetry": {"failures": [told]}, "phases": simulate().facts["phases"]}
    judged = power.judge(case_of(), answered(dead), [])
    assert judged.outcome is Outcome.UNMEASURED
    assert judged.reason == told
    assert judged.remedy.startswith("sudo chmod a+r /sys")
    cool = changed(simulate(), only("meter/temperature"))
    assert "no meter shows the power" in power.judge(case_of(), answered(cool), []).reason


def test_wrong_answers_under_load_and_a_wrong_place_come_first() -> None:
    found = simulate()
    seen = answered(found.facts)
    seen.values[1][3] = [("y", np.full((2, 3), 77, dtype=np.float32))]
    judged = power.judge(case_of(), seen, [])
    assert judged.outcome is Outcome.FAIL
    assert "not those of the accuracy run" in judged.reason
    elsewhere = power.judge(case_of(), answered(found.facts, provider="OtherProvider"), [])
    assert elsewhere.outcome is Outcome.FAIL


def test_phases_that_a_child_made_up_are_an_error_and_phases_of_another_hour_unmeasured() -> None:
    found = simulate()
    assert power.judge(case_of(), answered(found.facts | {"phases": [["idle", 5, 1, 0]]}), []).outcome is Outcome.ERROR
    hour = 3_600_000_000_000
    moved = [[name, begin + hour, end + hour, count] for name, begin, end, count in found.facts["phases"]]
    judged = power.judge(case_of(), answered(found.facts | {"phases": moved}), [])
    assert judged.outcome is Outcome.UNMEASURED
    assert "clocks apart" in judged.reason


@pytest.mark.parametrize(("factor", "outcome"), [(1.3, Outcome.PASS), (0.7, Outcome.FAIL), (1.0, Outcome.INCONCLUSIVE)])
@pytest.mark.parametrize("channel", ["meter/power", "meter/energy"])
def test_the_energy_of_one_inference_is_judged_with_its_interval(channel: str, factor: float, outcome: Outcome) -> None:
    found = simulate(meter=Meter(wraps_at=137.0))
    case = case_of(kind="energy", energy_mj=factor * found.millijoules)
    judged = power.judge(case, answered(changed(found, only(channel))), [])
    assert judged.outcome is outcome
    value = named_values(judged)
    assert value["energy_per_inference_mj"] == pytest.approx(
        found.millijoules, abs=value["energy_per_inference_mj_uncertainty"]
    )
    assert "energy of one inference" in judged.context


def test_a_power_state_is_not_measured_and_says_so() -> None:
    judged = power.judge(case_of(kind="states", name="eco", cap_w=30.0), Seen(Observation(), []), [])
    assert judged.outcome is Outcome.UNMEASURED
    assert "'eco'" in judged.reason


def _plan(aspect: str, has_telemetry: bool, **declared: Any) -> list[Planned]:
    loaded, _ = prepare("reference-cpu")
    context = Context(loaded, target_of(loaded)._replace(has_telemetry=has_telemetry), lambda: None, level="smoke")
    context.power = Power(**declared).model_dump() if declared else None
    return list(power.plan(Requested("PWR-001", "MUST", {"aspect": aspect, "set": "all"}, "asked"), context))


def test_the_plan_has_one_load_and_what_is_declared() -> None:
    (load,) = _plan("load", True, max_w=75.0)
    assert load.case.id == "power/encoder/load"
    assert load.case.timed
    assert load.case.telemetry
    assert load.case.is_alone
    assert load.case.smoke
    assert load.inputs is not None
    assert load.case.params["max_w"] == 75.0
    assert sum(seconds for _, seconds in load.case.params["schedule"]) < 12.0
    (silent,) = _plan("load", False)
    assert silent.case.params["schedule"] == []
    assert silent.inputs is None
    items = (
        EnergyPerInference(model="mobile-cnn", energy_mj=3.0),
        EnergyPerInference(model="nobody", batch=2, energy_mj=3.0),
    )
    known, unknown = _plan("energy", True, energy_per_inference=items)
    assert known.case.id == "power/mobile-cnn/energy"
    assert unknown.case.id == "power/nobody/energy-batch2"
    judged = power.judge(unknown.case, Seen(Observation(), []), [])
    assert judged.outcome is Outcome.UNMEASURED
    assert "no reference model 'nobody'" in judged.reason
    (state,) = _plan("states", True, states=(PowerState(name="Eco Mode", cap_w=30.0),))
    assert state.case.id == "power/states/eco-mode"
    assert _plan("energy", True) == _plan("states", True) == []


def test_the_whole_of_an_observation_survives_the_wire() -> None:
    found = simulate(Device(), Meter(lie="none"))
    observation = answered(found.facts).observation
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(observation), type=Observation)
    judged = power.judge(case_of(), Seen(again, answered(found.facts).values), [])
    assert judged.outcome in (Outcome.PASS, Outcome.UNMEASURED)


def test_nothing_judged_is_no_pass() -> None:
    from conformance.checks.support.metered import worst_of
    from conformance.records import Judgement

    assert worst_of([]).outcome is Outcome.ERROR
    assert worst_of([Judgement(outcome=Outcome.PASS), Judgement(outcome=Outcome.CRASH)]).outcome is Outcome.ERROR
    assert worst_of([Judgement(outcome=Outcome.PASS)]).outcome is Outcome.PASS
