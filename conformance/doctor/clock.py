"""The clock by which everything is timed: what the kernel counts with, and how fine and how cheap a look at it is."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

from conformance.doctor.port import Finding, Host, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.doctor.support.subject import Subject

TITLE = "clock"
NEEDED_BY = ("latency",)
FOLDER = "sys/devices/system/clocksource/clocksource0"
SLOW = ("acpi_pm", "hpet", "jiffies", "refined-jiffies", "xen")
"""Sources that are read by a system call or, as jiffies, are too coarse (Documentation/timers/timekeeping.rst of the kernel)."""
LOOKS = 2000
COARSE_NS = 1000
"""A clock that moves on in larger steps, or costs more to read, shows in a latency of some 10 µs."""


def examine(host: Host, subject: Subject) -> Iterator[Finding]:  # noqa: ARG001 - the clock is the same for all
    """Look at the clock source and at the clock itself."""
    yield look_at_source(host)
    yield look_at_steps(time.monotonic_ns)


def look_at_source(host: Host) -> Finding:
    """Look which clock source the kernel uses."""
    current = host.text(f"{FOLDER}/current_clocksource")
    offered = host.text(f"{FOLDER}/available_clocksource").split()
    if not current:
        return Finding(
            name="source",
            state=State.LIMITS,
            found="the kernel does not say",
            means="nobody can tell from the evidence what time was counted with",
            needed_by=NEEDED_BY,
        )
    if current not in SLOW:
        return Finding(name="source", state=State.OK, found=current, needed_by=NEEDED_BY)
    better = next((one for one in offered if one not in SLOW), "")
    return Finding(
        name="source",
        state=State.WRONG if "jiffies" in current else State.LIMITS,
        found=f"{current}; offered: {', '.join(offered) or 'none'}",
        means="each look at the clock costs about a microsecond or is too coarse; short latencies are told too long",
        remedy=f"echo {better} | sudo tee /sys/devices/system/clocksource/clocksource0/current_clocksource"
        if better
        else "boot the kernel with `tsc=reliable`, where the CPU's time-stamp counters agree (`dmesg | grep -i tsc` says so)",
        needed_by=NEEDED_BY,
    )


def look_at_steps(clock: Callable[[], int]) -> Finding:
    """Look at a clock in nanoseconds many times: the median distance of two looks, and the smallest step that it made."""
    times = [clock() for _ in range(LOOKS)]
    distances = sorted(after - before for before, after in pairwise(times))
    cost_ns = distances[len(distances) // 2]  # not the mean: whoever interrupts this loop is no property of the clock
    step_ns = next((one for one in distances if one > 0), 0)
    if distances[0] < 0:
        return Finding(
            name="steps",
            state=State.WRONG,
            found=f"the monotonic clock went back by {-distances[0]} ns",
            means="no time that is measured here is true",
            remedy="boot the kernel with `clocksource=hpet`, and have the host's time-stamp counters looked at",
            needed_by=NEEDED_BY,
        )
    told = f"{step_ns} ns at least, {cost_ns} ns a look"
    if step_ns > COARSE_NS or cost_ns > COARSE_NS or not step_ns:
        return Finding(
            name="steps",
            state=State.LIMITS,
            found=told,
            means="short latencies are told too long or too coarsely; a run subtracts nothing",
            remedy="measure on a host whose clock source is tsc, or whose hypervisor offers a clock without a system call",
            needed_by=NEEDED_BY,
        )
    return Finding(name="steps", state=State.OK, found=told, needed_by=NEEDED_BY)
