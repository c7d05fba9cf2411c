"""Clock and generator: a step of one hour, gaps in the record, a generator that is late by its own fault."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conformance.timing.samples import Samples, from_times
from conformance.timing.schedule import (
    find_clock_step,
    find_gap,
    find_schedule_faults,
    find_starvation,
    own_lateness_ns,
)
from conformance.timing.synthetic import back_to_back

HOUR = 3600 * 10**9
PERIOD = 10_000_000
N = 1000


def paced(late: Any = 0, service: int = 4_000_000) -> Samples:
    due = 10**9 + PERIOD * np.arange(N)
    issued = due + 2000 + late
    return from_times(due, issued, issued + service)


def single() -> Samples:
    latency = (5e6 * np.random.default_rng(1).lognormal(0, 0.1, N)).astype(np.int64)
    issued, done = back_to_back(latency)
    return Samples(issued, issued, done, is_scheduled=False)


@pytest.mark.parametrize("samples", [paced(), single()])
def test_a_clean_run_has_no_fault(samples: Samples) -> None:
    assert find_schedule_faults(samples) == []
    assert find_schedule_faults(samples, samples.issued_ns + 5) == []
    assert find_starvation(samples) is None


@pytest.mark.parametrize("samples", [paced(), single()])
def test_a_clock_step_of_one_hour(samples: Samples) -> None:
    def stepped(times: Any, at: int) -> Any:
        return times + HOUR * (np.arange(N) >= at)

    due = samples.due_ns if samples.is_scheduled else stepped(samples.due_ns, 501)
    wrong = Samples(due, stepped(samples.issued_ns, 501), stepped(samples.done_ns, 500), samples.is_scheduled)
    found = find_schedule_faults(wrong)
    assert found[0].name == "clock step"
    assert found[0].figures["step_ns"] == pytest.approx(HOUR, rel=1e-3)


def test_a_second_clock_tells_a_step_from_a_stall_and_sees_small_ones() -> None:
    samples = single()
    stall = samples.issued_ns + HOUR * (np.arange(N) >= 500)
    stalled = Samples(stall, stall, stall + 5_000_000, is_scheduled=False)
    assert find_clock_step(stalled) is not None
    assert find_clock_step(stalled, stall + 7) is None
    small = find_clock_step(samples, samples.issued_ns + 200_000_000 * (np.arange(N) >= 500))
    assert small is not None
    assert small.figures == {"step_ns": -200_000_000.0, "query": 499}
    back = find_clock_step(samples, samples.issued_ns - HOUR * (np.arange(N) >= 500))
    assert back is not None


def test_a_long_query_is_no_clock_step() -> None:
    samples = single()
    late = np.arange(N) >= 500
    slow = Samples(
        samples.due_ns + 8 * 10**9 * (np.arange(N) > 500),
        samples.issued_ns + 8 * 10**9 * (np.arange(N) > 500),
        samples.done_ns + 8 * 10**9 * late,
        is_scheduled=False,
    )
    assert find_schedule_faults(slow) == []


def test_frames_that_are_missing_from_a_schedule_are_a_sampling_gap() -> None:
    kept = paced().take(np.delete(np.arange(N), [100, 101, 102, 700]))
    found = find_gap(kept)
    assert found is not None
    assert found.name == "sampling gap"
    assert (found.figures["gaps"], found.figures["missing"]) == (2.0, pytest.approx(4.0, abs=0.01))


def test_random_arrivals_have_no_gap_unless_a_stretch_is_missing() -> None:
    rng = np.random.default_rng(2)
    due = 10**9 + np.cumsum(rng.exponential(PERIOD, 20000)).astype(np.int64)
    samples = from_times(due, due + 1000, due + 3_000_000)
    assert find_gap(samples) is None
    assert find_gap(samples.take(np.delete(np.arange(20000), slice(5000, 5100)))) is not None


def test_a_stretch_without_queries_back_to_back_is_a_gap() -> None:
    samples = single()
    assert find_gap(samples.take(np.delete(np.arange(N), slice(300, 600)))) is not None


def test_a_starved_generator_is_late_by_its_own_fault() -> None:
    late = np.where(np.random.default_rng(3).random(N) < 0.05, 3_000_000, 0)
    found = find_starvation(paced(late))
    assert found is not None
    assert found.name == "generator starved"
    assert found.figures["late_p99_ns"] > 2_900_000


def test_a_device_too_slow_for_its_schedule_is_no_starved_generator() -> None:
    due = 10**9 + PERIOD * np.arange(N)
    done = 10**9 + 12_000_000 * (np.arange(N) + 1)
    issued = np.concatenate(([due[0]], done[:-1] + 3000))
    slow = from_times(due, issued, done)
    assert slow.lateness_ns.max() > 10**9
    assert own_lateness_ns(slow).max() == 3000
    assert find_starvation(slow) is None


def test_runs_of_two_queries_say_nothing() -> None:
    assert find_schedule_faults(paced().take(slice(2))) == []
    assert find_starvation(paced().take(slice(2))) is None
