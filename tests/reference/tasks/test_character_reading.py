"""Lines of characters: the same pictures everywhere, decoded greedily, and read by the model that is shipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from conformance.reference.tasks import character_reading as task

_, LABELS = task.draw(48, 0)


def spelled(lines: list[list[int]]) -> np.ndarray:
    """Logits whose largest are at these classes, blank behind them."""
    classes = np.zeros((len(lines), task.STEPS), int)
    for row, line in enumerate(lines):
        classes[row, : len(line)] = line
    return np.eye(len(task.CHARACTERS) + 1, dtype=np.float32)[classes]


def with_blanks(label: np.ndarray) -> list[int]:
    """Each character twice, then a blank."""
    return [step for one in label[label >= 0] for step in (one + 1, one + 1, 0)]


RIGHT = {"logits": spelled([with_blanks(label) for label in LABELS])}


def test_the_lines_are_pinned(digest: Callable[..., str]) -> None:
    assert digest(task) == "347e18d61084fe76"


def test_lengths_and_characters_are_about_as_frequent_as_each_other() -> None:
    labels = task.draw(task.SAMPLES, 0)[1]
    lengths = np.bincount((labels >= 0).sum(axis=1))
    counts = np.bincount(labels[labels >= 0])

    assert (len(lengths), lengths[5:].min() >= 200, lengths[:5].max()) == (9, True, 0)
    assert (len(counts), counts.min() >= 240, counts.max() <= 370) == (22, True, True)


def test_repeats_are_merged_and_blanks_dropped() -> None:
    assert task.is_right(RIGHT, LABELS).all()


def test_one_character_more_less_or_other_is_a_wrong_line() -> None:
    label = np.array([[3, 3, 7, 1, 0, -1, -1, -1]] * 6)
    lines = [
        [4, 0, 4, 8, 2, 1],
        [4, 4, 8, 2, 1],  # the same twice needs a blank between
        [4, 0, 4, 8, 2],
        [4, 0, 4, 8, 2, 1, 5],
        [4, 0, 4, 8, 3, 1],
        [],
    ]

    assert task.is_right({"logits": spelled(lines)}, label).tolist() == [True] + [False] * 5


def test_bad_answers_are_wrong(bad_answers: Callable[..., Any]) -> None:
    for outputs in bad_answers(RIGHT):
        right = task.is_right(outputs, LABELS)
        assert (right.shape, right.dtype, right.any()) == ((48,), bool, False)


def test_the_model_is_as_good_as_its_card_says(measured: Callable[..., Any]) -> None:
    share, promised = measured("character-reading", task)

    assert share >= promised >= 0.97
