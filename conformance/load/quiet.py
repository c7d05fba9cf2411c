"""Keeping Python itself out of the measurement, and what all generators share.

While queries are timed, the garbage collector is off, arrays are there beforehand, and sleeping ends on time. What has to be
done between two queries (keep an output, tell the parent that the case goes on) is done after the clock has stopped.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from conformance.timing.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.tensors import Array

    Ask = Callable[[int], Any]
    """Makes query number k; returns its outputs when they are there."""
    After = Callable[[int, Any], None]
    """Is given the outputs of query k once its clock has stopped."""

PR_GET_TIMERSLACK, PR_SET_TIMERSLACK = 30, 29
SWITCH_S = 50e-6
"""How long a Python thread may keep others waiting while several streams run: the usual 5 ms would be measured as latency."""
TICK_NS = 250_000_000


class Times(NamedTuple):
    """Room for the times of n queries, made before the first one."""

    due: Array
    issued: Array
    done: Array

    @classmethod
    def of(cls, count: int) -> Times:
        """Return three int64 arrays whose pages are there: the first touch of a page takes longer than a query of a null device."""
        return cls(*(np.full(count, -1, dtype=np.int64) for _ in range(3)))

    def samples(self, made: int, *, is_scheduled: bool) -> Samples:
        """Return the first `made` queries in the order of issue."""
        due, issued, done = self.due[:made], self.issued[:made], self.done[:made]
        order = np.argsort(issued, kind="stable")
        return Samples(due[order], issued[order], done[order], is_scheduled)


class Ticker:
    """Calls `tick` four times a second, between queries: the parent's deadline is for one answer, not for a whole run."""

    def __init__(self, tick: Callable[[], None] | None) -> None:
        self._tick = tick
        self.due_ns = 0 if tick is not None else 1 << 62

    def __call__(self, now_ns: int) -> None:
        """Call `tick` and note when it is due again."""
        if self._tick is not None:
            self._tick()
            self.due_ns = now_ns + TICK_NS


@contextmanager
def quiet() -> Iterator[None]:
    """Hold off the garbage collector, let threads take turns quickly and let sleeping end on time; put all back afterwards.

    Inside another `quiet` nothing is collected, for that takes longer than many a run.
    """
    had_gc, switch_s, slack_ns = gc.isenabled(), sys.getswitchinterval(), timer_slack_ns()
    if had_gc:
        gc.collect()
        gc.disable()
    sys.setswitchinterval(SWITCH_S)
    _set_timer_slack(1)
    try:
        yield
    finally:
        _set_timer_slack(slack_ns)
        sys.setswitchinterval(switch_s)
        if had_gc:
            gc.enable()


def timer_slack_ns() -> int:
    """Return by how much the kernel may lengthen a sleep of this thread, in nanoseconds; 0 where it does not say."""
    try:
        return max(0, int(ctypes.CDLL(None).prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0)))
    except (AttributeError, OSError):
        return 0


def _set_timer_slack(slack_ns: int) -> None:
    if slack_ns <= 0:
        return
    try:
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, ctypes.c_ulong(slack_ns), 0, 0, 0)
    except (AttributeError, OSError):
        return


def resolution_ns() -> int:
    """Return the smallest step between two readings of the clock that is used, over 1,000 readings."""
    read = [time.monotonic_ns() for _ in range(1000)]
    steps = np.diff(np.array(read))
    return int(steps[steps > 0].min()) if (steps > 0).any() else 0
