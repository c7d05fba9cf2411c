"""Exact binomial bounds (Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404). Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIDENCE = 0.99


def upper_bound(hits: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """Return the one-sided upper bound of a rate of which `hits` of `trials` were seen."""
    if hits >= trials:
        return 1.0
    return _solve(lambda rate: at_most(hits, trials, rate) - (1 - confidence))


def lower_bound(hits: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """Return the one-sided lower bound; quick where hits are few, whatever the trials."""
    if hits == 0:
        return 0.0
    return _solve(lambda rate: 1 - confidence - at_least(hits, trials, rate), hits / trials)


def at_most(hits: int, trials: int, rate: float) -> float:
    """Return P(X ≤ hits) for X binomial, whatever the trials: the tail on the side where terms fall is the one summed."""
    if hits < 0:
        return 0.0
    if hits >= trials or rate <= 0.0:
        return 1.0
    if rate >= 1.0:
        return 0.0
    if hits + 1 > rate * trials:
        return max(0.0, 1 - _sum_upward(hits + 1, trials, rate))
    return min(1.0, _sum_upward(trials - hits, trials, 1 - rate))


def at_least(hits: int, trials: int, rate: float) -> float:
    """Return P(X ≥ hits) for X binomial."""
    return at_most(trials - hits, trials, 1 - rate) if hits > rate * trials else 1 - at_most(hits - 1, trials, rate)


def _sum_upward(hits: int, trials: int, rate: float) -> float:
    """Return P(X ≥ hits) where hits lie above the mean: terms fall from there on, so that few need be added."""
    term = math.exp(
        math.lgamma(trials + 1) - math.lgamma(hits + 1) - math.lgamma(trials - hits + 1)
        + hits * math.log(rate) + (trials - hits) * math.log1p(-rate)
    )  # fmt: skip
    total, count, odds = term, hits, rate / (1 - rate)
    while count < trials and term > total * 1e-14:
        term *= (trials - count) / (count + 1) * odds
        count += 1
        total += term
    return total


def _solve(falling: Callable[[float], float], high: float = 1.0) -> float:
    """Return where a falling function of a rate in [0, high] crosses zero, to double precision."""
    low = 0.0
    for _ in range(80):
        middle = (low + high) / 2
        if falling(middle) > 0:
            low = middle
        else:
            high = middle
    return high
