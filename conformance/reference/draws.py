"""What the synthetic data of the tasks is drawn with: words of `draw_bits` made into numbers, the same on every machine.

Everything here is exact in float64 or one correctly rounded operation away from it (+, -, *, /), so that no comparison and
no rounding that follows can come out differently with another numpy or another processor. `bell` is a sum, not a logarithm;
`turn` reads rounded cosines off a table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conformance.reference.probes import draw_bits
from conformance.tensors import DTYPES

if TYPE_CHECKING:
    from conformance.tensors import Array

STEP = 256
"""Inputs of models are multiples of 1/STEP, which float16 and bfloat16 hold near 0 and float32 holds everywhere."""
TURNS = 256


def sample_words(count: int, width: int, salt: int, first: int = 0) -> Array:
    """Return uint64 [count, width] for the samples from `first` on: a row depends on `salt` and its number, and on `width`."""
    return draw_bits((count, width), salt, first * width)


def uniform(words: Array, low: float = 0.0, high: float = 1.0) -> Array:
    """Return float64 in [low, high), of the same shape."""
    return low + (words >> np.uint64(11)).astype(np.float64) * (2.0**-53 * (high - low))


def pick(words: Array, choices: int) -> Array:
    """Return int64 in [0, choices), of the same shape."""
    return ((words >> np.uint64(32)) % np.uint64(choices)).astype(np.int64)


def bell(words: Array) -> Array:
    """Return float64 that is near normal, mean 0 and standard deviation 1: four 16-bit parts of each word, added."""
    parts = np.ascontiguousarray(words).view(np.uint16).reshape(*words.shape, 4)
    total = parts[..., 0].astype(np.int32) - 131070
    for part in range(1, 4):
        total += parts[..., part]
    scaled: Array = total * (3.0**0.5 / 65536)
    return scaled


def turn(words: Array) -> tuple[Array, Array]:
    """Return cosine and sine (float64, multiples of 1/1024) of one of TURNS directions for each word."""
    angle = np.arange(TURNS) * (2 * np.pi / TURNS)
    which = pick(words, TURNS)
    return (np.round(np.cos(angle) * 1024) / 1024)[which], (np.round(np.sin(angle) * 1024) / 1024)[which]


def wave(phase: Array) -> Array:
    """Return a triangle wave of period 1 and range [-1, 1], which needs no libm as a sine would: -1 at whole numbers."""
    height: Array = 1 - np.abs((phase - np.floor(phase)) * 4 - 2)
    return height


def to_steps(values: Array) -> Array:
    """Return float32, rounded to multiples of 1/STEP."""
    return (np.round(values * STEP) / STEP).astype(np.float32)


def fitting(output: Array | None, shape: tuple[int, ...]) -> Array | None:
    """Return `output` as float64 where it is a real tensor of `shape`, else None: a wrong shape is a wrong answer."""
    if not isinstance(output, np.ndarray) or output.shape != shape:
        return None
    is_real = output.dtype.kind in "fiub" or (output.dtype.kind == "V" and output.dtype in DTYPES.values())
    return output.astype(np.float64) if is_real else None
