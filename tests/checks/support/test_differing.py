"""Which answers are compared with which, and how a difference is told."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from conformance.checks.support.differing import baselines, comparable, find_difference, row_of, ulps_apart


def test_a_run_is_compared_with_the_first_of_the_same_inputs() -> None:
    assert baselines([[0, 1, 0], [1, 0]]) == {(0, 2): (0, 0), (1, 0): (0, 1), (1, 1): (0, 0)}


def test_with_batches_all_is_compared_with_the_row_alone() -> None:
    assert baselines([[0], [1], [2]], [(1, 0), (2, 0), (2, 1)]) == {(1, 0): (0, 0), (2, 0): (0, 0)}


def test_a_row_is_cut_out_of_its_batch_and_out_of_nothing_else() -> None:
    batch = np.arange(6.0).reshape(3, 2)
    assert np.array_equal(comparable(batch, [(3, 1)], 0), [[2.0, 3.0]])  # type: ignore[arg-type]
    assert comparable(batch, None, 0) is batch
    assert row_of(batch, 4, 1) is batch
    assert row_of(None, 4, 1) is None


def test_the_same_bits_do_not_differ_whatever_they_mean() -> None:
    value = np.array([np.nan, -0.0, np.inf], np.float32)
    assert find_difference("y", value, value.copy()) is None


def test_a_difference_names_the_first_element_both_values_and_how_many() -> None:
    before = np.ones((2, 3), np.float32)
    now = before.copy()
    now[1, 0], now[1, 2] = np.nextafter(np.float32(1), np.float32(2)), 1 + 2.0**-21
    found = find_difference("y", before, now)
    assert found == ("y[1,0]", "1.00000012", "1", 2, 6, 4)


def test_signed_zeros_and_nan_payloads_are_bits_too() -> None:
    found = find_difference("y", np.array(0.0, np.float32), np.array(-0.0, np.float32))
    assert found is not None
    assert (found.where, found.actual, found.before, found.ulps) == ("y", "-0", "0", 0)
    found = find_difference("y", np.array([np.nan], np.float32), np.array([1], np.float32))
    assert found is not None
    assert found.ulps is None


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (np.ones(2, np.float32), np.ones(3, np.float32), ("y", "float32[3]", "float32[2]", 1, 1, None)),
        (np.ones(2, np.float32), np.ones(2, np.float16), ("y", "float16[2]", "float32[2]", 1, 1, None)),
        (np.array([1, 2]), np.array([1, 3]), ("y[1]", "3", "2", 1, 2, None)),
        (None, np.ones(1), ("y", "ndarray", "NoneType", 1, 1, None)),
    ],
)
def test_other_types_and_shapes_are_told(before: Any, now: Any, told: tuple[Any, ...]) -> None:
    assert find_difference("y", before, now) == told


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_ulps_count_the_numbers_between(kind: Any) -> None:
    one, steps = np.array([1.0, -1.0], kind), {2: np.int16, 4: np.int32, 8: np.int64}[np.dtype(kind).itemsize]
    other = (one.view(steps) + np.array([3, 5], steps)).view(kind)
    assert ulps_apart(one, other) == 5
    assert ulps_apart(np.array([0.0], kind), np.array([-0.0], kind)) == 0


def test_no_distance_overflows() -> None:
    ends = [np.array([sign * np.finfo(np.float64).max]) for sign in (1, -1)]
    assert ulps_apart(*ends) == 2 * 0x7FEFFFFFFFFFFFFF
