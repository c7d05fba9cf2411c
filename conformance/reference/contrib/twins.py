"""The one operator of ONNX that does the same as a vendor's product: what its bound (tier 2) is taken from.

A quantised matrix product whose dequantised weights are exact in the type is a MatMul, or with a bias a Gemm, and nothing
else; a fused product without a factor is an Einsum, whatever it transposes. The bound of that one operator, with its tests of
bias and size, is then the operator's own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from conformance.reference.contrib.body import OPSET
from conformance.reference.contrib.drafts import DOMAIN
from conformance.reference.contrib.packing import unpack

if TYPE_CHECKING:
    from conformance.tensors import Array

LETTERS = "abcdefgh"


def twin_of(model: bytes, inputs: dict[str, Array]) -> bytes | None:
    """Return a model of one ONNX operator with the same inputs and outputs; None where no single operator does the same."""
    proto = onnx.load_model_from_string(model)
    if len(proto.graph.node) != 1 or proto.graph.node[0].domain != DOMAIN:
        return None
    node = proto.graph.node[0]
    held = {one.name: numpy_helper.to_array(one) for one in proto.graph.initializer}
    values = [{**held, **inputs}.get(name) for name in node.input]
    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    if node.op_type == "MatMulNBits":
        return _matmul(proto, node, values, attributes)
    if node.op_type == "FusedMatMul" and attributes.get("alpha", 1.0) == 1.0:
        return _einsum(proto, node, values, attributes)
    return None


def _matmul(
    proto: onnx.ModelProto, node: onnx.NodeProto, values: list[Array | None], attributes: dict[str, Any]
) -> bytes | None:
    values = [*values, *[None] * (6 - len(values))]
    a, packed, scales, zeros, order, bias = values
    if a is None or packed is None or scales is None or order is not None or (bias is not None and a.ndim != 2):
        return None
    weights = dequantised(packed, scales, zeros, attributes)
    typed = weights.astype(a.dtype)
    if not np.array_equal(typed.astype(np.float64), weights):
        return None
    stored = numpy_helper.from_array(np.ascontiguousarray(typed.T), "weights")
    if bias is None:
        return _one(proto, helper.make_node("MatMul", [node.input[0], "weights"], node.output), [stored])
    biased = helper.make_node("Gemm", [node.input[0], "weights", "bias"], node.output)
    return _one(proto, biased, [stored, numpy_helper.from_array(bias, "bias")])


def dequantised(packed: Array, scales: Array, zeros: Array | None, attributes: dict[str, Any]) -> Array:
    """Return the matrix [N, K] of a MatMulNBits in float64."""
    width, rows = int(attributes["K"]), int(attributes["N"])
    bits, block = int(attributes.get("bits", 4)), int(attributes["block_size"])
    blocks = math.ceil(width / block)
    codes = unpack(packed.reshape(rows, -1), bits, blocks * block).reshape(rows, blocks, block)
    if zeros is None:
        centre: Array = np.full((rows, blocks), 2.0 ** (bits - 1))
    elif zeros.dtype == np.uint8:
        centre = unpack(zeros.reshape(rows, -1), bits, blocks).astype(np.float64)
    else:
        centre = zeros.reshape(rows, blocks).astype(np.float64)
    whole = (codes - centre[..., None]) * scales.reshape(rows, blocks).astype(np.float64)[..., None]
    return np.asarray(whole.reshape(rows, -1)[:, :width])


def _einsum(
    proto: onnx.ModelProto, node: onnx.NodeProto, values: list[Array | None], attributes: dict[str, Any]
) -> bytes | None:
    a, b = values
    if a is None or b is None:
        return None
    if not any(attributes.get(f"trans{one}") for one in ("A", "B", "BatchA", "BatchB")):
        return _one(proto, helper.make_node("MatMul", list(node.input), node.output), [])
    if a.ndim != b.ndim or a.ndim < 2:
        return None
    batch = LETTERS[: a.ndim - 2]
    terms = []
    for side, ends in (("A", "ik"), ("B", "kj")):
        letters = batch + (ends[::-1] if attributes.get(f"trans{side}") else ends)
        if attributes.get(f"transBatch{side}"):  # stored with the axis before the last in front of the batch axes
            letters = letters[-2] + batch + letters[-1]
        terms.append(letters)
    sizes = dict(zip(terms[0], a.shape, strict=True))
    if any(sizes[letter] != size for letter, size in zip(terms[1], b.shape, strict=True) if letter in sizes):
        return None  # one is broadcast
    equation = f"{terms[0]},{terms[1]}->{batch}ij"
    return _one(proto, helper.make_node("Einsum", list(node.input), node.output, equation=equation), [])


def _one(proto: onnx.ModelProto, node: onnx.NodeProto, initializers: list[onnx.TensorProto]) -> bytes:
    kept = {info.name for info in proto.graph.input}
    held = [one for one in proto.graph.initializer if one.name in node.input and one.name not in kept]
    named = {one.name for one in initializers}
    own = [*initializers, *(one for one in held if one.name not in named)]
    graph = helper.make_graph([node], "twin", list(proto.graph.input), list(proto.graph.output), own)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    return bytes(model.SerializeToString(deterministic=True))
