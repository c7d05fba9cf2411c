"""Exact, discrete and quantised outputs: what passes and what must not."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from conformance.errors import HarnessError
from conformance.numerics.bounded import Bound
from conformance.numerics.limits import Discrete, Exact, Rate, Unbounded, find_differing, judge
from conformance.numerics.streaming import BLOCK


def exact(expected: Any, actual: Any, **more: Any) -> str:
    return judge(Exact(name="y", expected=expected, **more), actual).reason


@pytest.mark.parametrize(
    "kind", [np.float32, np.float16, np.int8, np.bool_, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.int4]
)
def test_equal_bits_pass_and_one_other_element_fails(kind: Any) -> None:
    value = np.array([0, 1, 0, 1]).astype(kind)
    other = np.array([0, 1, 1, 1]).astype(kind)
    assert exact(value, value.copy()) == ""
    assert exact(value, other).startswith("y[2] = ")


def test_nan_is_nan_and_zeros_are_equal_unless_asked() -> None:
    value = np.array([np.nan, 0.0], dtype=np.float32)
    other = np.array([-np.nan, -0.0], dtype=np.float32)
    assert exact(value, other) == ""
    assert "want 0.0" in exact(value, other, is_zero_signed=True)


@pytest.mark.parametrize(
    "actual", [np.zeros(3, dtype=np.float16), np.zeros((3, 1), dtype=np.float32), None, [np.zeros(3, dtype=np.float32)]]
)
def test_another_type_shape_or_structure_fails(actual: Any) -> None:
    assert exact(np.zeros(3, dtype=np.float32), actual)


def test_exempt_elements_are_free() -> None:
    assert exact(np.array([1, 2]), np.array([9, 2]), exempt=np.array([True, False])) == ""
    assert exact(np.array([1, 2]), np.array([1, 9]), exempt=np.array([True, False]))


def test_texts_and_sequences() -> None:
    texts = np.array(["a", "b"], dtype=object)
    assert exact(texts, texts.copy()) == ""
    assert exact(texts, np.array(["a", "c"], dtype=object))
    assert exact([texts], [texts]) == ""
    assert exact([texts], [])
    assert exact(None, None) == ""


def test_a_choice_inside_the_margin_is_no_fault() -> None:
    limit = Discrete(name="k", expected=np.array([3, 4]), is_decided=np.array([True, False]))
    assert judge(limit, np.array([3, 9])).ok
    assert judge(limit, np.array([9, 4])).reason.startswith("k[0] = 9, want 3")


def test_a_quantised_output_may_be_one_step_off_seldom() -> None:
    expected = np.zeros(1000, dtype=np.int8)
    rarely, often, far = expected.copy(), expected.copy(), expected.copy()
    rarely[7] = 1
    often[:20] = 1
    far[7] = 2
    limit = Rate(name="q", expected=expected)
    assert judge(limit, rarely).ok
    assert "surely more than" in judge(limit, often).reason
    assert "more than 1 LSB" in judge(limit, far).reason
    assert not judge(limit, expected.astype(np.uint8)).ok


def test_steps_of_float8_are_its_neighbours() -> None:
    expected = np.full(1000, 16.0).astype(ml_dtypes.float8_e4m3fn)
    near = expected.copy()
    near[0] = 18.0  # the next value
    far = expected.copy()
    far[0] = 20.0
    limit = Rate(name="q", expected=expected)
    assert judge(limit, near).ok
    assert not judge(limit, far).ok


def test_what_has_no_bound_is_not_judged() -> None:
    with pytest.raises(HarnessError, match="has no bound: drawn"):
        judge(Unbounded(name="y", reason="drawn"), np.zeros(1))


def test_a_bound_is_judged_here_too() -> None:
    limit = Bound(name="y", kind="float32", law="1 ulp", reference=np.ones(2), unit=0.1)
    assert judge(limit, np.ones(2, dtype=np.float32)).ok
    assert not judge(limit, [np.ones(2, dtype=np.float32)]).ok


def test_a_bool_of_another_byte_than_0_and_1_is_no_choice_either() -> None:
    limit = Discrete(name="y", expected=np.array([True, False]))
    assert judge(limit, np.array([True, False])).ok
    assert not judge(limit, np.array([2, 0], dtype=np.uint8).view(np.bool_)).ok


def test_where_nothing_is_decided_nobody_passes() -> None:
    limit = Discrete(name="y", expected=np.array([1, 2]), is_decided=np.array([False, False]))
    with pytest.raises(HarnessError, match="nothing of 'y' is decided"):
        judge(limit, np.array([1, 2]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, ml_dtypes.bfloat16])
def test_what_differs_is_found_in_every_block(dtype: Any) -> None:
    want = np.ones((3, BLOCK), dtype)
    want[0, 5] = np.nan
    got = want.copy()
    got[1, 7], got[2, BLOCK - 1] = 2, np.nan
    assert np.argwhere(find_differing(want, got, is_zero_signed=False)).tolist() == [[1, 7], [2, BLOCK - 1]]
    assert not find_differing(want, np.asfortranarray(want), is_zero_signed=True).any()
