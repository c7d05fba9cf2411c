"""A recording plays at the pace at which it was recorded, with its gaps and steps, and says that it is a replay."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from adapters.telemetry.given import opened, source, values
from adapters.telemetry.made_traces import MADE, POWER, synthetic_nvml

from conformance.adapters.telemetry import replay
from conformance.adapters.telemetry.port import TelemetrySource, TelemetryUnavailable
from conformance.errors import UsageError
from conformance.metering.recording import write_recording
from conformance.metering.trace import Quantity, Reading, Trace

SMI = """\
timestamp, uuid, power.draw.instant [W], power.draw [W], temperature.gpu, clocks_event_reasons.active, utilization.gpu [%], pstate
2026/11/24 20:40:40.000, GPU-1, 61.72 W, 60.10 W, 41, 0x0000000000000001, 30 %, P0
2026/11/24 20:40:40.100, GPU-1, [N/A], 60.20 W, 41, 0x0000000000000064, 31 %, P0
2026/11/24 20:40:40.250, GPU-1, 62.00 W, 60.30 W, [Not Supported], 0x0000000000000000, 31 %, P0
2026/11/24 20:40:40.3
"""
LAB = {"uncertainty_percent": 5.0, "uncertainty_c": 5.0, "calibration": "data sheet"}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A clock that a test moves, in nanoseconds."""
    now = [7_000_000_000]
    monkeypatch.setattr(replay.time, "monotonic_ns", lambda: now[0])
    return now


def written(path: Path, trace: Trace) -> str:
    path.write_bytes(write_recording(trace, MADE))
    return str(path)


def all_of(meter: TelemetrySource) -> list[Reading]:
    """Read until the recording is over."""
    readings: list[Reading] = []
    try:
        while True:
            readings += meter.read()
    except TelemetryUnavailable as error:
        assert "has come to its end: play a longer one" in str(error)
    return readings


def test_what_was_recorded_comes_out_when_it_is_due(tmp_path: Path, clock: list[int]) -> None:
    trace = synthetic_nvml(7, phase_s=0.4)
    meter, found = opened("replay", path=written(tmp_path / "t.jsonl", trace))
    assert found[f"m/{POWER}"].bound_to == f"replay of t.jsonl ({MADE}): GPU-synthetic"
    first = trace.readings[0].at_ns
    heard: list[Reading] = []
    for _ in range(4):
        heard += meter.read()
        clock[0] += 100_000_000
    assert 9 <= len(heard) <= 12  # four instants of three channels, each up to 0.2 ms late
    clock[0] += 10_000_000_000
    heard += all_of(meter)
    assert [(one.channel, one.at_ns - 7_000_000_000, one.value) for one in heard] == [
        (f"m/{one.channel}", one.at_ns - first, one.value) for one in trace.readings
    ]


def test_gaps_repeats_and_a_clock_that_steps_back_are_played_as_they_are(tmp_path: Path, clock: list[int]) -> None:
    made = synthetic_nvml(7, phase_s=0.1)
    hour = 3_600_000_000_000
    readings = [Reading(POWER, at, 1, 60.0) for at in (hour, hour + 10**8, hour + 3 * 10**9, 10**8, 2 * 10**8)]
    readings.append(Reading(POWER, 3 * 10**8, 1, None, "Timeout"))
    meter, _ = opened("replay", path=written(tmp_path / "t.jsonl", msgspec.structs.replace(made, readings=readings)))
    assert len(meter.read()) == 1
    clock[0] += 2 * 10**9
    assert len(meter.read()) == 1
    assert meter.read() == []
    clock[0] += 2 * 10**9
    late = all_of(meter)
    assert [one.at_ns - 7 * 10**9 for one in late] == [3 * 10**9, 10**8 - hour, 2 * 10**8 - hour, 3 * 10**8 - hour]
    assert (late[-1].value, late[-1].note) == (None, "Timeout")


def test_nvidia_smis_csv_is_known(tmp_path: Path, clock: list[int]) -> None:
    (tmp_path / "smi.csv").write_text(SMI)
    meter, found = opened("replay", path=str(tmp_path / "smi.csv"), lab=LAB)
    assert {name: (one.quantity, one.kind, one.bound_to) for name, one in found.items()} == {
        f"m/{name}": (quantity, kind, "replay of smi.csv (CSV): GPU-1")
        for name, quantity, kind in (
            ("power.draw.instant", Quantity.POWER, "instantaneous"),
            ("power.draw", Quantity.POWER, "averaged"),
            ("temperature.gpu", Quantity.TEMPERATURE, "instantaneous"),
            ("clocks_event_reasons.active", Quantity.THROTTLE, "instantaneous"),
            ("utilization.gpu", Quantity.UTILISATION, "averaged"),
        )
    }
    assert values(meter) == pytest.approx(
        {"m/power.draw.instant": 61.72, "m/power.draw": 60.1, "m/temperature.gpu": 41.0, "m/clocks_event_reasons.active": 0.0, "m/utilization.gpu": 0.3}
    )  # fmt: skip
    clock[0] += 10**9
    rest = all_of(meter)
    assert rest[0] == Reading("m/power.draw.instant", 7_100_000_000, 0, None, "the recording says '[N/A]'")
    assert (rest[3].value, rest[3].note) == (
        100.0,
        "software power cap, software thermal slowdown, hardware thermal slowdown",
    )
    assert rest[7].note == "the recording says '[Not Supported]'"
    assert rest[-1].at_ns == 7_250_000_000


def test_a_csv_file_has_no_uncertainty_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "smi.csv").write_text(SMI)
    with pytest.raises(TelemetryUnavailable, match="nobody states the uncertainty of m/power.draw.instant"):
        source("replay", path=str(tmp_path / "smi.csv")).open()


def test_other_csv_files_are_explained_by_the_bench_file(tmp_path: Path, clock: list[int]) -> None:
    (tmp_path / "wt310.csv").write_text("time_s,P mW,ignored\n0.0,61500,1\n0.5,,1\n")
    column = {
        "column": "P mW",
        "quantity": "power_w",
        "kind": "averaged",
        "scope": "wall",
        "factor": 0.001,
        "window_ms": 250,
    }
    meter, found = opened("replay", path=str(tmp_path / "wt310.csv"), columns=[column], lab=LAB)
    assert (found["m/P mW"].scope, found["m/P mW"].window_ms) == ("wall", 250)
    clock[0] += 10**9
    assert [(one.at_ns, one.value) for one in all_of(meter)] == [(7 * 10**9, 61.5), (7_500_000_000, None)]


def test_rows_of_several_gpus_are_told_apart(tmp_path: Path, clock: list[int]) -> None:
    path = tmp_path / "two.csv"
    path.write_text(
        "timestamp, uuid, temperature.gpu\n2026/11/24 20:40:40.000, GPU-1, 41\n2026/11/24 20:40:40.001, GPU-2, 77\n"
    )
    with pytest.raises(TelemetryUnavailable, match="the rows are of 2 GPUs: name one by unit: GPU-1, GPU-2"):
        source("replay", path=str(path), lab=LAB).open()
    assert values(opened("replay", path=str(path), unit="GPU-2", lab=LAB)[0]) == {"m/temperature.gpu": 77.0}
    with pytest.raises(TelemetryUnavailable, match="no row is of GPU-3"):
        source("replay", path=str(path), unit="GPU-3", lab=LAB).open()


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("t.jsonl", "not json\n", "t.jsonl is no recording: line 1 is no head"),
        ("t.csv", "", "a column at_ns, time_s or timestamp is wanted"),
        ("t.csv", "time_s, colour\n0, red\n", "one at least whose meaning is known"),
        ("t.csv", "timestamp, temperature.gpu\nyesterday, 41\n", "row 2: 'yesterday' is no time"),
        ("t.csv", "timestamp, temperature.gpu\n", "holds no reading: record one"),
    ],
)
def test_what_is_no_recording_is_unavailable(tmp_path: Path, name: str, text: str, why: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(TelemetryUnavailable, match=why):
        source("replay", path=str(tmp_path / name), lab=LAB).open()


def test_a_recording_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TelemetryUnavailable, match=r"cannot be read \(No such file or directory\)"):
        source("replay", path=str(tmp_path / "none.jsonl")).open()
    with pytest.raises(UsageError, match="missing required field `path`"):
        source("replay")
