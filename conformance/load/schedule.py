"""When queries are due: absolute times of CLOCK_MONOTONIC, computed beforehand, and waiting for one of them.

A schedule is never shifted by what happened before: query k is due at start + k·period however late query k − 1 was. A wait
sleeps until shortly before the time and spins for the rest, since a sleep ends tens of microseconds late.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from conformance.errors import HarnessError

if TYPE_CHECKING:
    from conformance.tensors import Array

SPIN_NS = 100_000
"""How long before a time the wait stops sleeping."""
LEAD_NS = 2_000_000
"""From making a schedule to its first query."""


def periodic(start_ns: int, period_ns: float, count: int) -> Array:
    """Return int64[count]: start + k·period, each rounded by itself so that errors do not add up."""
    if period_ns <= 0:
        raise HarnessError(f"a period of {period_ns:g} ns is no period")
    steps = np.rint(np.arange(count, dtype=np.float64) * period_ns).astype(np.int64)
    due: Array = np.int64(start_ns) + steps
    return due


def poisson(start_ns: int, rate_per_s: float, count: int, seed: int) -> Array:
    """Return int64[count]: arrivals of a Poisson process of that rate, the same for the same seed."""
    if rate_per_s <= 0:
        raise HarnessError(f"a rate of {rate_per_s:g} per second is no rate")
    gaps = np.random.default_rng(seed).exponential(1e9 / rate_per_s, count)
    due: Array = np.int64(start_ns) + np.rint(np.cumsum(gaps)).astype(np.int64)
    return due


def soon() -> int:
    """Return a start that lies just ahead."""
    return time.monotonic_ns() + LEAD_NS


def wait_until(due_ns: int, spin_ns: int = SPIN_NS) -> int:
    """Return the time, on the monotonic clock, at which the wait ended: `due_ns` or a little later; now where it is past.

    The spin keeps the interpreter; threads that share it use `wait_politely`.
    """
    now = time.monotonic_ns
    at = now()
    while due_ns - at > spin_ns:  # a signal or a coarse timer may end a sleep early
        time.sleep((due_ns - at - spin_ns) * 1e-9)
        at = now()
    while at < due_ns:
        at = now()
    return at


def wait_politely(due_ns: int, spin_ns: int = SPIN_NS) -> int:
    """Return as `wait_until` does, letting other threads of the interpreter run while it spins."""
    now = time.monotonic_ns
    at = now()
    while due_ns - at > spin_ns:
        time.sleep((due_ns - at - spin_ns) * 1e-9)
        at = now()
    while at < due_ns:
        time.sleep(0)
        at = now()
    return at
