"""Limits of generated cases worked out ahead of the judging, in processes of ours beside this one.

Judging is one process's work, and most of it is finding out what is right. Here others do that for the cases that come next; a case
that they have not reached is worked out where it is judged, so that order, count and even the death of a worker change the time
a run takes and nothing else. A worker is `python -m conformance.reference.made.ahead`: MessagePack in, MessagePack out, over its own
pipes, no vendor's code in it and no file in between.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Self

import msgspec

from conformance.numerics.modes import PrecisionMode
from conformance.reference.ahead import receive, send, start_worker
from conformance.reference.packed import Packed, pack_limit, unpack_limit

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

MOST = 4
"""Workers at most; one processor of the host is left to those who run and judge."""
WORTH = 64
"""Cases for which a worker is worth its start, which takes a second."""
AHEAD = 96
"""Cases that are worked out and not yet asked for, at most: they wait in memory."""


class Wanted(NamedTuple):
    """What `limits.limits_of` takes."""

    case_id: str
    mode: dict[str, Any]
    subject: str
    challenge: str


class LimitsAhead:
    """Works limits out in the order in which they are wanted; `limits_of` gives each out once. Close it at the end."""

    def __init__(self, wanted: Sequence[Wanted], workers: int | None = None) -> None:
        self._wanted = list(wanted)
        self._next = 0
        self._begun: set[str] = set()
        self._taken: set[str] = set()
        self._found: dict[str, bytes] = {}
        self._state = threading.Condition()
        self._is_over = False
        spare = min(MOST, len(os.sched_getaffinity(0)) - 1, len(self._wanted) // WORTH)
        self._count = spare if workers is None else workers
        self._processes: list[subprocess.Popen[bytes]] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def limits_of(self, one: Wanted) -> list[list[Any]]:
        """Return the limits of a case, from a worker where one has begun it, else worked out here."""
        if not self._threads:
            self._start()
        with self._state:
            self._taken.add(one.case_id)
            while one.case_id in self._begun and one.case_id not in self._found:
                self._state.wait()
            body = self._found.pop(one.case_id, b"")
            self._begun.discard(one.case_id)  # it is given out once: who asks again works it out
            self._state.notify_all()
        if body:
            mode = PrecisionMode.of(one.mode)
            packed = msgspec.msgpack.decode(body, type=list[list[Packed]])
            return [[unpack_limit(limit, mode) for limit in outputs] for outputs in packed]
        from conformance.reference.made.limits import limits_of

        return limits_of(*one)

    def close(self) -> None:
        """End the workers."""
        with self._state:
            self._is_over = True
            self._state.notify_all()
        for process in self._processes:
            process.kill()
            process.wait()
        for thread in self._threads:
            thread.join()

    def _start(self) -> None:
        """Start with the first question: whatever comes before it in a run has the host to itself."""
        self._processes = [start_worker(__name__) for _ in range(min(self._count, len(self._wanted)))]
        self._threads = [threading.Thread(target=self._feed, args=(one,), daemon=True) for one in self._processes]
        for thread in self._threads:
            thread.start()

    def _choose(self) -> Wanted | None:
        """Return the next case for a worker, once there is room for another; None at the end."""
        with self._state:
            while not self._is_over:
                while self._next < len(self._wanted) and self._wanted[self._next].case_id in self._taken:
                    self._next += 1
                if self._next == len(self._wanted):
                    return None
                if len(self._begun) < AHEAD:
                    one = self._wanted[self._next]
                    self._next += 1
                    self._begun.add(one.case_id)
                    return one
                self._state.wait()
            return None

    def _feed(self, process: subprocess.Popen[bytes]) -> None:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None and stdout is not None  # noqa: S101 - pipes were asked for
        one: Wanted | None = None
        try:
            with contextlib.suppress(OSError), stdin, stdout:
                while (one := self._choose()) is not None:
                    send(stdin, msgspec.msgpack.encode(one))
                    body = receive(stdout)
                    if body is None:
                        break
                    self._settle(one, body)
        finally:
            if one is not None:  # it died, or was ended, over this one
                self._settle(one, b"")

    def _settle(self, one: Wanted, body: bytes) -> None:
        with self._state:
            if body:
                self._found[one.case_id] = body
            else:
                self._begun.discard(one.case_id)
            self._state.notify_all()


def serve(stream: IO[bytes], answers: IO[bytes]) -> None:
    """Answer questions until there are no more. An empty answer leaves the case to who asks, who then meets the same fault."""
    from conformance.reference.made.limits import limits_of

    while (body := receive(stream)) is not None:
        try:
            limits = limits_of(*msgspec.msgpack.decode(body, type=Wanted))
            answer = msgspec.msgpack.encode([[pack_limit(one) for one in outputs] for outputs in limits])
        except Exception:  # noqa: BLE001 - whoever judges the case works it out again, and tells it
            answer = b""
        send(answers, answer)


if __name__ == "__main__":
    serve(sys.stdin.buffer, os.fdopen(os.dup(1), "wb"))
