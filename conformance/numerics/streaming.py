"""Tensors read in blocks: row-major, without a second copy, and shared between threads where that pays.

numpy's loops run outside the interpreter's lock, so two threads on two cores take half the time, provided that blocks are
large enough: with blocks of a few thousand elements the threads spend their time handing the lock to and fro. The same befalls
threads that have to share a core, with whatever size of block, so that only cores that are idle get one.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.tensors import Array

BLOCK = 1 << 17
"""Elements to a block: half a megabyte of float32, large enough for threads, small enough for a core's share of cache."""
SHARED = 8 * BLOCK
"""Elements from which threads are worth their start, about 0.1 ms each."""
MOST_THREADS = 8
"""More do not help: by then memory is the limit."""


def read_blocks(array: Array) -> Callable[[int, int], Array]:
    """Return a reader of flat row-major ranges; a strided array is copied range by range, never as a whole."""
    if array.flags.c_contiguous:
        flat = array.reshape(-1)
        return lambda start, stop: flat[start:stop]
    # Each call makes its own iterator, so that threads can read the same array.
    return lambda start, stop: np.asarray(array.flat[start:stop])


def share_blocks(total: int, work: Callable[[Iterator[int]], None]) -> None:
    """Have `work` called with an iterator over the starts of the blocks, in several threads where the tensor is large.

    Each start comes up once, in ascending order within a thread. What `work` raises is raised here.
    """
    starts = range(0, total, BLOCK)
    threads = min(1 + count_idle_cores(), MOST_THREADS) if total >= SHARED else 1
    if threads == 1:
        work(iter(starts))
        return
    turns = _take_turns(starts)
    with ThreadPoolExecutor(threads - 1, thread_name_prefix="compare") as pool:
        others = [pool.submit(work, turns()) for _ in range(threads - 1)]
        work(turns())
        for other in others:
            other.result()


def count_idle_cores() -> int:
    """Return on how many more cores this process could run at this moment; 0 where the kernel does not say."""
    try:
        # proc_loadavg(5): the fourth field is the number of runnable threads, this one among them, and of all.
        runnable = int(Path("/proc/loadavg").read_text(encoding="ascii").split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return 0
    return max(0, len(os.sched_getaffinity(0)) - max(1, runnable))


def _take_turns(starts: range) -> Callable[[], Iterator[int]]:
    """Return a maker of iterators that take from the same range: whoever is free takes the next block."""
    left, lock = iter(starts), Lock()

    def take() -> Iterator[int]:
        while True:
            with lock:
                start = next(left, None)
            if start is None:
                return
            yield start

    return take
