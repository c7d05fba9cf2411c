"""Operators that ONNX defines as functions of others, such as Attention: their bodies, to be perturbed inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import defs, helper

from conformance.errors import HarnessError
from conformance.reference.evaluate import widen
from conformance.reference.interpreter import Interpreter

if TYPE_CHECKING:
    from conformance.reference.interpreter import Node, Values


def body_of(node: Node, inputs: Values) -> Interpreter | None:
    """Return the widened body of a function operator for inputs of these types; None where it has none that runs.

    An operator with subgraphs has none here: its outputs are rounded once.
    """
    if node.domain not in ("", "ai.onnx") or any(a.type == onnx.AttributeProto.GRAPH for a in node.proto.attribute):
        return None
    opset = int(node.runner.run_params.get("opsets", {}).get("", 0) or defs.onnx_opset_version())
    try:
        schema = defs.get_schema(node.op, opset, "")
        function = _function(schema, node, inputs, opset)
        return None if function is None else Interpreter(_model(schema, function, node, inputs, opset))
    except (defs.SchemaError, HarnessError, RuntimeError, ValueError, TypeError, LookupError, AttributeError):
        return None  # what onnx says of a body that it cannot fill in or load is of many kinds


def _function(schema: Any, node: Node, inputs: Values, opset: int) -> onnx.FunctionProto | None:
    if schema.has_function:
        versions = [one for one in schema.function_opset_versions if one <= opset]
        if not versions:
            return None
        found = schema.get_function_with_opset_version(max(versions))
    elif schema.has_context_dependent_function:
        versions = [one for one in schema.context_dependent_function_opset_versions if one <= opset]
        if not versions:
            return None
        types = [helper.make_tensor_type_proto(*_type(one)).SerializeToString() for one in inputs]
        found = schema.get_context_dependent_function_with_opset_version(
            max(versions), node.proto.SerializeToString(), types
        )
    else:
        return None
    function = onnx.FunctionProto()
    function.ParseFromString(found if isinstance(found, bytes) else found.SerializeToString())
    return function if function.node else None


def _model(schema: Any, function: onnx.FunctionProto, node: Node, inputs: Values, opset: int) -> onnx.ModelProto:
    """Return a model whose graph is the function's body, attributes filled in, in float64."""
    given = {name: one.default_value for name, one in schema.attributes.items() if one.default_value.type}
    given |= {one.name: one for one in [*function.attribute_proto, *node.proto.attribute]}
    nodes = []
    for inside in function.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(inside)
        del copy.attribute[:]
        for attribute in inside.attribute:
            if attribute.ref_attr_name:
                if attribute.ref_attr_name not in given:
                    continue
                filled = copy.attribute.add()
                filled.CopyFrom(given[attribute.ref_attr_name])
                filled.name = attribute.name
            else:
                copy.attribute.add().CopyFrom(attribute)
        nodes.append(copy)
    fed = [
        helper.make_tensor_value_info(name, *_type(value))
        for name, value in zip(function.input, inputs, strict=False)
        if value is not None
    ]
    # What is left out reads as the empty name.
    left_out = set(function.input) - {one.name for one in fed}
    for one in nodes:
        for at, name in enumerate(one.input):
            if name in left_out:
                one.input[at] = ""
    kept = [name for name, wanted in zip(function.output, node.outputs, strict=False) if wanted]
    results = [helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, None) for name in kept]
    graph = helper.make_graph(nodes, node.op, fed, results)
    imports = [helper.make_opsetid(one.domain, one.version) for one in function.opset_import]
    model = helper.make_model(graph, opset_imports=imports or [helper.make_opsetid("", opset)])
    return widen(model.SerializeToString())


def _type(value: Any) -> tuple[int, list[int]]:
    if value is None:
        return onnx.TensorProto.UNDEFINED, []
    array = np.asarray(value)
    return helper.np_dtype_to_tensor_dtype(array.dtype), list(array.shape)
