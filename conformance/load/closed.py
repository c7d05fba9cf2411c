"""Closed loops: the next query is made when the one before is answered, so that the device sets the pace.

`run_single_stream` has one query at a time, back to back. `run_multi_stream` makes a query of several samples at once and is
done when the last of them is (MLPerf's multi-stream). `run_offline` has as many queries under way as there are streams and
waits for none: what it shows is throughput. Without a schedule a query is due when the generator is ready for it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from conformance.load.quiet import Ticker, Times, quiet
from conformance.load.streams import FOREVER, Streams, pull

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.load.quiet import After, Ask
    from conformance.timing.samples import Samples


def run_single_stream(
    ask: Ask,
    count: int,
    *,
    after: After | None = None,
    tick: Callable[[], None] | None = None,
    give_up_ns: int = FOREVER,
) -> Samples:
    """Make `count` queries back to back; fewer where `give_up_ns` from the start on is over before."""
    times, ticker, now = Times.of(count), Ticker(tick), time.monotonic_ns
    due, issued, done = times
    made = 0
    with quiet():
        ready = begun = now()
        end_ns = begun + give_up_ns
        for at in range(count):
            begin = now()
            answer = ask(at)
            end = now()
            due[at], issued[at], done[at] = ready, begin, end
            made = at + 1
            if after is not None:
                after(at, answer)
            del answer
            if end >= ticker.due_ns:
                ticker(end)
            if end > end_ns:
                break
            ready = now()
    return times.samples(made, is_scheduled=False)


def run_multi_stream(
    ask: Ask,
    count: int,
    streams: int,
    *,
    after: After | None = None,
    tick: Callable[[], None] | None = None,
    give_up_ns: int = FOREVER,
) -> Samples:
    """Make `count` queries of `streams` samples each, all samples of a query at once; sample s of query k is `ask(k·streams + s)`."""
    if streams == 1:
        return run_single_stream(ask, count, after=after, tick=tick, give_up_ns=give_up_ns)
    answers: list[Any] = [None] * streams
    first = 0

    def work(stream: int) -> None:
        answers[stream] = ask(first + stream)

    def ask_all(at: int) -> None:
        nonlocal first
        first = at * streams
        threads.run()
        if threads.errors:
            raise threads.errors[0]

    def after_all(at: int, _: Any) -> None:
        if after is not None:
            for stream, answer in enumerate(answers):
                after(at * streams + stream, answer)

    with quiet():
        threads = Streams(streams, work)
        try:
            return run_single_stream(ask_all, count, after=after_all, tick=tick, give_up_ns=give_up_ns)
        finally:
            threads.close()


def run_offline(
    ask: Ask,
    count: int,
    streams: int,
    *,
    after: After | None = None,
    tick: Callable[[], None] | None = None,
    give_up_ns: int = FOREVER,
) -> Samples:
    """Make `count` queries, `streams` of them under way at any time."""
    if streams == 1:
        return run_single_stream(ask, count, after=after, tick=tick, give_up_ns=give_up_ns)
    times = Times.of(count)
    pull(streams, times, lambda _at, _asked: time.monotonic_ns(), ask, after=after, tick=tick, give_up_ns=give_up_ns)
    times.due[:] = times.issued
    return times.samples(int((times.done >= 0).sum()), is_scheduled=False)
