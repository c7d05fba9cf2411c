"""How far everything is: disparity from a pair of rectified pictures.

Inputs `left` and `right`: float32 [N, 1, 32, 64], multiples of 1/256 in about [-1.5, 1.5]: a slanted ground and three
objects before it, each with a texture of its own (some of them faint), seen by two cameras side by side, with noise. What is
at column x of the left picture is at column x - d of the right one. Label: float32 [N, 1, 32, 64], the disparity d in
pixels (0.5 to 10.5) of every pixel of the left picture, or -1 where the right camera does not see it. Output `disparity`: [N, 1, 32, 64].

Right is a map that is off by less than 1 pixel at 90 % or more of the pixels that both cameras see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conformance.reference.draws import fitting, pick, sample_words, to_steps, uniform

if TYPE_CHECKING:
    from conformance.tensors import Array

SAMPLES = 1024
HEIGHT, WIDTH = 32, 64
MOST_ERROR = 1.0
LEAST_SHARE = 0.9
_REACH = 12
"""Columns of texture beyond the left picture's edge, which the right camera may see: more than the largest disparity."""
_OBJECTS = 3
_PARAMETERS = 64
_CHUNK = 64
"""Samples made at a time, so that the layers stay in the cache."""
_TEXTURE = HEIGHT * (WIDTH + _REACH)


def draw(count: int, salt: int, first: int = 0) -> tuple[dict[str, Array], Array]:
    """Return `left` and `right` float32 [count, 1, 32, 64] and labels float32 of the same shape."""
    words = sample_words(count, _PARAMETERS + ((1 + _OBJECTS) * _TEXTURE + 2 * HEIGHT * WIDTH) // 4, salt, first)
    made = np.empty((3, count, 1, HEIGHT, WIDTH), dtype=np.float32)
    for start in range(0, count, _CHUNK):
        made[:, start : start + _CHUNK, 0] = _scenes(words[start : start + _CHUNK])
    return {"left": made[0], "right": made[1]}, made[2]


def is_right(outputs: dict[str, Array], labels: Array) -> Array:
    """Return bool [N]: all of the map is finite, and enough of what both cameras see is off by less than a pixel."""
    disparity = fitting(outputs.get("disparity"), labels.shape)
    if disparity is None:
        return np.zeros(len(labels), dtype=bool)
    finite = np.isfinite(disparity).all(axis=(1, 2, 3))
    seen = labels >= 0
    close = np.abs(np.where(np.isfinite(disparity), disparity, -9.0) - labels) < MOST_ERROR
    right: Array = (close & seen).sum(axis=(1, 2, 3)) >= LEAST_SHARE * seen.sum(axis=(1, 2, 3))
    return right & finite


def _scenes(words: Array) -> tuple[Array, Array, Array]:
    """Return the left picture, the right one and the disparity, [N, 32, 64] each."""
    # sixteen bits of each word make a value of texture or noise, uniform with variance 1
    values = words[:, _PARAMETERS:].astype("<u8").view("<i2").astype(np.float32) * np.float32(1.7320508 / 32768)
    *textures, noise = np.split(values, [_TEXTURE * (layer + 1) for layer in range(1 + _OBJECTS)], axis=1)
    rows = np.arange(HEIGHT)[:, None]
    columns = np.arange(WIDTH)
    ground = uniform(words[:, 0], 0.5, 2.0)[:, None, None] + uniform(words[:, 1], 0.0, 0.04)[:, None, None] * rows
    nearness = np.sort(np.round(uniform(words[:, 2 : 2 + _OBJECTS], 3.5, 10.5) * 16) / 16, axis=1)
    shifts = [ground, *nearness.T[:, :, None, None]]

    def covers(layer: int, x: Array) -> Array:
        """Return bool: whether the layer is at column `x` of the left picture, whatever is before it."""
        if layer == 0:
            return np.ones(x.shape, dtype=bool)
        own = words[:, 8 * layer : 8 * layer + 8]
        across = (x - uniform(own[:, 0], 8, 56)[:, None, None]) / uniform(own[:, 1], 5, 13)[:, None, None]
        down = (rows - uniform(own[:, 2], 4, 28)[:, None, None]) / uniform(own[:, 3], 4, 10)[:, None, None]
        is_box = pick(own[:, 4], 2)[:, None, None] == 1
        inside: Array = np.where(
            is_box, np.maximum(np.abs(across), np.abs(down)) < 1, across * across + down * down < 1
        )
        return inside

    shape = (len(words), HEIGHT, WIDTH)
    left, right, disparity, seen = np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=bool)
    for layer, shift in enumerate(shifts):  # from far to near
        texture = _texture(textures[layer], words[:, 40 + 2 * layer : 42 + 2 * layer])
        here, there = covers(layer, np.broadcast_to(columns, (1, 1, WIDTH))), covers(layer, columns + shift)
        left = np.where(here, texture[:, :, :WIDTH], left)
        right = np.where(there, _shifted(texture, shift), right)
        # a pixel that was seen is hidden where this layer covers its column of the right picture
        seen &= ~covers(layer, columns - disparity + shift)
        seen = np.where(here, columns >= shift, seen)
        disparity = np.where(here, shift, disparity)
    level = uniform(words[:, 50], 0.03, 0.12)[:, None, None, None]
    grain = level * noise.reshape(-1, 2, HEIGHT, WIDTH)
    gain = uniform(words[:, 51], 0.9, 1.1)[:, None, None]
    return to_steps(left + grain[:, 0]), to_steps(right * gain + grain[:, 1]), np.where(seen, disparity, -1.0)


def _texture(values: Array, words: Array) -> Array:
    """Return float64 [N, 32, 76]: the values blurred a little, with a random contrast about a random brightness."""
    field = values.reshape(len(values), HEIGHT, WIDTH + _REACH).astype(np.float64)
    for axis in (1, 2):
        field = (np.roll(field, 1, axis) + field * 2 + np.roll(field, -1, axis)) / 4
    contrast, brightness = uniform(words[:, 0], 0.25, 1.2), uniform(words[:, 1], -0.4, 0.4)
    return field * contrast[:, None, None] + brightness[:, None, None]


def _shifted(texture: Array, shift: Array) -> Array:
    """Return [N, 32, 64]: the texture at each column plus `shift`, between columns by linear interpolation."""
    whole = np.floor(shift).astype(np.int64)
    part = shift - whole
    at = np.broadcast_to(np.arange(WIDTH) + whole, (len(texture), HEIGHT, WIDTH))
    near, far = (np.take_along_axis(texture, at + step, axis=2) for step in (0, 1))
    return near * (1 - part) + far * part
