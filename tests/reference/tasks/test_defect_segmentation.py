"""Surface defects: the same pictures everywhere, masks judged by their overlap, and marked by the model that is shipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from conformance.reference.tasks import defect_segmentation as task

_, LABELS = task.draw(48, 0)
RIGHT = {"mask": LABELS.astype(np.float32)}
HAS_DEFECT = LABELS.any(axis=(1, 2, 3))


def test_the_surfaces_are_pinned(digest: Callable[..., str]) -> None:
    assert digest(task) == "730a2079b2804aec"


def test_a_third_of_the_surfaces_is_good_and_defects_are_small_but_not_tiny() -> None:
    sizes = task.draw(task.SAMPLES, 0)[1].sum(axis=(1, 2, 3))

    assert 0.28 <= np.mean(sizes == 0) <= 0.39
    assert 15 <= sizes[sizes > 0].min() <= sizes.max() <= 0.08 * task.SIZE**2


def test_a_mask_like_the_label_is_right_and_its_inverse_is_not() -> None:
    assert task.is_right(RIGHT, LABELS).all()
    assert not task.is_right({"mask": 1 - RIGHT["mask"]}, LABELS).any()


def test_an_empty_mask_is_right_where_there_is_no_defect() -> None:
    assert np.array_equal(task.is_right({"mask": 0 * RIGHT["mask"]}, LABELS), ~HAS_DEFECT)


def test_half_of_the_defect_is_enough_and_less_is_not() -> None:
    label = np.zeros((2, 1, 64, 64), bool)
    label[:, 0, 10:20, 10:20] = True
    mask = label.astype(np.float32)
    mask[0, 0, 10:15] = 0
    mask[1, 0, 10:15] = 0
    mask[1, 0, 15, 10] = 0

    assert task.is_right({"mask": mask}, label).tolist() == [True, False]


def test_eight_marked_pixels_on_a_good_surface_are_let_pass_and_nine_are_not() -> None:
    mask = np.zeros((2, 1, 64, 64), np.float32)
    mask[0, 0, 0, :8] = 1
    mask[1, 0, 0, :9] = 1

    assert task.is_right({"mask": mask}, np.zeros(mask.shape, bool)).tolist() == [True, False]


def test_bad_answers_are_wrong(bad_answers: Callable[..., Any]) -> None:
    for outputs in bad_answers(RIGHT):
        right = task.is_right(outputs, LABELS)
        assert (right.shape, right.dtype, right.any()) == ((48,), bool, False)


def test_the_model_is_as_good_as_its_card_says(measured: Callable[..., Any]) -> None:
    share, promised = measured("defect-segmentation", task)

    assert share >= promised >= 0.97
