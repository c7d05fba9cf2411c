"""What the line says: reading 5 to 8 characters of a dot-matrix print.

Input `image`: float32 [N, 1, 16, 96], multiples of 1/256 in about [-4, 4]: characters of a 5 x 7 font, stretched to 8 to 9
by 12 to 14 pixels, set with uneven gaps and heights, bright on dark or dark on bright, under a slope of light, with specks
and noise. Label: int64 [N, 8], indices into CHARACTERS, filled up with -1. Output `logits`: [N, 48, 23], one row for every
two columns of the picture; class 0 is the blank, class k stands for CHARACTERS[k - 1].

The answer is read greedily, as with connectionist temporal classification (Graves et al. 2006,
doi:10.1145/1143844.1143891): the largest of each row, repeats merged, blanks dropped. Right is the whole line, or nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conformance.reference.draws import bell, fitting, pick, sample_words, to_steps, uniform

if TYPE_CHECKING:
    from conformance.tensors import Array

SAMPLES = 1024
CHARACTERS = "0123456789ACEFHKLPRTUX"
HEIGHT, WIDTH = 16, 96
STEPS = 48
MOST, LEAST = 8, 5
_PARAMETERS = 128
_NOISE = 0.3
_SPECKS = 6
_FONT = {
    "0": "01110 10001 10011 10101 11001 10001 01110",
    "1": "00100 01100 00100 00100 00100 00100 01110",
    "2": "01110 10001 00001 00010 00100 01000 11111",
    "3": "11111 00010 00100 00010 00001 10001 01110",
    "4": "00010 00110 01010 10010 11111 00010 00010",
    "5": "11111 10000 11110 00001 00001 10001 01110",
    "6": "00110 01000 10000 11110 10001 10001 01110",
    "7": "11111 00001 00010 00100 01000 01000 01000",
    "8": "01110 10001 10001 01110 10001 10001 01110",
    "9": "01110 10001 10001 01111 00001 00010 01100",
    "A": "01110 10001 10001 11111 10001 10001 10001",
    "C": "01110 10001 10000 10000 10000 10001 01110",
    "E": "11111 10000 10000 11110 10000 10000 11111",
    "F": "11111 10000 10000 11110 10000 10000 10000",
    "H": "10001 10001 10001 11111 10001 10001 10001",
    "K": "10001 10010 10100 11000 10100 10010 10001",
    "L": "10000 10000 10000 10000 10000 10000 11111",
    "P": "11110 10001 10001 11110 10000 10000 10000",
    "R": "11110 10001 10001 11110 10100 10010 10001",
    "T": "11111 00100 00100 00100 00100 00100 00100",
    "U": "10001 10001 10001 10001 10001 10001 01110",
    "X": "10001 10001 01010 00100 01010 10001 10001",
}


def draw(count: int, salt: int, first: int = 0) -> tuple[dict[str, Array], Array]:
    """Return `image` float32 [count, 1, 16, 96] and labels int64 [count, 8]."""
    words = sample_words(count, _PARAMETERS + HEIGHT * WIDTH, salt, first)
    labels, left, width = _lay_out(words)
    glyphs = np.array([[[int(dot) for dot in row] for row in _FONT[name].split()] for name in CHARACTERS], dtype=bool)
    tall = 12 + pick(words[:, 40:48], 3)
    top = pick(words[:, 48:56], 1 << 16) % (HEIGHT + 1 - tall)
    rows, columns = np.arange(HEIGHT)[:, None], np.arange(WIDTH)
    ink = np.zeros((count, HEIGHT, WIDTH), dtype=bool)
    for place in range(MOST):

        def of(values: Array, at: int = place) -> Array:
            return values[:, at, None, None]

        across, down = (columns - of(left)) * 5 // of(width), (rows - of(top)) * 7 // of(tall)
        within = (across >= 0) & (across < 5) & (down >= 0) & (down < 7) & (of(labels) >= 0)
        ink |= within & glyphs[np.maximum(of(labels), 0), np.clip(down, 0, 6), np.clip(across, 0, 4)]

    contrast = uniform(words[:, 56], 0.9, 1.6) * (1 - 2.0 * pick(words[:, 57], 2))
    image = (ink - 0.5) * contrast[:, None, None]
    slope = uniform(words[:, 58:60], -0.4, 0.4)[:, :, None, None]
    image += slope[:, 0] * (columns / 48 - 1) + slope[:, 1] * (rows / 8 - 1)
    for speck in range(_SPECKS):
        spot = pick(words[:, 60 + speck], HEIGHT * WIDTH)
        image[np.arange(count), spot // WIDTH, spot % WIDTH] += uniform(words[:, 70 + speck], -2, 2)
    image += _NOISE * bell(words[:, _PARAMETERS:]).reshape(count, HEIGHT, WIDTH)
    return {"image": to_steps(image)[:, None]}, labels


def is_right(outputs: dict[str, Array], labels: Array) -> Array:
    """Return bool [N]: the line that is read greedily is the label, character for character."""
    logits = fitting(outputs.get("logits"), (len(labels), STEPS, len(CHARACTERS) + 1))
    if logits is None:
        return np.zeros(len(labels), dtype=bool)
    best = np.argmax(logits, axis=2)
    kept: Array = best != 0
    kept[:, 1:] &= best[:, 1:] != best[:, :-1]
    right: Array = np.asarray(np.isfinite(logits).all(axis=(1, 2)))
    for sample in np.flatnonzero(right):
        wanted = labels[sample][labels[sample] >= 0] + 1
        right[sample] = np.array_equal(best[sample][kept[sample]], wanted)
    return right


def _lay_out(words: Array) -> tuple[Array, Array, Array]:
    """Return int64 [N, 8] each: characters (-1 where there is none), their left edges and their widths in pixels."""
    length = LEAST + pick(words[:, 0], MOST - LEAST + 1)
    characters = pick(words[:, 1:9], len(CHARACTERS))
    width = 8 + pick(words[:, 9:17], 2)
    gap = 2 + pick(words[:, 17:25], 2)
    taken = np.arange(MOST) < length[:, None]
    pitch = (width + gap) * taken
    start = pick(words[:, 25], 1 << 16) % (WIDTH + 1 - np.sum(pitch, axis=1))
    left = start[:, None] + np.cumsum(pitch, axis=1) - pitch + gap // 2
    return np.where(taken, characters, -1), left, width
