"""Every limit: what passes, what fails, what stays open and why; lying devices by name; the stated error on known truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conformance.numerics.intervals import lower_bound
from conformance.timing.correlation import clustering
from conformance.timing.judging import Floor, LimitResult, Limits, judge_latency
from conformance.timing.percentiles import decide_limit
from conformance.timing.samples import Samples, from_times
from conformance.timing.synthetic import KINDS, TYPICAL_NS, back_to_back, draw_with_slow

FLOOR = Floor(p50_ns=3_000, p999_ns=20_000, max_ns=100_000)
MS = 1_000_000


def run(latency: Any) -> Samples:
    issued, done = back_to_back(np.asarray(latency).astype(np.int64))
    return Samples(issued, issued, done, is_scheduled=False)


def paced(latency: Any, late: Any = 0, period: int = 10 * MS) -> Samples:
    n = np.asarray(latency).size
    due = 10**9 + period * np.arange(n)
    issued = due + late
    return from_times(due, issued, issued + np.asarray(latency).astype(np.int64))


def honest(n: int = 10000, seed: int = 1) -> Any:
    return draw_with_slow(np.random.default_rng(seed), 1, n, 0.0)[0]


def judge_one(samples: Samples, floor: Floor = FLOOR, **limits: Any) -> LimitResult:
    (result,) = judge_latency(samples, Limits(**limits), floor)
    return result


ALL = Limits(
    p50_ns=6 * MS, p90_ns=7 * MS, p95_ns=7 * MS, p99_ns=8 * MS, p999_ns=8 * MS, max_ns=10 * MS,
    jitter_ns=4 * MS, deadline_ns=9 * MS, miss_rate=0.001,
)  # fmt: skip


@pytest.mark.parametrize("make", [run, paced])
def test_an_honest_device_passes_every_limit(make: Any) -> None:
    results = judge_latency(make(honest()), ALL, FLOOR)
    assert [one.name for one in results] == ["p50", "p90", "p95", "p99", "p999", "max", "jitter", "deadline"]
    assert {one.outcome for one in results} == {"pass"}, [one.reason for one in results if one.outcome != "pass"]
    assert all(one.measured is not None and one.n == 10000 and one.reason for one in results)


def test_a_slow_device_fails_every_limit() -> None:
    results = judge_latency(run(2.5 * honest()), ALL._replace(jitter_ns=2 * MS), FLOOR)
    assert {one.outcome for one in results} == {"fail"}, [one.reason for one in results if one.outcome != "fail"]


def test_a_reason_shows_value_interval_limit_and_share() -> None:
    assert judge_one(run(honest()), p99_ns=8 * MS).reason.startswith("p99 6.278 ms (6.2")
    assert "≤ 8 ms (78%)" in judge_one(run(honest()), p99_ns=8 * MS).reason


@pytest.mark.parametrize("name", ["p50_ns", "p99_ns", "p999_ns", "max_ns", "jitter_ns", "deadline_ns"])
def test_no_queries_and_few_are_open_with_the_number_needed(name: str) -> None:
    nothing = judge_one(run([]), **{name: 20 * MS})
    assert (nothing.outcome, nothing.measured) == ("open", None)
    few = judge_one(run(honest(5)), **{name: 20 * MS})
    assert few.outcome == "open"
    assert 0 < few.needed < 2 * nothing.needed
    assert "more queries are needed" in few.reason


def test_the_number_needed_is_enough() -> None:
    short = judge_one(run(honest(400)), p99_ns=8 * MS)
    assert short.outcome == "open"
    assert judge_one(run(honest(400 + 2 * short.needed)), p99_ns=8 * MS).outcome == "pass"


def test_no_miss_rate_means_that_no_query_may_miss() -> None:
    latency = honest(20000)
    latency[5000] = 12 * MS
    assert judge_one(run(latency), deadline_ns=9 * MS).outcome == "fail"
    assert judge_one(run(latency), deadline_ns=9 * MS, miss_rate=0.001).outcome == "pass"
    missing = judge_one(run(latency), deadline_ns=5 * MS, miss_rate=0.001)
    assert missing.outcome == "fail"
    assert missing.measured == pytest.approx(0.5, abs=0.05)


def test_the_floor_leaves_open_what_it_is_too_large_for() -> None:
    high = Floor(p50_ns=10_000, p999_ns=900_000, max_ns=2 * MS)
    results = {one.name: one for one in judge_latency(run(honest()), ALL, high)}
    assert results["p50"].outcome == "pass"
    for name in ("p99", "p999", "max", "jitter"):
        assert results[name].outcome == "open"
        assert "measurement floor" in results[name].reason
    assert judge_one(run(9 * honest()), high, max_ns=10 * MS).outcome == "open"
    assert judge_one(run(honest()), Floor(error_ns=MS), p50_ns=6 * MS).outcome == "open"


def test_inside_the_floor_nothing_fails_and_no_maximum_passes() -> None:
    floor = Floor(p50_ns=400_000, p999_ns=400_000, max_ns=400_000)
    assert judge_one(run(np.full(10000, 5.2 * MS)), floor, p50_ns=5 * MS).outcome == "open"
    assert judge_one(run(np.full(10000, 5.5 * MS)), floor, p50_ns=5 * MS).outcome == "fail"
    near = judge_one(run(np.full(10000, 4.8 * MS)), floor, max_ns=5 * MS)
    assert near.outcome == "open"
    assert "met by less than the measurement floor" in near.reason
    assert judge_one(run(np.full(10000, 4.5 * MS)), floor, max_ns=5 * MS).outcome == "pass"


def test_a_floor_comes_from_the_device_that_does_nothing() -> None:
    floor = Floor.from_null(np.arange(1000, 2000, dtype=np.int64), error_ns=-7)
    assert (floor.at("p50"), floor.at("p95"), floor.at("p999"), floor.at("max")) == (1499, 1949, 1998, 1999)
    assert floor.error_ns == 7
    assert FLOOR.at("p90") == FLOOR.p999_ns


def test_limits_come_from_a_declaration() -> None:
    declared = {
        "model": "resnet-tiny",
        "p99_ms": 5,
        "max_ms": 7.5,
        "jitter_ms": None,
        "deadline_ms": 9,
        "miss_rate": 0.01,
    }
    assert Limits.from_declaration(declared) == Limits(
        p99_ns=5 * MS, max_ns=7_500_000, deadline_ns=9 * MS, miss_rate=0.01
    )


def test_a_look_that_was_not_planned_decides_nothing() -> None:
    results = judge_latency(run(honest()), ALL, FLOOR, alpha=0.0)
    assert {one.outcome for one in results} == {"open"}


# -- lying devices, by name --------------------------------------------------------------------------------------------


def test_one_slow_query_in_a_thousand_fails_a_declared_maximum_that_percentiles_do_not_see() -> None:
    latency = draw_with_slow(np.random.default_rng(2), 1, 10000, 0.001)[0]
    assert judge_one(run(latency), max_ns=10 * MS).outcome == "fail"
    assert judge_one(run(latency), p99_ns=10 * MS).outcome == "pass"


def test_latency_growing_passes_nothing_and_is_named() -> None:
    latency = honest() * (1 + 0.3 * np.arange(10000) / 10000)
    result = judge_one(run(latency), max_ns=20 * MS)
    assert result.outcome == "open"
    assert result.reason.startswith("drift: ")
    assert judge_one(run(latency), max_ns=7 * MS).outcome == "fail"
    assert judge_one(run(latency), p99_ns=7 * MS).outcome == "fail"


def test_throttling_passes_nothing_and_is_named() -> None:
    latency = honest() * np.where(np.arange(10000) < 7000, 1, 1.5)
    result = judge_one(run(latency), p99_ns=20 * MS)
    assert (result.outcome, result.reason.partition(":")[0]) == ("open", "throttling")
    assert judge_one(run(latency), p99_ns=7 * MS).outcome == "fail"


def test_a_clock_step_of_one_hour_decides_nothing() -> None:
    samples = paced(honest())
    step = 3600 * 10**9 * (np.arange(10000) >= 5000)
    wrong = Samples(samples.due_ns, samples.issued_ns + step, samples.done_ns + step)
    for result in judge_latency(wrong, ALL, FLOOR):
        assert (result.outcome, result.reason.partition(":")[0]) == ("open", "clock step")


def test_a_starved_generator_decides_nothing() -> None:
    late = np.where(np.random.default_rng(3).random(10000) < 0.05, 2 * MS, 0)
    results = {one.name: one for one in judge_latency(paced(honest(), late), ALL, FLOOR)}
    assert results["p50"].outcome == "pass"
    for name in ("p99", "p999", "max"):
        assert results[name].outcome == "open"
        assert results[name].reason.startswith("generator starved")


def test_a_sampling_gap_decides_nothing() -> None:
    kept = paced(honest()).take(np.delete(np.arange(10000), slice(4000, 4050)))
    result = judge_one(kept, p99_ns=8 * MS)
    assert (result.outcome, result.reason.partition(":")[0]) == ("open", "sampling gap")


# -- the stated error on known truth -----------------------------------------------------------------------------------

RUNS = 2000
FACTORS = (0.8, 1.0, 1.2)


@pytest.mark.parametrize("p", [0.9, 0.99])
def test_wrong_outcomes_are_within_one_percent(p: float) -> None:
    """2,000 runs of every kind of which the truth is known, and each kind alone: below, at and above the limit."""
    allowed, total, wrong_total, decided = round(1 - p, 9), 0, 0, 0
    for number, kind in enumerate(KINDS.values()):
        for factor in FACTORS:
            runs = RUNS // (len(KINDS) * len(FACTORS)) + 1
            rng = np.random.default_rng([number, round(10 * factor)])
            latency = kind.draw(rng, runs, 1000).astype(np.int64)
            limit = round(kind.percentile(p) / factor)
            outcome = decide_limit(latency, limit, allowed, clusters=clustering(latency))
            passed, failed = int((outcome > 0).sum()), int((outcome < 0).sum())
            for wrong in [passed] * (factor >= 1) + [failed] * (factor <= 1):
                assert lower_bound(wrong, runs, 0.9999) <= 0.01
                wrong_total += wrong
                total += runs
            decided += passed * (factor < 1) + failed * (factor > 1)
    assert total > RUNS
    assert lower_bound(wrong_total, total) <= 0.01
    assert decided > RUNS / 5


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_judge_decides_as_the_vectorised_one(kind: str) -> None:
    latency = KINDS[kind].draw(np.random.default_rng(4), 12, 2000).astype(np.int64)
    for factor in FACTORS:
        limit = round(KINDS[kind].percentile(0.9) / factor)
        together = decide_limit(latency, limit, 0.1)
        alone = [judge_latency(run(one), Limits(p90_ns=limit), Floor(), findings=[])[0].outcome for one in latency]
        assert [{"pass": 1, "fail": -1, "open": 0}[one] for one in alone] == together.tolist()


@pytest.mark.parametrize(("factor", "wanted"), [(0.8, "open"), (1.0, "open"), (1.3, "fail")])
def test_a_drifting_run_fails_by_what_it_showed_and_passes_nothing(factor: float, wanted: str) -> None:
    kind = KINDS["drifting"]
    limits = Limits(p90_ns=round(kind.percentile(0.9) / factor))
    latency = kind.draw(np.random.default_rng(6), 60, 2000)
    outcomes = [judge_latency(run(one), limits, FLOOR)[0].outcome for one in latency]
    assert outcomes.count(wanted) >= 59


def test_a_maximum_is_seldom_passed_where_one_query_in_a_thousand_is_over_it() -> None:
    rng = np.random.default_rng(5)
    limits = Limits(max_ns=round(2 * TYPICAL_NS))
    outcomes = [
        judge_latency(run(draw_with_slow(rng, 1, 5000, 0.001)[0]), limits, FLOOR, findings=[])[0].outcome
        for _ in range(100)
    ]
    assert lower_bound(outcomes.count("pass"), 100) <= 0.01
    assert outcomes.count("fail") > 93
