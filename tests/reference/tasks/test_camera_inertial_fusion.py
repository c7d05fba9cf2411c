"""Arrows and movements: the same samples everywhere, two answers to each, and a model that needs both of its inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from conformance.reference.tasks import camera_inertial_fusion as task

MODEL = Path(__file__).resolve().parents[3] / "fixtures" / "models" / "camera-inertial-fusion" / "float32.onnx"
_, LABELS = task.draw(64, 0)
RIGHT = {name: np.eye(4, dtype=np.float32)[LABELS[:, at]] for at, name in enumerate(("direction", "motion"))}


def test_the_samples_are_pinned(digest: Callable[..., str]) -> None:
    assert digest(task) == "750248e3f61d6b16"


def test_every_pair_of_answers_comes_about_equally_often() -> None:
    labels = task.draw(task.SAMPLES, 0)[1]
    counts = np.bincount(labels[:, 0] * 4 + labels[:, 1], minlength=16)

    assert len(counts) == 16
    assert counts.min() >= 40
    assert counts.max() <= 90


def test_both_answers_must_be_right() -> None:
    assert task.is_right(RIGHT, LABELS).all()
    for name, value in RIGHT.items():
        assert not task.is_right(RIGHT | {name: np.roll(value, 1, axis=1)}, LABELS).any()
    exchanged = {"direction": RIGHT["motion"], "motion": RIGHT["direction"]}
    assert np.array_equal(task.is_right(exchanged, LABELS), LABELS[:, 0] == LABELS[:, 1])


def test_bad_answers_are_wrong(bad_answers: Callable[..., Any]) -> None:
    for outputs in bad_answers(RIGHT):
        right = task.is_right(outputs, LABELS)
        assert (right.shape, right.dtype, right.any()) == ((64,), bool, False)


def test_the_model_is_as_good_as_its_card_says(measured: Callable[..., Any]) -> None:
    share, promised = measured("camera-inertial-fusion", task)

    assert share >= promised >= 0.97


@pytest.mark.parametrize("name", ["image", "imu"])
@pytest.mark.parametrize("instead", ["nothing", "another sample's"])
def test_the_model_needs_both_inputs(name: str, instead: str) -> None:
    inputs, labels = task.draw(256, 0)
    other = np.zeros_like(inputs[name]) if instead == "nothing" else np.roll(inputs[name], 1, axis=0)
    session = onnxruntime.InferenceSession(MODEL.read_bytes(), providers=["CPUExecutionProvider"])
    outputs = dict(
        zip(("direction", "motion"), session.run(["direction", "motion"], inputs | {name: other}), strict=True)
    )

    assert task.is_right(outputs, labels).mean() < 0.4
