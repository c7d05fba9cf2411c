"""What a model should give: its graph evaluated in float64, on the weights and inputs as they are stored.

`widen` turns every floating-point tensor of a model into float64 without changing a value; ONNX's own reference evaluator
then runs it, with some of its operators replaced (`wide_operators.py`). Nothing here knows a device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from conformance.errors import HarnessError
from conformance.reference.wide_operators import OPERATORS

if TYPE_CHECKING:
    from conformance.tensors import Array

NARROW = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16})
_TYPE_ATTRIBUTES = frozenset({"to", "dtype", "stash_type", "output_dtype"})


def widen(model: bytes) -> onnx.ModelProto:
    """Return the model with every float32, float16 and bfloat16 tensor as float64."""
    proto = onnx.load_model_from_string(model)
    if proto.functions:
        raise HarnessError("a reference model with functions of its own cannot be widened")
    _widen_graph(proto.graph)
    return proto


def evaluate(model: onnx.ModelProto, inputs: dict[str, Array]) -> dict[str, Array]:
    """Return the outputs of a widened model by name; floating-point inputs are widened too.

    HarnessError where an output is no float64 or not finite, or holds nothing beyond float32: then something along the way
    was computed in float32, and the result is no reference.
    """
    wide = {name: value.astype(np.float64) if _is_float(value) else value for name, value in inputs.items()}
    runner = ReferenceEvaluator(model, new_ops=list(OPERATORS))
    names = [info.name for info in model.graph.output]
    results: Any = runner.run(names, wide)
    outputs = dict(zip(names, (np.asarray(one) for one in results), strict=True))
    for name, value in outputs.items():
        if value.dtype.kind == "f":
            if value.dtype != np.float64:
                raise HarnessError(f"the reference evaluator gave '{name}' as {value.dtype}, not in float64")
            if not np.isfinite(value).all():
                raise HarnessError(f"the reference of '{name}' is not finite: nothing can be compared with it")
            if value.size >= 16 and np.array_equal(value, value.astype(np.float32), equal_nan=True):
                raise HarnessError(f"the reference of '{name}' holds nothing beyond float32: it is no reference")
    return outputs


def _is_float(value: Array) -> bool:
    return value.dtype.kind == "f" or value.dtype.name == "bfloat16"


def _widen_graph(graph: onnx.GraphProto) -> None:
    for info in [*graph.input, *graph.output, *graph.value_info]:
        tensor = info.type.tensor_type
        if tensor.elem_type in NARROW:
            tensor.elem_type = TensorProto.DOUBLE
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for node in graph.node:
        if node.op_type == "ConstantOfShape" and not node.attribute:  # its default is zero in float32
            node.attribute.append(
                helper.make_attribute("value", helper.make_tensor("", TensorProto.DOUBLE, [1], [0.0]))
            )
        for attribute in node.attribute:
            if attribute.name in _TYPE_ATTRIBUTES and attribute.i in NARROW:
                attribute.i = TensorProto.DOUBLE
            if attribute.type == onnx.AttributeProto.TENSOR:
                _widen_tensor(attribute.t)
            if attribute.type == onnx.AttributeProto.GRAPH:
                _widen_graph(attribute.g)


def _widen_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type in NARROW:
        wide = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
