"""Where the surface is damaged: segmentation of scratches and blobs on a textured surface.

Input `image`: float32 [N, 1, 64, 64], reflected light around 0 in about [-2.5, 2.5], multiples of 1/256: a woven texture of
random direction and period, a slope of light, grain. A third of the surfaces carries a scratch (14 to 40 pixels long, 2 to
3.6 wide), a third a blob (an ellipse, half axes of 3 to 9 pixels), a third nothing; a defect is brighter or darker than its
surroundings. Label: bool [N, 1, 64, 64], where the defect is. Output `mask`: [N, 1, 64, 64], the probability of a defect.

A pixel is marked when its probability is above 0.5. Right is a mask whose intersection over union with the label is at
least 0.5, or, where there is no defect, fewer than 0.2 % of the pixels marked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conformance.reference.draws import bell, fitting, pick, sample_words, to_steps, turn, uniform, wave

if TYPE_CHECKING:
    from conformance.tensors import Array

SAMPLES = 1024
KINDS = ("none", "scratch", "blob")
SIZE = 64
LEAST_OVERLAP = 0.5
MOST_MARKED = 0.002
_PARAMETERS = 32
_GRAIN = 0.25


def draw(count: int, salt: int, first: int = 0) -> tuple[dict[str, Array], Array]:
    """Return `image` float32 [count, 1, 64, 64] and labels bool of the same shape."""
    words = sample_words(count, _PARAMETERS + SIZE * SIZE, salt, first)
    y, x = (np.mgrid[0:SIZE, 0:SIZE] + 0.5).astype(np.float32)

    def direction(which: int) -> tuple[Array, Array]:
        cosine, sine = (part.astype(np.float32)[:, None, None] for part in turn(words[:, which]))
        return cosine, sine

    def number(which: int, low: float, high: float) -> Array:
        return uniform(words[:, which], low, high).astype(np.float32)[:, None, None]

    def along(first: int, shift: int) -> Array:  # pixels along a random direction, measured from a random point
        cosine, sine = direction(first)
        place: Array = x * cosine + y * sine + number(shift, 0, 64)
        return place

    warp, weft = along(0, 1) / number(2, 5, 12), along(3, 4) / number(5, 5, 12)
    image = number(6, 0.1, 0.35) * wave(warp) + number(7, 0.1, 0.35) * wave(weft)
    image += number(8, -0.4, 0.4) * (x / 32 - 1) + number(9, -0.4, 0.4) * (y / 32 - 1) + number(10, -0.3, 0.3)

    kind = pick(words[:, 11], len(KINDS))[:, None, None]
    cosine, sine = direction(12)
    right, down = x - number(13, 14, 50), y - number(14, 14, 50)
    u, v = right * cosine + down * sine, down * cosine - right * sine
    length, width = number(15, 7, 20), number(16, 1.0, 1.8)
    bow = number(17, -0.015, 0.015)
    scratch = (np.abs(u) < length) & (np.abs(v - bow * u * u) < width)
    long, short = number(18, 4, 9), number(19, 3, 6)
    blob = (u / long) * (u / long) + (v / short) * (v / short) < 1
    defect = np.where(kind == 1, scratch, (kind == 2) & blob)
    depth = number(20, 0.7, 1.2) * (1 - 2 * pick(words[:, 21], 2)[:, None, None]).astype(np.float32)
    image += np.where(defect, depth, np.float32(0))
    image += np.float32(_GRAIN) * bell(words[:, _PARAMETERS:]).astype(np.float32).reshape(count, SIZE, SIZE)
    return {"image": to_steps(image)[:, None]}, defect[:, None]


def is_right(outputs: dict[str, Array], labels: Array) -> Array:
    """Return bool [N]: the mask overlaps the defect enough, or stays empty enough where there is none."""
    mask = fitting(outputs.get("mask"), labels.shape)
    if mask is None:
        return np.zeros(len(labels), dtype=bool)
    marked = mask > 0.5
    both, either, wanted, found = (
        np.count_nonzero(part, axis=(1, 2, 3)) for part in (marked & labels, marked | labels, labels, marked)
    )
    right: Array = np.where(wanted > 0, both >= LEAST_OVERLAP * either, found < MOST_MARKED * SIZE * SIZE)
    return right & np.isfinite(mask).all(axis=(1, 2, 3))
