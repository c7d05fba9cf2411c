"""MLPerf's early stopping, worked out from the binomial tail, so that LoadGen's summary can be checked against it.

With t queries over a percentile p, a run needs n(t) in all: the fewest for which P[Binomial(n, 1 − p) ≤ t] < 1 − confidence.
Single- and multi-stream have no limit: of the t that a run of n can bear the t − 1 slowest queries are dropped, and the
slowest of the rest is the estimate of p. Server has one: the run is long enough where n ≥ n(t) for the t that were over it.
Source: mlcommons/inference, loadgen/results.cc and early_stopping.cc (read, not copied); tolerance 0, confidence 0.99.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from conformance.timing.percentiles import critical_counts, samples_needed

if TYPE_CHECKING:
    from conformance.tensors import Array

CONFIDENCE = 0.99


class StreamStop(NamedTuple):
    """What early stopping makes of a single-stream or multi-stream run."""

    bearable: int
    """t: how many queries over the percentile the run can bear; 0 where it is too short for one."""
    estimate_ns: int | None
    """The estimate of the percentile; None where the run is too short."""
    needed: int
    """How many queries are missing for t = 1; 0 where none are."""

    @property
    def dropped(self) -> int:
        """Return how many of the slowest queries do not count."""
        return max(0, self.bearable - 1)


class ServerStop(NamedTuple):
    """What early stopping makes of a server run."""

    is_enough: bool
    over: int
    needed: int
    """How many queries are missing, if none of them goes over the limit; 0 where none are."""


def stop_stream(latency_ns: Array, p: float = 0.9, confidence: float = CONFIDENCE) -> StreamStop:
    """Return MLPerf's estimate of percentile p from int64[n], by default that of single-stream; multi-stream's is 0.99.

    n = 2,048 at p90 bears 173 and drops 172; n = 2,116 bears 179.
    """
    n = int(latency_ns.size)
    allowed, alpha = round(1 - p, 9), round(1 - confidence, 9)
    bearable = max(0, critical_counts(n, allowed, alpha).most_to_pass)
    if not bearable:
        return StreamStop(0, None, samples_needed(allowed, 1, alpha) - n)
    at = n - bearable
    return StreamStop(bearable, int(np.partition(latency_ns, at)[at]), 0)


def stop_server(latency_ns: Array, limit_ns: int, p: float = 0.99, confidence: float = CONFIDENCE) -> ServerStop:
    """Return whether a server run of int64[n] is long enough for the queries that were over the limit."""
    n = int(latency_ns.size)
    over = int(np.count_nonzero(latency_ns > limit_ns))
    needed = samples_needed(round(1 - p, 9), over, round(1 - confidence, 9)) - n
    return ServerStop(needed <= 0, over, max(0, needed))


def loadgen_percentile(latency_ns: Array, p: float) -> int:
    """Return the percentile as LoadGen's summary shows it: the element ⌊p·n⌋ from zero, up to one rank above the nearest rank."""
    if not latency_ns.size:
        raise ValueError("a percentile of no queries")
    at = min(int(latency_ns.size * p), latency_ns.size - 1)
    return int(np.partition(latency_ns, at)[at])
