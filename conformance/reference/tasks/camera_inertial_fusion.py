"""Which way an arrow points in the world, and how the device is moved: a camera that does not know its own roll.

Input `image`: float32 [N, 1, 32, 32] in about [-2, 2], multiples of 1/256: an arrow somewhere in the picture, with clutter and noise. Input
`imu`: float32 [N, 6, 64], 0.64 s at 100 Hz, multiples of 1/256: acceleration along the picture's right, down and forward in
units of 9.81 m/s^2 (at rest it shows where up is), then turning rates about the same axes in rad/s, with bias and noise.

The camera is rolled by any angle, so the picture alone does not tell where the arrow points in the world, and the motion
sensor has not seen it. Labels: int64 [N, 2], indices into DIRECTIONS and MOTIONS. Outputs: `direction` [N, 4] and `motion`
[N, 4]; the answer is the largest of each, and both must be right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conformance.reference.draws import TURNS, bell, fitting, pick, sample_words, to_steps, uniform, wave

if TYPE_CHECKING:
    from conformance.tensors import Array

SAMPLES = 1024
DIRECTIONS = ("up", "right", "down", "left")
MOTIONS = ("held", "shaken", "panned", "walked")
SIZE, TIMES, RATE = 32, 64, 100
_PARAMETERS = 48
_NOISE = 0.27
_CLUTTER = 2
_LEAN = 18
"""An arrow deviates from its direction by up to this many of TURNS; half of the way to the next one is 32."""


def draw(count: int, salt: int, first: int = 0) -> tuple[dict[str, Array], Array]:
    """Return `image` float32 [count, 1, 32, 32], `imu` float32 [count, 6, 64], and labels int64 [count, 2]."""
    words = sample_words(count, _PARAMETERS + SIZE * SIZE + 6 * TIMES, salt, first)
    labels = pick(words[:, 0:2], 4)
    roll = pick(words[:, 2], TURNS)
    lean = pick(words[:, 3], 2 * _LEAN + 1) - _LEAN
    parameters, grain, shiver = np.split(words, [_PARAMETERS, _PARAMETERS + SIZE * SIZE], axis=1)
    image = _picture(labels[:, 0] * (TURNS // 4) + lean - roll, parameters)
    image += _NOISE * bell(grain).reshape(image.shape)
    imu = _movement(labels[:, 1], roll, parameters)
    imu += np.array([0.06, 0.06, 0.06, 0.12, 0.12, 0.12])[:, None] * bell(shiver).reshape(imu.shape)
    return {"image": to_steps(image)[:, None], "imu": to_steps(imu)}, labels


def is_right(outputs: dict[str, Array], labels: Array) -> Array:
    """Return bool [N]: the largest of each output stands at its label, and all of them are finite."""
    right = np.ones(len(labels), dtype=bool)
    for at, name in enumerate(("direction", "motion")):
        scores = fitting(outputs.get(name), (len(labels), 4))
        if scores is None:
            return np.zeros(len(labels), dtype=bool)
        right &= (np.argmax(scores, axis=1) == labels[:, at]) & np.isfinite(scores).all(axis=1)
    return right


def _cosines(angle: Array) -> tuple[Array, Array]:
    """Return cosine and sine (float64, multiples of 1/1024) of angles given in 1/TURNS of a turn (int64)."""
    table = np.round(np.cos(np.arange(TURNS) * (2 * np.pi / TURNS)) * 1024) / 1024
    return table[angle % TURNS], table[(angle - TURNS // 4) % TURNS]


def _picture(angle: Array, words: Array) -> Array:
    """Return float64 [N, 32, 32]: an arrow that points `angle` clockwise of the picture's up, and clutter."""
    cosine, sine = (part[:, None, None] for part in _cosines(angle))
    radius = uniform(words[:, 4], 8.0, 11.5)
    centre = 16 + (uniform(words[:, 5:7]) * 2 - 1) * (15 - radius)[:, None]
    y, x = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    right, down = ((axis - centre[:, at, None, None]) / radius[:, None, None] for at, axis in enumerate((x, y)))
    forth, aside = right * sine - down * cosine, np.abs(right * cosine + down * sine)
    arrow = ((aside < 0.2) & (np.abs(forth) < 0.95)) | ((forth > 0.1) & (aside < 0.95 - forth))
    depth = uniform(words[:, 7], 0.8, 1.4) * (1 - 2.0 * pick(words[:, 8], 2))
    slope = uniform(words[:, 9:11], -0.3, 0.3)[:, :, None, None]
    image: Array = slope[:, 0] * (x / 16 - 1) + slope[:, 1] * (y / 16 - 1) + arrow * depth[:, None, None]
    for spot in range(_CLUTTER):
        left, top, wide, high = (
            pick(words[:, 11 + 5 * spot + at], most)[:, None, None] for at, most in enumerate((32, 32, 5, 5))
        )
        covered = (x > left) & (x < left + 2 + wide) & (y > top) & (y < top + 2 + high)
        image = np.where(covered, uniform(words[:, 15 + 5 * spot], -0.9, 0.9)[:, None, None], image)
    return image


def _movement(motion: Array, roll: Array, words: Array) -> Array:
    """Return float64 [N, 6, 64]: what the motion sensor shows, but for its noise."""
    time = np.arange(TIMES) / RATE
    cosine, sine = _cosines(roll)
    level = uniform(words[:, 26], -0.5, 0.5)  # the camera looks up or down a little
    up = np.stack([sine, -cosine, level], axis=1)

    def swing(first: int, low: float, high: float) -> Array:  # Hz
        return wave(uniform(words[:, first], low, high)[:, None] * time + uniform(words[:, first + 1])[:, None])

    shaken, panned, walked = ((motion == MOTIONS.index(name))[:, None, None] for name in MOTIONS[1:])
    unrest = uniform(words[:, 27:30], 0.0, 0.25)[:, :, None, None]  # every device moves a little in every way
    axis = uniform(words[:, 30:33], -1.0, 1.0)
    shake = (
        (shaken * uniform(words[:, 33], 0.7, 1.4)[:, None, None] + unrest[:, 0])
        * swing(34, 4, 8)[:, None]
        * axis[:, :, None]
    )
    bounce = (
        (walked * uniform(words[:, 36], 0.5, 1.0)[:, None, None] + unrest[:, 1])
        * swing(37, 1.6, 2.6)[:, None]
        * up[:, :, None]
    )
    about = np.stack([0 * level, 1 - 2.0 * pick(words[:, 39], 2), uniform(words[:, 40], -0.4, 0.4)], axis=1)
    pan = (panned * uniform(words[:, 41], 0.6, 1.6)[:, None, None] + unrest[:, 2] * 0.8) * about[:, :, None]
    sway = walked * 0.4 * swing(42, 0.8, 1.3)[:, None] * np.array([0.3, 0.5, 1.0])[:, None]
    bias = uniform(words[:, 44:47], -0.1, 0.1)[:, :, None]
    return np.concatenate([up[:, :, None] + shake + bounce, pan + sway + bias], axis=1)
