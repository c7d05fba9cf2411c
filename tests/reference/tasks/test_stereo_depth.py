"""Pairs of pictures: the same everywhere, consistent with their disparity, and measured by the model that is shipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from conformance.reference.tasks import stereo_depth as task

INPUTS, LABELS = task.draw(32, 0)
RIGHT = {"disparity": np.where(LABELS >= 0, LABELS, 3.0).astype(np.float32)}


def test_the_pictures_are_pinned(digest: Callable[..., str]) -> None:
    assert digest(task) == "9aa6c2b3c1750010"


def test_the_disparities_are_those_documented() -> None:
    seen = LABELS >= 0

    assert LABELS.shape == INPUTS["left"].shape == INPUTS["right"].shape == (32, 1, task.HEIGHT, task.WIDTH)
    assert np.all(LABELS[~seen] == -1)
    assert 0.5 <= LABELS[seen].min() < 1.5
    assert 9.5 < LABELS[seen].max() <= 10.5
    assert seen.mean(axis=(1, 2, 3)).min() > 0.7
    assert seen.mean() < 0.95


def test_what_both_cameras_see_looks_the_same_to_both() -> None:
    left, right = INPUTS["left"][:, 0], INPUTS["right"][:, 0]
    seen = LABELS[:, 0] >= 0
    there = np.arange(task.WIDTH) - RIGHT["disparity"][:, 0]

    def differences(column: np.ndarray) -> np.ndarray:
        found = np.take_along_axis(right, np.clip(np.rint(column).astype(int), 0, task.WIDTH - 1), axis=2)
        return np.array([np.abs(left - found)[at][seen[at]].mean() for at in range(len(left))])

    assert np.all(differences(there) < 0.75 * differences(there + 3))
    assert np.all(differences(there) < 0.75 * differences(there - 3))


def test_a_map_is_right_when_nine_tenths_of_what_is_seen_are_within_a_pixel() -> None:
    off = RIGHT["disparity"] + np.float32(1.25)
    rank = np.cumsum((LABELS >= 0).reshape(32, -1), axis=1).reshape(LABELS.shape) / np.sum(
        LABELS >= 0, (1, 2, 3), keepdims=True
    )

    assert task.is_right(RIGHT, LABELS).all()
    assert task.is_right({"disparity": RIGHT["disparity"] + np.float32(0.9)}, LABELS).all()
    assert not task.is_right({"disparity": off}, LABELS).any()
    assert task.is_right({"disparity": np.where(rank < 0.09, off, RIGHT["disparity"])}, LABELS).all()
    assert not task.is_right({"disparity": np.where(rank < 0.11, off, RIGHT["disparity"])}, LABELS).any()
    assert task.is_right({"disparity": np.where(LABELS < 0, 9.0, LABELS)}, LABELS).all(), (
        "what is not seen is not judged"
    )


def test_bad_answers_are_wrong(bad_answers: Callable[..., Any]) -> None:
    for outputs in bad_answers(RIGHT):
        right = task.is_right(outputs, LABELS)
        assert (right.shape, right.dtype, right.any()) == ((32,), bool, False)


def test_one_number_that_is_not_finite_makes_a_map_wrong() -> None:
    spoilt = RIGHT["disparity"].copy()
    spoilt[3, 0, 5, 7] = np.nan

    assert np.array_equal(np.flatnonzero(~task.is_right({"disparity": spoilt}, LABELS)), [3])


def test_the_model_is_as_good_as_its_card_says(measured: Callable[..., Any]) -> None:
    share, promised = measured("stereo-depth", task)

    assert share >= promised >= 0.97
