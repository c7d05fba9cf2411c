"""Two runs side by side: devices that cache, sleep, or hurry when they are watched, and honest ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conformance.timing.comparison import compare_gap, compare_repeats, compare_runs

N = 1500


def draw(seed: int, factor: float = 1.0, n: int = N, spread: float = 0.1) -> Any:
    return (5e6 * factor * np.random.default_rng(seed).lognormal(0, spread, n)).astype(np.int64)


def test_an_idle_gap_that_costs_is_told() -> None:
    slow = compare_gap(draw(1), draw(2, 4.0))
    assert (slow.name, slow.outcome) == ("idle-gap effect", "fail")
    assert slow.low < 4 < slow.high
    assert compare_gap(draw(1), draw(2, 1.02)).outcome == "pass"
    assert compare_gap(draw(1), draw(2, 0.5)).outcome == "pass"


@pytest.mark.parametrize("is_paired", [True, False])
def test_a_result_cache_is_caught_and_an_honest_device_is_not(is_paired: bool) -> None:
    cached = compare_repeats(draw(1), draw(2, 0.3), is_paired=is_paired)
    assert (cached.name, cached.outcome) == ("result cache", "fail")
    assert compare_repeats(draw(1), draw(2), is_paired=is_paired).outcome == "pass"
    assert compare_repeats(draw(1), draw(2, 0.95), is_paired=is_paired).outcome == "pass"


def test_a_cache_that_answers_one_repeat_in_five_is_caught() -> None:
    repeated = np.where(np.random.default_rng(3).random(N) < 0.2, draw(4, 0.1), draw(5))
    assert compare_repeats(draw(1), repeated, is_paired=True).outcome == "fail"


def test_pairs_take_out_what_slows_both() -> None:
    common = np.random.default_rng(6).lognormal(0, 1.0, 400)
    distinct, repeated = ((common * one).astype(np.int64) for one in (draw(7, n=400), draw(8, n=400)))
    paired = compare_repeats(distinct, repeated, is_paired=True)
    apart = compare_repeats(distinct, repeated, is_paired=False)
    assert paired.high - paired.low < (apart.high - apart.low) / 3
    assert (paired.outcome, apart.outcome) == ("pass", "open")


def test_too_few_queries_leave_it_open() -> None:
    few = compare_repeats(draw(1, n=5), draw(2, n=5), is_paired=True)
    assert few.outcome == "open"
    assert compare_repeats(draw(1, n=0), draw(2, n=0), is_paired=False).outcome == "open"


def test_faster_when_watched_is_caught_whichever_run_is_the_faster() -> None:
    watched = compare_runs(draw(1), draw(2, 0.8))
    assert (watched.name, watched.outcome) == ("faster when watched", "fail")
    assert compare_runs(draw(2, 0.8), draw(1)).outcome == "fail"
    assert compare_runs(draw(1), draw(2), "seed dependence")[:2] == ("seed dependence", "pass")


def test_a_tail_that_differs_is_enough() -> None:
    tail = np.where(np.random.default_rng(9).random(N) < 0.2, draw(10, 1.5), draw(11))
    found = compare_runs(draw(1), tail)
    assert found.outcome == "fail"
    assert "p90 of the second" in found.text


@pytest.mark.parametrize("factor", [0.9, 1.0])
def test_wrong_outcomes_are_within_the_stated_error(factor: float) -> None:
    """At the limit itself neither outcome comes more often than once in a hundred; honest devices do not fail."""
    outcomes = [
        compare_repeats(draw(2 * i, n=300), draw(2 * i + 1, factor, 300), is_paired=True).outcome for i in range(200)
    ]
    assert outcomes.count("fail") <= 6
    if factor == 0.9:
        assert outcomes.count("pass") <= 6
