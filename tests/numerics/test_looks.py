"""Which precision the errors of a product look like."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conformance.numerics.formats import FORMATS, round_to
from conformance.numerics.looks import looks_like

FLOAT32 = FORMATS["float32"]


def product(length: int, operand: str = "float32", scale: float = 1.0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(length)
    a = round_to(rng.standard_normal((32, length)), FLOAT32) * scale
    b = round_to(rng.standard_normal((length, 32)), FLOAT32)
    narrow = [round_to(one, FORMATS[operand]) for one in (a, b)]
    return round_to(narrow[0] @ narrow[1], FLOAT32), a @ b, np.abs(a) @ np.abs(b) * FLOAT32.roundoff


@pytest.mark.parametrize("length", [4, 16, 64, 256])
def test_operands_in_bfloat16_are_told(length: int) -> None:
    assert "operands rounded to bfloat16" in looks_like(*product(length, "bfloat16"), FLOAT32, length)


@pytest.mark.parametrize("length", [4, 16, 64, 256])
def test_operands_in_eleven_bits_are_told_and_a_wide_range_makes_them_tf32(length: int) -> None:
    assert looks_like(*product(length, "tf32"), FLOAT32, length) == "operands rounded to float16 or TF32"
    assert looks_like(*product(length, "tf32", 1e6), FLOAT32, length) == "operands rounded to TF32"


@pytest.mark.parametrize(
    ("name", "said"), [("bfloat16", "bfloat16"), ("float16", "float16 or TF32"), ("float8e4m3", "float8e4m3")]
)
def test_results_in_a_narrow_format_are_told(name: str, said: str) -> None:
    _, reference, unit = product(16)
    assert looks_like(round_to(reference, FORMATS[name]), reference, unit, FLOAT32, 16) == f"results rounded to {said}"


def test_truncation_is_told() -> None:
    _, reference, unit = product(16)
    cut = round_to(reference, FLOAT32, "toward-zero")
    assert looks_like(cut, reference, unit, FLOAT32, 16) == "sums in float32 truncated toward zero"


def test_nothing_is_said_of_one_wrong_element_or_of_few() -> None:
    actual, reference, unit = product(16)
    actual[3, 4] *= 1.01
    assert looks_like(actual, reference, unit, FLOAT32, 16) == ""
    assert looks_like(actual[:1, :4], reference[:1, :4], unit[:1, :4], FLOAT32, 16) == ""


def test_nothing_is_said_of_a_wrong_result() -> None:
    actual, reference, unit = product(16)
    assert looks_like(actual[::-1], reference, unit, FLOAT32, 16) == ""
