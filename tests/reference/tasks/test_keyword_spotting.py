"""Spoken words: the same sound everywhere, called by one of twelve scores, and heard by the model that is shipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from conformance.reference.tasks import keyword_spotting as task

INPUTS, LABELS = task.draw(96, 0)
RIGHT = {"scores": np.eye(len(task.CLASSES), dtype=np.float32)[LABELS]}


def test_the_sounds_are_pinned(digest: Callable[..., str]) -> None:
    assert digest(task) == "a2112de70e5f2d68"


def test_every_class_comes_about_equally_often() -> None:
    counts = np.bincount(task.draw(task.SAMPLES, 0)[1], minlength=len(task.CLASSES))

    assert len(counts) == 12
    assert counts.min() >= 60
    assert counts.max() <= 110


def test_the_sound_stays_within_the_range_that_is_documented() -> None:
    audio = INPUTS["audio"]

    assert audio.shape == (96, 1, task.RATE)
    assert 0.5 < np.abs(audio).max() <= 1.5
    loudness = {name: audio[np.equal(LABELS, at)].std() for at, name in enumerate(task.CLASSES)}
    assert min(loudness, key=lambda name: loudness[name]) == "silence"


def test_the_largest_score_is_the_answer() -> None:
    assert task.is_right(RIGHT, LABELS).all()
    assert not task.is_right({"scores": np.roll(RIGHT["scores"], 1, axis=1)}, LABELS).any()
    assert np.array_equal(task.is_right({"scores": np.zeros((96, 12), np.float32)}, LABELS), LABELS == 0)


def test_bad_answers_are_wrong(bad_answers: Callable[..., Any]) -> None:
    for outputs in bad_answers(RIGHT):
        right = task.is_right(outputs, LABELS)
        assert (right.shape, right.dtype, right.any()) == ((96,), bool, False)


def test_the_model_is_as_good_as_its_card_says(measured: Callable[..., Any]) -> None:
    share, promised = measured("keyword-spotting", task)

    assert share >= promised >= 0.97
