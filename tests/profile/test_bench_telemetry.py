"""The bench file's meters: typed, each with a name of its own, an uncertainty with somebody's word behind it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.errors import ProfileError
from conformance.execution.sampling import read_meters
from conformance.profile.loader import load_bench

FULL = """\
conformance: 1
bench:
  telemetry:
    - {source: nvml, options: {uuid: GPU-1}}
    - source: scpi
      name: wall
      scope: wall
      bound_to: outlet 3
      period_ms: 200
      uncertainty_percent: 0.3
      uncertainty_w: 0.02
      coverage_factor: 2
      calibration: DKD 2026-0815
      calibrated_until: 2027-05-31
      options:
        resource: TCPIP0::192.0.2.7::5025::SOCKET
        identification: YOKOGAWA,WT310E
        channels:
          - {name: power, quantity: power_w, query: ":NUM:VAL? 1", kind: averaged, window_ms: 100}
"""


def bench(*meters: str) -> str:
    lines = "\n".join(f"    - {{{one}}}" for one in meters)
    return f"conformance: 1\nbench:\n  telemetry:\n{lines}\n"


def test_meters_are_handed_on_as_the_sampling_takes_them(write: Callable[..., str]) -> None:
    given = load_bench(write(FULL, "bench.yaml")).bench.bench
    nvml, wall = read_meters([one.plain() for one in given.telemetry], Path())
    assert (nvml.source, nvml.given.name, nvml.period_ms, nvml.options) == ("nvml", "nvml", 100.0, {"uuid": "GPU-1"})
    assert (wall.given.name, wall.period_ms, wall.given.scope, wall.given.bound_to) == (
        "wall",
        200.0,
        "wall",
        "outlet 3",
    )
    assert (wall.given.uncertainty_percent, wall.given.uncertainty_w, wall.given.coverage_factor) == (0.3, 0.02, 2.0)
    assert (wall.given.calibration, wall.given.calibrated_until) == ("DKD 2026-0815", "2027-05-31")
    assert wall.options["channels"][0]["window_ms"] == 100


def test_the_stamp_of_a_run_names_the_meters_and_nothing_of_their_options(write: Callable[..., str]) -> None:
    settings = load_bench(write(FULL, "bench.yaml")).bench.bench.settings()
    assert settings["telemetry"] == "nvml (nvml), wall (scpi)"
    assert "telemetry" not in load_bench(write("conformance: 1\nbench: {lab: L}\n", "b.yaml")).bench.bench.settings()


@pytest.mark.parametrize(
    ("meters", "why"),
    [
        (
            ["source: nvml", "source: nvml"],
            "bench.yaml:5:16: two meters are called 'nvml': give each a name of its own",
        ),
        (["source: nvml, name: a", "source: scpi, name: a"], "bench.yaml:5:28: two meters are called 'a'"),
        (["name: a"], "'source' is missing"),
        (["source: nvml, uuid: GPU-1"], "unknown key 'uuid'"),
        (["source: nvml, uncertainty_percent: 1"], "uncertainty_percent without calibration: name the certificate"),
        (["source: nvml, uncertainty_c: 1"], "uncertainty_c without calibration"),
        (["source: nvml, coverage_factor: 2"], "coverage_factor without an uncertainty"),
        (["source: nvml, calibrated_until: 2027-01-01"], "calibrated_until without calibration"),
        (["source: nvml, calibration: c, calibrated_until: 2027-02-30"], "the date 2027-02-30 does not exist"),
        (["source: nvml, period_ms: 0"], "period_ms"),
        (["source: nvml, scope: rack"], "'rack'"),
        (["source: nvml, uncertainty_percent: 0, calibration: c"], "uncertainty_percent"),
        (["source: nvml, options: [1]"], "options"),
    ],
)
def test_what_is_wrong_with_a_meter_is_one_line(write: Callable[..., str], meters: list[str], why: str) -> None:
    with pytest.raises(ProfileError) as caught:
        load_bench(write(bench(*meters), "bench.yaml"))
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["nvml", "powercap", "hwmon"])
def test_sensors_of_this_host_say_nothing_about_a_device_on_another(write: Callable[..., str], source: str) -> None:
    text = f"conformance: 1\nbench:\n  transport: ssh\n  ssh: {{host: board}}\n  telemetry: [{{source: {source}}}]\n"
    with pytest.raises(ProfileError, match=f"{source} would measure this host, and the device is on another one"):
        load_bench(write(text, "b.yaml"))
    assert load_bench(write(text.replace(source, "redfish"), "b.yaml")).bench.bench.telemetry[0].source == "redfish"
