"""References computed ahead, in processes beside this one: under a challenge every one of them is new, and takes its seconds.

What is computed is kept in the cache (`answers.kept`), which is all that these processes are for: the caller asks again afterwards,
and computes itself whatever is not there. A worker is `python -m conformance.reference.ahead`: it takes calls from its standard
input, one after another, writes a byte for each that ended, and ends when its input does, so that it outlives nobody for long.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import IO

MOST = 8
"""Workers at most: each may hold hundreds of megabytes."""
_LENGTH = struct.Struct("<Q")
_OWN_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""A worker per processor: none needs threads of its own for its products."""


def call_ahead(calls: Iterable[Callable[[], object]], told: Callable[[int], None], workers: int | None = None) -> int:
    """Make calls in worker processes, and return how many ended well; `told` is given that number as it grows.

    Calls are functions of modules with plain arguments (`functools.partial`). What cannot be sent, and what a worker dies of or
    raises, is left out: it is for the caller to meet. With one processor nothing is done.
    """
    count = min(MOST, len(os.sched_getaffinity(0))) if workers is None else workers
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    for call in calls:
        with contextlib.suppress(Exception):  # a closure, say: whoever asks for it will compute it
            waiting.put(pickle.dumps(call))
    if count < 2 or waiting.qsize() < 2:
        return 0
    ended: queue.SimpleQueue[bool | None] = queue.SimpleQueue()
    processes = [start_worker(__name__) for _ in range(min(count, waiting.qsize()))]
    threads = [threading.Thread(target=_feed, args=(one, waiting, ended), daemon=True) for one in processes]
    done, working = 0, len(threads)
    try:
        for thread in threads:
            thread.start()
        while working:
            one = ended.get()
            working -= one is None
            done += one is True
            told(done)
    finally:  # an interrupt included
        for process in processes:
            process.kill()
            process.wait()
        for thread in threads:
            thread.join()
    return done


def start_worker(module: str) -> subprocess.Popen[bytes]:
    """Start `python -m module` with pipes to it."""
    # In a session of its own: an interrupt of the terminal is the caller's to take, who then ends the worker.
    return subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | _OWN_THREADS,
        start_new_session=True,
    )


def _feed(
    process: subprocess.Popen[bytes], waiting: queue.SimpleQueue[bytes], ended: queue.SimpleQueue[bool | None]
) -> None:
    """Give one worker one call after another until there are no more, or until it is gone."""
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None and stdout is not None  # noqa: S101 - pipes were asked for
    try:
        with contextlib.suppress(OSError, queue.Empty), stdin, stdout:
            while True:
                body = waiting.get_nowait()
                send(stdin, body)
                answer = stdout.read(1)
                if not answer:
                    break
                ended.put(answer == b"+")
    finally:
        ended.put(None)


def send(stream: IO[bytes], body: bytes) -> None:
    """Write a message after its length."""
    stream.write(_LENGTH.pack(len(body)) + body)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes | None:
    """Return the next message, None at the end."""
    head = stream.read(_LENGTH.size)
    return stream.read(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else None


def serve(stream: IO[bytes], answers: IO[bytes]) -> None:
    """Make the calls that come in, each by its length and its pickle, until there are no more."""
    while (body := receive(stream)) is not None:
        try:
            pickle.loads(body)()  # noqa: S301 - from the process that started this one, over its own pipe
        except Exception:  # noqa: BLE001 - the caller computes it again and meets the same
            answers.write(b"-")
        else:
            answers.write(b"+")
        answers.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, os.fdopen(os.dup(1), "wb"))
