"""Percentiles that are decided rather than read off: the two-sided binomial rule, and the order statistics that mirror it.

A limit on percentile p allows a share of 1 − p of all queries to be over it. Of n independent queries t were:

    PASS  where P[Binomial(n, 1 − p) ≤ t] ≤ alpha       so few over it would be seen seldom if the limit did not hold
    FAIL  where P[Binomial(n, 1 − p) ≥ t] ≤ alpha
    open  otherwise, with the number of queries that is still missing

n is fixed before the run: who looks until it passes makes an error of 1 % into one of 8.5 %. Where extensions were planned,
each look spends its share of the error. n is corrected for the dependence of queries (`correlation.py`).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from conformance.numerics.intervals import at_least, at_most
from conformance.timing.correlation import clustering, correlation_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.tensors import Array

ALPHA = 0.01
"""The stated error of a decision: of a false PASS, and of a false FAIL."""
UNSURE = 12
"""Correlation times that a run gives up for not knowing its own: found with `benchmarks/timing_judges.py`."""
UNSEEN = 0.3
"""What is added to the excess of a correlation time over 1: a run with few of its rare clusters shows too little of them; likewise."""
SHORT = 100
"""What a planned run has beyond twice the fewest: short runs know their correlation time worst."""
MOST_QUERIES = 1 << 40
"""Beyond this no run is planned: a year at 30 kHz."""

Outcome = Literal["pass", "fail", "open"]


class Decision(NamedTuple):
    """What a count of queries over a limit says about the share that is allowed."""

    outcome: Outcome
    needed: int
    """Where open: how many more independent queries would pass if none of them went over the limit."""
    p_pass: float
    """P[X ≤ over] if exactly the allowed share goes over: small where far fewer were seen."""
    p_fail: float
    """P[X ≥ over], likewise: small where far more were seen."""
    over: int
    n: int
    allowed: float
    alpha: float

    @property
    def needed_at_rate(self) -> int | None:
        """Return how many more would pass at the share seen; None where that share is no smaller than the allowed one."""
        if self.outcome != "open":
            return 0
        share = max(self.over, 0) / self.n if self.n else 0.0
        if share >= self.allowed:
            return None
        return max(self.needed, _least(lambda n: at_most(math.ceil(share * n), n, self.allowed) <= self.alpha) - self.n)


class Counts(NamedTuple):
    """Between which counts of queries over a limit nothing is decided, in a run of n."""

    most_to_pass: int
    """−1: no count passes."""
    fewest_to_fail: int
    """n + 1: no count fails."""


class Interval(NamedTuple):
    """A percentile with its interval: each end is beyond the true value with a probability of at most alpha."""

    value: int
    low: int | None
    """None: the run is too short to bound it from below."""
    high: int | None
    """None: the run is too short to bound it from above."""


def decide_share(over: int, n: int, allowed: float, alpha: float = ALPHA) -> Decision:
    """Return whether at most a share `allowed` goes over a limit, of which `over` of n independent queries did.

    With nothing allowed one query over it fails, and nothing can pass; with all allowed there is nothing to show.
    """
    if not 0 <= over <= n:
        raise ValueError(f"{over} of {n} queries over the limit")
    p_pass, p_fail = at_most(over, n, allowed), at_least(over, n, allowed)
    if p_fail <= alpha and over and alpha > 0:
        return Decision("fail", 0, p_pass, p_fail, over, n, allowed, alpha)
    if (p_pass <= alpha and n and alpha > 0) or allowed >= 1:
        return Decision("pass", 0, p_pass, p_fail, over, n, allowed, alpha)
    needed = samples_needed(allowed, over, alpha) - n if allowed > 0 and alpha > 0 else MOST_QUERIES
    return Decision("open", max(1, needed), p_pass, p_fail, over, n, allowed, alpha)


@lru_cache(maxsize=4096)
def samples_needed(allowed: float, over: int = 0, alpha: float = ALPHA) -> int:
    """Return the fewest independent queries of which `over` may go over a limit, and the limit still passes.

    At p99 (allowed 0.01): 459 with none over it, 662 with one.
    """
    if not 0 < allowed < 1 or not 0 < alpha < 1:
        raise ValueError(f"allowed is {allowed}, alpha {alpha}: both lie between 0 and 1")
    return _least(lambda n: at_most(over, n, allowed) <= alpha, over + 1)


def _least(is_enough: Callable[[int], bool], low: int = 1) -> int:
    """Return the least whole number from `low` on that is enough, where whatever is larger is enough as well."""
    high = low
    while not is_enough(high):
        low, high = high + 1, max(1, high * 2)
        if high > MOST_QUERIES:
            return MOST_QUERIES
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle + 1, high)
    return low


@lru_cache(maxsize=1 << 16)
def critical_counts(n: int, allowed: float, alpha: float = ALPHA, effective: int | None = None) -> Counts:
    """Return the counts over a limit that pass and that fail, of n queries that are worth `effective` independent ones.

    With t over the limit, ⌈t·effective/n⌉ of the effective ones have to pass, and ⌊t·effective/n⌋ of them to fail.
    """
    worth = n if effective is None else max(1, min(effective, n))
    if n <= 0 or alpha <= 0:
        return Counts(-1, n + 1)
    passing = _least(lambda t: at_most(t, worth, allowed) > alpha, 0) - 1
    failing = _least(lambda t: t > worth or at_least(t, worth, allowed) <= alpha, 1)
    return Counts(passing * n // worth if passing >= 0 else -1, min(n + 1, -(-failing * n // worth)))


def share_of_error(extension: int, planned: int = 0, alpha: float = ALPHA) -> float:
    """Return the error that a look at a run may spend, so that all looks together spend no more than alpha.

    `extension` is how often the run has been made longer, `planned` how often it was allowed to be, fixed before it began.
    A look that was not planned has nothing to spend: whatever it sees is open.
    """
    if extension < 0 or planned < 0:
        raise ValueError(f"extension {extension} of {planned}")
    return alpha / (planned + 1) if extension <= planned else 0.0


def effective_count(latency_ns: Array, limit_ns: int, clusters: Array | None = None) -> Array:
    """Return int64[...]: how many independent queries latency_ns[..., n] is worth where its share over a limit is judged.

    `clusters` is `clustering` of the same latencies, where several limits are judged.
    """
    n = latency_ns.shape[-1]
    if n == 0:
        return np.zeros(latency_ns.shape[:-1], dtype=np.int64)
    body = clustering(latency_ns) if clusters is None else clusters
    time = np.maximum(correlation_time(latency_ns > limit_ns), body)
    worth = n / (time + UNSEEN * (time - 1))
    # The correlation time is itself known the worse the fewer of them the run holds.
    return np.asarray(np.maximum(1, (worth * worth / (worth + UNSURE)).astype(np.int64)))


def queries_for(wanted: int, n: int = 0, worth: int = 0) -> int:
    """Return how many queries are worth `wanted` independent ones, where n were worth `worth`: inverts `effective_count`.

    Without a run to go by the queries count as independent, less what a run gives up for not knowing whether they are.
    """
    held, needed = ((one + math.sqrt(one * one + 4 * UNSURE * one)) / 2 for one in (worth, wanted))
    return math.ceil(needed * (max(1.0, n / held) if n and worth else 1.0))


def queries_to_plan(allowed: float, over: int = 0, alpha: float = ALPHA) -> int:
    """Return how many queries a run should have for a limit to pass with `over` of them over it: twice the fewest and some.

    The correlation time is estimated, and never below 1: independent queries are found to be worth some three quarters of what
    they are, fewer in a short run.
    """
    return 2 * queries_for(samples_needed(allowed, over, alpha)) + SHORT


def decide_limit(
    latency_ns: Array, limit_ns: int, allowed: float, alpha: float = ALPHA, clusters: Array | None = None
) -> Array:
    """Return int8[...] for latency_ns[..., n]: 1 where a limit that a share may exceed passes, −1 where it fails, else 0."""
    n = latency_ns.shape[-1]
    over = np.count_nonzero(latency_ns > limit_ns, axis=-1)
    worth = effective_count(latency_ns, limit_ns, clusters)
    found, where = np.unique(worth, return_inverse=True)
    counts = np.array([critical_counts(n, allowed, alpha, int(one)) for one in found])[where.reshape(worth.shape)]
    return np.asarray((over <= counts[..., 0]).astype(np.int8) - (over >= counts[..., 1]).astype(np.int8))


def rank(n: int, p: float) -> int:
    """Return the nearest rank of a percentile, 1 to n: the least r with r/n ≥ p."""
    return min(n, max(1, math.ceil(round(p * n, 6))))


def percentile(latency_ns: Array, p: float) -> int:
    """Return the percentile p (0 to 1) of int64[n] by the nearest rank: a latency that was measured, nothing in between."""
    if not latency_ns.size:
        raise ValueError("a percentile of no queries")
    at = rank(latency_ns.size, p) - 1
    return int(np.partition(latency_ns, at)[at])


def percentile_interval(latency_ns: Array, p: float, alpha: float = ALPHA, effective: int | None = None) -> Interval:
    """Return a percentile of int64[n] with its distribution-free interval, by order statistics.

    It says the same as `decide_share`: a limit passes from `high` on, and fails below `low`.
    """
    ordered = np.sort(latency_ns)
    n = ordered.size
    counts = critical_counts(n, round(1 - p, 9), alpha, effective)  # 1 − 0.999 is not 0.001 in binary
    return Interval(
        int(ordered[rank(n, p) - 1]),
        int(ordered[n - counts.fewest_to_fail]) if counts.fewest_to_fail <= n else None,
        int(ordered[n - 1 - counts.most_to_pass]) if counts.most_to_pass >= 0 else None,
    )
