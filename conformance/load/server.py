"""Requests that come when they come: a Poisson process of a given rate and seed, answered first come, first served.

With several streams as many requests are under way at once. A request that finds all streams busy is queued; its waiting
counts as latency, from the time that it was due.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from conformance.load.closed import FOREVER
from conformance.load.paced import run_scheduled
from conformance.load.quiet import Ticker, Times, quiet
from conformance.load.schedule import poisson, soon, wait_politely
from conformance.load.streams import Streams

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.load.quiet import After, Ask
    from conformance.tensors import Array
    from conformance.timing.samples import Samples


def run_server(
    ask: Ask,
    count: int,
    rate_per_s: float,
    seed: int,
    streams: int = 1,
    *,
    after: After | None = None,
    tick: Callable[[], None] | None = None,
    give_up_ns: int = FOREVER,
) -> Samples:
    """Make `count` queries that arrive at `rate_per_s` on average; fewer where `give_up_ns` is over before."""
    schedule = poisson(soon(), rate_per_s, count, seed)
    if streams == 1:
        return run_scheduled(ask, schedule, after=after, tick=tick, give_up_ns=give_up_ns)
    return _run_in_streams(ask, schedule, streams, after, tick, give_up_ns)


def _run_in_streams(
    ask: Ask, schedule: Array, streams: int, after: After | None, tick: Callable[[], None] | None, give_up_ns: int
) -> Samples:
    """Serve a schedule with several streams: whichever is free takes the next query and waits until it is due."""
    count = len(schedule)
    times, ticker, now = Times.of(count), Ticker(tick), time.monotonic_ns
    due, issued, done = times
    due[:] = schedule
    planned = schedule.tolist()
    turn, following, last_issued, end_ns = threading.Lock(), 0, 0, FOREVER

    def work(stream: int) -> None:
        nonlocal following, last_issued
        while True:
            asked = now()
            with turn:
                at = following
                if at >= count or asked > end_ns:
                    return
                following += 1
                wanted = planned[at]
                begin = wait_politely(wanted)
                if at > 0 and asked >= wanted:  # no stream was free when it was due: the device was late
                    begin = wanted
                begin = last_issued = max(begin, last_issued)
            answer = ask(at)
            end = now()
            issued[at], done[at] = begin, end
            if after is not None:
                after(at, answer)
            if stream == 0 and end >= ticker.due_ns:
                ticker(end)

    with quiet():
        threads = Streams(streams, work)
        try:
            end_ns = now() + give_up_ns
            threads.run()
        finally:
            threads.close()
    made = int(np.count_nonzero(done >= 0))
    return times.samples(made, is_scheduled=True)
