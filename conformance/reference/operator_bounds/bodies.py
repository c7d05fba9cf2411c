"""Operators spelled out as simpler ones, where onnx has no body for them, or one that no device need follow.

Written from the operators' documents, one model fragment each; their values are compared with the operator's own in the
tests. `spelling.py` puts them in place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from conformance.reference.operator_bounds.call import Underived

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.tensors import Array


class Writer:
    """Nodes and constants of a body as they are written down."""

    def __init__(self, node: onnx.NodeProto, kind: int, rank: int, shape: tuple[int, ...], opset: int) -> None:
        self.node, self.kind, self.rank, self.shape, self.opset = node, kind, rank, shape, opset
        self.nodes: list[onnx.NodeProto] = []
        self.attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}

    def do(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node and return its output's name."""
        name = output or f"{self.node.output[0]}.{len(self.nodes)}.{op}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def number(self, value: float) -> str:
        """Add an attribute's value, a float32, in the operator's type."""
        wide = self._constant(numpy_helper.from_array(np.asarray(value, dtype=np.float32), "value"))
        return self.do("Cast", wide, to=self.kind)

    def whole(self, values: Any) -> str:
        """Add a tensor of int64."""
        return self._constant(numpy_helper.from_array(np.asarray(values, dtype=np.int64), "value"))

    def table(self, values: Array) -> str:
        """Add a matrix of the operator's type."""
        return self._constant(helper.make_tensor("value", self.kind, values.shape, values.reshape(-1).tolist()))

    def _constant(self, tensor: onnx.TensorProto) -> str:
        name = f"{self.node.output[0]}.{len(self.nodes)}.constant"
        self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        return name

    def over(self, op: str, x: str, axes: list[int]) -> str:
        """Add a reduction that keeps its axes, which are an input since opset 18 (13 for ReduceSum)."""
        if self.opset >= 18 or op == "ReduceSum":
            return self.do(op, x, self.whole(axes), keepdims=1)
        return self.do(op, x, axes=axes, keepdims=1)

    def aligned(self, name: str) -> str:
        """Return a vector over channels in the shape that meets [N, C, ...]."""
        return self.do("Reshape", name, self.whole([1, -1, *[1] * (self.rank - 2)]))


def _log_sum_exp(w: Writer) -> None:
    """max + log Σ exp(x − max), in the operator's own type: onnx's body goes through float64, which no device need do."""
    x, y, opset = w.node.input[0], w.node.output[0], w.opset
    axes = w.attributes.get("axes")
    given = list(w.node.input[1:2]) if len(w.node.input) > 1 and w.node.input[1] else []
    if not given and axes is None and w.attributes.get("noop_with_empty_axes"):
        raise Underived("no axes: nothing is reduced")
    same: dict[str, Any] = {} if axes is None else {"axes": axes}

    def over(op: str, one: str, keepdims: int, output: str = "") -> str:
        if op == "ReduceSum" and opset < 18:
            return w.do(op, one, *([w.whole(axes)] if axes is not None else []), keepdims=keepdims, output=output)
        return w.do(op, one, *given, keepdims=keepdims, output=output, **same)

    top = over("ReduceMax", x, 1)
    total = over("ReduceSum", w.do("Exp", w.do("Sub", x, top)), w.attributes.get("keepdims", 1))
    top = top if w.attributes.get("keepdims", 1) else over("ReduceMax", x, 0)
    w.do("Add", w.do("Log", total), top, output=y)


def _batch_normalization(w: Writer) -> None:
    """x·s + (bias − mean·s) with s = scale/√(var + ε), in inference: folded as devices do, which is off more than (x − mean)·s."""
    if w.attributes.get("training_mode"):
        raise Underived("training")
    x, scale, bias, mean, var = w.node.input
    _folded(w, x, scale, bias, w.aligned(mean), w.aligned(var))


def _instance_normalization(w: Writer) -> None:
    """The same with mean and variance over the spatial axes, the variance as E(x²) − E(x)²."""
    x, scale, bias = w.node.input
    axes = list(range(2, w.rank))
    mean = w.over("ReduceMean", x, axes)
    squares = w.over("ReduceMean", w.do("Mul", x, x), axes)
    variance = w.do("Sub", squares, w.do("Mul", mean, mean))
    _folded(w, x, scale, bias, mean, variance)


def _folded(w: Writer, x: str, scale: str, bias: str, mean: str, variance: str) -> None:
    root = w.do("Sqrt", w.do("Add", variance, w.number(w.attributes.get("epsilon", 1e-5))))
    factor = w.do("Div", w.aligned(scale), root)
    shift = w.do("Sub", w.aligned(bias), w.do("Mul", mean, factor))
    w.do("Add", w.do("Mul", x, factor), shift, output=w.node.output[0])


def _norm(w: Writer, power: int, total: Callable[[str], str]) -> str:
    x = w.node.input[0]
    if power == 1:
        return total(w.do("Abs", x))
    if power == 2:
        return w.do("Sqrt", total(w.do("Mul", x, x)))
    raised = total(w.do("Pow", w.do("Abs", x), w.number(float(power))))
    return w.do("Pow", raised, w.do("Div", w.number(1.0), w.number(float(power))))


def _lp_normalization(w: Writer) -> None:
    """x over its norm along an axis; 0 where the norm is 0, which the smallest normal in its place gives too."""
    axis, x = w.attributes.get("axis", -1), w.node.input[0]
    norm = _norm(w, w.attributes.get("p", 2), lambda one: w.over("ReduceSum", one, [axis]))
    smallest = 2.0**-14 if w.kind == TensorProto.FLOAT16 else 2.0**-126
    w.do("Div", x, w.do("Max", norm, w.number(smallest)), output=w.node.output[0])


def _global_lp_pool(w: Writer) -> None:
    """The norm over all spatial axes."""
    found = _norm(w, w.attributes.get("p", 2), lambda one: w.over("ReduceSum", one, list(range(2, w.rank))))
    w.do("Identity", found, output=w.node.output[0])


def _lp_pool(w: Writer) -> None:
    """The norm over each window: the window's mean of powers, padding counted as zeros, times its size."""
    window = {
        name: w.attributes[name]
        for name in ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")
        if name in w.attributes
    }
    if w.attributes.get("ceil_mode") or ("dilations" in window and w.opset < 19):
        raise Underived("windows that hang over the edge")
    size = float(np.prod(window["kernel_shape"]))

    def total(one: str) -> str:
        return w.do("Mul", w.do("AveragePool", one, count_include_pad=1, **window), w.number(size))

    w.do("Identity", _norm(w, w.attributes.get("p", 2), total), output=w.node.output[0])


def _lrn(w: Writer) -> None:
    """x/(bias + α/size · Σx²)^β, the sum over `size` neighbouring channels.

    The sum is the difference of two sums from the first channel on, as a device that slides its window computes it: the
    roundings of large channels stay in the sums of small ones.
    """
    x, size, channels = w.node.input[0], w.attributes["size"], w.shape[1]
    low, high = (size - 1) // 2, -(-(size - 1) // 2)
    at = np.arange(channels)
    flat = w.do("Reshape", w.do("Mul", x, x), w.whole([0, channels, -1]))
    until, before = (
        w.do("MatMul", w.table((at[None, :] <= at[:, None] + edge).astype(np.float64)), flat)
        for edge in (high, -low - 1)
    )
    sums = w.do("Reshape", w.do("Sub", until, before), w.whole(w.shape))
    grown = w.do(
        "Add",
        w.number(w.attributes.get("bias", 1.0)),
        w.do("Mul", w.do("Div", w.number(w.attributes.get("alpha", 1e-4)), w.number(float(size))), sums),
    )
    w.do("Div", x, w.do("Pow", grown, w.number(w.attributes.get("beta", 0.75))), output=w.node.output[0])


OWN: dict[str, Callable[[Writer], None]] = {
    "BatchNormalization": _batch_normalization,
    "GlobalLpPool": _global_lp_pool,
    "InstanceNormalization": _instance_normalization,
    "LRN": _lrn,
    "LpNormalization": _lp_normalization,
    "LpPool": _lp_pool,
    "ReduceLogSumExp": _log_sum_exp,
}
