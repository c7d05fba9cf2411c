"""Whether the host is busy: its load, who makes it, and how often a thread that only spins is interrupted."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from conformance.doctor.port import Finding, Host, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.doctor.support.subject import Subject

TITLE = "load"
NEEDED_BY = ("latency", "power")
SPIN_S = 0.3
GAP_NS = 50_000
"""A pause of a spinning thread beyond which somebody else ran: interrupts take a few µs."""
LOST = 0.005
LONGEST_NS = 1_000_000
"""Above this share of lost time, or this longest pause, an interruption shows in a tail."""
HEAVY = 0.2
"""A process that takes this much of a processor is named."""
NAMED = 3


class Spin(NamedTuple):
    """What a spinning thread saw."""

    lost: float
    """Share of the time in which it did not run, 0 to 1."""
    longest_ns: int
    gaps: int


class Busy(NamedTuple):
    """A process that takes processor time."""

    pid: int
    name: str
    share: float
    """Of one processor."""


def examine(host: Host, subject: Subject) -> Iterator[Finding]:  # noqa: ARG001 - the same for all
    """Spin for a moment, and look who ran meanwhile."""
    before = ticks_of_processes(host)
    stolen = stolen_ticks(host)
    began = time.monotonic()
    seen = spin(time.perf_counter_ns, int(SPIN_S * 1e9))
    took_s = time.monotonic() - began
    # A tick of the kernel's accounting is 10 ms: the share is known to about 3 %.
    second = os.sysconf("SC_CLK_TCK") * took_s
    busy = [
        Busy(pid, name, (ticks - before[pid][1]) / second)
        for pid, (name, ticks) in ticks_of_processes(host).items()
        if pid in before and pid != os.getpid()
    ]
    yield tell_spin(seen, (stolen_ticks(host) - stolen) / second)
    yield tell_load(host, len(os.sched_getaffinity(0)), busy)


def spin(clock: Callable[[], int], duration_ns: int) -> Spin:
    """Look at a clock again and again for a time, and count the pauses between two looks."""
    lost_ns = longest_ns = gaps = 0
    began = last = clock()
    while last - began < duration_ns:
        now = clock()
        pause = now - last
        if pause > GAP_NS:
            lost_ns += pause
            gaps += 1
            longest_ns = max(longest_ns, pause)
        last = now
    return Spin(lost_ns / max(1, last - began), longest_ns, gaps)


def ticks_of_processes(host: Host) -> dict[int, tuple[str, int]]:
    """Return name and clock ticks of user and system time of each process that shows them (proc_pid_stat(5))."""
    found = {}
    for path in host.paths("proc/[0-9]*/stat"):
        head, _, rest = host.text(path).rpartition(")")
        words = rest.split()
        if len(words) > 12 and words[11].isdigit() and words[12].isdigit():
            found[int(path.parent.name)] = (head.partition("(")[2], int(words[11]) + int(words[12]))
    return found


def stolen_ticks(host: Host) -> int:
    """Return the time that a hypervisor gave to others, in clock ticks of all processors since the start (proc_stat(5))."""
    words = host.text("proc/stat").partition("\n")[0].split()
    return int(words[8]) if len(words) > 8 and words[8].isdigit() else 0


def tell_spin(seen: Spin, stolen: float) -> Finding:
    """Tell how much a spinning thread was interrupted; `stolen` is what a hypervisor took, in processors."""
    told = f"a spinning thread lost {seen.lost:.2%} of {SPIN_S:g} s in {seen.gaps} pauses, the longest {seen.longest_ns / 1e6:.2f} ms"
    if stolen >= HEAVY / 2:
        told += f"; the hypervisor took {stolen:.2f} of a processor"
    if seen.lost <= LOST and seen.longest_ns <= LONGEST_NS:
        return Finding(name="interruptions", state=State.OK, found=told, needed_by=("latency",))
    return Finding(
        name="interruptions",
        state=State.LIMITS,
        found=told,
        means="the same pauses are counted as the device's in tails and maxima",
        remedy="stop what else runs here (`top` shows it), or measure when the host is quiet",
        needed_by=("latency",),
    )


def tell_load(host: Host, cpus: int, busy: list[Busy]) -> Finding:
    """Tell the load average, and who takes processor time."""
    words = host.text("proc/loadavg").split()
    load = float(words[0]) if words else 0.0
    heavy = sorted((one for one in busy if one.share >= HEAVY), key=lambda one: -one.share)
    told = f"{load:.2f} on {cpus} processors in the last minute"
    if not heavy and load <= max(1.0, cpus / 2):
        return Finding(name="load average", state=State.OK, found=told, needed_by=NEEDED_BY)
    names = ", ".join(f"{one.pid} ({one.name}) {one.share:.0%}" for one in heavy[:NAMED])
    if names:
        told += f"; now {names} of a processor" + (f" and {len(heavy) - NAMED} more" if len(heavy) > NAMED else "")
    pids = " ".join(str(one.pid) for one in heavy[:NAMED])
    return Finding(
        name="load average",
        state=State.LIMITS,
        found=told,
        means="latency tails and idle power are those of the device and of what runs beside it",
        remedy=f"wait for their end, or stop them with `kill -STOP {pids}` and wake them with `kill -CONT {pids}` after the run"
        if pids
        else "wait until the load is below half of the processors; `top` shows who makes it",
        needed_by=NEEDED_BY,
    )
