"""The child's half of a powered case: phases follow each other without overlap, every inference is counted, answers are kept."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import numpy as np
import pytest

from conformance.adapters.runtime.port import Mode, PlaceOutput, RuntimeFault, RuntimeSession
from conformance.checks.support.powering import measure_phases, schedule
from conformance.levels import CERTIFY, FULL, LEVELS, SMOKE
from conformance.metering.load_step import LEAST_READINGS
from conformance.metering.phases import read_phases, segments
from conformance.observation import Observation
from conformance.records import Case
from conformance.tensors import Value, to_ref
from conformance.timing.samples import unpack
from conformance.workload import ModelRef, NamedValue, Workload

SHORT = [
    ["idle", 0.04],
    ["step", 0.05],
    ["gap", 0.03],
    ["ranging", 0.02],
    ["soak", 0.03],
    ["measured", 0.08],
    ["cool-down", 0.03],
]


class Session(RuntimeSession):
    """Doubles its input."""

    asked: int = 0
    fails_after: int = 1 << 30
    scribbles: bool = False

    def _infer(self, feeds: dict[str, Value], place: PlaceOutput | None) -> Any:
        type(self).asked += 1
        if type(self).asked > self.fails_after:
            raise RuntimeFault("run", "Broken", "gone")
        value = feeds["x"]
        assert isinstance(value, np.ndarray)
        result = value * 2
        if self.scribbles:
            value += 1
        time.sleep(0.001)
        return [("y", result)]


def _case(phases: list[list[Any]]) -> Case:
    sets = [[NamedValue("x", to_ref(np.full(3, at, dtype=np.float32)))] for at in range(16)]
    return Case(
        id="power/x/load",
        check="power",
        requirements=(),
        why="",
        params={"schedule": phases},
        workload=Workload(model=ModelRef(data=b"m"), datasets=sets),
    )


def _measured(desk: Any, **changes: Any) -> tuple[Observation, Any]:
    made = type("Made", (Session,), {"asked": 0} | changes)
    device = desk({Mode.STRICT: made})
    observation = measure_phases(_case(SHORT), device)
    return msgspec.msgpack.decode(msgspec.msgpack.encode(observation), type=Observation), made


def test_phases_are_marked_and_every_inference_is_counted(desk: Any) -> None:
    seen, made = _measured(desk)
    phases, wrong = read_phases(seen.facts["phases"])
    assert not wrong
    assert [one.name for one in phases] == [name for name, _ in SHORT]
    assert all(one.seconds >= seconds for one, (_, seconds) in zip(phases, SHORT, strict=True))
    assert len(segments(phases)) == 5
    assert sum(one.inferences for one in phases) == made.asked - 1 - 16  # the first one, and the accuracy run
    samples = unpack(seen.kept["load.samples"])
    assert samples.size == sum(one.inferences for one in phases) - 8
    assert int(samples.issued_ns[0]) >= phases[1].begin_ns
    assert seen.facts["answered"] == list(range(8))
    accuracy, timed = seen.sessions
    assert [len(one.inferences) for one in (accuracy, timed)] == [16, 8]
    assert not any(one.inputs_changed for one in timed.inferences)


def test_nothing_is_run_where_no_meter_looks(desk: Any) -> None:
    device = desk({Mode.STRICT: Session})
    observation = measure_phases(_case([]), device)
    assert observation.sessions == []
    assert device.compiled == []


def test_a_device_that_fails_under_load_or_changes_its_inputs_is_written_down(desk: Any) -> None:
    failed, _ = _measured(desk, fails_after=30)
    assert failed.sessions[-1].inferences[0].fault is not None
    changed, _ = _measured(desk, scribbles=True)
    assert changed.sessions[-1].inferences[0].inputs_changed == ["x"]


def test_a_device_that_refuses_to_compile_is_written_down(desk: Any) -> None:
    device = desk({Mode.STRICT: RuntimeFault("compile", "No", "never")})
    observation = measure_phases(_case(SHORT), device)
    assert observation.sessions[0].fault is not None
    assert observation.facts == {}


@pytest.mark.parametrize("level", LEVELS)
def test_schedules_have_bursts_of_uneven_length_that_a_meter_at_ten_hertz_can_follow(level: str) -> None:
    phases = schedule("load", level)
    bursts = [seconds for name, seconds in phases if name in ("step", "gap")]
    assert min(bursts) > 0.1 * (LEAST_READINGS + 1)
    assert len({round(one, 6) for one in bursts if one}) >= 4
    assert phases[0][0] == "idle"
    assert phases[-1][0] == "cool-down"


def test_smoke_stays_below_twenty_seconds_and_certifying_lasts_ten_minutes() -> None:
    total = sum(seconds for kind in ("load", "soak") for _, seconds in schedule(kind, SMOKE))
    assert total <= 20.0
    assert dict(schedule("load", CERTIFY))["measured"] >= 600
    assert dict(schedule("energy", CERTIFY))["measured"] >= 600
    assert dict(schedule("soak", CERTIFY, 3000.0))["soak"] == 3000.0
    assert dict(schedule("soak", CERTIFY, 1e6))["soak"] == 7200.0
    assert dict(schedule("soak", FULL, 3000.0))["soak"] < 100
