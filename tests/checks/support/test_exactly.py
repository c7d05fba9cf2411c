"""Judging what is known exactly: bits, NaN and zeros, and what each kind of difference is told to look like."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from conformance.checks.support.exactly import judge_exactly
from conformance.numerics.formats import FORMATS, round_to

NAN, INF = np.nan, np.inf


def _f(*values: float, kind: Any = np.float32) -> Any:
    return np.array(values, kind)


@pytest.mark.parametrize(
    ("want", "got"),
    [
        (_f(1, NAN, -0.0), _f(1, NAN, 0.0)),
        (_f(NAN), -_f(NAN)),
        (_f(INF, -INF), _f(INF, -INF)),
        (_f(1.5, kind=ml_dtypes.bfloat16), _f(1.5, kind=ml_dtypes.bfloat16)),
        (np.array([2**63 - 1]), np.array([2**63 - 1])),
        (np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32)),
        (np.array(3.0, np.float16), np.array(3.0, np.float16)),
        (np.array([True, False]), np.array([True, False])),
        (np.array([-8, 7], ml_dtypes.int4), np.array([-8, 7], ml_dtypes.int4)),
    ],
)
def test_the_same_values_are_right(want: Any, got: Any) -> None:
    assert judge_exactly(want, got, "y", "special").ok


def test_the_sign_of_zero_counts_where_the_probe_is_about_it() -> None:
    assert judge_exactly(_f(-0.0), _f(0.0), "y", "special").ok
    judged = judge_exactly(_f(-0.0), _f(0.0), "y", "special", keeps_zero_sign=True)
    assert judged.reason == "y[0] = 0, want exactly -0 (1 of 1 elements differ)"
    assert judged.looks_like == "sign of zero lost"


def test_one_unit_in_the_last_place_of_bfloat16_is_a_difference() -> None:
    """ONNX's own comparison allows two of them."""
    kind = ml_dtypes.bfloat16
    assert not judge_exactly(_f(1.0, kind=kind), _f(1.0078125, kind=kind), "y", "integers-k7").ok


@pytest.mark.parametrize(
    ("want", "got", "told"),
    [
        (_f(1), _f(1, kind=np.float64), "float64"),
        (_f(1, 2), np.array([[1, 2]], np.float32), "shape"),
        (_f(1), None, "optional"),
        (_f(1), [_f(1)], "sequence"),
        (np.array([True]), np.array([2], np.uint8).view(np.bool_), "2"),
    ],
)
def test_another_type_shape_or_kind_is_wrong(want: Any, got: Any, told: str) -> None:
    assert told in judge_exactly(want, got, "y", "special").reason


INTEGERS = np.array([300, -7, 5, 2**40 + 1], np.int64)
WIDE = np.array([4097, -4099, 12345, 8191], np.float32)


@pytest.mark.parametrize(
    ("want", "got", "probe", "told"),
    [
        (_f(NAN, 1), _f(0, 1), "nan", "NaN lost"),
        (_f(2, 1), _f(NAN, 1), "special", "NaN where there is a number"),
        (_f(1e-40, 1), _f(0, 1), "subnormal", "subnormals flushed to zero"),
        (_f(INF, 1), _f(3.4e38, 1), "special", "where infinity is the result"),
        (_f(70000, 1), _f(INF, 1), "range-2e17", "narrower range"),
        (WIDE, round_to(WIDE, FORMATS["bfloat16"]).astype(np.float32), "integers-k7", "rounded to bfloat16"),
        (WIDE, round_to(WIDE, FORMATS["float16"]).astype(np.float32), "wide-operands-13-bits-left", "rounded to tf32"),
        (_f(4097, 8193), np.nextafter(_f(4097, 8193), _f(0, 0)), "positive-k7", "truncated"),
        (INTEGERS, INTEGERS.astype(np.int32).astype(np.int64), "range", "narrowed to 32 bits"),
        (INTEGERS, INTEGERS.clip(-(2**31), 2**31 - 1), "range", "saturated to 32 bits"),
        (np.array([2**53 + 1]), np.array([2**53]), "range", "computed in float64"),
        (np.array([-56, 3], np.int8), np.array([127, 3], np.int8), "high-bits-discarded", "saturated where"),
        (np.array([127, 3], np.int8), np.array([-56, 3], np.int8), "to-int8-saturation", "wrapped around"),
        (np.array([2, 4], np.int8), np.array([3, 5], np.int8), "to-int8-ties", "ties not rounded to even"),
        (np.array([2, -4], np.int32), np.array([3, -5], np.int32), "range", "off by one"),
        (np.arange(9, dtype=np.float32).reshape(3, 3), np.arange(9, dtype=np.float32).reshape(3, 3).T, "square", "places"),
        (_f(120, 7), _f(117, 7), "integers-k65", "dropped"),
        (_f(120, 7), _f(117, 7), "cancelling-sums-k65", "fewer bits"),
        (_f(120, 7), _f(117, 7), "something", ""),
        (np.array([3, 1], ml_dtypes.uint4), np.array([9, 1], ml_dtypes.uint4), "to-uint4-blocks", ""),
    ],
)  # fmt: skip
def test_a_difference_is_told_with_what_it_looks_like(want: Any, got: Any, probe: str, told: str) -> None:
    judged = judge_exactly(want, got, "y", probe)
    assert judged.reason.startswith("y[")
    assert "want exactly" in judged.reason
    assert told in judged.looks_like
    assert bool(told) == bool(judged.looks_like)
    assert not judged.ok
