"""Quantised weights as they lie packed in bytes: the first value in the lowest bits, each row from a fresh byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conformance.errors import HarnessError

if TYPE_CHECKING:
    from conformance.tensors import Array


def pack(values: Array, bits: int) -> Array:
    """Return unsigned integers [..., n] below 2^bits as bytes [..., ⌈n·bits/8⌉], the last byte filled up with zeros."""
    each = _per_byte(bits)
    missing = -values.shape[-1] % each
    padded = np.pad(values.astype(np.uint8), [(0, 0)] * (values.ndim - 1) + [(0, missing)])
    groups = padded.reshape(*values.shape[:-1], -1, each)
    shifted = groups << (np.arange(each, dtype=np.uint8) * np.uint8(bits))
    packed: Array = np.bitwise_or.reduce(shifted, axis=-1).astype(np.uint8)
    return packed


def unpack(packed: Array, bits: int, count: int) -> Array:
    """Return the first `count` integers of each row of bytes: [..., n] uint8 → [..., count] int64."""
    each = _per_byte(bits)
    shifts = np.arange(each, dtype=np.uint8) * np.uint8(bits)
    values = (packed[..., None] >> shifts) & np.uint8(2**bits - 1)
    rows: Array = values.reshape(*packed.shape[:-1], -1)[..., :count].astype(np.int64)
    return rows


def _per_byte(bits: int) -> int:
    if bits not in (1, 2, 4, 8):
        raise HarnessError(f"no reference for weights of {bits} bits")
    return 8 // bits
