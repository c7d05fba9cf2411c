"""The host's processors: governor, turbo, simultaneous multithreading. They set the pace of the host's part of an inference."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from conformance.doctor.port import Finding, Host, State
from conformance.doctor.support.guest import is_guest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.doctor.support.subject import Subject

TITLE = "processors"
NEEDED_BY = ("latency",)
CPU = "sys/devices/system/cpu"
SWITCHES = ((f"{CPU}/intel_pstate/no_turbo", "0", "1"), (f"{CPU}/cpufreq/boost", "1", "0"))
"""Files that switch turbo, with the text that stands for on, and the one that switches it off."""


def examine(host: Host, subject: Subject) -> Iterator[Finding]:
    """Look at what changes the speed of the processors from one moment to the next."""
    yield look_at_governor(host)
    yield look_at_turbo(host, is_device=subject.is_host_cpu)
    yield look_at_threads(host)


def look_at_governor(host: Host) -> Finding:
    """Look which governor sets the frequency of each processor."""
    governors = Counter(filter(None, map(host.text, host.paths(f"{CPU}/cpu[0-9]*/cpufreq/scaling_governor"))))
    if not governors:
        guest = is_guest(host)
        why = "a virtual machine: the hypervisor sets the frequency" if guest else "the kernel sets no frequency"
        return Finding(
            name="governor",
            state=State.LIMITS if guest else State.OK,
            found=why,
            means="latency may change with what the other guests do, and nothing here shows it" if guest else "",
            remedy="certify on a host without a hypervisor, or with processors of its own and a fixed frequency"
            if guest
            else "",
            needed_by=NEEDED_BY,
        )
    told = ", ".join(f"{name} on {count}" for name, count in governors.most_common())
    if set(governors) == {"performance"}:
        return Finding(name="governor", state=State.OK, found=told, needed_by=NEEDED_BY)
    return Finding(
        name="governor",
        state=State.LIMITS,
        found=told,
        means="processors slow down between requests: paced latency is worse than the device's",
        remedy="sudo cpupower frequency-set -g performance",
        needed_by=NEEDED_BY,
    )


def look_at_turbo(host: Host, *, is_device: bool) -> Finding:
    """Look whether the processors run above their nominal frequency while they are cool. Where they are the device, they may."""
    for path, on, off in SWITCHES:
        value = host.text(path)
        if not value:
            continue
        if value != on or is_device:
            told = "on, and a part of the device under test" if value == on else "off"
            return Finding(name="turbo", state=State.OK, found=told, needed_by=NEEDED_BY)
        return Finding(
            name="turbo",
            state=State.LIMITS,
            found="on",
            means="the host's part of a latency grows as the host warms up",
            remedy=f"echo {off} | sudo tee /{path}",
            needed_by=NEEDED_BY,
        )
    return Finding(name="turbo", state=State.OK, found="nothing to switch", needed_by=NEEDED_BY)


def look_at_threads(host: Host) -> Finding:
    """Look whether two threads share a core."""
    control = host.text(f"{CPU}/smt/control")
    if host.text(f"{CPU}/smt/active") != "1":
        return Finding(name="SMT", state=State.OK, found=control or "none", needed_by=NEEDED_BY)
    return Finding(
        name="SMT",
        state=State.LIMITS,
        found="two threads share a core",
        means="a neighbour on the same core lengthens single inferences",
        remedy=f"echo off | sudo tee /{CPU}/smt/control",
        needed_by=NEEDED_BY,
    )
