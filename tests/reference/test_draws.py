"""The numbers that synthetic data are drawn with: in range, of the right spread, and independent of how many are drawn."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from conformance.reference import draws

WORDS = draws.sample_words(500, 40, 7)
EVERY_BIT = np.full((1, 1), np.uint64(2**64 - 1))


def test_a_sample_has_the_same_words_however_many_are_drawn() -> None:
    assert np.array_equal(draws.sample_words(3, 40, 7), WORDS[:3])
    assert not np.array_equal(draws.sample_words(3, 40, 8), WORDS[:3])


def test_uniform_numbers_fill_their_range_and_never_reach_its_end() -> None:
    numbers = draws.uniform(WORDS, -2.0, 3.0)

    assert -2.0 <= numbers.min() < -1.99
    assert 2.99 < numbers.max() < 3.0
    assert draws.uniform(EVERY_BIT)[0, 0] < 1.0


def test_choices_are_about_as_frequent_as_each_other() -> None:
    counts = np.bincount(draws.pick(WORDS, 8).ravel())

    assert (len(counts), counts.min() > 2300, counts.max() < 2700) == (8, True, True)


def test_bell_has_mean_0_deviation_1_and_ends() -> None:
    numbers = draws.bell(WORDS)

    assert abs(numbers.mean()) < 0.03
    assert abs(numbers.std() - 1) < 0.02
    assert abs(draws.bell(EVERY_BIT)[0, 0] - 12**0.5) < 1e-4
    assert draws.bell(EVERY_BIT) == -draws.bell(EVERY_BIT * 0)


def test_turns_are_of_length_1_in_every_direction() -> None:
    cosine, sine = draws.turn(WORDS)

    assert np.abs(cosine**2 + sine**2 - 1).max() < 2e-3
    assert np.array_equal(cosine * 1024, np.round(cosine * 1024))
    assert len({*zip(cosine.ravel().tolist(), sine.ravel().tolist(), strict=True)}) == draws.TURNS


def test_a_wave_is_lowest_at_whole_numbers() -> None:
    assert draws.wave(np.array([-1.0, -0.75, 0.0, 0.25, 0.5, 1.0])).tolist() == [-1.0, 0.0, -1.0, 0.0, 1.0, -1.0]


def test_steps_are_multiples_of_a_256th() -> None:
    assert draws.to_steps(np.array([0.1, -1.0])).tolist() == [26 / 256, -1.0]
    assert draws.to_steps(np.zeros(1)).dtype == np.float32


@pytest.mark.parametrize("kind", [np.float32, np.float16, ml_dtypes.bfloat16, np.int64, np.uint8, bool])
def test_a_real_tensor_of_the_shape_fits(kind: Any) -> None:
    fitted = draws.fitting(np.ones((2, 3), kind), (2, 3))

    assert fitted is not None
    assert (fitted.dtype, fitted.sum()) == (np.float64, 6)


@pytest.mark.parametrize(
    "odd", [None, [1.0, 2.0], np.ones(3), np.ones((2, 1)), np.ones(2, complex), np.array(["1", "2"]), np.zeros(2, "V4")]
)
def test_anything_else_does_not(odd: Any) -> None:
    assert draws.fitting(odd, (2,)) is None
