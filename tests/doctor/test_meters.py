"""Meters of a bench file, opened through their real sources: sysfs trees stand for the host's own."""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path

import pytest
import yaml

from conformance.doctor import meters
from conformance.doctor.port import Finding, Host, State
from conformance.doctor.support.subject import Subject
from conformance.errors import UsageError
from conformance.execution.sampling import read_meters
from conformance.metering.trace import Descriptor, Quantity, Reading, Trace
from conformance.paths import data_folder
from tests.doctor.conftest import Tree

ZONE = "sys/class/powercap/intel-rapl:0"
RAPL = {f"{ZONE}/name": "package-0", f"{ZONE}/energy_uj": "123000000", f"{ZONE}/max_energy_range_uj": "262143328850"}
CARD = "sys/bus/pci/devices/0000:3b:00.0"


def bench(tmp_path: Path, *entries: str, profile: str | None = "cuda", more: str = "") -> Subject:
    lines = "".join(f"    - {entry}\n" for entry in entries)
    head = f"bench:{more}\n  telemetry:\n{lines}" if entries else f"bench: {{{more}}}\n"
    (tmp_path / "lab.yaml").write_text(f"conformance: 1\n{head}")
    return Subject.load(profile, str(tmp_path / "lab.yaml"))


def by_name(findings: object) -> dict[str, Finding]:
    return {one.name: one for one in findings}  # type: ignore[attr-defined]


def test_a_meter_that_answers_is_fine_and_one_that_is_not_there_is_missing(tree: Tree, tmp_path: Path) -> None:
    host = tree(RAPL)
    good = f"{{source: powercap, name: cpu, options: {{root: '{host.path('sys')}'}}, period_ms: 10}}"
    bad = f"{{source: powercap, name: other, options: {{root: '{tmp_path}'}}, period_ms: 10}}"
    found = by_name(meters.examine(host, bench(tmp_path, good, bad)))
    assert (found["cpu"].state, found["cpu"].needed_by) == (State.OK, ("power",))
    assert "123 J" in found["cpu"].found
    assert found["other"].state is State.MISSING
    assert found["other"].remedy
    assert found["temperature"].state is State.MISSING
    assert "power" not in found


def test_a_bench_file_with_wrong_options_is_a_usage_error(tree: Tree, tmp_path: Path) -> None:
    subject = bench(tmp_path, "{source: powercap, options: {zone: x}}")
    with pytest.raises(UsageError, match=r"bench\.telemetry: powercap"):
        list(meters.examine(tree(), subject))


def test_what_no_meter_gives_is_told_with_the_line_that_would(tree: Tree, tmp_path: Path) -> None:
    host = tree({f"{CARD}/vendor": "0x10de", f"{CARD}/class": "0x030200"})
    found = by_name(meters.examine(host, Subject.load("cuda")))
    assert [(one.name, one.state, one.needed_by) for one in found.values()] == [
        ("power", State.MISSING, ("power",)),
        ("temperature", State.MISSING, ("thermal",)),
        ("ambient", State.LIMITS, ("thermal",)),
    ]
    written = yaml.safe_load(found["power"].remedy.partition(": ")[2])
    (entry,) = written["bench"]["telemetry"]
    assert entry == {"source": "nvml", "options": {"pci": "0000:3b:00.0"}}
    assert read_meters([entry], tmp_path)[0].source == "nvml"


def test_suggestions_are_of_sources_that_exist_with_options_that_they_take(tree: Tree, tmp_path: Path) -> None:
    other = tmp_path / "radeon.yaml"
    text = (data_folder("profiles") / "devices" / "cuda.yaml").read_text(encoding="utf-8")
    other.write_text(text.replace("NVIDIA", "AMD").replace("CUDAExec", "MIGraphXExec"))
    host = tree(RAPL)
    for profile in ("reference-cpu", "cuda", str(other)):
        entry = yaml.safe_load(meters.suggest(host, Subject.load(profile)))
        assert read_meters([entry], tmp_path)[0].source == entry["source"]
    assert meters.suggest(host, Subject.load("qnn-htp")) == ""
    found = by_name(meters.examine(host, Subject.load("qnn-htp")))
    assert found["power"].remedy.endswith("sources are hwmon, nvml, powercap, redfish, replay, scpi")


def test_devices_whose_category_asks_for_neither_need_no_meter(tree: Tree, tmp_path: Path) -> None:
    subject = bench(tmp_path, profile="misbehaving")
    asked = {one.area for one in subject.asked}
    assert asked & set(meters.SHOWS) or list(meters.examine(tree(), subject)) == []
    assert list(meters.examine(tree(), Subject())) == []


def test_an_ambient_that_is_written_down_is_enough(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text("conformance: 1\nbench: {ambient_c: 23.5}\n")
    subject = Subject.load("cuda", str(tmp_path / "lab.yaml"))
    assert "ambient" not in by_name(meters.examine(tree(), subject))


def told(trace: Trace) -> dict[State, Finding]:
    given = [{"source": "powercap", "name": "m", "options": {}}]
    found = meters.tell_meters(read_meters(given, Path()), trace, date(2026, 6, 1))
    return {one.state: one for one in found}


def power(**more: str) -> Descriptor:
    return Descriptor(channel="m/p", quantity=Quantity.POWER, scope="board", kind="instantaneous", **more)  # type: ignore[arg-type]


def test_a_channel_without_a_reading_limits() -> None:
    now = time.monotonic_ns()
    trace = Trace(descriptors=[power()], readings=[Reading("m/p", now, 5, None, "the driver reports a fault")])
    assert told(trace)[State.LIMITS].found == "no reading of p: the driver reports a fault"
    assert told(Trace(descriptors=[power()]))[State.LIMITS].found == "no reading of p"


@pytest.mark.parametrize(("until", "states"), [("2026-05-31", {State.OK, State.WRONG}), ("2026-06-01", {State.OK})])
def test_a_calibration_counts_until_its_day(until: str, states: set[State]) -> None:
    trace = Trace(descriptors=[power(calibrated_until=until)], readings=[Reading("m/p", 1, 5, 12.5)])
    assert set(told(trace)) == states
    assert told(trace)[State.OK].found == "p 12.5 W"


@pytest.mark.parametrize(
    ("failure", "parts"),
    [
        ("no package (x): pip install 'y[z]'", ("no package (x)", "pip install 'y[z]'")),
        ("it failed with Error: bad: see its log", ("it failed with Error: bad", "see its log")),
        ("too often: read it less often: period_ms", ("too often", "read it less often: period_ms")),
        ("nothing", ("nothing", "")),
    ],
)
def test_reason_and_remedy_of_a_failure(failure: str, parts: tuple[str, str]) -> None:
    assert meters.split(failure) == parts


def test_a_source_that_hangs_costs_a_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suite_cache: Path
) -> None:
    """A fifo in the place of a counter makes whoever opens it wait for ever."""
    import os

    monkeypatch.setattr(meters, "LIMITS", meters.Limits(open_s=1.5, read_s=1.0, close_s=0.5))
    root = Host(root=tmp_path / "root").path("sys/class/powercap/intel-rapl:0")
    root.mkdir(parents=True)
    os.mkfifo(root / "energy_uj")
    (root / "name").write_text("package-0\n")
    entry = f"{{source: powercap, options: {{root: '{tmp_path / 'root' / 'sys'}'}}}}"
    found = by_name(meters.examine(Host(root=tmp_path), bench(tmp_path, entry)))
    assert found["powercap"].state in (State.MISSING, State.LIMITS)
