"""What a latency depends on beside the device: written down with each run, before and after it.

Everything is read from the kernel's files and may be missing; what cannot be read is left out, never guessed. Values are
texts. `changes` tells what the host did to this process while the run lasted: throttled by its cgroup, preempted, stolen from.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

from conformance.load.quiet import resolution_ns, timer_slack_ns

CGROUP = Path("/sys/fs/cgroup")
PROC = Path("/proc")
CPU = Path("/sys/devices/system/cpu")
CLOCK = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_WAIT_POLICY", "KMP_AFFINITY")


def describe() -> dict[str, str]:
    """Return what is known of the host and of this process: affinity, cgroup limits, governor, SMT, load, clock."""
    allowed = sorted(os.sched_getaffinity(0))
    group = _own_group()
    found = {
        "affinity": _ranges(allowed),
        "cpus_online": str(os.cpu_count() or ""),
        "load_average": " ".join(f"{one:.2f}" for one in os.getloadavg()),
        "clock": "CLOCK_MONOTONIC",
        "clock_resolution_ns": str(resolution_ns()),
        "clock_source": _read(CLOCK),
        "cgroup_cpu_max": _in_group(group, "cpu.max") or _read(CGROUP / "cpu" / "cpu.cfs_quota_us"),
        "cgroup_cpuset": _in_group(group, "cpuset.cpus.effective") or _read(CGROUP / "cpuset" / "cpuset.cpus"),
        "cgroup_memory_max": _in_group(group, "memory.max"),
        "governor": _each(allowed, "cpufreq/scaling_governor"),
        "frequency_driver": _each(allowed, "cpufreq/scaling_driver"),
        "smt": _read(CPU / "smt" / "control"),
        "isolated_cpus": _read(CPU / "isolated"),
        "boost": _read(CPU / "cpufreq" / "boost"),
        "scheduler": _scheduler(),
        "nice": str(os.getpriority(os.PRIO_PROCESS, 0)),
        "timer_slack_ns": str(timer_slack_ns()),
        "hypervisor": "yes" if " hypervisor" in _flags() else "",
        "python": sys.version.split()[0],
        **{name: os.environ.get(name, "") for name in THREAD_VARIABLES},
    }
    return {name: value for name, value in found.items() if value}


def counters() -> dict[str, int]:
    """Return counts that only grow: times this process was throttled or switched out, page faults, time stolen by the host."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    found = {
        "voluntary_switches": used.ru_nvcsw,
        "involuntary_switches": used.ru_nivcsw,
        "minor_faults": used.ru_minflt,
        "major_faults": used.ru_majflt,
        "cpu_ms": round(1000 * (used.ru_utime + used.ru_stime)),
        "monotonic_ns": time.monotonic_ns(),
        "realtime_ns": time.time_ns(),
    }
    for line in (_in_group(_own_group(), "cpu.stat") or _read(CGROUP / "cpu" / "cpu.stat")).splitlines():
        name, _, value = line.partition(" ")
        if name in ("nr_throttled", "throttled_usec", "throttled_time") and value.isdigit():
            found[f"cgroup_{name}"] = int(value)
    first = _read(PROC / "stat").splitlines()[:1]
    fields = first[0].split() if first else []
    if len(fields) > 8 and fields[8].isdigit():
        found["stolen_ticks"] = int(fields[8])
    return found


def changes(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Return by how much each counter grew; the two clocks become `clock_step_ns`, how far wall time left monotonic time."""
    grown = {name: after[name] - value for name, value in before.items() if name in after}
    elapsed, walked = grown.pop("monotonic_ns", 0), grown.pop("realtime_ns", 0)
    return {**grown, "elapsed_ns": elapsed, "clock_step_ns": walked - elapsed}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _own_group() -> Path | None:
    """Return the folder of this process's cgroup (version 2), None where there is none."""
    for line in _read(PROC / "self" / "cgroup").splitlines():
        if line.startswith("0::"):
            return CGROUP / line[3:].strip("/")
    return None


def _in_group(group: Path | None, name: str) -> str:
    """Return a file of the own cgroup, or of the nearest one above it that has the file."""
    while group is not None:
        found = _read(group / name)
        if found or group == CGROUP or CGROUP not in group.parents:
            return found
        group = group.parent
    return ""


def _each(cpus: list[int], name: str) -> str:
    found = {_read(CPU / f"cpu{one}" / name) for one in cpus} - {""}
    return ", ".join(sorted(found))


def _scheduler() -> str:
    names = {os.SCHED_OTHER: "other", os.SCHED_FIFO: "fifo", os.SCHED_RR: "rr", os.SCHED_BATCH: "batch"}
    policy = os.sched_getscheduler(0)
    return names.get(policy, str(policy))


def _flags() -> str:
    for line in _read(PROC / "cpuinfo").splitlines():
        if line.startswith("flags"):
            return line
    return ""


def _ranges(numbers: list[int]) -> str:
    """Return `0-3,8` for [0, 1, 2, 3, 8]."""
    parts: list[list[int]] = []
    for one in numbers:
        if parts and one == parts[-1][1] + 1:
            parts[-1][1] = one
        else:
            parts.append([one, one])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)
