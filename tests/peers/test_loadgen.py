"""MLPerf LoadGen as a peer: it and we see the same queries alike, and its early stopping is what ours reproduces."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from conformance.load.mlperf import SCENARIOS, Settings, Told, run_loadgen
from conformance.timing.early_stopping import stop_stream

pytestmark = pytest.mark.peer
WORK_NS = 300_000
CLOSE_NS, CLOSE_RANKS = 100_000, 4
"""How far LoadGen's percentile may lie beyond ours: what a call through it and back takes, or so many percent of the queries
further up, for a busy host takes the processor away between its reading and ours now and then."""


def work(at: int) -> int:
    end = time.monotonic_ns() + WORK_NS * (1 + at % 3)
    while time.monotonic_ns() < end:
        pass
    return at


def drive(scenario: str, count: int, ask: Callable[[int], Any] = work, **more: Any) -> Told:
    return run_loadgen(ask, 6, Settings(scenario, count, expected_ns=2 * WORK_NS, **more))


def nearest_rank(latency: Any, percentile: float) -> int:
    ordered = np.sort(latency)
    return int(ordered[max(0, int(np.ceil(percentile / 100 * len(ordered))) - 1)])


@pytest.mark.parametrize("scenario", ["single-stream", "multi-stream"])
def test_percentiles_of_the_same_queries_agree(scenario: str) -> None:
    told = drive(scenario, 300, streams=2)
    assert told.samples.size == 300
    for percentile in (50, 90, 95):
        theirs = told.ns(f"{percentile:.2f} percentile latency (ns)")
        ours, further = (nearest_rank(told.samples.latency_ns, percentile + more) for more in (0, CLOSE_RANKS))
        assert ours <= theirs < further + CLOSE_NS, f"p{percentile}: LoadGen {theirs}, ours {ours} to {further}"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_runs_and_every_query_is_seen(scenario: str) -> None:
    asked: list[int] = []

    def ask(at: int) -> None:
        asked.append(at)

    told = drive(scenario, 200, ask, streams=4, rate_per_s=2000.0)
    wanted = 200 * (4 if scenario == "multi-stream" else 1)
    assert len(asked) >= wanted
    assert set(asked) == set(range(6))
    assert told.summary["Scenario"].replace(" ", "").lower() == scenario.replace("-", "")
    assert told.samples.size >= 200
    assert (told.samples.latency_ns >= 0).all()


@pytest.mark.parametrize("count", [2048, 2116])
def test_early_stopping_is_reproduced(count: int) -> None:
    told = drive("single-stream", count, lambda at: at, percentile=0.9)
    found = stop_stream(told.samples.latency_ns, 0.9)
    assert found.dropped == told.discarded()
    assert found.estimate_ns is not None
    assert told.early_stopping_ns()["90"] >= found.estimate_ns  # LoadGen's readings hold its own calls too


def test_what_the_device_raises_comes_out_of_loadgen() -> None:
    def ask(at: int) -> None:
        raise RuntimeError("the device is gone")

    for scenario in ("single-stream", "offline"):
        with pytest.raises(RuntimeError, match="the device is gone"):
            drive(scenario, 20, ask)
