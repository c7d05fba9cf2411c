"""Every diagnosis by name, with a run that has it and runs that have not."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from conformance.timing.diagnosis import diagnose
from conformance.timing.samples import Samples
from conformance.timing.synthetic import KINDS, back_to_back

N = 4000
AT = np.arange(N)


def run(latency: Any) -> Samples:
    issued, done = back_to_back(np.asarray(latency).astype(np.int64))
    return Samples(issued, issued, done, is_scheduled=False)


def base(seed: int = 1, n: int = N) -> Any:
    return 5e6 * np.random.default_rng(seed).lognormal(0, 0.05, n)


def found(latency: Any) -> dict[str, Any]:
    return {one.name: one for one in diagnose(run(latency))}


def test_a_latency_that_grows_is_drift() -> None:
    one = found(base() * (1 + 0.2 * AT / N))["drift"]
    assert one.figures["growth"] == pytest.approx(0.18, abs=0.03)
    assert "grows by 1" in one.text
    assert "drift" in found(base() * (1.3 - 0.3 * np.exp(-AT / 1000)))  # toward a steady state


def test_one_that_falls_is_drift_to_faster() -> None:
    assert "drift to faster" in found(base() * (1.2 - 0.2 * AT / N))


def test_a_step_that_stays_is_throttling() -> None:
    one = found(base() * np.where(AT < 2500, 1, 1.3))["throttling"]
    assert one.figures["at"] == pytest.approx(0.625, abs=0.02)
    assert one.figures["after_ns"] / one.figures["before_ns"] == pytest.approx(1.3, abs=0.02)
    assert "step to faster" in found(base() * np.where(AT < 2500, 1.3, 1))


def test_a_tail_that_grows_while_the_median_stays_is_drift_too() -> None:
    slow = (np.random.default_rng(2).random(N) < 0.3) * 0.5 * AT / N
    assert "drift" in found(base() * (1 + slow))


@pytest.mark.parametrize(("first", "times"), [(1, 10.0), (40, 3.0), (200, 1.3)])
def test_slow_first_queries_are_a_warm_up_that_was_too_short(first: int, times: float) -> None:
    one = found(base() * np.where(first > AT, times, 1))["warm-up"]
    assert first / 2 <= one.figures["queries"] <= 2 * first


def test_two_modes_are_told_with_their_places() -> None:
    one = found(base() * np.where(np.random.default_rng(3).random(N) < 0.3, 1.5, 1))["bimodality"]
    assert one.figures["high_ns"] / one.figures["low_ns"] == pytest.approx(1.5, abs=0.05)
    assert one.figures["high_share"] == pytest.approx(0.3, abs=0.03)


def test_clusters_are_autocorrelation() -> None:
    one = found(KINDS["autocorrelated"].draw(np.random.default_rng(4), 1, N)[0])["autocorrelation"]
    assert one.figures["worth"] < N / 5


def test_slow_queries_with_a_rhythm_are_periodic_spikes_and_those_without_are_not() -> None:
    one = found(base() * np.where(AT % 100 == 50, 4, 1))["periodic spikes"]
    assert one.figures["period_ns"] == pytest.approx(515e6, rel=0.05)
    assert "periodic spikes" not in found(base() * np.where(np.random.default_rng(5).random(N) < 0.01, 4, 1))


HONEST = {
    "log-normal": lambda rng, n: 5e6 * rng.lognormal(0, 0.1, n),
    "heavy tail": lambda rng, n: 5e6 * (1 + 0.05 * rng.pareto(2, n)),
    "skewed": lambda rng, n: 5e6 * (1 + 0.2 * rng.gamma(1.0, 1.0, n)),
    "uniform": lambda rng, n: 5e6 * rng.uniform(0.8, 1.2, n),
    "coarse clock": lambda rng, n: np.round(rng.lognormal(0, 0.05, n) * 20) * 100,
    "constant": lambda rng, n: np.full(n, 5e6),
}


@pytest.mark.parametrize("kind", HONEST)
def test_honest_runs_are_seldom_given_a_name(kind: str) -> None:
    rng = np.random.default_rng(6)
    names = Counter(
        one.name for n in (200, 1000, 5000) for _ in range(40) for one in diagnose(run(HONEST[kind](rng, n)))
    )
    assert names.total() <= 4, names
    assert not {"drift", "throttling"} & set(names)


def test_a_short_run_is_not_diagnosed() -> None:
    assert diagnose(run(base()[:100] * np.arange(100))) == []
