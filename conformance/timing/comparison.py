"""Two runs of one device side by side: what only a difference shows.

    idle-gap effect       paced queries take longer than back-to-back ones: clocks and caches go to sleep in between
    result cache          a repeated input is more than 10 % faster than distinct ones (MLPerf's audit TEST04)
    faster when watched   two runs that should be alike are not: other seeds, profiling on, the accuracy run

What is compared is the ratio of percentiles, with an interval from their order statistics: no form of distribution is
assumed, and the dependence of queries is taken into account. An interval across a limit leaves the comparison open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from conformance.timing.finding import milliseconds
from conformance.timing.percentiles import ALPHA, Interval, Outcome, effective_count, percentile_interval

if TYPE_CHECKING:
    from conformance.tensors import Array

TOLERANCE = 0.1
"""How much faster a repeated input may be, and how far two runs that should be alike may lie apart."""
PARTS_PER_MILLION = 1_000_000


class Comparison(NamedTuple):
    """The latency of one run over that of another, with its interval, and whether that is within what is allowed."""

    name: str
    outcome: Outcome
    """`fail` where the named effect is there, `pass` where it is not."""
    ratio: float
    low: float
    """Each end is beyond the true ratio with a probability of at most alpha."""
    high: float
    text: str


def compare_gap(
    back_to_back_ns: Array, paced_ns: Array, tolerance: float = TOLERANCE, alpha: float = ALPHA
) -> Comparison:
    """Return whether paced queries take longer from issue to done than back-to-back ones: service times, int64[n] each."""
    ratio, low, high = _ratio(paced_ns, back_to_back_ns, 0.5, alpha)
    outcome = _decide(low > 1 + tolerance, high <= 1 + tolerance)
    text = f"paced queries take {ratio:.3g} × as long as back-to-back ones ({low:.3g} to {high:.3g})"
    return Comparison("idle-gap effect", outcome, ratio, low, high, text)


def compare_repeats(
    distinct_ns: Array, repeated_ns: Array, *, is_paired: bool, tolerance: float = TOLERANCE, alpha: float = ALPHA
) -> Comparison:
    """Return whether a repeated input is served faster than distinct ones: latencies, int64[n] each.

    Paired where query i of both was issued right after the other: what slows the host down slows both, and the interval is
    narrower by that. The median decides, and the 10th percentile too where not all repeats are hits.
    """
    if is_paired and distinct_ns.size == repeated_ns.size:
        share = np.maximum(
            1, (PARTS_PER_MILLION * repeated_ns.astype(np.float64) / np.maximum(1, distinct_ns)).astype(np.int64)
        )
        ratio, low, high = _scaled(_interval(share, 0.5, alpha))
    else:
        ratio, low, high = _ratio(repeated_ns, distinct_ns, 0.5, alpha)
    outcome = _decide(high < 1 - tolerance, low >= 1 - tolerance)
    if outcome == "pass":
        # A cache that answers one repeat in five leaves the median alone.
        quick = _ratio(repeated_ns, distinct_ns, 0.1, alpha)
        if quick[2] < 1 - tolerance:
            outcome, (ratio, low, high) = "fail", quick
    text = f"a repeated input takes {ratio:.3g} of the time of distinct ones ({low:.3g} to {high:.3g}; {1 - tolerance:g} is allowed)"
    return Comparison("result cache", outcome, ratio, low, high, text)


def compare_runs(
    first_ns: Array,
    second_ns: Array,
    name: str = "faster when watched",
    tolerance: float = TOLERANCE,
    alpha: float = ALPHA,
) -> Comparison:
    """Return whether two runs that should be alike are, in their median and their 90th percentile: int64[n] each.

    The one that lies farther from 1 is told. Whichever run is the faster one, they differ.
    """
    ratios = [_ratio(second_ns, first_ns, p, alpha / 2) for p in (0.5, 0.9)]
    least, most = 1 - tolerance, 1 / (1 - tolerance)
    differs = [low > most or high < least for _, low, high in ratios]
    outcome = _decide(any(differs), all(low >= least and high <= most for _, low, high in ratios))
    at = max((0, 1), key=lambda one: (differs[one], abs(np.log(max(ratios[one][0], 1e-9)))))
    ratio, low, high = ratios[at]
    middle = [milliseconds(float(np.median(one))) if one.size else "nothing" for one in (first_ns, second_ns)]
    text = f"medians {middle[0]} and {middle[1]}; {('p50', 'p90')[at]} of the second is {ratio:.3g} of the first ({low:.3g} to {high:.3g})"
    return Comparison(name, outcome, ratio, low, high, text)


def _decide(is_there: bool, is_not_there: bool) -> Outcome:
    return "fail" if is_there else "pass" if is_not_there else "open"


def _interval(latency_ns: Array, p: float, alpha: float) -> Interval:
    if not latency_ns.size:
        return Interval(0, None, None)
    worth = int(effective_count(latency_ns, int(np.quantile(latency_ns, p))))
    return percentile_interval(latency_ns, p, alpha, worth)


def _scaled(interval: Interval) -> tuple[float, float, float]:
    high = float("inf") if interval.high is None else interval.high / PARTS_PER_MILLION
    return interval.value / PARTS_PER_MILLION, (interval.low or 0) / PARTS_PER_MILLION, high


def _ratio(above_ns: Array, below_ns: Array, p: float, alpha: float) -> tuple[float, float, float]:
    """Return the ratio of two percentiles and its interval; each of the two spends half of the error."""
    above, below = _interval(above_ns, p, alpha / 2), _interval(below_ns, p, alpha / 2)
    ratio = above.value / below.value if below.value else float("nan")
    low = (above.low or 0) / below.high if below.high else 0.0
    high = above.high / below.low if above.high is not None and below.low else float("inf")
    return ratio, low, high
