"""From a row to a model of one node with its inputs, and to the same with the operator's function body in place of it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, defs, helper, inliner, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from conformance.errors import HarnessError
from conformance.reference.made.draws import draw
from conformance.reference.made.rows import SUBJECT
from conformance.reference.recipes import Made
from conformance.tensors import DTYPES, ONNX_TYPE_OF, element_of

if TYPE_CHECKING:
    from conformance.reference.made.rows import Given, Row
    from conformance.tensors import Array

BODY_DOMAIN = "made.body"


def build(row: Row, opset: int, kind: str, rng: np.random.Generator) -> Made:
    """Return the model of a row at an opset for a type, with its data sets."""
    datasets = [_fill(row, name, kind, rng) for name in row.sets]
    return Made(build_model(row, opset, kind).SerializeToString(deterministic=True), datasets)


def build_expanded(row: Row, opset: int, kind: str, rng: np.random.Generator) -> Made:
    """Return the same with the function body of the operator in place of its node."""
    datasets = [_fill(row, name, kind, rng) for name in row.sets]
    return Made(expand(build_model(row, opset, kind)).SerializeToString(deterministic=True), datasets)


def build_model(row: Row, opset: int, kind: str) -> onnx.ModelProto:
    """Return the model of a row: inputs `x0`, `x1` … and outputs `y0`, `y1` … in the order of the node."""
    names = ["" if one is None else f"x{at}" for at, one in enumerate(row.inputs)]
    present = (True,) * row.outputs if isinstance(row.outputs, int) else row.outputs
    outputs = [f"y{at}" if is_there else "" for at, is_there in enumerate(present)]
    attributes = {name: value(kind) if callable(value) else value for name, value in row.attributes.items()}
    node = helper.make_node(row.op, names, outputs, domain=row.domain, **attributes)
    infos, constants = [], []
    for name, one in zip(names, row.inputs, strict=True):
        if one is None:
            continue
        if one.is_constant:
            constants.append(_constant(name, one, kind))
        else:
            shape = one.shape if one.values is None else np.shape(one.values)
            infos.append(helper.make_tensor_value_info(name, ONNX_TYPE_OF[_kind(one, kind)], shape))
    graph = helper.make_graph(
        [node], "made", infos, [onnx.ValueInfoProto(name=name) for name in outputs if name], constants
    )
    imports = [helper.make_opsetid(row.domain, opset), *(helper.make_opsetid(d, v) for d, v in row.extra.items())]
    model = helper.make_model(graph, opset_imports=imports, ir_version=max(8, helper.find_min_ir_version_for(imports)))
    inferred = shape_inference.infer_shapes(model, data_prop=True)
    unknown = []
    for info, found in zip(model.graph.output, inferred.graph.output, strict=True):
        info.type.CopyFrom(found.type)
        if not found.type.WhichOneof("value"):
            number = _schema_type(schema_of(row.op, opset, row.domain), row, kind, int(info.name[1:]))
            info.type.tensor_type.elem_type = number
        if info.type.WhichOneof("value") == "tensor_type" and not info.type.tensor_type.HasField("shape"):
            unknown.append(info)
    if unknown:
        _tell_shapes(model, unknown, _fill(row, row.sets[0], kind, np.random.default_rng(0)))
    return model


def _tell_shapes(model: onnx.ModelProto, infos: list[onnx.ValueInfoProto], inputs: dict[str, Array]) -> None:
    """Write the shapes of outputs that ONNX does not infer, as its evaluator gives them."""
    with np.errstate(all="ignore"):
        results: Any = ReferenceEvaluator(model).run([info.name for info in infos], inputs)
    for info, value in zip(infos, results, strict=True):
        number = info.type.tensor_type.elem_type
        info.type.CopyFrom(helper.make_tensor_type_proto(number, np.shape(value)))


def _schema_type(schema: Any, row: Row, kind: str, at: int) -> int:
    """Return the element type of an output by the schema alone, for operators whose inference ONNX leaves out."""
    output = schema.outputs[min(at, len(schema.outputs) - 1)]
    for parameter, one in zip(schema.inputs, row.inputs, strict=False):
        if one is not None and parameter.type_str == output.type_str:
            return ONNX_TYPE_OF[_kind(one, kind)]
    if len(output.types) != 1:
        raise HarnessError(f"the type of output {at} of {row.op} {row.name} cannot be told")
    return ONNX_TYPE_OF[element_of(next(iter(output.types)))]


def _fill(row: Row, name: str, kind: str, rng: np.random.Generator) -> dict[str, Array]:
    filled: dict[str, Array] = {}
    before: Array | None = None
    for at, one in enumerate(row.inputs):
        if one is None or one.is_constant:
            continue
        own = _kind(one, kind)
        if one.values is not None:
            filled[f"x{at}"] = np.array(one.values, dtype=DTYPES[own])
            continue
        before = draw(name if one.draw == "free" else one.draw, rng, one.shape, own, before)
        filled[f"x{at}"] = before.astype(DTYPES[own])
    return filled


def _kind(one: Given, kind: str) -> str:
    return kind if one.kind == SUBJECT else one.kind


def _constant(name: str, one: Given, kind: str) -> TensorProto:
    return numpy_helper.from_array(np.array(one.values, dtype=DTYPES[_kind(one, kind)]), name)


def expand(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model of one node with the function body that ONNX gives for it; HarnessError where there is none."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    node = result.graph.node[0]
    opset = next(one.version for one in result.opset_import if one.domain == node.domain)
    schema = defs.get_schema(node.op_type, opset, node.domain)
    _complete(node, schema)
    body = _body(schema, node, opset, result)
    if body is None:
        raise HarnessError(f"{node.op_type}-{schema.since_version} has no function body at opset {opset}")
    body.domain, body.name = BODY_DOMAIN, node.op_type
    node.domain = BODY_DOMAIN
    result.functions.append(body)
    result.opset_import.append(helper.make_opsetid(BODY_DOMAIN, 1))
    result = inliner.inline_local_functions(result, convert_version=False)
    for at in reversed(range(len(result.opset_import))):
        if result.opset_import[at].domain == BODY_DOMAIN:
            del result.opset_import[at]
    return result


def body_opset(schema: Any, opset: int, following: int | None) -> int | None:
    """Return the first opset, from the given one on, with a function body for an operator version; None where none has one.

    `following` is the next version of the operator: from there on it is another operator.
    """
    if schema.has_function:
        first = min(schema.function_opset_versions)
    elif schema.has_context_dependent_function:
        first = min(schema.context_dependent_function_opset_versions)
    else:
        return None
    first = max(opset, first)
    return None if following is not None and first >= following else first


def _complete(node: onnx.NodeProto, schema: Any) -> None:
    """Write the schema's defaults into a node: a body refers to attributes by name."""
    told = {one.name for one in node.attribute}
    for name, attribute in schema.attributes.items():
        if name not in told and attribute.default_value.name:
            node.attribute.append(attribute.default_value)


def _body(schema: Any, node: onnx.NodeProto, opset: int, model: onnx.ModelProto) -> onnx.FunctionProto | None:
    body = onnx.FunctionProto()
    if schema.has_function:
        versions = [one for one in schema.function_opset_versions if one <= opset]
        text = schema.get_function_with_opset_version(max(versions)) if versions else b""
    else:
        versions = [one for one in schema.context_dependent_function_opset_versions if one <= opset]
        types = _input_types(node, model)
        text = (
            schema.get_context_dependent_function_with_opset_version(max(versions), node.SerializeToString(), types)
            if versions
            else b""
        )
    if not text:
        return None
    body.ParseFromString(text)
    for one in body.opset_import:
        if one.domain == node.domain:
            one.version = (
                opset  # the body is valid up to the next version of what it uses: it runs at the model's opset
            )
    return body


def _input_types(node: onnx.NodeProto, model: onnx.ModelProto) -> list[bytes]:
    types = {info.name: info.type for info in model.graph.input}
    for tensor in model.graph.initializer:
        types[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
    return [types.get(name, onnx.TypeProto()).SerializeToString() for name in node.input]


@cache
def schema_of(op: str, since: int, domain: str) -> Any:
    """Return ONNX's schema of an operator version."""
    return defs.get_schema(op, since, domain)
