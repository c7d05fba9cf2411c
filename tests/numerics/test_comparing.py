"""Streamed errors in units of a scale: the sums of the whole, the places of the worst, and nothing hidden by NaN."""

from __future__ import annotations

import math
import os
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from conformance.numerics import streaming
from conformance.numerics.comparing import Errors, measure_errors
from conformance.numerics.streaming import BLOCK, SHARED, share_blocks

NAN, INF = math.nan, math.inf


def assert_sums(found: Errors, errors: Any, reference: Any) -> None:
    """Hold the sums against exactly rounded ones."""
    assert found.sum == pytest.approx(math.fsum(errors), abs=1e-13 * math.fsum(np.abs(errors)))
    assert found.sum_squares == pytest.approx(math.fsum(errors**2), rel=1e-13)
    assert found.sum_magnitudes == pytest.approx(math.fsum(np.abs(errors)), rel=1e-13)
    signed = errors * np.sign(reference)
    assert found.sum_signed == pytest.approx(math.fsum(signed), abs=1e-13 * math.fsum(np.abs(errors)))


@pytest.mark.parametrize("size", [1, 100, 4096, 5000, BLOCK, 2 * BLOCK + 4099, SHARED + 3])
def test_the_totals_are_those_of_the_whole(size: int) -> None:
    random = np.random.default_rng(size)
    want, scale = random.standard_normal(size), random.uniform(0.5, 2, size)
    got = (want + scale * random.standard_normal(size)).astype(np.float32)
    errors = (got.astype(np.float64) - want) / scale

    found = measure_errors(got, want, scale, limit=1.5)

    assert (found.total, found.finite) == (size, size)
    assert found.largest == np.abs(errors).max()
    assert found.largest_at == np.abs(errors).argmax()
    beyond = np.abs(errors) > 1.5
    assert found.exceeding == beyond.sum()
    assert found.first_exceeding == (beyond.argmax() if beyond.any() else -1)
    assert_sums(found, errors, want)
    assert found.rms == pytest.approx(np.sqrt(np.mean(errors**2)))
    assert found.mean == found.sum / size
    assert found.mean_signed == found.sum_signed / size


def test_threads_do_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    got, want = np.random.default_rng(6).standard_normal((2, SHARED + 5))
    found = []
    for idle in (0, 3):
        monkeypatch.setattr(streaming, "count_idle_cores", lambda idle=idle: idle)
        found.append(measure_errors(got, want))
    assert found[0] == found[1]


def test_idle_cores_are_at_most_all_but_one() -> None:
    assert 0 <= streaming.count_idle_cores() < len(os.sched_getaffinity(0)) + 1


@pytest.mark.parametrize(
    "dtype",
    [np.float16, np.float32, np.float64, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2,
     ml_dtypes.int4, np.int8, np.int64, np.uint64, np.bool_],
)  # fmt: skip
def test_every_numeric_type(dtype: Any) -> None:
    got, want = np.array([1, 0, 1, 1], dtype), np.array([1, 1, 0, 1], dtype)
    found = measure_errors(got.reshape(2, 2), want.reshape(2, 2), 0.5, limit=1)
    assert found == Errors(
        total=4, finite=4, largest=2.0, largest_at=1, sum_squares=8.0, sum_signed=-2.0, sum_magnitudes=4.0, exceeding=2, first_exceeding=1
    )  # fmt: skip


def test_truncation_shows_in_the_signed_sum_and_not_in_the_plain_one() -> None:
    want = np.random.default_rng(1).standard_normal(10_000)
    found = measure_errors(np.trunc(want * 64) / 64, want, 1 / 64)
    assert abs(found.sum) < 4 * math.sqrt(found.total)
    assert found.sum_signed < -4 * math.sqrt(found.total)


def test_references_below_the_floor_have_no_sign() -> None:
    want = np.array([-0.5, 0.5, 2.0, -2.0, 0.0])
    found = measure_errors(want + 1, want, floor=1.0)
    assert (found.sum, found.sum_signed) == (5.0, 0.0)
    assert measure_errors(want[:3] + 1, want[:3]).sum_signed == 1.0


def test_special_values_are_counted_apart() -> None:
    want = np.array([1.0, NAN, INF, -INF, 2.0, 3.0])
    assert measure_errors(want.copy(), want) == Errors(total=6, finite=3, largest_at=0)
    for at, value in ((1, 5.0), (1, INF), (2, -INF), (2, NAN), (3, 4.0), (4, INF), (4, NAN)):
        got = want.copy()
        got[at] = value
        got[5] = 3.5
        found = measure_errors(got, want)
        assert (found.special_mismatches, found.first_special) == (1, at)
        assert (found.largest, found.largest_at, found.sum) == (0.5, 5, 0.5)
        assert found.finite == 3 - (at == 4)


def test_special_values_in_later_blocks() -> None:
    want = np.ones(3 * BLOCK + 5, np.float32)
    want[:BLOCK] = NAN
    got = want.copy()
    got[BLOCK + 3] = NAN
    got[2 * BLOCK] = 4
    found = measure_errors(got, want, 2.0, limit=1.0)
    assert (found.special_mismatches, found.first_special) == (1, BLOCK + 3)
    assert (found.largest, found.largest_at) == (1.5, 2 * BLOCK)
    assert (found.exceeding, found.first_exceeding) == (1, 2 * BLOCK)
    assert found.finite == 2 * BLOCK + 4
    assert measure_errors(want[:BLOCK], want[:BLOCK]) == Errors(total=BLOCK)


def test_a_scale_of_0_demands_equality() -> None:
    want, scale = np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0])
    assert measure_errors(np.array([0.0, -0.0, 1.5]), want, scale, limit=1) == Errors(
        total=3, finite=3, largest=0.5, largest_at=2, sum=0.5, sum_squares=0.25, sum_signed=0.5, sum_magnitudes=0.5
    )
    found = measure_errors(np.array([0.0, 1e-300, 1.0]), want, scale, limit=1)
    assert (found.largest, found.largest_at, found.exceeding, found.first_exceeding) == (INF, 1, 1, 1)
    assert found.sum_signed == 0


def test_a_scale_that_is_no_number_hides_nothing() -> None:
    found = measure_errors(np.array([1.0, 2.0]), np.array([1.0, 1.0]), np.array([NAN, NAN]), limit=8)
    assert (found.largest, found.largest_at, found.exceeding) == (INF, 1, 1)
    assert measure_errors(np.array([9.0]), np.array([1.0]), np.array([INF])).largest == 0


def test_strided_tensors_and_scales() -> None:
    random = np.random.default_rng(2)
    want, noise = random.standard_normal((700, 600)), random.standard_normal((700, 600))
    scale = random.uniform(1, 2, (600, 700)).T
    got = np.asfortranarray(want + noise)
    assert measure_errors(got, want, scale) == measure_errors(
        np.ascontiguousarray(got), want, np.ascontiguousarray(scale)
    )


def test_nothing_compared_is_nothing_found() -> None:
    found = measure_errors(np.zeros((0, 2)), np.zeros((0, 2)))
    assert found == Errors()
    assert (found.rms, found.mean, found.mean_signed) == (0.0, 0.0, 0.0)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        measure_errors(np.zeros(2), np.zeros((2, 1)))
    with pytest.raises(ValueError, match="shapes differ"):
        measure_errors(np.zeros(2), np.zeros(2), np.ones(1))
    with pytest.raises(ValueError, match="no real numbers"):
        measure_errors(np.zeros(2, np.complex64), np.zeros(2))


@pytest.fixture
def four_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have large tensors shared between threads, whatever else the machine does."""
    monkeypatch.setattr(streaming, "count_idle_cores", lambda: 3)


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize("total", [0, 5, SHARED, SHARED + 1])
def test_every_block_is_worked_once(total: int) -> None:
    seen: list[int] = []
    share_blocks(total, seen.extend)
    assert sorted(seen) == list(range(0, total, BLOCK))


@pytest.mark.usefixtures("four_threads")
def test_what_fails_in_a_thread_fails_the_whole() -> None:
    def fail(starts: Any) -> None:
        for start in starts:
            if start:
                raise RuntimeError("block")

    with pytest.raises(RuntimeError, match="block"):
        share_blocks(4 * SHARED, fail)
