"""The binomial rule: the published tables, its mirror in order statistics, and what dependence costs."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.timing.correlation import correlation_time
from conformance.timing.percentiles import (
    critical_counts,
    decide_limit,
    decide_share,
    effective_count,
    percentile,
    percentile_interval,
    queries_for,
    queries_to_plan,
    samples_needed,
    share_of_error,
)
from conformance.timing.synthetic import KINDS, PERSISTENCE

ALLOWED = (0.1, 0.05, 0.03, 0.01, 0.001)


def test_the_fewest_queries_that_can_pass() -> None:
    assert [samples_needed(one) for one in ALLOWED] == [44, 90, 152, 459, 4603]
    assert [samples_needed(one, 1) for one in ALLOWED] == [64, 130, 219, 662, 6636]


@pytest.mark.parametrize("allowed", ALLOWED)
@pytest.mark.parametrize("over", [0, 1, 7])
def test_one_query_fewer_is_open_and_says_so(allowed: float, over: int) -> None:
    n = samples_needed(allowed, over)
    assert decide_share(over, n, allowed).outcome == "pass"
    short = decide_share(over, n - 1, allowed)
    assert (short.outcome, short.needed) == ("open", 1)


def test_far_too_many_fail_and_nothing_is_needed_any_more() -> None:
    decision = decide_share(30, 1000, 0.01)
    assert (decision.outcome, decision.needed) == ("fail", 0)
    assert decision.p_fail < 1e-5
    assert decision.p_pass > 0.99


def test_needed_at_the_rate_seen_is_none_where_more_queries_cannot_help() -> None:
    assert decide_share(10, 1000, 0.01).needed_at_rate is None
    slow = decide_share(8, 1000, 0.01)
    assert slow.needed_at_rate is not None
    assert slow.needed_at_rate > slow.needed
    n = slow.n + slow.needed_at_rate
    assert decide_share(-(-8 * n // 1000), n, 0.01).outcome == "pass"


def test_edges() -> None:
    assert decide_share(0, 0, 0.01).outcome == "open"
    assert decide_share(1, 1, 0.0).outcome == "fail"
    assert decide_share(0, 10**6, 0.0).outcome == "open"
    assert decide_share(5, 5, 1.0).outcome == "pass"
    assert decide_share(0, 10**6, 0.01, alpha=0.0).outcome == "open"
    with pytest.raises(ValueError, match="3 of 2"):
        decide_share(3, 2, 0.1)
    with pytest.raises(ValueError, match="allowed"):
        samples_needed(0.0)


@pytest.mark.parametrize("n", [1, 44, 459, 1000, 6636])
@pytest.mark.parametrize("allowed", [0.5, 0.1, 0.01, 0.001])
def test_critical_counts_are_where_the_decision_turns(n: int, allowed: float) -> None:
    counts = critical_counts(n, allowed)
    if counts.most_to_pass >= 0:
        assert decide_share(counts.most_to_pass, n, allowed).outcome == "pass"
    assert decide_share(counts.most_to_pass + 1, n, allowed).outcome != "pass"
    assert decide_share(counts.fewest_to_fail - 1, n, allowed).outcome != "fail"
    if counts.fewest_to_fail <= n:
        assert decide_share(counts.fewest_to_fail, n, allowed).outcome == "fail"


@pytest.mark.parametrize("wanted", [44, 459, 4603])
def test_queries_for_turns_the_effective_count_round(wanted: int) -> None:
    n = queries_for(wanted)
    assert wanted <= n < wanted + 13
    assert queries_for(wanted, n, wanted) == pytest.approx(n, abs=1)
    assert queries_for(wanted, 10 * n, wanted) == pytest.approx(10 * n, rel=0.02)


def test_a_planned_run_is_long_enough_for_an_honest_device() -> None:
    rng = np.random.default_rng(8)
    for allowed in (0.1, 0.01):
        latency = KINDS["log-normal"].draw(rng, 50, queries_to_plan(allowed)).astype(np.int64)
        assert (decide_limit(latency, 20_000_000, allowed) == 1).mean() > 0.9


def test_looks_share_the_error() -> None:
    assert share_of_error(0) == 0.01
    assert sum(share_of_error(one, planned=3) for one in range(10)) == pytest.approx(0.01)
    assert share_of_error(1) == 0.0
    with pytest.raises(ValueError, match="extension"):
        share_of_error(-1)


def test_looking_until_it_passes_is_what_the_shares_prevent() -> None:
    """Ten looks at a device that is exactly at its limit: at 1 % each they err far more often than once in a hundred."""
    rng = np.random.default_rng(1)
    sizes = np.arange(1000, 11000, 1000)
    over = np.cumsum(rng.binomial(1000, 0.1, (4000, 10)), axis=1)

    def passes(alpha: float) -> float:
        most = np.array([critical_counts(int(n), 0.1, alpha).most_to_pass for n in sizes])
        return float((over <= most).any(axis=1).mean())

    assert passes(0.01) > 0.03
    assert passes(share_of_error(0, planned=9)) < 0.01


@pytest.mark.parametrize(
    ("p", "wanted"), [(0.5, 500), (0.9, 900), (0.99, 990), (0.999, 999), (1.0, 1000), (0.9991, 1000), (0.0, 1)]
)
def test_the_nearest_rank(p: float, wanted: int) -> None:
    assert percentile(np.random.default_rng(0).permutation(1000).astype(np.int64) + 1, p) == wanted


def test_no_queries_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no queries"):
        percentile(np.zeros(0, np.int64), 0.5)


def test_an_interval_says_what_the_decision_says() -> None:
    latency = np.random.default_rng(2).permutation(2000).astype(np.int64)
    interval = percentile_interval(latency, 0.99)
    assert interval.low is not None
    assert interval.high is not None
    for limit, wanted in (
        (interval.high, "pass"),
        (interval.high - 1, "open"),
        (interval.low, "open"),
        (interval.low - 1, "fail"),
    ):
        assert decide_share(int((latency > limit).sum()), 2000, 0.01).outcome == wanted


def test_a_short_run_bounds_nothing() -> None:
    ten = np.arange(10, dtype=np.int64)
    assert percentile_interval(ten, 0.999).high is None
    assert percentile_interval(ten, 0.001).low is None


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    truth = float(np.exp(0.1 * 1.2815515655446004) * 5e6)
    runs = [
        percentile_interval((np.exp(0.1 * rng.standard_normal(500)) * 5e6).astype(np.int64), 0.9) for _ in range(2000)
    ]
    assert sum(one.low is None or one.low > truth for one in runs) <= 35
    assert sum(one.high is None or one.high < truth for one in runs) <= 35


def test_independent_queries_are_worth_most_of_what_they_are() -> None:
    latency = KINDS["log-normal"].draw(np.random.default_rng(4), 1, 20000)[0].astype(np.int64)
    assert 0.7 < effective_count(latency, 6_000_000) / 20000 <= 1


def test_dependent_ones_are_worth_what_their_correlation_time_leaves() -> None:
    series = KINDS["autocorrelated"].draw(np.random.default_rng(5), 20, 20000)
    logs = np.log(series)
    wanted = (1 + PERSISTENCE) / (1 - PERSISTENCE)
    from conformance.timing.correlation import _windowed

    centred = (logs - logs.mean(axis=1, keepdims=True)).astype(np.float32)
    assert float(np.median(_windowed(centred, np.square(centred).mean(axis=1)))) == pytest.approx(wanted, rel=0.1)
    assert (effective_count(series.astype(np.int64), 6_000_000) < 20000 / 10).all()


def test_weak_dependence_that_lasts_long_is_seen() -> None:
    """Each autocorrelation is lost in the noise; their sum is not."""
    rng = np.random.default_rng(6)
    slow = np.repeat(rng.standard_normal((50, 40)), 100, axis=1)
    series = 0.35 * slow + rng.standard_normal((50, 4000))
    assert float(np.median(correlation_time(series > 0))) > 3


def test_few_queries_and_constant_ones_are_taken_as_they_are() -> None:
    assert correlation_time(np.ones((2, 500), bool)).tolist() == [1.0, 1.0]
    assert correlation_time(np.arange(10) > 5) == 1.0
    assert effective_count(np.zeros(0, np.int64), 5) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_many_runs_are_decided_as_each_alone(kind: str) -> None:
    latency = KINDS[kind].draw(np.random.default_rng(7), 12, 1000).astype(np.int64)
    limit = round(KINDS[kind].percentile(0.9))
    together = decide_limit(latency, limit, 0.1)
    assert together.tolist() == [int(decide_limit(one, limit, 0.1)) for one in latency]
