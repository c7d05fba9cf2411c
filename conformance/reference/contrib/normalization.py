"""Layer normalisation with a skip connection, its simplified form (by the root mean square), and that of embeddings.

s = input + skip (+ bias)
SkipLayerNormalization           (s − mean s)/√(var s + ε) · γ + β
SkipSimplifiedLayerNormalization  s/√(mean s² + ε) · γ
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conformance.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.reference.contrib.body import Body

EPSILON = float(np.float32(1e-12))
SIMPLIFIED_EPSILON = float(np.float32(1e-5))


def simplified_of(body: Body, x: str, gamma: str, epsilon: float) -> str:
    """Return x over the root mean square of its last axis, times γ."""
    return body.op("RMSNormalization", x, gamma, axis=-1, epsilon=epsilon)


def _inverse_root(body: Body, x: str, epsilon: float) -> str:
    mean = body.op("ReduceMean", body.op("Mul", x, x), body.integers(-1), keepdims=1)
    return body.op("Reciprocal", body.op("Sqrt", body.op("Add", mean, body.constant(epsilon))))


def simplified_layer_normalization(body: Body) -> None:
    """SimplifiedLayerNormalization(X, scale), over the last axis."""
    axis = body.attribute("axis", -1)
    if axis not in (-1, len(body.shape(0)) - 1):
        raise HarnessError("no reference for SimplifiedLayerNormalization over several axes")
    epsilon = body.attribute("epsilon", SIMPLIFIED_EPSILON)
    body.give(0, simplified_of(body, body.name(0), body.name(1), epsilon))
    if body.wants(1):
        body.give(1, _inverse_root(body, body.name(0), epsilon))


def _skip_layer_normalization(body: Body) -> None:
    """Inputs input, skip, γ, β, bias; outputs the norm, mean and 1/σ (for training), and the sum."""
    total = body.plus(body.op("Add", body.name(0), body.name(1)), 4)
    body.give(3, total)
    inputs = [total, body.name(2), *([body.name(3)] if body.has(3) else [])]
    found = body.ops("LayerNormalization", *inputs, outputs=3, axis=-1, epsilon=body.attribute("epsilon", EPSILON))
    for at in range(3):
        body.give(at, found[at])


def _skip_simplified(body: Body) -> None:
    """Inputs input, skip, γ, bias; outputs the norm, mean (never written), 1/root (for training), and the sum."""
    total = body.plus(body.op("Add", body.name(0), body.name(1)), 3)
    body.give(3, total)
    epsilon = body.attribute("epsilon", EPSILON)
    body.give(0, simplified_of(body, total, body.name(2), epsilon))
    if body.wants(2):
        body.give(2, _inverse_root(body, total, epsilon))


def _embed_layer_normalization(body: Body) -> None:
    """Inputs input_ids, segment_ids, three embeddings (word, position, segment), γ, β, mask, position_ids."""
    batch, length = body.shape(0)
    positions = np.arange(length)[None, :]
    if body.has(8):
        positions = body.value(8)
    total = body.op(
        "Add",
        body.take(body.name(2), body.value(0), 0),
        body.take(body.name(3), np.broadcast_to(positions, (batch, length)), 0),
    )
    if body.has(1) and body.has(4):
        total = body.op("Add", total, body.take(body.name(4), body.value(1), 0))
    epsilon = body.attribute("epsilon", EPSILON)
    body.give(0, body.op("LayerNormalization", total, body.name(5), body.name(6), axis=-1, epsilon=epsilon))
    counts = body.value(7).sum(axis=1) if body.has(7) else np.zeros(batch)
    body.give(1, body.constant(counts, np.int32))
    body.give(2, total)


LOWERINGS: dict[str, Callable[[Body], None]] = {
    "EmbedLayerNormalization": _embed_layer_normalization,
    "SkipLayerNormalization": _skip_layer_normalization,
    "SkipSimplifiedLayerNormalization": _skip_simplified,
}
