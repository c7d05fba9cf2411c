"""A simulated device: a step of the interpreter that computes every node in the formats that the device declares.

Operands and weights are narrowed to the format of inputs, contractions and sums are rounded after every addition in the format
of the accumulator and in an order of the device's own, results are rounded to the format of results. Operators that are neither
(element by element, composite ones such as GRU) are computed in float64 and rounded once, as a good library would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.reference.interpreter import widened
from conformance.selftest import windows
from conformance.selftest.arithmetic import Arithmetic
from conformance.tensors import DTYPES

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.numerics.modes import PrecisionMode
    from conformance.reference.interpreter import Interpreter, Node, Step, Values
    from conformance.selftest.arithmetic import Order
    from conformance.tensors import Array

MOVES = frozenset({
    "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Concat", "Split", "Slice", "Gather",
    "GatherElements", "GatherND", "Expand", "Tile", "Pad", "Shape", "Size", "Where", "Relu", "MaxPool",
    "GlobalMaxPool", "Max", "Min", "Abs", "Neg", "Sign", "Clip", "DepthToSpace", "SpaceToDepth", "Compress",
    "Trilu", "ReduceMax", "ReduceMin", "ScatterND", "ScatterElements", "TopK", "ArgMax", "ArgMin", "Less",
    "Greater", "Equal", "LessOrEqual", "GreaterOrEqual", "And", "Or", "Not", "IsNaN", "IsInf", "Range",
})  # fmt: skip
"""Operators that put out bits of what they are given: nothing to round."""


class Simulated:
    """A correct device; as a step of the interpreter it computes one node."""

    def __init__(self, mode: PrecisionMode, order: Order = "sequential") -> None:
        self.mode, self.order = mode, order
        self.arithmetic = Arithmetic(mode, order)

    @property
    def stores_narrow(self) -> bool:
        """Whether tensors are stored in the format of the operands; TF32 narrows only what its contractions read."""
        return self.mode.input == self.mode.output

    def enter(self, tensors: dict[str, Any]) -> dict[str, Any]:
        """Return graph inputs or weights as the device stores them."""
        given = {name: widened(value) for name, value in tensors.items()}
        if not self.stores_narrow:
            return given
        return {name: self.arithmetic.operand(one) if is_wide(one) else one for name, one in given.items()}

    def __call__(self, node: Node, inputs: Values, compute: Callable[[Values], Values]) -> Values:
        """Return what this device computes at a node."""
        own = OPERATORS.get(node.op) if node.domain in ("", "ai.onnx") else None
        if own is not None and all(
            one is None or is_wide(one) for one in inputs[: 2 if node.op in _CONTRACTIONS else 1]
        ):
            with np.errstate(all="ignore"):
                found = own(self.arithmetic, node, inputs)
            if found is not None:
                return [self.arithmetic.result(found)]
        outputs = [np.asarray(one) if isinstance(one, np.generic) else one for one in compute(inputs)]
        if node.op in MOVES and not self.mode.flushes:
            return outputs
        return [self.arithmetic.result(one) if is_wide(one) else one for one in outputs]


def run_device(
    interpreter: Interpreter,
    device: Simulated,
    inputs: dict[str, Any],
    kinds: dict[str, str],
    step: Step | None = None,
) -> dict[str, Any]:
    """Return a model's outputs as a device gives them, by name, in the tensor types of `kinds` (by output name).

    `step` is the device with something done to it; None: the device itself.
    """
    stored = device.enter(interpreter.initializers)
    results = interpreter.run(device.enter(inputs), step or device, initializers=stored)
    return {name: as_stored(value, kinds[name]) for name, value in results.items()}


def as_stored(value: Any, kind: str) -> Any:
    """Return an output in the tensor type of the graph: the evaluator hands out scalars, and integers wider than they are."""
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if (
        isinstance(value, np.ndarray)
        and value.dtype.kind in "iu"
        and kind in DTYPES
        and DTYPES[kind].kind == value.dtype.kind
    ):
        return value.astype(DTYPES[kind])
    if not is_wide(value) or kind not in DTYPES:
        return value
    with np.errstate(over="ignore", invalid="ignore"):
        if kind == "bfloat16":
            return value.astype(np.float32).astype(DTYPES[kind])
        return value.astype(DTYPES[kind])


def is_wide(value: Any) -> bool:
    """Return whether a value is a float64 tensor, which is how the interpreter holds every floating-point tensor."""
    return isinstance(value, np.ndarray) and value.dtype == np.float64


def _matmul(own: Arithmetic, node: Node, inputs: Values) -> Array:  # noqa: ARG001
    a, b = inputs
    rows, kernels = (a[None, :] if a.ndim == 1 else a), (b[:, None] if b.ndim == 1 else b)
    found = own.product(rows, kernels)
    if a.ndim == 1:
        found = found[..., 0, :]
    return found[..., 0] if b.ndim == 1 else found


def _gemm(own: Arithmetic, node: Node, inputs: Values) -> Array:
    a, b, *rest = inputs
    found = own.product(a.T if node.attribute("transA", 0) else a, b.T if node.attribute("transB", 0) else b)
    found = own.inner(found * float(node.attribute("alpha", 1.0)))
    if rest and rest[0] is not None:
        found = own.inner(found + own.inner(rest[0] * float(node.attribute("beta", 1.0))))
    return found


def _conv(own: Arithmetic, node: Node, inputs: Values) -> Array:
    x, w, *rest = inputs
    return _convolved(own, windows.unfold(node, x, w), rest)


def _conv_transpose(own: Arithmetic, node: Node, inputs: Values) -> Array | None:
    x, w, *rest = inputs
    unfolded = windows.unfold_transposed(node, x, w)
    return None if unfolded is None else _convolved(own, unfolded, rest)


def _convolved(own: Arithmetic, unfolded: windows.Unfolded, rest: Values) -> Array:
    found = windows.refold(own.product(unfolded.rows, unfolded.kernels), unfolded.shape)
    if rest and rest[0] is not None:
        found = own.inner(found + rest[0].reshape(1, -1, *[1] * (found.ndim - 2)))
    return found


def reduced_axes(node: Node, inputs: Values) -> tuple[int, ...] | None:
    """Return the axes of a reduction, none of them negative; None where nothing is reduced."""
    given = inputs[1] if len(inputs) > 1 and inputs[1] is not None else node.attribute("axes")
    rank = inputs[0].ndim
    if given is None or len(given) == 0:
        return None if node.attribute("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted(int(one) % rank for one in given))


def _reduced(own: Arithmetic, node: Node, inputs: Values) -> Array | None:
    axes = reduced_axes(node, inputs)
    x = inputs[0]
    if axes is None or not x.size:
        return None
    if node.op == "ReduceL1":
        x = np.abs(x)
    if node.op in ("ReduceL2", "ReduceSumSquare"):
        x = own.inner(x * x)
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    lines = x.transpose(*kept, *axes).reshape(*[x.shape[axis] for axis in kept], -1)
    found = own.total(lines)
    if node.op == "ReduceMean":
        found = found / lines.shape[-1]
    if node.op == "ReduceL2":
        found = np.sqrt(found)
    return np.expand_dims(found, axes) if node.attribute("keepdims", 1) else found


def _softmax(own: Arithmetic, node: Node, inputs: Values) -> Array:
    x, axis = inputs[0], int(node.attribute("axis", -1))
    lines = np.moveaxis(x, axis, -1)
    terms = own.inner(np.exp(own.inner(lines - lines.max(axis=-1, keepdims=True))))
    return np.moveaxis(terms / own.total(terms)[..., None], -1, axis)


def _layer_norm(own: Arithmetic, node: Node, inputs: Values) -> Array | None:
    if len([name for name in node.outputs if name]) > 1:
        return None
    x, scale, *rest = inputs
    axis = int(node.attribute("axis", -1)) % x.ndim
    lines = x.reshape(*x.shape[:axis], -1)
    mean = own.inner(own.total(lines) / lines.shape[-1])[..., None]
    if own.mode.variance == "two-pass":
        variance = own.total(own.inner(own.inner(lines - mean) ** 2)) / lines.shape[-1]
    else:
        variance = own.inner(own.total(own.inner(lines * lines)) / lines.shape[-1]) - own.inner(mean[..., 0] ** 2)
    spread = own.inner(1 / np.sqrt(own.inner(variance + float(node.attribute("epsilon", 1e-5)))))[..., None]
    found = own.inner(own.inner(lines - mean) * spread).reshape(x.shape) * scale
    if rest and rest[0] is not None:
        found = own.inner(found) + rest[0]
    return np.asarray(found)


def _batch_norm(own: Arithmetic, node: Node, inputs: Values) -> Array | None:
    if node.attribute("training_mode", 0):
        return None
    x = inputs[0]
    scale, bias, mean, variance = (one.reshape(1, -1, *[1] * (x.ndim - 2)) for one in inputs[1:5])
    factor = own.inner(scale / own.inner(np.sqrt(own.inner(variance + float(node.attribute("epsilon", 1e-5))))))
    return own.inner(x * factor) + own.inner(bias - own.inner(mean * factor))


def _average_pool(own: Arithmetic, node: Node, inputs: Values) -> Array | None:
    x, kernel = inputs[0], node.attribute("kernel_shape")
    if node.attribute("ceil_mode", 0) or any(one != 1 for one in node.attribute("dilations") or []):
        return None
    axes = x.ndim - 2
    steps, ones = list(node.attribute("strides") or [1] * axes), [1] * axes
    edges = [(0, 0), (0, 0), *windows.padding(node, x.shape[2:], list(kernel), steps)]
    view = windows.windows(np.pad(x, edges), list(kernel), steps, ones)
    found = own.total(view.reshape(*view.shape[: 2 + axes], -1))
    if node.attribute("count_include_pad", 0):
        return found / float(np.prod(kernel))
    counted = windows.windows(np.pad(np.ones(x.shape), edges), list(kernel), steps, ones)
    return np.asarray(found / counted.sum(axis=tuple(range(-axes, 0))))


def _global_average_pool(own: Arithmetic, node: Node, inputs: Values) -> Array:  # noqa: ARG001
    x = inputs[0]
    lines = x.reshape(*x.shape[:2], -1)
    return np.asarray(own.total(lines) / lines.shape[-1]).reshape(*x.shape[:2], *[1] * (x.ndim - 2))


_CONTRACTIONS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
OPERATORS: dict[str, Callable[[Arithmetic, Node, Values], Array | None]] = {
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average_pool,
    "LayerNormalization": _layer_norm,
    "MatMul": _matmul,
    "ReduceL1": _reduced,
    "ReduceL2": _reduced,
    "ReduceMean": _reduced,
    "ReduceSum": _reduced,
    "ReduceSumSquare": _reduced,
    "Softmax": _softmax,
}
"""By ONNX operator; what gives None is computed in float64 and rounded once."""
