"""Operators that sum and then divide: reductions, pooling, softmax, normalisation.

The sums are carried out in the accumulator's precision, one term after another; values between them are kept in that
precision, what comes out is rounded to the declared results.
"""

# ruff: noqa: ARG001 - every rule takes the same arguments
from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.reference.interpreter import Node, Values
    from conformance.reference.montecarlo.noise import Noise
    from conformance.tensors import Array

    Compute = Callable[[Values], Values]


def reduce(noise: Noise, node: Node, inputs: Values, compute: Compute) -> Values:
    """ReduceSum, ReduceMean, ReduceL1, ReduceL2, ReduceSumSquare, ReduceLogSum, ReduceLogSumExp, GlobalAveragePool."""
    x = np.asarray(inputs[0])
    axes = _axes(node, inputs)
    if x.dtype.kind != "f" or axes is None:
        return compute(inputs)
    if node.op in ("ReduceMean", "GlobalAveragePool"):
        value = noise.sum(x, axes) / max(math.prod(x.shape[axis] for axis in axes), 1)
    elif node.op in ("ReduceL2", "ReduceSumSquare"):
        value = noise.sum(noise.inner(x * x), axes)
        value = np.sqrt(value) if node.op == "ReduceL2" else value
    elif node.op == "ReduceLogSumExp":
        top = x.max(axis=axes, keepdims=True)
        value = noise.inner(np.log(noise.sum(noise.function(np.exp(noise.inner(x - top))), axes))) + top
    elif node.op == "ReduceLogSum":
        value = noise.function(np.log(noise.sum(x, axes)))
    else:
        value = noise.sum(np.abs(x) if node.op == "ReduceL1" else x, axes)
    clean = np.asarray(compute(inputs)[0])
    return [noise.output(value.reshape(clean.shape))]


def multiply_all(noise: Noise, node: Node, inputs: Values, compute: Compute) -> Values:
    """ReduceProd: each of n − 1 products is rounded."""
    x, value = np.asarray(inputs[0]), np.asarray(compute(inputs)[0])
    count = x.size / max(value.size, 1)
    scattered = value * (1 + noise.u_acc * math.sqrt(count / 3) * noise.normal(value.shape))
    return [noise.output(scattered)]


def running_sum(noise: Noise, node: Node, inputs: Values, compute: Compute) -> Values:
    """CumSum: after n terms the error of a sum of n."""
    value = np.asarray(compute(inputs)[0])
    squares = np.asarray(compute([np.square(inputs[0]), *inputs[1:]])[0])
    count = np.asarray(compute([np.ones_like(inputs[0]), *inputs[1:]])[0])
    root = np.sqrt(count / 6 * np.abs(squares) + count / 9 * value * value)
    return [noise.output(value + noise.u_acc * root * noise.normal(value.shape))]


def average_pool(noise: Noise, node: Node, inputs: Values, compute: Compute) -> Values:
    """AveragePool: the sum of each window; at the edges, where padding is left out, the window's mean all the same."""
    x = np.asarray(inputs[0])
    value = np.asarray(compute(inputs)[0])
    shape = node.attribute("kernel_shape") or [1]
    count = math.prod(shape)
    is_plain = not any(node.attribute("pads") or ()) and not node.attribute("ceil_mode", 0)
    is_plain &= node.attribute("auto_pad", "NOTSET") == "NOTSET" and not node.attribute("dilations")
    if is_plain:
        windows = np.lib.stride_tricks.sliding_window_view(x, tuple(shape), axis=tuple(range(2, x.ndim)))
        steps = node.attribute("strides") or [1] * len(shape)
        every: Any = (slice(None), slice(None), *(slice(None, None, one) for one in steps))
        windows = windows[every]
        axes = tuple(range(windows.ndim - len(shape), windows.ndim))
        return [noise.output(noise.sum(windows, axes).reshape(value.shape) / count)]
    squares = np.asarray(compute([x * x])[0]) * count
    root = np.sqrt(count / 6 * squares + count / 9 * np.square(value * count)) / count
    return [noise.output(value + noise.u_acc * root * noise.normal(value.shape))]


def softmax(noise: Noise, node: Node, inputs: Values, compute: Compute) -> Values:
    """Softmax and LogSoftmax, less the largest first, as every implementation does."""
    x = np.asarray(inputs[0])
    axis = int(node.attribute("axis", -1)) % max(x.ndim, 1)
    with np.errstate(invalid="ignore", over="ignore"):
        less = noise.inner(x - x.max(axis=axis, keepdims=True))
        powers = noise.function(np.exp(less))
        total = noise.sum(powers, (axis,))
        if node.op == "LogSoftmax":
            return [noise.output(less - noise.function(np.log(total)))]
        return [noise.output(powers / total)]


def layer_norm(noise: Noise, node: Node, inputs: Values, compute: Compute) -> Values:
    """LayerNormalization with its mean and inverse deviation, and RMSNormalization."""
    x = np.asarray(inputs[0])
    axes = tuple(range(int(node.attribute("axis", -1)) % x.ndim, x.ndim))
    centred = node.op != "RMSNormalization"
    found, mean, inverse = _normalised(noise, x, axes, float(node.attribute("epsilon", 1e-5)), centred=centred)
    result = noise.inner(found * inputs[1])
    if len(inputs) > 2 and inputs[2] is not None:
        result = result + inputs[2]
    return [noise.output(result), noise.output(mean), noise.output(inverse)][: max(len(node.outputs), 1)]


def channel_norm(noise: Noise, node: Node, inputs: Values, compute: Compute) -> Values:
    """InstanceNormalization and GroupNormalization: over the positions of a channel, or of a group of channels."""
    x, scale, bias = (np.asarray(one) for one in inputs[:3])
    groups = int(node.attribute("num_groups", x.shape[1]))
    split = x.reshape(x.shape[0], groups, -1)
    found, _, _ = _normalised(noise, split, (2,), float(node.attribute("epsilon", 1e-5)), centred=True)
    if scale.size == groups != x.shape[1]:  # GroupNormalization before opset 21
        scale, bias = (np.repeat(one, x.shape[1] // groups) for one in (scale, bias))
    lined = (1, -1, *[1] * (x.ndim - 2))
    return [noise.output(noise.inner(found.reshape(x.shape) * scale.reshape(lined)) + bias.reshape(lined))]


def batch_norm(noise: Noise, node: Node, inputs: Values, compute: Compute) -> Values:
    """BatchNormalization by given statistics: a·x + b, with a and b worked out before, as devices do."""
    x = np.asarray(inputs[0])
    if node.attribute("training_mode", 0):
        return [noise.output(np.asarray(one)) for one in compute(inputs)]
    lined = (1, -1, *[1] * (x.ndim - 2))
    scale, bias, mean, var = (np.asarray(one).reshape(lined) for one in inputs[1:5])
    factor = noise.inner(scale / np.sqrt(var + float(node.attribute("epsilon", 1e-5))))
    offset = noise.inner(bias - noise.inner(mean * factor))
    return [noise.output(noise.inner(factor * x) + offset)]


def _normalised(
    noise: Noise, x: Array, axes: tuple[int, ...], epsilon: float, *, centred: bool
) -> tuple[Array, Array, Array]:
    """Return (x − mean)/√(variance + ε), the mean and the factor; without `centred` the mean is 0."""
    mean = noise.mean(x, axes) if centred else np.zeros(())
    if noise.mode.variance == "two-pass" or not centred:
        variance = noise.mean(noise.inner(np.square(noise.inner(x - mean) if centred else x)), axes)
    else:
        variance = np.maximum(noise.inner(noise.mean(noise.inner(x * x), axes) - noise.inner(mean * mean)), 0.0)
    inverse = noise.function(1 / np.sqrt(variance + epsilon))
    return noise.inner(noise.inner(x - mean) * inverse), np.asarray(mean), inverse


def _axes(node: Node, inputs: Values) -> tuple[int, ...] | None:
    """Return the axes of a reduction; None where nothing is reduced."""
    x = np.asarray(inputs[0])
    if node.op == "GlobalAveragePool":
        return tuple(range(2, x.ndim))
    named = inputs[1] if len(inputs) > 1 and inputs[1] is not None else node.attribute("axes")
    listed = [int(one) % max(x.ndim, 1) for one in np.asarray(named).reshape(-1)] if named is not None else []
    if not listed and node.attribute("noop_with_empty_axes", 0):
        return None
    return tuple(sorted(listed)) or tuple(range(x.ndim))
