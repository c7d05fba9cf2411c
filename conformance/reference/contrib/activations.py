"""Gelu in its three forms and what is fused with it, QuickGelu, and the activations named by fused operators.

Gelu(x)      = x/2 · (1 + erf(x/√2))
FastGelu(x)  = x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³))), by the operator's text with 0.797885 and 0.035677 rounded
QuickGelu(x) = x · sigmoid(α·x), α = 1.702 unless given
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from conformance.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.reference.contrib.body import Body

QUICK_ALPHA = float(np.float32(1.702))


def gelu_of(body: Body, x: str) -> str:
    """Return the exact Gelu of a value."""
    inner = body.op("Erf", body.scaled(x, 1 / math.sqrt(2)))
    return body.op("Mul", body.scaled(x, 0.5), body.op("Add", inner, body.constant(1.0)))


def tanh_gelu_of(body: Body, x: str) -> str:
    """Return Gelu by the hyperbolic tangent."""
    cube = body.op("Mul", body.op("Mul", x, x), x)
    inner = body.scaled(body.op("Add", x, body.scaled(cube, 0.044715)), math.sqrt(2 / math.pi))
    return body.op("Mul", body.scaled(x, 0.5), body.op("Add", body.op("Tanh", inner), body.constant(1.0)))


def swish_of(body: Body, x: str, alpha: float = 1.0) -> str:
    """Return x · sigmoid(α·x)."""
    return body.op("Mul", x, body.op("Sigmoid", body.scaled(x, alpha)))


def activation_of(body: Body, x: str, name: str) -> str:
    """Return an activation that a fused operator names; HarnessError for one that is not described."""
    simple = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}
    lower = name.lower()
    if lower in ("", "identity"):
        return x
    if lower in simple:
        return body.op(simple[lower], x)
    if lower == "gelu":
        return gelu_of(body, x)
    if lower in ("silu", "swish"):
        return swish_of(body, x)
    raise HarnessError(f"no reference for {body.node.op_type} with the activation {name}")


def _gelu(body: Body) -> None:
    body.give(0, gelu_of(body, body.name(0)))


def _bias_gelu(body: Body) -> None:
    body.give(0, gelu_of(body, body.op("Add", body.name(0), body.name(1))))


def _fast_gelu(body: Body) -> None:
    body.give(0, tanh_gelu_of(body, body.plus(body.name(0), 1)))


def _quick_gelu(body: Body) -> None:
    body.give(0, swish_of(body, body.name(0), body.attribute("alpha", QUICK_ALPHA)))


LOWERINGS: dict[str, Callable[[Body], None]] = {
    "BiasGelu": _bias_gelu,
    "FastGelu": _fast_gelu,
    "Gelu": _gelu,
    "QuickGelu": _quick_gelu,
}
