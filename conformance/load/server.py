"""Requests that come when they come: a Poisson process of a given rate and seed, answered first come, first served.

With several streams as many requests are under way at once. A request that finds all streams busy is queued; its waiting
counts as latency, from the time that it was due.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.load.paced import run_scheduled
from conformance.load.quiet import Times
from conformance.load.schedule import poisson, soon, wait_politely
from conformance.load.streams import FOREVER, pull

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
    times = Times.of(len(schedule))
    times.due[:] = schedule
    planned = schedule.tolist()
    last_issued = 0

    def begin_of(at: int, asked: int) -> int:
        nonlocal last_issued
        wanted = planned[at]
        begin = wait_politely(wanted)
        if at > 0 and asked >= wanted:  # no stream was free when it was due: the device was late
            begin = wanted
        last_issued = max(begin, last_issued)
        return last_issued

    pull(streams, times, begin_of, ask, after=after, tick=tick, give_up_ns=give_up_ns)
    return times.samples(int((times.done >= 0).sum()), is_scheduled=True)
