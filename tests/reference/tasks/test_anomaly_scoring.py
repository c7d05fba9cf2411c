"""Faulty parts: the same pictures everywhere, called by one score, and found by the model that is shipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from conformance.reference.tasks import anomaly_scoring as task

_, LABELS = task.draw(64, 0)
RIGHT = {"score": np.where(LABELS, 1.5, 0.5).astype(np.float32)}


def test_the_parts_are_pinned(digest: Callable[..., str]) -> None:
    assert digest(task) == "4079a7d149dc8600"


def test_about_half_of_the_parts_are_faulty() -> None:
    assert 0.46 <= np.mean(task.draw(task.SAMPLES, 0)[1]) <= 0.54


def test_above_the_threshold_is_faulty() -> None:
    assert task.is_right(RIGHT, LABELS).all()
    assert not task.is_right({"score": 2 - RIGHT["score"]}, LABELS).any()
    assert np.array_equal(task.is_right({"score": np.ones(64, np.float32)}, LABELS), ~LABELS), "at it is not above it"


def test_bad_answers_are_wrong(bad_answers: Callable[..., Any]) -> None:
    for outputs in bad_answers(RIGHT):
        right = task.is_right(outputs, LABELS)
        assert (right.shape, right.dtype, right.any()) == ((64,), bool, False)


def test_the_model_is_as_good_as_its_card_says(measured: Callable[..., Any]) -> None:
    share, promised = measured("anomaly-scoring", task)

    assert share >= promised >= 0.97
