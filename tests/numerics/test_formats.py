"""Rounding to formats, held against numpy's and ml_dtypes' own casts."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from conformance.numerics.formats import FORMATS, quantum, round_to

CASTS = {
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float32": np.float32,
    "float8e4m3": ml_dtypes.float8_e4m3fn,
    "float8e5m2": ml_dtypes.float8_e5m2,
    "float4e2m1": ml_dtypes.float4_e2m1fn,
    "float6e2m3": ml_dtypes.float6_e2m3fn,
    "float6e3m2": ml_dtypes.float6_e3m2fn,
}


def make_values(name: str) -> Any:
    """float32 values about the format's whole range (ml_dtypes rounds float64 by way of float32), ties and edges with them."""
    form, random = FORMATS[name], np.random.default_rng(len(name))
    exponents = random.uniform(form.min_exponent - form.bits - 1, np.log2(form.largest) + 1, 20_000)
    signs = random.choice([-1.0, 1.0], exponents.size)
    every = np.arange(1 << 12) * form.step / 2  # the subnormals, and halfway between them
    edges = np.array([0.0, -0.0, np.inf, -np.inf, form.largest, form.nmin, form.step, form.step / 2])
    with np.errstate(over="ignore"):
        return np.concatenate([signs * 2.0**exponents, every, edges, -edges, np.nextafter(edges, np.inf)]).astype(
            np.float64 if name == "float32" else np.float32
        )


@pytest.mark.parametrize("name", CASTS)
def test_rounds_as_the_casts_do(name: str) -> None:
    values = make_values(name)
    if FORMATS[name].overflow == "largest":
        values = values[np.isfinite(values)]  # there is neither NaN nor infinity to cast to
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        cast = values.astype(CASTS[name]).astype(np.float64)
    rounded = round_to(values, FORMATS[name])
    np.testing.assert_array_equal(rounded, cast)
    assert np.array_equal(np.signbit(rounded), np.signbit(cast))


@pytest.mark.parametrize("name", CASTS)
def test_every_value_of_a_format_stays_as_it_is(name: str) -> None:
    form, dtype = FORMATS[name], np.dtype(CASTS[name])
    if dtype.itemsize == 4:
        bits: Any = np.random.default_rng(0).integers(0, 2**32, 50_000, dtype=np.uint32)
    else:
        narrow = {"float4e2m1": 16, "float6e2m3": 64, "float6e3m2": 64}.get(name, 256)
        bits = np.arange(1 << 16, dtype=np.uint16) if dtype.itemsize == 2 else np.arange(narrow, dtype=np.uint8)
    with np.errstate(invalid="ignore"):
        values = bits.view(dtype).astype(np.float64)
    for rounding in ("nearest", "toward-zero"):
        np.testing.assert_array_equal(round_to(values, form, rounding), values)
    finite = np.abs(values[np.isfinite(values)])
    assert finite[finite > 0].min() >= form.step
    if dtype.itemsize < 4:
        assert (finite.max(), finite[finite > 0].min()) == (form.largest, form.step)


def test_ties_go_to_even_and_truncation_toward_zero() -> None:
    form = FORMATS["float8e4m3"]
    values = np.array([1.0625, 1.1875, -1.0625, -1.1875, 1.2])
    assert round_to(values, form).tolist() == [1.0, 1.25, -1.0, -1.25, 1.25]
    assert round_to(values, form, "toward-zero").tolist() == [1.0, 1.125, -1.0, -1.125, 1.125]


def test_truncation_does_not_overflow() -> None:
    for name in ("float16", "bfloat16", "float8e4m3", "float4e2m1"):
        form = FORMATS[name]
        assert round_to(np.array([form.largest * 1.9]), form, "toward-zero")[0] == form.largest
        assert round_to(np.array([-np.inf]), form, "toward-zero")[0] == -np.inf or form.overflow != "infinity"


def test_tf32_has_float16_steps_and_float32_range() -> None:
    form = FORMATS["tf32"]
    assert round_to(np.array([1 + 2.0**-11, 1 + 3 * 2.0**-11, 1e38]), form)[:2].tolist() == [1.0, 1 + 2.0**-9]
    assert np.isfinite(round_to(np.array([1e38]), form)[0])


def test_subnormals_are_flushed_on_demand_with_their_sign() -> None:
    form = FORMATS["float16"]
    small = np.array([form.nmin / 2, -form.nmin / 2, form.nmin])
    assert round_to(small, form).tolist() == small.tolist()
    flushed = round_to(small, form, flush=True)
    assert flushed.tolist() == [0.0, 0.0, form.nmin]
    assert np.signbit(flushed).tolist() == [False, True, False]


def test_float64_is_itself() -> None:
    values = np.array([0.1, np.nan, 5e-324])
    np.testing.assert_array_equal(round_to(values, FORMATS["float64"]), values)


def test_quantum_is_the_step_between_neighbours() -> None:
    form = FORMATS["float32"]
    values = np.array([1.0, 1.5, 2.0, -4.0, 1e-45])
    assert quantum(values, form).tolist() == [2.0**-23, 2.0**-23, 2.0**-22, 2.0**-21, form.step]
