"""Exact binomial bounds (Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404). Pure."""

from __future__ import annotations

import math

CONFIDENCE = 0.99


def upper_bound(hits: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """Return the one-sided upper bound of a rate of which `hits` of `trials` were seen."""
    if hits >= trials:
        return 1.0
    return _solve(lambda rate: _at_most(hits, trials, rate) - (1 - confidence))


def lower_bound(hits: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """Return the one-sided lower bound."""
    return 1.0 - upper_bound(trials - hits, trials, confidence)


def _at_most(hits: int, trials: int, rate: float) -> float:
    """Return P(X ≤ hits) for X binomial, summed in logarithms."""
    if rate <= 0.0:
        return 1.0
    if rate >= 1.0:
        return 0.0
    terms = [
        math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
        + k * math.log(rate) + (trials - k) * math.log1p(-rate)
        for k in range(hits + 1)
    ]  # fmt: skip
    top = max(terms)
    return math.exp(top) * sum(math.exp(term - top) for term in terms)


def _solve(falling: object) -> float:
    """Return where a falling function of a rate in [0, 1] crosses zero, to double precision."""
    low, high = 0.0, 1.0
    for _ in range(80):
        middle = (low + high) / 2
        if falling(middle) > 0:  # type: ignore[operator]
            low = middle
        else:
            high = middle
    return high
