"""Examinations of the host alone: each has a host that is fine and one that is not."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.doctor import busy, cgroup, clock, locales, permissions, processors, room
from conformance.doctor.port import EVERY, State
from conformance.doctor.support.families import FAMILIES
from conformance.doctor.support.subject import Subject
from tests.doctor.conftest import Tree

NVIDIA = FAMILIES[0]
AMD = FAMILIES[1]
RAPL = "sys/class/powercap/intel-rapl:0"


# -- permissions ------------------------------------------------------------------------------------------------------


def test_rapl_that_can_be_read_is_told_by_its_zones(tree: Tree) -> None:
    host = tree({f"{RAPL}/energy_uj": "12", f"{RAPL}/name": "package-0", f"{RAPL}:0/energy_uj": "3"})
    found = permissions.look_at_rapl(host, ("power",))
    assert (found.state, found.found) == (State.OK, "2 energy counters: package-0, intel-rapl:0:0")


def test_rapl_that_only_root_may_read_is_mended_by_one_command(tree: Tree, denied: Callable[[str], None]) -> None:
    denied("energy_uj")
    found = permissions.look_at_rapl(tree({f"{RAPL}/energy_uj": "12"}), ("power",))
    assert found.state is State.MISSING
    assert "intel-rapl:0/energy_uj: permission denied" in found.found
    assert found.remedy == "sudo chmod a+r /sys/class/powercap/*/energy_uj"


@pytest.mark.parametrize(
    ("cpuinfo", "remedy"),
    [("flags : fpu hypervisor lm", "a virtual machine shows none"), ("flags : fpu lm", "sudo modprobe intel_rapl_msr")],
)
def test_a_host_without_rapl_is_told_what_can_be_done(tree: Tree, cpuinfo: str, remedy: str) -> None:
    found = permissions.look_at_rapl(tree({"proc/cpuinfo": cpuinfo}), ())
    assert found.state is State.MISSING
    assert found.remedy.startswith(remedy)


def test_thermometers_are_those_of_hwmon_and_of_thermal_zones(tree: Tree) -> None:
    files = {"sys/class/hwmon/hwmon0/name": "k10temp", "sys/class/hwmon/hwmon0/temp1_input": "41000"}
    files |= {"sys/class/thermal/thermal_zone0/type": "acpitz", "sys/class/thermal/thermal_zone0/temp": "30000"}
    found = permissions.look_at_thermometers(tree(files), ())
    assert (found.state, found.found) == (State.OK, "2: k10temp, acpitz")


def test_no_thermometer_is_no_temperature(tree: Tree) -> None:
    found = permissions.look_at_thermometers(tree(), ("thermal",))
    assert found.state is State.MISSING
    assert "UNMEASURED" in found.means


def test_device_nodes_that_may_be_used_are_fine(tree: Tree) -> None:
    host = tree({"dev/nvidiactl": "", "dev/nvidia0": "", "dev/nvidia-uvm": ""})
    found = permissions.look_at_nodes(host, NVIDIA)
    assert (found.state, found.needed_by) == (State.OK, (EVERY,))


@pytest.mark.parametrize(
    ("files", "remedy"),
    [({}, NVIDIA.get_driver), ({"sys/module/nvidia/": ""}, "sudo nvidia-modprobe -c 0 -u")],
)
def test_absent_nodes_are_made_or_given_to_the_container(tree: Tree, files: dict[str, str], remedy: str) -> None:
    found = permissions.look_at_nodes(tree({"dev/nvidiactl": "", **files}), NVIDIA)
    assert found.state is State.MISSING
    assert found.found == "there is no /dev/nvidia[0-9]*, no /dev/nvidia-uvm"
    assert found.remedy == remedy


def test_nodes_that_are_closed_to_the_user_name_the_group(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    host = tree({"dev/kfd": "", "dev/dri/renderD128": ""})
    host.path("dev/kfd").chmod(0o660)
    monkeypatch.setattr(permissions.os, "access", lambda path, mode: path.name != "kfd")
    monkeypatch.setattr(permissions.grp, "getgrgid", lambda gid: type("Group", (), {"gr_name": "render"}))
    found = permissions.look_at_nodes(host, AMD)
    assert found.state is State.MISSING
    assert found.remedy == "sudo usermod -aG render $USER && exec newgrp render"


def test_nodes_of_nobodys_group_are_opened_by_chmod(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    host = tree({"dev/kfd": "", "dev/dri/renderD128": ""})
    host.path("dev/kfd").chmod(0o600)
    monkeypatch.setattr(permissions.os, "access", lambda path, mode: path.name != "kfd")
    assert permissions.look_at_nodes(host, AMD).remedy == f"sudo chmod a+rw {host.path('dev/kfd')}"


@pytest.mark.parametrize(
    ("level", "state"), [("2", State.OK), ("-1", State.OK), ("4", State.LIMITS), ("", State.LIMITS)]
)
def test_perf_is_open_to_users_up_to_level_2(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, level: str, state: State
) -> None:
    monkeypatch.setattr(permissions.os, "geteuid", lambda: 1000)
    assert permissions.look_at_perf(tree({"proc/sys/kernel/perf_event_paranoid": level})).state is state


def test_permissions_of_the_host_are_told_where_no_device_is_known(tree: Tree) -> None:
    assert [one.name for one in permissions.examine(tree(), Subject())] == ["RAPL", "thermometers", "perf"]


# -- clock ------------------------------------------------------------------------------------------------------------


def sources(current: str, available: str) -> dict[str, str]:
    return {f"{clock.FOLDER}/current_clocksource": current, f"{clock.FOLDER}/available_clocksource": available}


@pytest.mark.parametrize("name", ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"])
def test_clock_sources_without_a_system_call_are_fine(tree: Tree, name: str) -> None:
    assert clock.look_at_source(tree(sources(name, name))).state is State.OK


@pytest.mark.parametrize(
    ("current", "available", "state", "remedy"),
    [
        ("hpet", "tsc hpet acpi_pm", State.LIMITS, "echo tsc | sudo tee /sys/devices/system/clocksource/"),
        ("acpi_pm", "acpi_pm", State.LIMITS, "boot the kernel with `tsc=reliable`"),
        ("jiffies", "jiffies tsc", State.WRONG, "echo tsc"),
    ],
)
def test_slow_and_coarse_clock_sources_are_told(
    tree: Tree, current: str, available: str, state: State, remedy: str
) -> None:
    found = clock.look_at_source(tree(sources(current, available)))
    assert found.state is state
    assert found.remedy.startswith(remedy)


def test_a_kernel_that_names_no_clock_source_limits(tree: Tree) -> None:
    assert clock.look_at_source(tree()).state is State.LIMITS


@pytest.mark.parametrize(
    ("step", "state"), [(40, State.OK), (4_000_000, State.LIMITS), (0, State.LIMITS), (-5, State.WRONG)]
)
def test_the_steps_of_a_clock_are_looked_at(step: int, state: State) -> None:
    times = itertools.count(10**12, step) if step else itertools.repeat(7)
    assert clock.look_at_steps(lambda: next(times)).state is state


# -- processors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "state"), [(("performance", "performance"), State.OK), (("powersave", "performance"), State.LIMITS)]
)
def test_governors_have_to_be_performance(tree: Tree, names: tuple[str, str], state: State) -> None:
    files = {f"sys/devices/system/cpu/cpu{at}/cpufreq/scaling_governor": name for at, name in enumerate(names)}
    found = processors.look_at_governor(tree(files))
    assert found.state is state
    assert found.remedy == ("" if state is State.OK else "sudo cpupower frequency-set -g performance")


@pytest.mark.parametrize(("flags", "state"), [("fpu hypervisor", State.LIMITS), ("fpu", State.OK)])
def test_without_a_governor_it_depends_on_whether_a_hypervisor_has_it(tree: Tree, flags: str, state: State) -> None:
    assert processors.look_at_governor(tree({"proc/cpuinfo": f"flags\t: {flags}"})).state is state


@pytest.mark.parametrize(
    ("path", "value", "state"),
    [
        ("intel_pstate/no_turbo", "0", State.LIMITS),
        ("intel_pstate/no_turbo", "1", State.OK),
        ("cpufreq/boost", "1", State.LIMITS),
        ("cpufreq/boost", "0", State.OK),
    ],
)
def test_turbo_limits_unless_the_processors_are_the_device(tree: Tree, path: str, value: str, state: State) -> None:
    host = tree({f"sys/devices/system/cpu/{path}": value})
    found = processors.look_at_turbo(host, is_device=False)
    assert found.state is state
    if state is State.LIMITS:
        off = "1" if value == "0" else "0"
        assert found.remedy == f"echo {off} | sudo tee /sys/devices/system/cpu/{path}"
        assert processors.look_at_turbo(host, is_device=True).state is State.OK


@pytest.mark.parametrize(("active", "state"), [("1", State.LIMITS), ("0", State.OK)])
def test_two_threads_on_a_core_limit(tree: Tree, active: str, state: State) -> None:
    files = {"sys/devices/system/cpu/smt/active": active, "sys/devices/system/cpu/smt/control": "on"}
    assert processors.look_at_threads(tree(files)).state is state


# -- control group ----------------------------------------------------------------------------------------------------


def test_no_quota_is_fine(tree: Tree) -> None:
    host = tree({"proc/self/cgroup": "0::/user.slice", "sys/fs/cgroup/user.slice/cpu.max": "max 100000"})
    assert cgroup.find_quota(host) is None
    assert cgroup.tell_quota(None).state is State.OK


def test_the_tightest_quota_between_here_and_the_root_counts(tree: Tree) -> None:
    files = {
        "proc/self/cgroup": "0::/pod/box",
        "sys/fs/cgroup/pod/box/cpu.max": "400000 100000",
        "sys/fs/cgroup/pod/cpu.max": "150000 100000",
        "sys/fs/cgroup/pod/cpu.stat": "usage_usec 5\nnr_throttled 7",
    }
    quota = cgroup.find_quota(tree(files))
    assert quota == cgroup.Quota(1.5, 100.0, 7)
    assert quota is not None
    found = cgroup.tell_quota(quota)
    assert found.state is State.LIMITS
    assert "used up 7 times" in found.found


def test_a_quota_of_version_1_that_was_never_used_up_limits(tree: Tree) -> None:
    folder = "sys/fs/cgroup/cpu,cpuacct/docker/abc"
    files = {
        "proc/self/cgroup": "5:cpu,cpuacct:/docker/abc\n3:cpuset:/\n0::/x",
        f"{folder}/cpu.cfs_quota_us": "200000",
        f"{folder}/cpu.cfs_period_us": "100000",
    }
    assert cgroup.tell_quota(cgroup.find_quota(tree(files))).state is State.LIMITS


@pytest.mark.parametrize(("usable", "state"), [(4, State.OK), (1, State.LIMITS)])
def test_one_processor_is_too_few(tree: Tree, usable: int, state: State) -> None:
    found = cgroup.look_at_cpuset(tree({"sys/devices/system/cpu/online": "0-2,8"}), usable)
    assert found.state is state
    assert found.found == f"{usable} of 4 processors may be used"


# -- load -------------------------------------------------------------------------------------------------------------


def test_a_thread_that_is_never_interrupted_is_fine() -> None:
    seen = busy.spin(itertools.count(0, 100).__next__, 10**6)
    assert seen == busy.Spin(0.0, 0, 0)
    assert busy.tell_spin(seen, 0.0).state is State.OK


def test_pauses_of_a_spinning_thread_are_counted() -> None:
    steps = itertools.accumulate([0, *([100] * 100), 4_000_000, *([100] * 100), 2_000_000, *([100] * 10**6)])
    seen = busy.spin(steps.__next__, 10**7)
    assert (seen.longest_ns, seen.gaps) == (4_000_000, 2)
    assert seen.lost == pytest.approx(0.6, abs=0.001)
    found = busy.tell_spin(seen, 0.5)
    assert found.state is State.LIMITS
    assert "the hypervisor took 0.50 of a processor" in found.found


def stat(name: str, user: int, system: int) -> str:
    return f"7 ({name}) S " + " ".join(["0"] * 10) + f" {user} {system} 0 0 20"


def test_processes_are_read_whatever_their_names(tree: Tree) -> None:
    host = tree({"proc/12/stat": stat("a) b (c", 30, 4), "proc/13/stat": "gone", "proc/x/stat": "no number"})
    assert busy.ticks_of_processes(host) == {12: ("a) b (c", 34)}


def test_a_quiet_host_is_fine_and_a_busy_one_names_who_it_is(tree: Tree) -> None:
    host = tree({"proc/loadavg": "0.10 0.20 0.30 1/99 5"})
    assert busy.tell_load(host, 4, [busy.Busy(9, "sshd", 0.01)]).state is State.OK
    found = busy.tell_load(host, 4, [busy.Busy(9, "sshd", 0.01), busy.Busy(12, "train.py", 0.97)])
    assert found.state is State.LIMITS
    assert found.found.endswith("now 12 (train.py) 97% of a processor")
    assert "kill -STOP 12" in found.remedy
    assert busy.tell_load(tree({"proc/loadavg": "3.00 1 1 1/1 1"}), 4, []).state is State.LIMITS


def test_time_stolen_by_a_hypervisor_is_read_from_the_line_of_all_processors(tree: Tree) -> None:
    assert busy.stolen_ticks(tree({"proc/stat": "cpu  1 2 3 4 5 6 7 88 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10"})) == 88
    assert busy.stolen_ticks(tree({"proc/stat": "cpu 1 2"})) == 0


# -- room -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("available_kb", "cap_mib", "state"),
    [(32 << 20, 16384, State.OK), (8 << 20, 16384, State.LIMITS), (512 << 10, 0, State.MISSING)],
)
def test_memory_is_held_against_what_a_child_may_take(
    tree: Tree, available_kb: int, cap_mib: int, state: State
) -> None:
    found = room.look_at_memory(tree({"proc/meminfo": f"MemTotal: 1 kB\nMemAvailable:  {available_kb} kB"}), cap_mib)
    assert found.state is state


def test_a_control_group_leaves_less_memory_than_the_host_has(tree: Tree) -> None:
    files = {
        "proc/meminfo": f"MemAvailable: {32 << 20} kB",
        "proc/self/cgroup": "0::/box",
        "sys/fs/cgroup/box/memory.max": str(1 << 30),
        "sys/fs/cgroup/box/memory.current": str(512 << 20),
    }
    found = room.look_at_memory(tree(files), 0)
    assert found.state is State.MISSING
    assert "leaves 512 MiB" in found.found


def test_memory_that_nobody_tells_limits(tree: Tree) -> None:
    assert room.look_at_memory(tree(), 0).state is State.LIMITS


def test_a_folder_with_room_is_fine_and_need_not_be_there(tmp_path: Path) -> None:
    assert room.look_at_folder("run folder", tmp_path / "a" / "b", 0, "elsewhere").state is State.OK
    assert not (tmp_path / "a").exists()


def test_a_full_disk_and_a_folder_without_permission_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = room.look_at_folder("run folder", tmp_path, 1 << 40, "give another --out")
    assert found.state is State.MISSING
    assert found.remedy.startswith("give another --out; `df -h ")
    monkeypatch.setattr(room.os, "access", lambda *_: False)
    assert "may not be written" in room.look_at_folder("cache", tmp_path, 0, "").found


def test_a_cache_that_cannot_be_made_is_told_and_ends_nothing(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFORMANCE_CACHE", os.devnull + "/cache")
    *_, cache = room.examine(tree(), Subject())
    assert cache.state is State.MISSING
    assert cache.remedy.startswith("export CONFORMANCE_CACHE=")


# -- locale -----------------------------------------------------------------------------------------------------------


def test_the_c_locale_is_always_there_and_the_processs_own_is_kept() -> None:
    import locale

    before = locale.setlocale(locale.LC_ALL)
    assert locales.has_locale("C")
    assert not locales.has_locale("xx_XX.UTF-8")
    assert locale.setlocale(locale.LC_ALL) == before


def test_an_absent_locale_matters_to_those_who_claim_to_change_case(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locales, "has_locale", lambda name: False)
    (found,) = locales.examine(tree(), Subject.load("triton"))
    assert (found.state, found.needed_by) == (State.MISSING, ("operators",))
    assert list(locales.examine(tree(), Subject.load("reference-cpu"))) == []  # excludes what changes case
    monkeypatch.setattr(locales, "has_locale", lambda name: True)
    assert [one.state for one in locales.examine(tree(), Subject())] == [State.OK]
