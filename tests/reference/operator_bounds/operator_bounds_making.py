"""Models of one operator, and devices that compute a product in one way or another."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper

from conformance.numerics.formats import FORMATS, round_to
from conformance.tensors import ONNX_TYPE_OF, type_name


def make_model(
    op: str, inputs: dict[str, Any], outputs: str = "float32", *, opset: int = 21, count: int = 1, **attributes: Any
) -> bytes:
    """Return a model of one node over the inputs; its outputs y0, y1… are of one type, or several parted by blanks."""
    names = [f"y{at}" for at in range(count)]
    kinds = outputs.split() if " " in outputs else [outputs] * count
    node = helper.make_node(op, list(inputs), names, **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(key, ONNX_TYPE_OF[type_name(one)], one.shape) for key, one in inputs.items()],
        [helper.make_tensor_value_info(key, ONNX_TYPE_OF[kind], None) for key, kind in zip(names, kinds, strict=True)],
    )
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return model.SerializeToString()


def multiply(a: Any, b: Any, *, operand: str = "", sums: str = "float32", rounding: Any = "nearest") -> Any:
    """Return a·b as a device with fused steps computes it, one product after another, in float64 holding the format."""
    left, right = (round_to(one, FORMATS[operand]) if operand else one.astype(np.float64) for one in (a, b))
    total = np.zeros((a.shape[0], b.shape[1]))
    for at in range(a.shape[1]):
        total = round_to(total + np.outer(left[:, at], right[at]), FORMATS[sums], rounding)
    return total


def draw(shape: tuple[int, ...], seed: int, *, positive: bool = False, kind: Any = np.float32) -> Any:
    """Return normal numbers, or some between 0.1 and 1."""
    rng = np.random.default_rng(seed)
    return (rng.uniform(0.1, 1, shape) if positive else rng.standard_normal(shape)).astype(kind)
