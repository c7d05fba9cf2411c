"""Closed loops: the next query is made when the one before is answered, so that the device sets the pace.

`run_single_stream` has one query at a time, back to back. `run_multi_stream` makes a query of several samples at once and is
done when the last of them is (MLPerf's multi-stream). `run_offline` has as many queries under way as there are streams and
waits for none: what it shows is throughput. Without a schedule a query is due when the generator is ready for it.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from conformance.load.quiet import Ticker, Times, quiet
from conformance.load.streams import Streams

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.load.quiet import After, Ask
    from conformance.timing.samples import Samples

FOREVER = 1 << 62


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
    times, ticker, now = Times.of(count), Ticker(tick), time.monotonic_ns
    due, issued, done = times
    answers: list[Any] = [None] * streams
    first = 0

    def work(stream: int) -> None:
        answers[stream] = ask(first + stream)

    made = 0
    with quiet():
        threads = Streams(streams, work)
        try:
            ready = begun = now()
            end_ns = begun + give_up_ns
            for at in range(count):
                begin = now()
                threads.run()
                end = now()
                due[at], issued[at], done[at] = ready, begin, end
                made = at + 1
                if threads.errors:
                    break
                if after is not None:
                    for stream, answer in enumerate(answers):
                        after(first + stream, answer)
                first += streams
                if end >= ticker.due_ns:
                    ticker(end)
                if end > end_ns:
                    break
                ready = now()
        finally:
            threads.close()
    return times.samples(made, is_scheduled=False)


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
    times, ticker, now = Times.of(count), Ticker(tick), time.monotonic_ns
    due, issued, done = times
    turn, following, end_ns = threading.Lock(), 0, FOREVER

    def work(stream: int) -> None:
        nonlocal following
        while True:
            ready = now()
            with turn:
                at, following = following, following + 1
                if at >= count or ready > end_ns:
                    return
                begin = now()
            answer = ask(at)
            end = now()
            due[at], issued[at], done[at] = begin, begin, end
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
    made = int((done >= 0).sum())
    return times.samples(made, is_scheduled=False)
