"""Frames at a fixed period with a hard deadline, as a camera, a controller or a terminal has them.

The schedule does not wait for the device. A frame that comes while the device is busy is queued and keeps its due time: its
waiting counts as latency, and no burst of quick answers afterwards makes it good. Such a frame counts as issued when it was
due, for the generator was not late. Where the device was idle and the generator woke late, `issued` says by how much.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from conformance.load.quiet import Ticker, Times, quiet
from conformance.load.schedule import periodic, soon, wait_until
from conformance.load.streams import FOREVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.load.quiet import After, Ask
    from conformance.tensors import Array
    from conformance.timing.samples import Samples


def run_paced(
    ask: Ask,
    count: int,
    period_ns: float,
    *,
    after: After | None = None,
    tick: Callable[[], None] | None = None,
    give_up_ns: int = FOREVER,
) -> Samples:
    """Make `count` queries, one each `period_ns`; fewer where the device falls behind so far that `give_up_ns` is over."""
    due = periodic(soon(), period_ns, count)
    return run_scheduled(ask, due, after=after, tick=tick, give_up_ns=give_up_ns)


def run_scheduled(
    ask: Ask,
    schedule: Array,
    *,
    after: After | None = None,
    tick: Callable[[], None] | None = None,
    give_up_ns: int = FOREVER,
) -> Samples:
    """Make one query for each time of a schedule (int64, absolute, ascending), one after another, first come, first served."""
    count = len(schedule)
    times, ticker, now = Times.of(count), Ticker(tick), time.monotonic_ns
    due, issued, done = times
    due[:] = schedule
    planned = schedule.tolist()
    made, last_issued, last_done = 0, 0, 0
    with quiet():
        end_ns = now() + give_up_ns
        for at in range(count):
            wanted = planned[at]
            begin = wait_until(wanted)
            if last_done >= wanted:  # it stood in the queue: the device was late, not the generator
                begin = max(wanted, last_issued)
            answer = ask(at)
            last_done = now()
            issued[at], done[at] = begin, last_done
            last_issued, made = begin, at + 1
            if after is not None:
                after(at, answer)
            del answer
            if last_done >= ticker.due_ns:
                ticker(last_done)
            if last_done > end_ns:
                break
    return times.samples(made, is_scheduled=True)
