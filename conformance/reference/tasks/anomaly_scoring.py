"""Is anything unusual about the part: scoring of pictures of solder-ball arrays.

Input `image`: float32 [N, 1, 32, 32], multiples of 1/256 in about [-1.5, 2.5]: balls of radius 2.6 pixels, 8 pixels apart,
somewhere on the grid, under uneven light, with noise. Half of the parts have one fault: a ball is missing, has slipped by
two to three pixels, is too large, is bridged to its neighbour, or there is a foreign spot. Label: bool [N], whether there is
one. Output `score`: [N], 0 or more; a part is called faulty when its score is above THRESHOLD.

A model of this task learns from good parts alone, so its score has a scale of its own, and scales it to THRESHOLD.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conformance.reference.draws import bell, fitting, pick, sample_words, to_steps, uniform

if TYPE_CHECKING:
    from conformance.tensors import Array

SAMPLES = 1024
THRESHOLD = 1.0
FAULTS = ("missing", "slipped", "large", "bridged", "foreign")
SIZE, PITCH = 32, 8
_PARAMETERS = 32
_RADIUS = 2.6
_NOISE = 0.2


def draw(count: int, salt: int, first: int = 0) -> tuple[dict[str, Array], Array]:
    """Return `image` float32 [count, 1, 32, 32] and labels bool [count]."""
    words = sample_words(count, _PARAMETERS + SIZE * SIZE, salt, first)
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    phase = pick(words[:, 0:2], PITCH)[:, :, None, None]
    # the nearest ball is at (0, 0) of these, which are in -4 ... 3
    near_x, near_y = ((axis + phase[:, at] + 4) % PITCH - 4 for at, axis in enumerate((x, y)))
    balls = _disc(near_x, near_y, _RADIUS)

    label = pick(words[:, 2], 2) == 1
    kind = np.where(label, pick(words[:, 3], len(FAULTS)), -1)[:, None, None]
    # one of the four balls of the middle, where nothing is cut off
    middle = pick(words[:, 4:6], 2)[:, :, None, None] * PITCH + PITCH + (-phase % PITCH)
    right, down = x - middle[:, 0], y - middle[:, 1]
    own = np.maximum(np.abs(right + 0.5), np.abs(down + 0.5)) < 4
    slip_x, slip_y = (_slip(words[:, at])[:, None, None] for at in (6, 7))
    bridge = (right >= 0) & (right <= PITCH) & (np.abs(down) <= 1)
    spot_x, spot_y = (uniform(words[:, at], 3, 5)[:, None, None] for at in (8, 9))
    spot = _disc(right - spot_x, down - spot_y, uniform(words[:, 10], 1.4, 2.4)[:, None, None])
    for at, fault in enumerate(
        (
            balls & ~own,
            (balls & ~own) | _disc(right - slip_x, down - slip_y, _RADIUS),
            balls | _disc(right, down, 3.9),
            balls | bridge,
            balls | spot,
        )
    ):
        balls = np.where(kind == at, fault, balls)

    light = uniform(words[:, 11], 0.7, 1.3)[:, None, None]
    slope = uniform(words[:, 12:14], -0.2, 0.2)[:, :, None, None]
    image = light * balls + slope[:, 0] * (x / 16 - 1) + slope[:, 1] * (y / 16 - 1)
    image += uniform(words[:, 14], -0.2, 0.2)[:, None, None]
    image += _NOISE * bell(words[:, _PARAMETERS:]).reshape(count, SIZE, SIZE)
    return {"image": to_steps(image)[:, None]}, label


def is_right(outputs: dict[str, Array], labels: Array) -> Array:
    """Return bool [N]: the score is finite, and above THRESHOLD where there is a fault and nowhere else."""
    score = fitting(outputs.get("score"), labels.shape)
    if score is None:
        return np.zeros(len(labels), dtype=bool)
    right: Array = ((score > THRESHOLD) == labels) & np.isfinite(score)
    return right


def _disc(right: Array, down: Array, radius: Array | float) -> Array:
    """Return bool: closer to (0, 0) than `radius`."""
    inside: Array = right * right + down * down < radius * radius
    return inside


def _slip(words: Array) -> Array:
    """Return -3, -2, 2 or 3."""
    step = pick(words, 4)
    return np.where(step < 2, step - 3, step)
