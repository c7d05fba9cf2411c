"""Ten shapes: the same pictures everywhere, judged by the largest logit, and told apart by the models that are shipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from conformance.reference.tasks import shapes

_, LABELS = shapes.draw(64, 0)
RIGHT = {"logits": np.eye(10, dtype=np.float32)[LABELS]}


def test_the_pictures_are_pinned(digest: Callable[..., str]) -> None:
    assert digest(shapes) == "35e37a2711125663"


def test_every_shape_is_about_as_frequent() -> None:
    counts = np.bincount(shapes.draw(shapes.SAMPLES, 0)[1], minlength=len(shapes.CLASSES))

    assert (len(counts), counts.min() >= 70, counts.max() <= 135) == (10, True, True)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int8])
def test_the_largest_logit_is_the_answer(kind: Any) -> None:
    assert shapes.is_right({"logits": RIGHT["logits"].astype(kind)}, LABELS).all()
    assert not shapes.is_right({"logits": np.roll(RIGHT["logits"], 1, axis=1).astype(kind)}, LABELS).any()


def test_one_wrong_sample_is_one_wrong_sample() -> None:
    logits = RIGHT["logits"].copy()
    logits[5] = -logits[5]
    logits[7, (LABELS[7] + 1) % 10] = np.nan

    assert np.flatnonzero(~shapes.is_right({"logits": logits}, LABELS)).tolist() == [5, 7]


def test_bad_answers_are_wrong(bad_answers: Callable[..., Any]) -> None:
    for outputs in bad_answers(RIGHT):
        right = shapes.is_right(outputs, LABELS)
        assert (right.shape, right.dtype, right.any()) == ((64,), bool, False)


@pytest.mark.parametrize("name", ["cnn-shapes", "mobile-cnn"])
def test_the_models_are_as_good_as_their_cards_say(name: str, measured: Callable[..., Any]) -> None:
    share, promised = measured(name, shapes)

    assert share >= promised >= 0.97


@pytest.mark.parametrize("name", ["cnn-shapes", "mobile-cnn"])
def test_int8_loses_little(name: str, measured: Callable[..., Any]) -> None:
    share, promised = measured(name, shapes, "int8-qdq")

    assert share >= promised - 0.01
