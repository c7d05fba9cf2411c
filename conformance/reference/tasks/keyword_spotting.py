"""Which of ten words is said: keyword spotting in one second of synthetic sound.

Input `audio`: float32 [N, 1, 8000], one second at 8 kHz, full scale 1, multiples of 1/256 in about [-1.5, 1.5]. A word is
two syllables of a consonant and a vowel: vowels are two gliding tones (formants), consonants hiss, breathe or hum. Speakers
differ in pitch (0.85 to 1.18), loudness, tempo and onset, over background noise and sometimes mains hum. Label: int64 [N],
an index into CLASSES; `unknown` is any other word of the same syllables, `silence` none. Output `scores`: [N, 12]; the answer is the largest.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from conformance.reference.draws import bell, fitting, pick, sample_words, uniform

if TYPE_CHECKING:
    from conformance.tensors import Array

SAMPLES = 1024
WORDS = ("sami", "misa", "fulo", "lofu", "mole", "lesa", "sofi", "fime", "lumo", "safe")
CLASSES = (*WORDS, "unknown", "silence")
RATE = 8000
_FRAME = 40
_FRAMES = RATE // _FRAME
_SOUNDS = {  # two formants in Hz, their amplitudes and that of the noise in 1/100 of full scale
    "-": (500, 1500, 0, 0, 0),
    "s": (500, 1700, 0, 0, 26),
    "f": (400, 1200, 0, 0, 9),
    "m": (250, 1000, 16, 3, 0),
    "l": (360, 2600, 14, 6, 0),
    "a": (730, 1090, 26, 18, 0),
    "e": (530, 1840, 26, 14, 0),
    "i": (270, 2290, 26, 12, 0),
    "o": (570, 840, 28, 14, 0),
    "u": (300, 870, 30, 10, 0),
}
_HISSING = "s"
_CONSONANTS, _VOWELS = "sfml", "aeiou"
_PARAMETERS = 32
_BLUR = 5
"""Frames over which a sound glides into the next."""


def draw(count: int, salt: int, first: int = 0) -> tuple[dict[str, Array], Array]:
    """Return `audio` float32 [count, 1, 8000] and labels int64 [count]."""
    words = sample_words(count, _PARAMETERS + RATE // 4, salt, first)
    labels = pick(words[:, 0], len(CLASSES))
    tracks, hiss = _tracks(labels, words)

    pitch, loudness = (uniform(words[:, at], low, high)[:, None] for at, low, high in ((1, 0.85, 1.18), (2, 0.5, 1.3)))
    total = np.zeros((count, _FRAMES, _FRAME), dtype=np.int32)  # full scale is 2^16
    for formant in (0, 1):
        step = (tracks[formant] * pitch * (65536 / RATE)).astype(np.uint16)
        _add_tone(total, step, (tracks[2 + formant] * loudness * (65536 / 100 / 127)).astype(np.int32))
    hum = uniform(words[:, 3], -0.1, 0.1).clip(0)
    step = (pick(words[:, 4], 2) * 10 + 50) * 65536 // RATE
    whole = np.ones(_FRAMES)
    _add_tone(total, (step[:, None] * whole).astype(np.uint16), (hum[:, None] * whole * 516).astype(np.int32))

    # four words of noise out of each 64 bits; hissing noise has its low frequencies taken out
    noise = words[:, _PARAMETERS:].astype("<u8").view("<i2").reshape(count, RATE).astype(np.int32)
    sharp = noise.copy()
    sharp[:, 1:] -= noise[:, :-1]
    background = uniform(words[:, 5], 0.01, 0.14)[:, None]
    level = tracks[4] * loudness / 100
    plain, hissing = ((part * 256).astype(np.int32)[:, :, None] for part in (background + level * ~hiss, level * hiss))
    total += (noise.reshape(total.shape) * plain + sharp.reshape(total.shape) * hissing) >> 7
    return {"audio": (((total + 128) >> 8).astype(np.float32) / 256).reshape(count, 1, RATE)}, labels


def is_right(outputs: dict[str, Array], labels: Array) -> Array:
    """Return bool [N]: the largest of the twelve scores stands at the label, and all of them are finite."""
    scores = fitting(outputs.get("scores"), (len(labels), len(CLASSES)))
    if scores is None:
        return np.zeros(len(labels), dtype=bool)
    answer: Array = (np.argmax(scores, axis=1) == labels) & np.isfinite(scores).all(axis=1)
    return answer


def _tracks(labels: Array, words: Array) -> tuple[list[Array], Array]:
    """Return, by frame of 5 ms, the five columns of _SOUNDS (float64 [N, 200] each) and whether the noise hisses (bool)."""
    names = list(_SOUNDS)
    others = [text for text in map("".join, product(_CONSONANTS, _VOWELS, _CONSONANTS, _VOWELS)) if text not in WORDS]
    spelt = np.array([[names.index(letter) for letter in f"-{text}-"] for text in (*WORDS, "----", *others)])
    which = np.where(labels == len(WORDS), len(WORDS) + 1 + pick(words[:, 6], len(others)), np.minimum(labels, 10))
    sounds = spelt[which]

    lengths = np.stack([low + pick(words[:, 7 + at], span) for at, (low, span) in enumerate(((10, 9), (18, 17)) * 2)])
    spare = _FRAMES - 16 - lengths.sum(axis=0)
    edges = 8 + pick(words[:, 11], 1 << 16) % spare + np.concatenate([0 * lengths[:1], lengths.cumsum(axis=0)])
    place = (np.arange(_FRAMES) >= edges[:, :, None]).sum(axis=0)
    spoken = np.take_along_axis(sounds, place, axis=1)
    hiss: Array = spoken == names.index(_HISSING)
    table = np.array(list(_SOUNDS.values()), dtype=np.float64)
    # a speaker's vowels are his own, by up to 4 %
    accent = 1 + 0.02 * np.clip(bell(words[:, 12:14]), -2, 2)
    tracks = [_blurred(table[spoken, column]) for column in range(table.shape[1])]
    return [track * accent[:, at, None] if at < 2 else track for at, track in enumerate(tracks)], hiss


def _blurred(track: Array) -> Array:
    """Return the moving mean of [N, 200] over _BLUR frames; the ends repeat."""
    wide = np.pad(track, ((0, 0), (_BLUR // 2, _BLUR // 2)), mode="edge")
    total = np.zeros_like(track)
    for shift in range(_BLUR):
        total += wide[:, shift : shift + track.shape[1]]
    return total / _BLUR


def _add_tone(total: Array, step: Array, amplitude: Array) -> None:
    """Add a sine whose phase grows by `step` (uint16 [N, 200], a turn is 2^16) a sample, and amplitude/127 is its height."""
    sine = np.round(np.sin(np.arange(256) * (2 * np.pi / 256)) * 127).astype(np.int32)
    start = np.cumsum(step * np.uint16(_FRAME), axis=1, dtype=np.uint16) - step * np.uint16(_FRAME)
    phase: Array = start[:, :, None] + step[:, :, None] * np.arange(_FRAME, dtype=np.uint16)
    total += sine[phase >> 8] * amplitude[:, :, None]
