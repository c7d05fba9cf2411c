"""Tensor types of a model's values, and values in their types: float64 references stand for float32, float16 and bfloat16."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from conformance.tensors import DTYPES, ONNX_TYPE_OF

if TYPE_CHECKING:
    from conformance.tensors import Array

NAMES = {number: name for name, number in ONNX_TYPE_OF.items()}


def find_kinds(model: onnx.ModelProto) -> dict[str, str]:
    """Return the tensor types that the model and shape inference tell, by value name."""
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except Exception:  # noqa: BLE001 - types are then told by the values
        graph = model.graph
    found = {}
    for info in [*graph.value_info, *graph.input, *graph.output]:
        inner = info.type.optional_type.elem_type
        number = (
            info.type.tensor_type.elem_type
            or info.type.sequence_type.elem_type.tensor_type.elem_type
            or inner.tensor_type.elem_type
            or inner.sequence_type.elem_type.tensor_type.elem_type
        )
        if number in NAMES:
            found[info.name] = NAMES[number]
    return found | {one.name: NAMES[one.data_type] for one in graph.initializer if one.data_type in NAMES}


def as_type(value: Any, kind: str) -> Any:
    """Return a tensor in a tensor type, texts as objects; what is no tensor stays."""
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.kind in "UST":
        return value.astype(object)
    if kind not in DTYPES:
        return value
    if value.dtype.kind == "f" and kind == "bfloat16":  # ml_dtypes goes through float32 in any case
        value = value.astype(np.float32)
    with np.errstate(all="ignore"):
        return value.astype(DTYPES[kind])


def is_narrow(values: Array) -> bool:
    """Whether float32 holds every value."""
    with np.errstate(over="ignore"):
        return bool(np.array_equal(values, values.astype(np.float32), equal_nan=True))


def with_tensors(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with constants that attributes give as floats, or that are float32 by default, as tensors: those are widened."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _fill(copy.graph)
    return copy


def _fill(graph: onnx.GraphProto) -> None:
    for node in graph.node:
        names = {one.name for one in node.attribute}
        if node.op_type == "Constant" and names & {"value_float", "value_floats"}:
            value: Array = np.asarray(onnx.helper.get_attribute_value(node.attribute[0]), dtype=np.float32)
            del node.attribute[:]
            node.attribute.append(onnx.helper.make_attribute("value", numpy_helper.from_array(value, "value")))
        if node.op_type == "ConstantOfShape" and "value" not in names:
            zero = numpy_helper.from_array(np.zeros(1, dtype=np.float32), "value")
            node.attribute.append(onnx.helper.make_attribute("value", zero))
        for one in node.attribute:
            if one.type == onnx.AttributeProto.GRAPH:
                _fill(one.g)
