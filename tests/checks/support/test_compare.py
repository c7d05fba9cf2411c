"""The comparison: exact where exact, ONNX's tolerance where not, and lenient nowhere."""

from __future__ import annotations

import math
import subprocess
import sys
import tracemalloc
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from conformance.checks.support.compare import Comparison, compare, join
from conformance.numerics.streaming import BLOCK
from conformance.tensors import DTYPES

RTOL, ATOL = 1e-3, 1e-7
NAN, INF = math.nan, math.inf


def check(expected: Any, actual: Any, rtol: float = RTOL, atol: float = ATOL) -> Comparison:
    return compare(expected, actual, rtol, atol)


def f32(*values: float) -> Any:
    return np.array(values, np.float32)


def test_the_message_says_where_what_and_how_far() -> None:
    found = check(np.array([[1, 0.4]]), np.array([[1, 0.42]]), 0, 0.01)
    assert found.mismatch == "out[0,1] = 0.42, want 0.4 ± 0.01"
    assert (found.ok, found.mismatched, found.total) == (False, 1, 2)
    assert found.margin == pytest.approx(2)
    assert found.max_abs == pytest.approx(0.02)
    assert found.max_rel == pytest.approx(0.05)
    assert compare(np.array(1.0), np.array(2.0), 0, 0, "y").mismatch == "y = 2, want 1 ± 0"


def test_the_limit_itself_passes_and_the_next_value_does_not() -> None:
    want = np.array([2.0])
    limit = ATOL + RTOL * 2.0
    assert check(want, want + limit * (1 - 1e-12)).ok
    assert not check(want, want + limit * (1 + 1e-6)).ok
    assert check(want, want + limit / 2).margin == pytest.approx(0.5)


def test_tolerance_is_relative_to_what_is_expected() -> None:
    assert check(f32(1000), f32(1000.9), 1e-3, 0).ok
    assert not check(f32(1), f32(1.9), 1e-3, 0).ok
    assert not check(f32(0), f32(1e-6), 1e-3, 1e-7).ok
    assert check(f32(0), f32(9e-8), 1e-3, 1e-7).ok


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_special_values_must_stand_where_they_are_expected(value: float) -> None:
    for dtype in (np.float16, np.float32, np.float64, ml_dtypes.bfloat16):
        special, plain = np.array([1, value], dtype), np.array([1, 2], dtype)
        opposite = plain if math.isnan(value) else np.array([1, -value], dtype)
        assert check(special, special.copy()).ok
        assert check(np.array([1.0001, value], dtype), special).ok
        for want, got in ((special, plain), (plain, special), (special, opposite)):
            found = check(want, got)
            assert not found.ok
            assert found.margin == INF
            assert found.mismatched == 1
            assert found.mismatch.startswith("out[1] = ")
    assert "± " not in check(f32(1, value), f32(1, 2)).mismatch


def test_nan_payload_and_sign_of_zero_do_not_matter() -> None:
    quiet = np.array([0x7FC00000, 0x80000000], np.uint32).view(np.float32)
    other = np.array([0xFFC00001, 0x00000000], np.uint32).view(np.float32)
    assert check(quiet, other).ok


def test_huge_differences_overflow_into_a_mismatch() -> None:
    top = np.finfo(np.float64).max
    found = check(np.array([top]), np.array([-top]))
    assert not found.ok
    assert found.max_abs == INF


@pytest.mark.parametrize("name", [name for name in DTYPES if "int" in name])
def test_integers_are_exact(name: str) -> None:
    want = np.array([0, 1, 1], DTYPES[name])
    assert check(want, want.copy(), 1, 1).ok
    found = check(want, np.array([0, 1, 0], DTYPES[name]), 1, 1)
    assert found.mismatch == "out[2] = 0, want 1"
    assert (found.margin, found.mismatched) == (INF, 1)


def test_large_integers_do_not_pass_through_a_float() -> None:
    want = np.array([2**53], np.int64)
    assert not check(want, want + 1).ok


def test_a_bool_is_the_byte_0_or_1_and_no_other() -> None:
    odd = np.array([0, 2, 1], np.uint8).view(np.bool_)
    found = compare(np.array([False, True, True]), odd, 0.0, 0.0)

    assert (found.ok, found.mismatched, found.mismatch) == (False, 1, "out[1] = 2, want 1")
    assert compare(np.zeros(0, np.bool_), np.zeros(0, np.bool_), 0.0, 0.0).ok


def test_bool_is_exact() -> None:
    found = check(np.array([True, False]), np.array([True, True]), 1, 1)
    assert found.mismatch == "out[1] = True, want False"


@pytest.mark.parametrize(
    "name", ["float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz", "float8e8m0", "float4e2m1"]
)
def test_narrow_floats_are_exact_by_value(name: str) -> None:
    dtype = DTYPES[name]
    every = np.arange(16 if name == "float4e2m1" else 256, dtype=np.uint8).view(dtype)
    assert check(every, every.copy(), 0, 0).ok
    assert check(np.array([0.5, 1], dtype), np.array([0.5, 1], dtype), 1, 1).ok
    found = check(np.array([0.5, 1], dtype), np.array([0.5, 2], dtype), 1, 1)
    assert found.mismatch == "out[1] = 2, want 1"
    assert found.margin == INF


def test_narrow_nan_and_zero() -> None:
    dtype = ml_dtypes.float8_e4m3fn
    assert check(np.array([NAN, 0.0], dtype), np.array([-NAN, -0.0], dtype)).ok
    assert not check(np.array([NAN], dtype), np.array([1.0], dtype)).ok


def test_bfloat16_has_two_steps() -> None:
    want = np.array([1.0], ml_dtypes.bfloat16)
    step = 2.0**-7
    assert check(want, np.array([1 + 2 * step], ml_dtypes.bfloat16)).ok
    assert not check(want, np.array([1 + 3 * step], ml_dtypes.bfloat16)).ok
    assert check(want, np.array([1 + 3 * step], ml_dtypes.bfloat16), rtol=0.1).ok


def test_complex_numbers_by_magnitude_and_part() -> None:
    want = np.array([3 + 4j, complex(INF, 1), complex(NAN, 0)], np.complex64)
    assert check(want, want.copy()).ok
    assert check(want, np.array([3 + 4.004j, complex(INF, 1), complex(NAN, 0)], np.complex64)).ok
    assert not check(want, np.array([3 + 4.1j, complex(INF, 1), complex(NAN, 0)], np.complex64)).ok
    found = check(want, np.array([3 + 4.004j, complex(INF, 2), complex(NAN, 0)], np.complex64))
    assert found.mismatch == "out[1] = inf+2j, want inf+1j"
    assert check(np.array([1 + 2j]), np.array([1 + 3j])).mismatch.startswith("out[0] = 1+3j, want 1+2j ± 0.00223")


def test_strings_are_exact() -> None:
    want = np.array([["a", "é"], ["", "b"]], dtype=object)
    assert check(want, np.array([["a", "é"], ["", "b"]])).ok
    found = check(want, np.array([["a", "e"], ["", "c"]], dtype=object))
    assert found.mismatch == "out[0,1] = 'e', want 'é'"
    assert (found.mismatched, found.total) == (2, 4)
    assert check(want[:0], want[:0]).ok
    assert check(want, np.zeros((2, 2))).mismatch == "out: type float64, want string"


@pytest.mark.parametrize(
    ("expected", "actual", "text"),
    [
        (f32(1), f32(1).reshape(()), "out: shape [], want [1]"),
        (f32(1, 1), f32(1), "out: shape [1], want [2]"),
        (f32(1).reshape(1, 1), f32(1), "out: shape [1], want [1, 1]"),
        (np.zeros((0, 2)), np.zeros((2, 0)), "out: shape [2, 0], want [0, 2]"),
        (f32(1), np.array([1.0]), "out: type float64, want float32"),
        (np.array([1], np.int64), np.array([1], np.int32), "out: type int32, want int64"),
        (np.array([1], ml_dtypes.bfloat16), f32(1), "out: type float32, want bfloat16"),
        (f32(1), f32(1).astype(">f4"), "out: type >f4 (numpy), want float32"),
        (f32(1), None, "out: an empty optional, want a tensor"),
        (f32(1), [f32(1)], "out: a sequence of 1, want a tensor"),
        (f32(1), 1.0, "out: a Python float, want a tensor"),
        (None, f32(1), "out: a tensor, want an empty optional"),
        ([f32(1)], f32(1), "out: a tensor, want a sequence"),
        ([f32(1)], [f32(1), f32(1)], "out: a sequence of 2, want 1 items"),
        ([], [f32(1)], "out: a sequence of 1, want 0 items"),
        ([f32(1), f32(2)], [f32(1), f32(3)], "out#1[0] = 3, want 2 ± 0.0020001"),
        ([f32(1), None], [f32(1), f32(3)], "out#1: a tensor, want an empty optional"),
    ],
)
def test_type_shape_and_structure_must_agree(expected: Any, actual: Any, text: str) -> None:
    found = check(expected, actual)
    assert not found.ok
    assert found.mismatch == text
    assert found.mismatched >= 1


@pytest.mark.parametrize("value", [None, [], [f32(1), None], np.zeros((0, 3)), np.array(3.0), np.zeros(0, object)])
def test_equal_structures_pass(value: Any) -> None:
    assert check(value, value).ok


def test_join_keeps_the_worst_of_everything_and_the_first_word() -> None:
    good = check(f32(1, 2), f32(1, 2.001))
    bad = check(f32(1), f32(2))
    worse = check(f32(1), f32(9))
    whole = join([good, bad, worse])
    assert (whole.ok, whole.mismatch, whole.mismatched, whole.total) == (False, bad.mismatch, 2, 4)
    assert (whole.max_abs, whole.margin) == (worse.max_abs, worse.margin)
    assert join([]) == Comparison(ok=True)


def test_blocks_beyond_the_first_are_compared() -> None:
    want = np.arange(3 * BLOCK + 5, dtype=np.float32).reshape(-1, 1)
    got = want.copy()
    assert check(want, got).ok
    got[BLOCK + 7] += 1000
    got[2 * BLOCK + 1] = NAN
    found = check(want, got)
    assert found.mismatch.startswith(f"out[{BLOCK + 7},0] = ")
    assert (found.mismatched, found.total, found.max_abs, found.margin) == (2, want.size, 1000, INF)


def test_strided_tensors_are_compared_in_place() -> None:
    want = np.arange(4 * BLOCK, dtype=np.int32).reshape(2, -1)
    assert check(want, np.asfortranarray(want)).ok
    assert check(want[:, ::2], want[:, ::2].copy()).ok
    assert not check(want.T, np.ascontiguousarray(want[::-1].T)).ok


def test_large_tensors_need_little_memory() -> None:
    want = np.ones(25_000_000, np.float32)
    got = np.full_like(want, 1.0001)
    tracemalloc.start()
    try:
        assert check(want, got).ok
        assert not check(want.reshape(5000, -1), got.reshape(5000, -1).T * 2).ok
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000_000 + 20_000_000  # the doubled copy is the test's own


floats = stn.arrays(np.float64, st.integers(0, 40), elements=st.floats(width=32, allow_subnormal=True))


@given(floats, st.floats(0, 0.1), st.floats(0, 0.1), st.randoms(use_true_random=False))
def test_agrees_with_numpy_on_finite_and_special_values(want: Any, rtol: float, atol: float, random: Any) -> None:
    got = want.copy()
    for index in range(got.size):
        got[index] = random.choice([got[index], got[index] * (1 + random.uniform(-0.1, 0.1)), NAN, INF, 0.0])
    with np.errstate(all="ignore"):
        # numpy's own rule, with its special values made strict as documented here.
        wrong = ~np.isclose(got, want, rtol=rtol, atol=atol, equal_nan=True)
    found = check(want, got, rtol, atol)
    assert found.mismatched == int(wrong.sum())
    assert found.ok == (not wrong.any())
    assert bool(found.mismatch) == bool(wrong.any())
    assert (found.margin > 1) == bool(wrong.any())


def test_the_child_can_import_it() -> None:
    code = (
        "import sys, conformance.checks.support.compare; "
        "sys.exit(str({'onnx', 'pydantic', 'rich', 'click', 'pytest', 'yaml'} & set(sys.modules) or '') or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
