"""What the errors of a refused output look like, each kind told from the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conformance.numerics.formats import FORMATS, round_to
from conformance.numerics.modes import PrecisionMode
from conformance.numerics.resemblance import LIKES, resemblance
from conformance.numerics.spread import Spread

COUNT = 400
RANDOM = np.random.default_rng(4)
Y = RANDOM.standard_normal(COUNT)
NOISE = RANDOM.standard_normal(COUNT)


def told(x: Any, r: Any, **likes: float) -> str:
    known = np.array([likes.get(name.replace(" ", "_"), np.nan) for name in LIKES]) if likes else np.zeros(0)
    scale = np.full(COUNT, 2.0**-24)
    spread = Spread(Y, scale, np.ones((1, 3)), np.array([0.5]), PrecisionMode(), "float32", known)
    return resemblance(spread, np.asarray(x, np.float64), np.asarray(r, np.float64))


def moved(size: float) -> Any:
    """Return an output with errors of a size in units of the scale, no value of which is short."""
    return (Y + NOISE * size * 2.0**-24).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "words"),
    [("bfloat16", "one that bfloat16 holds"), ("tf32", "one that TF32 holds"), ("float16", "one that TF32 holds")],
)
def test_an_output_of_short_values_names_the_format_that_holds_them(name: str, words: str) -> None:
    x = round_to(Y, FORMATS[name])
    assert told(x, (x - Y) * 2.0**24) == f"every value is {words}: the output was rounded or cut to it"


def test_whole_numbers_are_no_sign_of_a_short_format() -> None:
    whole = np.rint(Y * 4)
    assert "every value" not in told(whole, NOISE)


def test_few_wrong_elements_among_right_ones() -> None:
    r = NOISE * 0.5
    r[[3, 70]] = 100, -3000
    assert told(moved(0.5), r) == "2 of 400 elements are wrong, the others are as they should be"


def test_the_precision_that_was_tried_and_came_as_far_off_is_named_nearest_first() -> None:
    found = told(moved(4000), NOISE * 4000, TF32_operands=4500.0, bfloat16_operands=36000.0, sums_in_float16=7000.0)
    assert found == "errors of this size come from TF32 operands or sums in float16"


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0.5 * 2.0**13, "errors of this size come from float16 or TF32"),
        (0.5 * 2.0**16, "errors of this size come from bfloat16"),
        (0.5, "the errors are of the declared size, and lean"),
        (0.5 * 2.0**8, "errors of about 16 bits"),
        (0.5 * 2.0**21, "no precision explains errors of this size"),
    ],
)
def test_without_a_trial_the_size_says_it(size: float, words: str) -> None:
    assert told(moved(1), NOISE * size / np.median(np.abs(NOISE)) * 0.6745) == words


def test_a_handful_of_elements_says_nothing() -> None:
    x = np.full(COUNT, np.nan)
    x[:7] = 1.1
    assert told(x, NOISE) == ""
