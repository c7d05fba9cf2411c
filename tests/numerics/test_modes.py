"""What a device declares, as the bounds read it."""

from __future__ import annotations

import msgspec
import pytest

from conformance.numerics.modes import PrecisionMode, native


def test_formats_are_found_by_name() -> None:
    mode = PrecisionMode(input="tf32", accumulate="float32", output="bfloat16")
    assert (mode.operands.bits, mode.sums.bits, mode.results.bits) == (11, 24, 8)


def test_a_format_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(KeyError):
        _ = PrecisionMode(input="float31").operands


def test_rounding_and_subnormals_are_read_from_their_words() -> None:
    plain, coarse = PrecisionMode(), PrecisionMode(accumulate_rounding="toward-zero", subnormals="flushed")
    assert (plain.rounding, plain.flushes) == ("nearest", False)
    assert (coarse.rounding, coarse.flushes) == ("toward-zero", True)


def test_a_mode_survives_the_parameters_of_a_case() -> None:
    mode = PrecisionMode(
        input="float16", accumulate="float16", output="float16", accumulate_chain=32, transforms=("fft",)
    )
    assert PrecisionMode.of(msgspec.to_builtins(mode)) == mode
    with pytest.raises(msgspec.ValidationError):
        PrecisionMode.of({"accumulate_chain": "long"})


@pytest.mark.parametrize(
    ("kind", "operands", "sums"),
    [
        ("float64", 53, 53),
        ("float32", 24, 24),
        ("float16", 11, 24),
        ("bfloat16", 8, 24),
        ("float8e4m3fn", 4, 24),
        ("float8e4m3fnuz", 4, 24),
        ("float8e5m2", 3, 24),
        ("float8e5m2fnuz", 3, 24),
    ],
)
def test_a_type_left_out_computes_in_its_own_format_with_wide_sums(kind: str, operands: int, sums: int) -> None:
    mode = native(kind)
    assert (mode.operands.bits, mode.sums.bits, mode.results.bits) == (operands, sums, operands)
    assert mode.rounding == "nearest"
    assert not mode.flushes
