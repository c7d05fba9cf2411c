"""Signal to noise against a float64 reference: what each precision gives, and what must not be averaged away."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

from conformance.checks.support.noise import LEAST_DB, find_fault, find_shape_fault, signal_to_noise_db
from conformance.reference.probes import draw_bits


def _reference(*shape: int) -> np.ndarray:
    return draw_bits(shape, 11) / 2.0**63 - 1


@pytest.mark.parametrize(
    ("dtype", "bits"), [(np.float32, 24), (np.float16, 11), (ml_dtypes.bfloat16, 8), (ml_dtypes.float8_e4m3fn, 4)]
)
def test_one_rounding_lies_where_theory_puts_it(dtype: type, bits: int) -> None:
    reference = _reference(8, 4096)

    assert signal_to_noise_db(reference.astype(dtype), reference) == pytest.approx(6.02 * bits + 4.8, abs=4)
    assert bits < 8 or 6.02 * bits > LEAST_DB


def test_a_sample_that_is_all_wrong_is_not_averaged_away() -> None:
    reference = _reference(1000, 16)
    actual = reference.copy()
    actual[417] = -actual[417]

    assert signal_to_noise_db(actual, reference) == pytest.approx(-6.02, abs=0.1)


def test_exact_and_empty_outputs_have_no_noise() -> None:
    assert signal_to_noise_db(_reference(3, 3), _reference(3, 3)) == math.inf
    assert signal_to_noise_db(np.zeros((0, 4)), np.zeros((0, 4))) == math.inf


def test_silence_is_weighed_against_the_rest() -> None:
    reference = _reference(4, 64)
    reference[2] = 0
    actual = reference.copy()
    actual[2] = 1e-9

    assert signal_to_noise_db(actual, reference) > 120
    assert signal_to_noise_db(np.ones((2, 2)), np.zeros((2, 2))) < 0


@pytest.mark.parametrize(
    ("actual", "told"),
    [
        (None, "no tensor"),
        ([np.zeros(3, np.float32)], "no tensor"),
        (np.zeros(3, np.float64), "type float64, want float32"),
        (np.zeros((3, 1), np.float32), r"shape [3, 1], want [3]"),
        (np.array([0, np.nan, np.inf], np.float32), "2 of 3 elements are NaN or infinite"),
        (np.zeros(3, np.dtype("V3")), "no ONNX tensor type"),
    ],
)
def test_what_is_wrong_before_values_count(actual: object, told: str) -> None:
    assert told in find_fault(actual, np.zeros(3), "float32")  # type: ignore[arg-type]


def test_a_right_output_has_no_fault() -> None:
    assert find_fault(np.zeros(3, np.float32), np.zeros(3), "float32") == ""


def test_a_shape_is_judged_without_the_values() -> None:
    assert find_shape_fault(np.full(3, np.nan, np.float32), np.zeros(3), "float32") == ""
    assert find_shape_fault(np.zeros(4, np.float32), np.zeros(3), "float32") == "shape [4], want [3]"
