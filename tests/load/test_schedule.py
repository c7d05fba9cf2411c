"""Schedules: absolute, without drift, the same for the same seed; waits end at their time and not before."""

from __future__ import annotations

import time

import numpy as np
import pytest

from conformance.errors import HarnessError
from conformance.load.schedule import periodic, poisson, wait_politely, wait_until


def test_a_period_that_is_no_whole_number_of_nanoseconds_does_not_drift() -> None:
    period = 1e9 / 30
    due = periodic(7, period, 30 * 3600)
    assert due.dtype == np.int64
    assert int(due[0]) == 7
    assert abs(int(due[-1]) - 7 - period * (30 * 3600 - 1)) <= 1
    assert set(np.diff(due).tolist()) == {33333333, 33333334}


def test_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() -> None:
    gaps = np.diff(poisson(0, 1000.0, 20_000, seed=3))
    assert np.mean(gaps) == pytest.approx(1e6, rel=0.03)
    assert np.std(gaps) == pytest.approx(1e6, rel=0.03)
    assert (gaps >= 0).all()


def test_the_seed_decides_the_arrivals() -> None:
    first, again, other = (poisson(0, 50.0, 100, seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert not (first == other).any()


@pytest.mark.parametrize("wait", [wait_until, wait_politely])
def test_a_wait_does_not_end_before_its_time(wait) -> None:  # type: ignore[no-untyped-def]
    for ahead_ns in (0, 1_000, 50_000, 400_000):
        due = time.monotonic_ns() + ahead_ns
        assert wait(due) >= due


@pytest.mark.parametrize("wait", [wait_until, wait_politely])
def test_a_time_that_is_past_is_not_waited_for(wait) -> None:  # type: ignore[no-untyped-def]
    before = time.monotonic_ns()
    assert wait(before - 10**12) >= before


def test_what_is_no_schedule_is_refused() -> None:
    with pytest.raises(HarnessError, match="no period"):
        periodic(0, 0.0, 3)
    with pytest.raises(HarnessError, match="no rate"):
        poisson(0, -1.0, 3, 1)
