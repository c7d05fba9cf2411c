"""What the control group leaves of the host: a quota of CPU time, and the processors that may be used.

A quota stops a process for tens of milliseconds in each period, and such a stop looks like a slow device
(Documentation/scheduler/sched-bwc.rst of the kernel).
"""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from conformance.doctor.port import Finding, Host, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.doctor.support.subject import Subject

TITLE = "control group"
NEEDED_BY = ("latency",)


class Quota(NamedTuple):
    """The tightest limit on CPU time between this process and the root."""

    cpus: float
    period_ms: float
    throttled: int
    """Periods in which it was used up so far."""


def examine(host: Host, subject: Subject) -> Iterator[Finding]:  # noqa: ARG001 - the same for all
    """Look at the quota and at the set of processors."""
    yield tell_quota(find_quota(host))
    yield look_at_cpuset(host, len(os.sched_getaffinity(0)))


def find_quota(host: Host) -> Quota | None:
    """Return the tightest quota of this process's group and those above it, None where there is none."""
    found = [quota for folder in _folders(host) if (quota := _quota_of(host, folder)) is not None]
    return min(found, key=lambda one: one.cpus, default=None)


def _folders(host: Host) -> Iterator[str]:
    """Yield the folders of this process's groups below /sys/fs/cgroup, version 2 and 1, innermost first."""
    for line in host.text("proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        bases = [controllers, "cpu", "cpu,cpuacct"] if controllers else ["", "unified"]
        for base in dict.fromkeys(bases):
            for place in (PurePosixPath(path), *PurePosixPath(path).parents):
                yield str(PurePosixPath("sys/fs/cgroup", base, str(place).strip("/")))


def _quota_of(host: Host, folder: str) -> Quota | None:
    quota, _, period = host.text(f"{folder}/cpu.max").partition(" ")
    if not quota:
        quota, period = host.text(f"{folder}/cpu.cfs_quota_us"), host.text(f"{folder}/cpu.cfs_period_us")
    if not (quota.isdigit() and period.isdigit() and int(period)):  # `max`, -1, or no such file
        return None
    stat = dict(line.split(" ", 1) for line in host.text(f"{folder}/cpu.stat").splitlines() if " " in line)
    throttled = stat.get("nr_throttled", "0").strip()
    return Quota(int(quota) / int(period), int(period) / 1000, int(throttled) if throttled.isdigit() else 0)


def tell_quota(quota: Quota | None) -> Finding:
    """Tell what a quota does to latency."""
    if quota is None:
        return Finding(name="CPU quota", state=State.OK, found="none", needed_by=NEEDED_BY)
    told = f"{quota.cpus:g} CPUs in each {quota.period_ms:g} ms"
    return Finding(
        name="CPU quota",
        state=State.LIMITS,
        found=f"{told}, used up {quota.throttled:,} times so far"
        if quota.throttled
        else f"{told}, never used up so far",
        means=f"a process that has used it up stands still, for up to {quota.period_ms:g} ms: the tail is the quota's, not the device's",
        remedy="start the container without --cpus (docker) or without limits.cpu (Kubernetes), and give it whole processors by --cpuset-cpus",
        needed_by=NEEDED_BY,
    )


def look_at_cpuset(host: Host, usable: int) -> Finding:
    """Look how many processors this process may use of those that are online."""
    online = count_cpus(host.text("sys/devices/system/cpu/online"))
    told = f"{usable} of {online} processors may be used" if online else f"{usable} processors may be used"
    if usable >= 2:
        return Finding(name="processors", state=State.OK, found=told, needed_by=NEEDED_BY)
    return Finding(
        name="processors",
        state=State.LIMITS,
        found=told,
        means="the harness and the device's own threads take each other's time: tails are too long",
        remedy="start it with at least two processors: `taskset -c 0-3 conformance run …`, or --cpuset-cpus for a container",
        needed_by=NEEDED_BY,
    )


def count_cpus(text: str) -> int:
    """Return how many processors a list such as `0-3,8` names, 0 where it names none."""
    count = 0
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.strip().isdigit():
            count += (int(last) if last.strip().isdigit() else int(first)) - int(first) + 1
    return count
