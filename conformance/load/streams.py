"""Several streams at once: threads that share one session, started before the clock and released together.

A thread's exception is raised in the caller once all threads have come to rest.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from conformance.load.quiet import Ticker, quiet

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.load.quiet import After, Ask, Times

FOREVER = 1 << 62


class Streams:
    """`count` streams, of which the caller is the first; the others are threads that wait to be released."""

    def __init__(self, count: int, work: Callable[[int], Any]) -> None:
        """`work(stream)` is what a stream does each time it is released."""
        self._work = work
        self._gates = [threading.Lock() for _ in range(count - 1)]
        self._ready = [threading.Lock() for _ in range(count - 1)]
        for lock in (*self._gates, *self._ready):
            lock.acquire()  # one thread takes it and another gives it back
        self._is_over = False
        self.errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._serve, args=(at,), name=f"stream-{at + 1}", daemon=True)
            for at in range(count - 1)
        ]
        for thread in self._threads:
            thread.start()

    def _serve(self, at: int) -> None:
        gate, ready = self._gates[at], self._ready[at]
        while True:
            gate.acquire()
            if self._is_over:
                return
            self._do(at + 1)
            ready.release()

    def _do(self, stream: int) -> None:
        try:
            self._work(stream)
        except BaseException as error:  # noqa: BLE001 - raised again by the caller
            self.errors.append(error)

    def run(self) -> None:
        """Let every stream do its work once, and return when all have."""
        for gate in self._gates:
            gate.release()
        self._do(0)
        for ready in self._ready:
            ready.acquire()

    def close(self) -> None:
        """End the threads; raise the first exception that a stream met."""
        self._is_over = True
        for gate in self._gates:
            gate.release()
        for thread in self._threads:
            thread.join()
        if self.errors:
            raise self.errors[0]


def pull(
    count: int,
    times: Times,
    begin_of: Callable[[int, int], int],
    ask: Ask,
    *,
    after: After | None,
    tick: Callable[[], None] | None,
    give_up_ns: int,
) -> None:
    """Make the queries that `times` has room for with `count` streams: whichever is free takes the next one.

    `begin_of(k, asked_ns)` returns when query k was issued, and waits for that where it has to; one stream at a time is in it.
    Queries that were not made, because `give_up_ns` was over, have no time of their end.
    """
    ticker, now = Ticker(tick), time.monotonic_ns
    issued, done, wanted = times.issued, times.done, times.done.size
    turn, following, end_ns = threading.Lock(), 0, FOREVER

    def work(stream: int) -> None:
        nonlocal following
        while True:
            asked = now()
            with turn:
                at = following
                if at >= wanted or asked > end_ns:
                    return
                following += 1
                begin = begin_of(at, asked)
            answer = ask(at)
            end = now()
            issued[at], done[at] = begin, end
            if after is not None:
                after(at, answer)
            if stream == 0 and end >= ticker.due_ns:
                ticker(end)

    with quiet():
        streams = Streams(count, work)
        try:
            end_ns = now() + give_up_ns
            streams.run()
        finally:
            streams.close()
