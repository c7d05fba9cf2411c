"""Operators that work element by element, casts, quantisation and interpolation."""

# ruff: noqa: ARG001 - every rule takes the same arguments
from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from conformance.reference.montecarlo.noise import is_float

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.reference.interpreter import Node, Values
    from conformance.reference.montecarlo.noise import Noise

    Compute = Callable[[Values], Values]

SIGMOID_ERROR = 2 * 2.0**-24
"""Seen on onnxruntime's CPU kernels, whose absolute error does not shrink with the value."""


def move(noise: Noise, node: Node, inputs: Values, compute: Compute) -> Values:
    """Return what the operator picks or compares: nothing is rounded that was not before."""
    return compute(inputs)


def rounded(noise: Noise, node: Node, inputs: Values, compute: Compute) -> Values:
    """Return the operator's outputs, each rounded once: the rule of every operator that has no other."""
    return [noise.output(np.asarray(one)) if is_float(one) else one for one in compute(inputs)]


def where_changed(noise: Noise, node: Node, inputs: Values, compute: Compute) -> Values:
    """Return outputs that are rounded where they are not the input itself, as in LeakyRelu."""
    value = np.asarray(compute(inputs)[0])
    return [np.where(value == inputs[0], value, noise.output(value)) if is_float(value) else value]


def function(noise: Noise, node: Node, inputs: Values, compute: Compute) -> Values:
    """Return an elementary function as a library computes it."""
    value = np.asarray(compute(inputs)[0])
    return [noise.function(value) if is_float(value) else value]


def sigmoid(noise: Noise, node: Node, inputs: Values, compute: Compute) -> Values:
    """Return 1/(1 + e^−x), which libraries keep right to a share of ½, not of the value."""
    return [noise.function(np.asarray(compute(inputs)[0]), SIGMOID_ERROR)]


def hard(noise: Noise, node: Node, inputs: Values, compute: Compute) -> Values:
    """HardSigmoid and HardSwish: α·x + β is rounded before it is cut, which matters where the two cancel."""
    x = np.asarray(inputs[0])
    swish = node.op == "HardSwish"
    alpha = 1 / 6 if swish else float(node.attribute("alpha", 0.2))
    beta = float(node.attribute("beta", 0.5))
    cut = np.clip(noise.output(noise.output(alpha * x) + beta), 0.0, 1.0)
    return [noise.output(x * cut) if swish else cut]


def cast(noise: Noise, node: Node, inputs: Values, compute: Compute) -> Values:
    """Return a cast, or a constant: rounded where the declared storage does not hold it."""
    outputs = [np.asarray(one).astype(np.float64) if is_float(one) else one for one in compute(inputs)]
    return [noise.narrowed(one) for one in outputs]


def quantize(noise: Noise, node: Node, inputs: Values, compute: Compute) -> Values:
    """QuantizeLinear: the quotient is rounded before it becomes an integer, so a value near a tie may go either way."""
    return compute([noise.inner(np.asarray(inputs[0])) if is_float(inputs[0]) else inputs[0], *inputs[1:]])


def resize(noise: Noise, node: Node, inputs: Values, compute: Compute) -> Values:
    """Resize and other interpolation: a few products each, and coordinates that are rounded.

    A coordinate that is no multiple of a power of two is off by u_acc of its size, and the value by that share of the
    difference between neighbours, for which the values' own size stands.
    """
    value = np.asarray(compute(inputs)[0])
    mode = node.attribute("mode", "nearest")
    x = np.asarray(inputs[0])
    if mode == "nearest" or not is_float(value):
        return [value]
    taps = (4 if mode in ("cubic", "bicubic") else 2) ** max(x.ndim - 2, 1)
    size = np.abs(np.asarray(compute([np.abs(x), *inputs[1:]])[0]))
    dyadic = all(math.frexp(new / old)[0] == 0.5 for new, old in zip(value.shape, x.shape, strict=False) if old)
    aligned = node.attribute("coordinate_transformation_mode", "half_pixel") in ("half_pixel", "asymmetric")
    exact = node.op == "Resize" and dyadic and aligned and value.ndim == x.ndim
    share = noise.u_acc * (math.sqrt(taps) + (0.0 if exact else float(max(value.shape, default=1))))
    return [noise.output(value + share * size * noise.uniform(value.shape))]
