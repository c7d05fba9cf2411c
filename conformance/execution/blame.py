"""Whose fault it was that a case did not end in an orderly way: the device's, or the host's and the harness's. Pure.

A crash or time-out counts against the device. A kill by the host's out-of-memory killer, a full disk or a late heartbeat
of the parent is ERROR: nothing was learned about the device.
"""

from __future__ import annotations

import signal
from typing import NamedTuple

from conformance.records import Attempt, Judgement, Outcome

LATE_S = 1.0
"""From this many seconds on, a parent that slept through its own heartbeat cannot blame the device for a deadline."""
FREE_MB = 16
"""Below this, the disk counts as full."""
STDERR_KEPT = 4000


class Ended(NamedTuple):
    """How the child ended, as the keeper tells it."""

    cause: str
    """`ended` by itself, `told` (killed by us), `memory` (over its limit), `protocol` (it broke the protocol), `lost` (the
    connection to its host went)."""
    signal: int = 0
    exit_code: int | None = None
    reaped: int = 0
    peak_rss_kb: int = 0
    words: str = ""
    """For `lost`: what the connection's own program said."""
    oom_kills: int | None = None
    """How many processes the out-of-memory killer took meanwhile, where the child ran on another host."""
    free_mb: float | None = None
    """Free space on that host."""


class Circumstances(NamedTuple):
    """What was true of the host when it happened."""

    parent_late_s: float = 0.0
    oom_kills: int = 0
    free_mb: float | None = None
    memory_limit_mb: int = 0


IN_A_CASE = "the device ran the case"


def blame(
    ended: Ended, timed_out: str, deadline_s: float, stderr: str, host: Circumstances, doing: str = IN_A_CASE
) -> Attempt:
    """Return the attempt with its outcome: CRASH or TIMEOUT for the device, ERROR for the host.

    `timed_out` names the phase that was too long, `doing` what the child was about.
    """
    outcome, detail = _decide(ended, timed_out, deadline_s, host, doing)
    name = _signal_name(ended.signal) if ended.signal else ""
    return Attempt(
        outcome=outcome,
        detail=detail,
        signal=name,
        exit_code=ended.exit_code,
        stderr_tail=stderr[-STDERR_KEPT:],
        peak_rss_mb=round(ended.peak_rss_kb / 1024, 1) if ended.peak_rss_kb else None,
    )


def _signal_name(number: int) -> str:
    """Return `SIGSEGV`; most real-time signals have no name of their own."""
    return next((known.name for known in signal.Signals if known == number), f"signal {number}")


def _decide(ended: Ended, timed_out: str, deadline_s: float, host: Circumstances, doing: str) -> tuple[Outcome, str]:
    if ended.cause == "lost":
        return Outcome.ERROR, f"the connection to the device's host was lost while {doing}: {ended.words or 'no word'}"
    if host.free_mb is not None and host.free_mb < FREE_MB:
        return Outcome.ERROR, f"the disk of the run folder is full ({host.free_mb:.0f} MB free)"
    if timed_out:
        if host.parent_late_s >= LATE_S:
            text = f"the harness itself stood still for {host.parent_late_s:.1f} s, so the deadline says nothing"
            return Outcome.ERROR, text
        if timed_out == "transfer":
            return Outcome.ERROR, f"a message was still on its way to or from the device's host after {deadline_s:g} s"
        if timed_out == "all phases":
            return Outcome.TIMEOUT, f"no end within {deadline_s:g} s, all phases together; the child was killed"
        return Outcome.TIMEOUT, f"no answer within {deadline_s:g} s in phase {timed_out}; the child was killed"
    if ended.cause == "memory":
        return Outcome.CRASH, f"killed: the child took more than {host.memory_limit_mb} MB of host memory"
    if ended.cause == "protocol":
        return Outcome.CRASH, "killed: the child's process broke the protocol"
    if ended.signal == signal.SIGKILL and host.oom_kills:
        return Outcome.ERROR, "killed by the host's out-of-memory killer"
    while_doing = "" if doing == IN_A_CASE else f" while {doing}"
    if ended.signal:
        return Outcome.CRASH, f"the child died of {_signal_name(ended.signal)}{while_doing}"
    return Outcome.CRASH, f"the child exited with code {ended.exit_code} while {doing}"


def settle(attempts: list[Attempt], judged: Judgement | None) -> Judgement | None:
    """Conclude from the attempts so far and the judgement of an orderly one; None where a repeat is still needed.

    Two device faults count against the device. One that did not repeat proves neither: INCONCLUSIVE, unless the orderly
    run is not met by itself. Two host faults are ERROR.
    """
    faults = [attempt for attempt in attempts if attempt.outcome is not Outcome.ERROR]
    if judged is not None:
        if not faults or judged.outcome in (Outcome.FAIL, Outcome.ERROR):
            return judged
        if len(faults) >= 2:
            context = f"{len(faults)} times; then {judged.outcome} when repeated"
            return Judgement(outcome=faults[-1].outcome, reason=faults[-1].detail, context=context)
        reason = f"{faults[0].outcome} once ({faults[0].detail}), then {judged.outcome} when repeated alone"
        return Judgement(
            outcome=Outcome.INCONCLUSIVE,
            reason=reason,
            context=judged.reason,
            remedy="run the case again; a device that crashes now and then is not conformant",
            measurements=judged.measurements,
        )
    if len(faults) >= 2:
        return Judgement(outcome=faults[-1].outcome, reason=faults[-1].detail, context="repeated once, alone")
    if len(attempts) - len(faults) >= 2:
        return Judgement(outcome=Outcome.ERROR, reason=attempts[-1].detail, remedy="mend the host and use --resume")
    return None
