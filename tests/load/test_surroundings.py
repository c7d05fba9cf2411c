"""What is written down of the host: read from the kernel's files, left out where it is not there, never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.load import surroundings


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder tree laid out like the kernel's."""
    for name, folder in (("CGROUP", "cgroup"), ("PROC", "proc"), ("CPU", "cpu")):
        monkeypatch.setattr(surroundings, name, tmp_path / folder)
    monkeypatch.setattr(surroundings, "CLOCK", tmp_path / "clock")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_governor_smt_clock_and_the_limits_of_the_own_cgroup_are_told(host: Path) -> None:
    write(host / "proc/self/cgroup", "0::/system.slice/run.scope\n")
    write(host / "cgroup/system.slice/run.scope/cpu.max", "150000 100000\n")
    write(host / "cgroup/system.slice/cpuset.cpus.effective", "0-3\n")
    write(host / "cpu/smt/control", "on\n")
    write(host / "clock", "tsc\n")
    for cpu in range(256):
        write(host / f"cpu/cpu{cpu}/cpufreq/scaling_governor", "powersave\n")
    found = surroundings.describe()
    assert found["cgroup_cpu_max"] == "150000 100000"
    assert found["cgroup_cpuset"] == "0-3"  # of the nearest group above that has the file
    assert (found["governor"], found["smt"], found["clock_source"]) == ("powersave", "on", "tsc")
    assert found["clock"] == "CLOCK_MONOTONIC"


def test_what_cannot_be_read_is_left_out(host: Path) -> None:
    found = surroundings.describe()
    assert not {"governor", "smt", "clock_source", "cgroup_cpu_max"} & set(found)
    assert {"affinity", "load_average", "scheduler"} <= set(found)
    assert all(found.values())


def test_counters_tell_throttling_and_stolen_time(host: Path) -> None:
    write(host / "proc/self/cgroup", "0::/run\n")
    write(host / "proc/stat", "cpu 1 2 3 4 5 6 7 42 0 0\n")
    write(host / "cgroup/run/cpu.stat", "usage_usec 5\nnr_throttled 3\nthrottled_usec 900\n")
    before = surroundings.counters()
    write(host / "cgroup/run/cpu.stat", "usage_usec 5\nnr_throttled 5\nthrottled_usec 1900\n")
    grown = surroundings.changes(before, surroundings.counters())
    assert (grown["cgroup_nr_throttled"], grown["cgroup_throttled_usec"], grown["stolen_ticks"]) == (2, 1000, 0)


def test_a_step_of_the_wall_clock_shows() -> None:
    before = {"monotonic_ns": 10, "realtime_ns": 1000, "voluntary_switches": 1}
    after = {"monotonic_ns": 60, "realtime_ns": 1050 + 3600 * 10**9, "voluntary_switches": 4}
    assert surroundings.changes(before, after) == {
        "voluntary_switches": 3,
        "elapsed_ns": 50,
        "clock_step_ns": 3600 * 10**9,
    }


def test_numbers_are_told_as_ranges() -> None:
    assert surroundings._ranges([0, 1, 2, 8, 10, 11]) == "0-2,8,10-11"
    assert surroundings._ranges([]) == ""
