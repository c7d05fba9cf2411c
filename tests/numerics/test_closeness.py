"""The streamed comparison by tolerance reports, to the bit, what float64 arithmetic over every element at once does."""

from __future__ import annotations

import tracemalloc
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from conformance.numerics import streaming
from conformance.numerics.closeness import EXAMINED, ROW, Closeness, compare_close, compare_exact
from conformance.numerics.streaming import BLOCK, SHARED

RTOL, ATOL = 1e-3, 1e-7
SIZES = (EXAMINED + 1, 2 * BLOCK + 3 * ROW + 17)


def judge_at_once(actual: Any, reference: Any, rtol: float, atol: float) -> Closeness:
    """The rule without blocks, rows or bounds."""
    got, want = (one.reshape(-1).astype(np.float64) for one in (actual, reference))
    with np.errstate(all="ignore"):
        finite = np.isfinite(got) & np.isfinite(want)
        error, size = np.abs(got - want), np.abs(want)
        limit = atol + rtol * size
        wrong = np.where(finite, ~(error <= limit), ~((got == want) | (np.isnan(got) & np.isnan(want))))
        margins = np.where(error > 0, error / limit, 0.0)[finite]
        relative = (error / size)[finite & (size > 0)]
    return Closeness(
        mismatched=int(wrong.sum()),
        first=int(wrong.argmax()) if wrong.any() else -1,
        max_abs=float(error[finite].max(initial=0.0)),
        max_rel=float(relative.max(initial=0.0)),
        margin=np.inf if (wrong & ~finite).any() else float(margins.max(initial=0.0)),
    )


def assert_as_at_once(actual: Any, reference: Any, rtol: float = RTOL, atol: float = ATOL) -> Closeness:
    found = compare_close(actual, reference, rtol, atol)
    assert found == judge_at_once(actual, reference, rtol, atol)
    return found


def make(kind: str, size: int, dtype: Any, seed: int) -> tuple[Any, Any]:
    """Reference and actual of one kind of difference."""
    random = np.random.default_rng(seed)
    want = random.standard_normal(size)
    if kind == "magnitudes":
        want *= 10.0 ** random.uniform(-4, 4, size)
    elif kind == "subnormal":
        want *= float(ml_dtypes.finfo(dtype).tiny) * 8
    elif kind == "zeros":
        want = np.maximum(want, 0)
    elif kind == "ties":
        want = np.where(random.random(size) < 0.5, 1.0, -1.0)
    want = want.astype(dtype)
    step = float(ml_dtypes.finfo(dtype).eps) * random.integers(-1, 2, size)
    wide = want.astype(np.float64) * (1 + step)
    if kind == "cancelling":
        wide += 1e-4 * random.standard_normal(size)
    got = wide.astype(np.float32).astype(dtype) if dtype != np.float64 else wide
    if kind == "special":
        for values in (want, got):
            values[random.integers(0, size, 20)] = np.nan
            values[random.integers(0, size, 20)] = np.inf
        want[3 * ROW] = got[3 * ROW] = -np.inf
    elif kind == "wrong":
        got[size - 3] = 3
        got[size // 2] = -got[size // 2] + 1
    return got, want


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize(
    "kind", ["rounding", "magnitudes", "subnormal", "zeros", "ties", "cancelling", "special", "wrong"]
)
def test_agrees_with_the_rule_at_once(kind: str, dtype: Any, size: int) -> None:
    got, want = make(kind, size, dtype, seed=size)
    tolerances = ((RTOL, ATOL), (1e-5, 1e-3), (2.0**-23, 0.0), (0.0, 1e-4), (0.0, 0.0))
    for rtol, atol in tolerances:
        with np.errstate(invalid="ignore"):
            assert_as_at_once(got, want, rtol, atol)


def test_one_element_just_beyond_the_limit_is_found_wherever_it_stands() -> None:
    want = np.random.default_rng(3).uniform(1, 2, 2 * BLOCK + 100).astype(np.float32)
    base = want * np.float32(1 + 2.0**-10)  # close below the limit everywhere
    for place in (0, ROW - 1, ROW, BLOCK - 1, BLOCK, 2 * BLOCK + 99):
        got = base.copy()
        limit = RTOL * float(want[place]) + ATOL
        got[place] = np.nextafter(np.float32(float(want[place]) + limit), np.float32(9))
        assert not abs(float(got[place]) - float(want[place])) <= limit
        found = assert_as_at_once(got, want)
        assert (found.mismatched, found.first) == (1, place)
        got[place] = np.nextafter(np.nextafter(got[place], np.float32(0)), np.float32(0))
        assert assert_as_at_once(got, want).mismatched == 0


def test_a_difference_that_overflows_is_judged_in_float64() -> None:
    top = np.finfo(np.float32).max
    want = np.full(2 * EXAMINED, top, np.float32)
    got = want.copy()
    got[EXAMINED + 5] = -top
    found = assert_as_at_once(got, want)
    assert (found.first, found.max_abs) == (EXAMINED + 5, 2 * float(top))


def test_threads_and_strides_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    got, want = make("special", SHARED + 12_345, np.float32, seed=4)
    whole = assert_as_at_once(got, want)
    assert whole.mismatched > 30
    for idle in (0, 3):
        monkeypatch.setattr(streaming, "count_idle_cores", lambda idle=idle: idle)
        assert compare_close(got, want, RTOL, ATOL) == whole
    pairs = np.stack([got, want], axis=1)
    assert compare_close(pairs[:, 0], pairs[:, 1], RTOL, ATOL) == whole


def test_equal_bits_are_equal_whatever_they_mean() -> None:
    want = np.random.default_rng(5).integers(0, 2**32, 3 * BLOCK, dtype=np.uint32).view(np.float32)
    assert compare_close(want.copy(), want, 0, 0) == Closeness()
    got = want.copy()
    got[2 * BLOCK + 1] = 1.5
    with np.errstate(all="ignore"):
        assert assert_as_at_once(got, want).first == 2 * BLOCK + 1


def test_empty_and_scalar_tensors() -> None:
    assert compare_close(np.zeros((0, 3)), np.zeros((0, 3)), RTOL, ATOL) == Closeness()
    assert compare_exact(np.zeros(0, np.int8), np.zeros(0, np.int8)) == Closeness()
    assert compare_close(np.array(1.5), np.array(1.0), 0.0, 0.25) == Closeness(1, 0, 0.5, 0.5, 2.0)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_, ml_dtypes.int4, ml_dtypes.float8_e4m3fn, np.float32])
def test_exact_types_differ_by_value(dtype: Any) -> None:
    want = np.zeros(2 * BLOCK + 5, dtype)
    want[::3] = 1
    assert compare_exact(want.copy(), want) == Closeness()
    got = want.copy()
    got[BLOCK + 1] = 1 - int(want[BLOCK + 1])
    got[2 * BLOCK + 4] = 1 - int(want[2 * BLOCK + 4])
    assert compare_exact(got, want) == Closeness(mismatched=2, first=BLOCK + 1, margin=np.inf)


@pytest.mark.parametrize("dtype", [ml_dtypes.float8_e5m2, ml_dtypes.bfloat16, np.float32])
def test_exact_floats_take_zeros_and_nan_by_value(dtype: Any) -> None:
    want, got = np.array([0.0, np.nan, 1], dtype), np.array([-0.0, -np.nan, 1], dtype)
    assert compare_exact(got, want) == Closeness()
    assert compare_exact(np.array([0.0, 1, 1], dtype), want).first == 1


def test_complex_blocks() -> None:
    want = np.full(BLOCK + 9, 3 + 4j, np.complex64)
    got = want.copy()
    got[BLOCK + 3] += np.complex64(1j)
    found = compare_close(got, want, RTOL, ATOL)
    assert (found.mismatched, found.first, found.max_abs) == (1, BLOCK + 3, 1.0)


def test_no_second_copy_of_the_tensor_is_made() -> None:
    want = np.ones((3000, 2000), np.float32)
    got = np.asfortranarray(want * np.float32(1.0001))
    tracemalloc.start()
    try:
        assert compare_close(got, want, RTOL, ATOL).mismatched == 0
        assert tracemalloc.get_traced_memory()[1] < want.nbytes / 2
    finally:
        tracemalloc.stop()
