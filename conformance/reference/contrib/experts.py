"""Mixtures of experts: each token goes through the k experts that its router prefers, weighted.

    p = softmax(router), over all experts; the k largest are taken, and made to sum to one where normalize_routing_weights says so
    expert e:  fc2_e · activation(fc1_e · x + b1_e) + b2_e,  SwiGLU: G·sigmoid(α·G)·(L + β), G = min(g, limit), L = clamp(l, ±limit)

Which experts a token takes is read from the router's values and stands in the body: a device may only differ where two of them nearly tie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conformance.errors import HarnessError
from conformance.reference.contrib.activations import activation_of, swish_of
from conformance.reference.contrib.linear import blocked_weights
from conformance.reference.contrib.packing import unpack

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.reference.contrib.body import Body

Projection = tuple[str, str | None]
"""Names of the weights [experts, rows, columns] and the biases [experts, rows]."""


def _mixture(body: Body, first: Projection, second: Projection, third: Projection | None, chosen_by: str) -> None:
    """Put the mixture together: x [tokens, hidden] through every expert that some token takes."""
    router = body.value(1)
    count, experts = router.shape
    k = int(body.attribute("k", 1))
    order = np.argsort(-router, axis=1, kind="stable")[:, :k]
    is_taken = np.zeros((count, experts), dtype=bool)
    np.put_along_axis(is_taken, order, values=True, axis=1)
    weights = body.op("Where", body.constant(is_taken, np.bool_), chosen_by, body.constant(0.0))
    if body.attribute("normalize_routing_weights", 0):
        total = body.op("ReduceSum", weights, body.integers(1), keepdims=1)
        weights = body.op("Div", weights, total)
    x = body.reshape(body.name(0), count, -1)
    parts = []
    for expert in np.flatnonzero(is_taken.any(axis=0)).tolist():
        inner = _project(body, x, first, expert)
        gate = _project(body, x, third, expert) if third else None
        result = _project(body, _activated(body, inner, gate), second, expert)
        parts.append(body.op("Mul", result, body.cut(weights, 1, expert, expert + 1)))
    total = parts[0]
    for part in parts[1:]:
        total = body.op("Add", total, part)
    body.give(0, body.reshape(total, *body.shape(0)))


def _project(body: Body, x: str, projection: Projection, expert: int) -> str:
    weights, bias = projection
    product = body.op("MatMul", x, body.transpose(body.take(weights, np.array(expert), 0), 1, 0))
    return body.op("Add", product, body.take(bias, np.array(expert), 0)) if bias else product


def _activated(body: Body, inner: str, gate: str | None) -> str:
    kind = body.attribute("activation_type", "relu")
    if kind != "swiglu":
        result = activation_of(body, inner, kind)
        return body.op("Mul", result, gate) if gate else result
    if body.attribute("swiglu_limit_after_activation", 0):
        raise HarnessError("no reference for SwiGLU limited after its activation")
    fusion = int(body.attribute("swiglu_fusion", 0))
    top = 2**62
    if fusion == 1:
        inner, linear = (body.cut(inner, 1, at, top, 2) for at in (0, 1))
    elif fusion == 2:
        inner, linear = body.ops("Split", inner, outputs=2, axis=1, num_outputs=2)
    elif gate:
        linear = gate
    else:
        raise HarnessError("SwiGLU lacks its second projection")
    limit = body.attribute("swiglu_limit")
    if limit is not None:
        inner = body.op("Min", inner, body.constant(limit))
        linear = body.op("Clip", linear, body.constant(-limit), body.constant(limit))
    beta = float(body.attribute("activation_beta", 0.0))
    shifted = body.op("Add", linear, body.constant(beta)) if beta else linear
    return body.op("Mul", swish_of(body, inner, float(body.attribute("activation_alpha", 1.0))), shifted)


def _moe(body: Body) -> None:
    """Inputs input, router_probs, then weights and bias of fc1, fc2, fc3; rows of weights are outputs."""
    first, second, third = (
        (body.name(at), body.name(at + 1) if body.has(at + 1) else None) if body.has(at) else None for at in (2, 4, 6)
    )
    assert first and second  # noqa: S101 - required inputs
    _mixture(body, first, second, third, body.op("Softmax", body.name(1), axis=-1))


def _qmoe(body: Body) -> None:
    """Inputs input, router_probs, then weights, scales and bias of fc1, fc2, fc3, zero points of each, router_weights."""
    if body.attribute("quant_type", "int") != "int" or body.attribute("use_sparse_mixer", 0):
        raise HarnessError("no reference for QMoE of this form")
    projections: list[Projection | None] = []
    for at in range(3):
        weights = 2 + 3 * at
        bits = int(body.attribute(f"fc{at + 1}_expert_weight_bits", body.attribute("expert_weight_bits", 4)))
        if not body.has(weights):
            projections.append(None)
            continue
        codes = unpack(body.value(weights), bits, body.shape(weights)[2] * 8 // bits)
        block = int(body.attribute("block_size", 0))
        name = blocked_weights(body, codes, weights + 1, 11 + at, bits, block)
        projections.append((name, body.name(weights + 2) if body.has(weights + 2) else None))
    first, second, third = projections
    assert first and second  # noqa: S101 - required inputs
    chosen_by = body.name(14) if body.has(14) else body.op("Softmax", body.name(1), axis=-1)
    _mixture(body, first, second, third, chosen_by)


LOWERINGS: dict[str, Callable[[Body], None]] = {"MoE": _moe, "QMoE": _qmoe}
