"""Rotary position embedding: pairs of elements turned by an angle that grows with the position.

With c = cos_cache[p], s = sin_cache[p] for the position p of a token, each pair (a, b) becomes (a·c − b·s, b·c + a·s). Pairs are
element i of the first half with element i of the second, or neighbours where the pattern is interleaved. The caches have
half as many columns as elements are turned; elements beyond stay as they are (partial rotary embedding).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conformance.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.reference.contrib.body import Body
    from conformance.tensors import Array


class Angles:
    """The cosines and sines of every token: names of values [batch, 1, length, half]."""

    def __init__(self, body: Body, cosines: int, sines: int, positions: Array) -> None:
        half = body.shape(cosines)[1]
        if positions.max(initial=0) >= body.shape(cosines)[0]:
            raise HarnessError("a position beyond the rotary cache")
        shape = (positions.shape[0], 1, positions.shape[1], half)
        self.half = half
        self.cosines, self.sines = (
            body.reshape(body.take(body.name(one), positions, 0), *shape) for one in (cosines, sines)
        )


def rotate(body: Body, x: str, size: int, angles: Angles, *, is_interleaved: bool) -> str:
    """Return x [batch, heads, length, size] turned."""
    half, turned = angles.half, 2 * angles.half
    if is_interleaved:
        left, right = (body.cut(x, 3, at, turned, 2) for at in (0, 1))
    else:
        left, right = body.cut(x, 3, 0, half), body.cut(x, 3, half, turned)
    first = body.op("Sub", body.op("Mul", left, angles.cosines), body.op("Mul", right, angles.sines))
    second = body.op("Add", body.op("Mul", right, angles.cosines), body.op("Mul", left, angles.sines))
    if is_interleaved:
        order = np.arange(turned).reshape(2, half).T.reshape(-1)  # 0, half, 1, half + 1, …
        result = body.take(body.join(first, second, axis=3), order, 3)
    else:
        result = body.join(first, second, axis=3)
    return result if turned == size else body.join(result, body.cut(x, 3, turned, size), axis=3)


def _rotary_embedding(body: Body) -> None:
    """Inputs input [B, S, heads·size] or [B, heads, S, size], position_ids [1] (an offset) or [B, S], both caches."""
    shape, ids = body.shape(0), body.value(1)
    if body.attribute("is_packed_batching", 0) or body.attribute("scale", 1.0) != 1.0:
        raise HarnessError("no reference for RotaryEmbedding of ragged batches or with a scale")
    batch, length = (shape[0], shape[1]) if len(shape) == 3 else (shape[0], shape[2])
    positions = ids if ids.ndim == 2 else np.broadcast_to(ids.reshape(1, 1) + np.arange(length), (batch, length))
    angles = Angles(body, 2, 3, positions)
    is_interleaved = bool(body.attribute("interleaved", 0))
    if len(shape) == 4:
        body.give(0, rotate(body, body.name(0), shape[3], angles, is_interleaved=is_interleaved))
        return
    heads = int(body.attribute("num_heads", 0))
    size = shape[2] // heads if heads else 2 * angles.half
    split = body.transpose(body.reshape(body.name(0), batch, length, -1, size), 0, 2, 1, 3)
    turned = rotate(body, split, size, angles, is_interleaved=is_interleaved)
    body.give(0, body.reshape(body.transpose(turned, 0, 2, 1, 3), batch, length, -1))


LOWERINGS: dict[str, Callable[[Body], None]] = {"RotaryEmbedding": _rotary_embedding}
