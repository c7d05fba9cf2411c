"""A model with every operator of class `body` replaced by simpler ones: onnx's own function bodies, and ours (bodies.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.inliner import inline_local_functions, inline_selected_functions

from conformance.reference.operator_bounds.bodies import OWN, Writer
from conformance.reference.operator_bounds.call import Underived
from conformance.reference.operator_bounds.table import TABLE

if TYPE_CHECKING:
    from conformance.tensors import Array

DEEPEST = 3
"""Bodies within bodies: attention holds Softmax, which holds nothing."""
PRIVATE = "conformance.bodies"
_NAMED = [key for key, entry in TABLE.items() if entry.kind == "body"]


def spell_out(model: onnx.ModelProto, inputs: dict[str, Array]) -> onnx.ModelProto:
    """Return the model with every operator of class `body` replaced by the operators of its body; Underived where it has none."""
    opset = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 1)
    named = [key for key in _NAMED if not (key[0] == "" and key[1] in OWN)]
    present = {(node.domain, node.op_type) for node in model.graph.node}
    depth = 0
    while present & set(named):
        model = _inlined(model, named, inputs, opset)
        depth += 1
        present = {(node.domain, node.op_type) for node in model.graph.node}
        if depth > DEEPEST:
            left = ", ".join(sorted(name for _, name in present & set(named)))
            raise Underived(f"onnx has no body for {left} at opset {opset}")
    if not any(node.op_type in OWN and not node.domain for node in model.graph.node):
        return model
    kinds, shapes = _known(model, inputs)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type not in OWN or node.domain:
            nodes.append(node)
            continue
        first = node.input[0]
        if first not in kinds:
            raise Underived(f"the type of '{first}' cannot be inferred")
        shape = shapes.get(first, ())
        writer = Writer(node, kinds[first], len(shape), shape, opset)
        OWN[node.op_type](writer)
        nodes += writer.nodes
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def _inlined(
    model: onnx.ModelProto, named: list[tuple[str, str]], inputs: dict[str, Array], opset: int
) -> onnx.ModelProto:
    model = _with_defaults(model, set(named))
    try:
        return inline_selected_functions(model, named, False, True)
    except Exception:  # noqa: BLE001 - the inliner asserts, in C++, where an optional input is left out
        return _inlined_by_hand(model, set(named), inputs, opset)


def _inlined_by_hand(
    model: onnx.ModelProto, named: set[tuple[str, str]], inputs: dict[str, Array], opset: int
) -> onnx.ModelProto:
    """Return the same by way of functions of the model: their bodies are asked for with a type for every input that is left out."""
    kinds, shapes = _known(model, inputs)
    for at, node in enumerate(model.graph.node):
        if (node.domain, node.op_type) not in named:
            continue
        schema: Any = onnx.defs.get_schema(node.op_type, opset, node.domain)
        types = [
            helper.make_tensor_type_proto(kinds[name], shapes.get(name)).SerializeToString()
            if name in kinds
            else onnx.TypeProto().SerializeToString()
            for name in node.input
        ]
        try:
            written = (
                schema.get_context_dependent_function(node.SerializeToString(), types)
                if schema.has_context_dependent_function
                else schema.function_body.SerializeToString()
            )
        except Exception as error:  # noqa: BLE001 - the same assertions
            raise Underived(f"onnx cannot write out the body of {node.op_type}: {str(error)[-80:]}") from None
        body = onnx.FunctionProto()
        body.ParseFromString(written)
        body.domain, body.name = PRIVATE, f"{node.op_type}{at}"
        del body.attribute[:]
        body.attribute.extend(one.name for one in node.attribute)
        model.functions.append(body)
        node.domain, node.op_type = PRIVATE, body.name
    model.opset_import.append(helper.make_opsetid(PRIVATE, 1))
    return inline_local_functions(model)


def _with_defaults(model: onnx.ModelProto, named: set[tuple[str, str]]) -> onnx.ModelProto:
    """Return the model with the default attributes of the named operators written down: onnx's inliner leaves them out."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    versions = {one.domain: one.version for one in copy.opset_import}
    for node in copy.graph.node:
        if (node.domain, node.op_type) not in named:
            continue
        schema = onnx.defs.get_schema(node.op_type, versions.get(node.domain, 1), node.domain)
        given = {one.name for one in node.attribute}
        for name, attribute in schema.attributes.items():
            if name not in given and attribute.default_value.type != onnx.AttributeProto.UNDEFINED:
                default = node.attribute.add()
                default.CopyFrom(attribute.default_value)
                default.name = name
    return copy


def _known(model: onnx.ModelProto, inputs: dict[str, Array]) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    kinds: dict[str, int] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    graph = onnx.shape_inference.infer_shapes(model).graph
    for info in [*graph.value_info, *graph.input]:
        tensor = info.type.tensor_type
        if tensor.elem_type != TensorProto.UNDEFINED:
            kinds[info.name] = tensor.elem_type
            shapes[info.name] = tuple(one.dim_value for one in tensor.shape.dim)
    for one in graph.initializer:
        kinds[one.name], shapes[one.name] = one.data_type, tuple(one.dims)
    shapes |= {name: value.shape for name, value in inputs.items() if isinstance(value, np.ndarray)}
    return kinds, shapes
