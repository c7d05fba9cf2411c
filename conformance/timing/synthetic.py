"""Runs whose truth is known: what the judges are shown on, in the tests and in `benchmarks/timing_judges.py`.

Every kind has a distribution over the whole run whose percentiles are computed, not sampled. Latencies are in ns around 5 ms.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.tensors import Array

TYPICAL_NS = 5e6
SPREAD = 0.1
"""Standard deviation of the logarithm of latency."""
SLOW_FACTOR, SLOW_SHARE = 1.6, 0.2
PARETO_SHAPE, PARETO_SCALE = 2.0, 0.05
GROWTH = 0.3
PERSISTENCE = 0.9
"""The correlation of a query with the one before it: τ is 19 for the latency itself."""
BURST_SHARE, BURST_QUERIES = 0.05, 10
_NORMAL = NormalDist()


class Kind(NamedTuple):
    """A kind of run: how `runs` of `n` queries are drawn, float64[runs, n] in ns, and the share of queries over a limit."""

    draw: Callable[[np.random.Generator, int, int], Array]
    share_over: Callable[[float], float]

    def percentile(self, p: float) -> float:
        """Return the true percentile in ns, by bisection of the share over it."""
        low, high = TYPICAL_NS / 10, TYPICAL_NS * 1000
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if self.share_over(middle) > 1 - p else (low, middle)
        return high


def _normal_over(limit: float, typical: float = TYPICAL_NS) -> float:
    return 1 - _NORMAL.cdf(math.log(limit / typical) / SPREAD)


def _log_normal(rng: np.random.Generator, runs: int, n: int) -> Array:
    return np.asarray(TYPICAL_NS * np.exp(np.float32(SPREAD) * rng.standard_normal((runs, n), dtype=np.float32)))


def _bimodal(rng: np.random.Generator, runs: int, n: int) -> Array:
    return _log_normal(rng, runs, n) * np.where(rng.random((runs, n), dtype=np.float32) < SLOW_SHARE, SLOW_FACTOR, 1.0)


def _bimodal_over(limit: float) -> float:
    return (1 - SLOW_SHARE) * _normal_over(limit) + SLOW_SHARE * _normal_over(limit, SLOW_FACTOR * TYPICAL_NS)


def _heavy(rng: np.random.Generator, runs: int, n: int) -> Array:
    return np.asarray(TYPICAL_NS * (1 + PARETO_SCALE * rng.pareto(PARETO_SHAPE, (runs, n))))


def _heavy_over(limit: float) -> float:
    beyond = (limit / TYPICAL_NS - 1) / PARETO_SCALE
    return float((1 + beyond) ** -PARETO_SHAPE) if beyond > 0 else 1.0


def _drifting(rng: np.random.Generator, runs: int, n: int) -> Array:
    return _log_normal(rng, runs, n) * (1 + GROWTH * (np.arange(n) + 0.5) / n)


def _drifting_over(limit: float) -> float:
    grid = 1 + GROWTH * (np.arange(400) + 0.5) / 400
    return float(np.mean([_normal_over(limit, TYPICAL_NS * one) for one in grid]))


def _autocorrelated(rng: np.random.Generator, runs: int, n: int) -> Array:
    series = rng.standard_normal((n, runs), dtype=np.float32)
    fresh = np.float32(math.sqrt(1 - PERSISTENCE**2))
    for at in range(1, n):
        series[at] = np.float32(PERSISTENCE) * series[at - 1] + fresh * series[at]
    return np.ascontiguousarray((TYPICAL_NS * np.exp(np.float32(SPREAD) * series)).T)


def _bursts(rng: np.random.Generator, runs: int, n: int) -> Array:
    draws = rng.random((n, runs), dtype=np.float32)
    is_slow = draws[0] < BURST_SHARE
    enters = BURST_SHARE / (1 - BURST_SHARE) / BURST_QUERIES
    states = np.empty((n, runs), dtype=bool)
    for at in range(n):
        if at:
            is_slow = np.where(is_slow, draws[at] >= 1 / BURST_QUERIES, draws[at] < enters)
        states[at] = is_slow
    return _log_normal(rng, runs, n) * np.where(states.T, SLOW_FACTOR, 1.0)


def _bursts_over(limit: float) -> float:
    return (1 - BURST_SHARE) * _normal_over(limit) + BURST_SHARE * _normal_over(limit, SLOW_FACTOR * TYPICAL_NS)


KINDS = {
    "log-normal": Kind(_log_normal, _normal_over),
    "bimodal": Kind(_bimodal, _bimodal_over),
    "heavy tail": Kind(_heavy, _heavy_over),
    "drifting": Kind(_drifting, _drifting_over),
    "autocorrelated": Kind(_autocorrelated, _normal_over),
    "bursts": Kind(_bursts, _bursts_over),
}


def draw_with_slow(rng: np.random.Generator, runs: int, n: int, share: float, factor: float = 4.0) -> Array:
    """Return float64[runs, n]: log-normal latencies cut off at 1.5 × the typical one, of which a share takes longer by a factor."""
    calm = np.minimum(_log_normal(rng, runs, n), 1.5 * TYPICAL_NS)
    return np.asarray(calm * np.where(rng.random((runs, n)) < share, factor, 1.0))


def back_to_back(latency_ns: Array, gap_ns: int = 1000) -> tuple[Array, Array]:
    """Return when queries of these latencies, int64[n], are issued and done if each waits for the one before: int64[n] each."""
    done = np.cumsum(latency_ns + gap_ns) + 1_000_000_000
    return done - latency_ns, done
