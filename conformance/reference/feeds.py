"""Inputs of the reference models that nobody trained: drawn from a seed, the same on every machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from conformance.errors import HarnessError
from conformance.reference.probes import draw_bits
from conformance.tensors import DTYPES

if TYPE_CHECKING:
    from conformance.records import TensorInfo
    from conformance.tensors import Array

BATCH = 64
"""Samples per request where labelled samples are counted."""
ENCODER_VOCABULARY, ENCODER_LENGTH = 64, 24
DECODER_VOCABULARY = 128
PREFIX, PROMPT, TOKENS = 4, 12, 12
"""Cached positions before the first request (no device has to take an empty cache), tokens in it, and tokens after it."""


def encoder(count: int, salt: int) -> dict[str, Array]:
    """Return `input_ids` and `attention_mask`, int64 [count, 24]; the last up to eight positions are padding."""
    ids = (draw_bits((count, ENCODER_LENGTH), salt) % np.uint64(ENCODER_VOCABULARY)).astype(np.int64)
    lengths = ENCODER_LENGTH - (draw_bits((count, 1), salt + 1) % np.uint64(9)).astype(np.int64)
    mask = (np.arange(ENCODER_LENGTH)[None, :] < lengths).astype(np.int64)
    return {"input_ids": ids * mask, "attention_mask": mask}


class Sequence(NamedTuple):
    """A decoder's requests in turn: what each is fed beside the cache, and the cache that the first one finds."""

    steps: list[dict[str, Array]]
    past: dict[str, Array]


def decoder(inputs: tuple[TensorInfo, ...], kind: str, salt: int, *, steps: int = 1 + TOKENS) -> Sequence:
    """Return a prompt of 12 tokens and then one token at a time, teacher-forced, for the inputs that a variant has."""
    names = {info.name: info for info in inputs}
    ids = (draw_bits((1, PROMPT + TOKENS), salt) % np.uint64(DECODER_VOCABULARY)).astype(np.int64)
    found = []
    for at in range(steps):
        begin, end = (0, PROMPT) if at == 0 else (PROMPT + at - 1, PROMPT + at)
        every = {
            "input_ids": ids[:, begin:end],
            "position_ids": np.arange(PREFIX + begin, PREFIX + end, dtype=np.int64)[None, :],
            "attention_mask": np.ones((1, PREFIX + end), dtype=np.int64),
        }
        found.append({name: np.ascontiguousarray(value) for name, value in every.items() if name in names})
    past = {}
    for at, (name, info) in enumerate((n, i) for n, i in names.items() if n.startswith("past_key_values.")):
        if info.shape is None or len(info.shape) != 4:
            raise HarnessError(f"the cache input {name} has no shape of four dimensions")
        heads, size = int(info.shape[1] or 0), int(info.shape[3] or 0)
        drawn = draw_bits((1, heads, PREFIX, size), salt + 1 + at) % np.uint64(511)
        past[name] = ((drawn.astype(np.float32) - 255) / 256).astype(DTYPES[kind])
    return Sequence(found, past)


def past_of(present: str) -> str:
    """Return the input that takes the cache which came out as `present.0.key`."""
    return present.replace("present.", "past_key_values.", 1)
