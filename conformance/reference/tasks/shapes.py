"""Which of ten shapes is in the picture: classification of small synthetic colour pictures.

Input `image`: float32 [N, 3, 32, 32], red, green and blue in about [-2, 2], multiples of 1/256. One shape of one colour
lies anywhere, turned and scaled (radius 7 to 12 pixels), on a ground of another colour with a slope of light, some
clutter and noise. Label: int64 [N], an index into CLASSES. Output `logits`: [N, 10]; the answer is the largest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conformance.reference.draws import bell, fitting, pick, sample_words, to_steps, turn, uniform

if TYPE_CHECKING:
    from conformance.tensors import Array

SAMPLES = 1024
CLASSES = ("disc", "ring", "square", "frame", "triangle", "plus", "bar", "crescent", "half disc", "two dots")
SIZE = 32
_PARAMETERS = 32
_NOISE = 0.12
_CONTRAST = 0.8
_CLUTTER = 2


def draw(count: int, salt: int, first: int = 0) -> tuple[dict[str, Array], Array]:
    """Return `image` float32 [count, 3, 32, 32] and labels int64 [count]."""
    words = sample_words(count, _PARAMETERS + 3 * SIZE * SIZE, salt, first)
    labels = pick(words[:, 0], len(CLASSES))
    radius = uniform(words[:, 1], 7.0, 12.0)
    centre = 16 + (uniform(words[:, 2:4]) * 2 - 1) * (15 - radius)[:, None]
    cosine, sine = turn(words[:, 4])
    y, x = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    right, down = (x - centre[:, 0, None, None], y - centre[:, 1, None, None])
    u = (right * cosine[:, None, None] + down * sine[:, None, None]) / radius[:, None, None]
    v = (down * cosine[:, None, None] - right * sine[:, None, None]) / radius[:, None, None]
    inside = np.zeros((count, SIZE, SIZE), dtype=bool)
    for label in range(len(CLASSES)):
        rows = np.flatnonzero(labels == label)
        inside[rows] = _covers(label, u[rows], v[rows])

    ground = uniform(words[:, 5:8], -0.5, 0.5)
    shape = ground + _contrast(words[:, 8:12])
    image = np.where(inside[:, None], shape[:, :, None, None], ground[:, :, None, None])
    slope = uniform(words[:, 12:14], -0.2, 0.2)
    light = slope[:, 0, None, None] * (x / 16 - 1) + slope[:, 1, None, None] * (y / 16 - 1)
    image += light[:, None]
    for spot in range(_CLUTTER):  # small squares of any colour, over ground and shape alike
        left, top = (pick(words[:, 14 + 6 * spot + axis], SIZE)[:, None, None] for axis in (0, 1))
        covered = (x > left) & (x < left + 3) & (y > top) & (y < top + 3)
        colour = uniform(words[:, 16 + 6 * spot : 19 + 6 * spot], -0.9, 0.9)
        image = np.where(covered[:, None], colour[:, :, None, None], image)
    noise = bell(words[:, _PARAMETERS:]).reshape(count, 3, SIZE, SIZE)
    return {"image": to_steps(image + _NOISE * noise)}, labels


def is_right(outputs: dict[str, Array], labels: Array) -> Array:
    """Return bool [N]: the largest of the ten logits stands at the label, and all of them are finite."""
    logits = fitting(outputs.get("logits"), (len(labels), len(CLASSES)))
    if logits is None:
        return np.zeros(len(labels), dtype=bool)
    answer: Array = (np.argmax(logits, axis=1) == labels) & np.isfinite(logits).all(axis=1)
    return answer


def _contrast(words: Array) -> Array:
    """Return float64 [N, 3]: how the shape's colour differs from the ground, at least by _CONTRAST in one channel."""
    step = uniform(words[:, :3], -0.4, 0.4)
    strong = pick(words[:, 3], 3)[:, None] == np.arange(3)
    return np.where(strong, np.where(step < 0, -_CONTRAST, _CONTRAST) + step, step)


def _covers(label: int, u: Array, v: Array) -> Array:
    """Return bool of the shape of `u` and `v`, which are coordinates turned with the shape, 1 at its radius."""
    square, round_ = np.maximum(np.abs(u), np.abs(v)), u * u + v * v
    if label == 0:
        inside = round_ < 0.8
    elif label == 1:
        inside = (round_ < 0.95) & (round_ > 0.36)
    elif label == 2:
        inside = square < 0.72
    elif label == 3:
        inside = (square < 0.8) & (square > 0.46)
    elif label == 4:
        inside = (v < 0.55) & (v > 1.75 * np.abs(u) - 0.98)
    elif label == 5:
        inside = (np.minimum(np.abs(u), np.abs(v)) < 0.27) & (square < 0.95)
    elif label == 6:
        inside = (np.abs(u) < 0.98) & (np.abs(v) < 0.27)
    elif label == 7:
        inside = (round_ < 0.95) & ((u - 0.45) * (u - 0.45) + v * v > 0.55)
    elif label == 8:
        inside = (round_ < 0.95) & (u > 0.05)
    else:
        inside = (np.abs(u) - 0.56) * (np.abs(u) - 0.56) + v * v < 0.14
    covered: Array = inside
    return covered
