"""From a vendor operator to its body: the table of operators, their evaluation in float64, and the expansion of models.

`OPERATORS` are classes for ONNX's reference evaluator (and `Interpreter`): a node of the domain is evaluated by its body.
`expand` puts the bodies into a model in place of the nodes, which is what Monte Carlo arithmetic works on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper
from onnx.reference.op_run import OpRun

from conformance.errors import HarnessError
from conformance.reference import wide_operators
from conformance.reference.contrib import activations, attention, experts, linear, normalization, quantised, rotary
from conformance.reference.contrib.body import OPSET, Body
from conformance.reference.interpreter import Interpreter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conformance.reference.interpreter import Node, Values
    from conformance.tensors import Array

DOMAIN = "com.microsoft"
OLDEST = 21
"""From here to the version of the bodies, ONNX's operators gained types and changed nothing that a float64 graph holds."""
LOWERINGS: dict[tuple[str, str], Callable[[Body], None]] = {
    (DOMAIN, name): lower
    for module in (activations, attention, experts, linear, normalization, quantised, rotary)
    for name, lower in module.LOWERINGS.items()
}
LOWERINGS["", "SimplifiedLayerNormalization"] = normalization.simplified_layer_normalization
"""ONNX Runtime registers this one under ONNX's own domain, although ONNX has no operator of that name."""


def lower(node: onnx.NodeProto, values: Sequence[Array | None]) -> Body:
    """Return the body of a node for those inputs; HarnessError for an operator or a form of it that is not described."""
    key = ("" if node.domain == "ai.onnx" else node.domain, node.op_type)
    if key not in LOWERINGS:
        raise HarnessError(f"no reference for {node.domain or 'ai.onnx'}.{node.op_type}")
    body = Body(node, values)
    LOWERINGS[key](body)
    return body


def model_of(body: Body, values: Sequence[Array | None]) -> onnx.ModelProto:
    """Return a body as a model of its own, with the inputs and outputs of the node."""
    node = body.node
    given = {name: one for name, one in zip(node.input, values, strict=True) if name and one is not None}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(one.dtype), list(one.shape))
        for name, one in given.items()
    ]
    outputs = [helper.make_value_info(name, onnx.TypeProto()) for name in node.output if name]
    graph = helper.make_graph(body.nodes, node.op_type, inputs, outputs, initializer=body.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])


class _Lowered(OpRun):
    """An operator that is evaluated by its body, in float64, and given back in the type of its floating-point inputs."""

    op_schema = None  # else the evaluator takes the schema of ONNX's operator of the same name

    def _run(self, *inputs: Array | None, **_attributes: Any) -> tuple[Array, ...]:
        values = [*inputs, *[None] * (len(self.onnx_node.input) - len(inputs))]
        floating = [one.dtype for one in values if one is not None and _is_float(one)]
        wide = [one.astype(np.float64) if one is not None and _is_float(one) else one for one in values]
        model = model_of(lower(self.onnx_node, wide), wide)
        given = {name: one for name, one in zip(self.onnx_node.input, wide, strict=True) if name and one is not None}
        found = Interpreter(model, wide_operators.OPERATORS).run(given)
        return tuple(
            _narrowed(np.asarray(found[name]), floating) if name else np.zeros(0) for name in self.onnx_node.output
        )


def _narrowed(value: Array, floating: list[np.dtype[Any]]) -> Array:
    return value.astype(floating[0]) if floating and value.dtype == np.float64 else value


def _is_float(value: Array) -> bool:
    return value.dtype.kind == "f" or value.dtype.name == "bfloat16"


OPERATORS: tuple[type[OpRun], ...] = tuple(
    type(name, (_Lowered,), {"op_domain": domain, "__doc__": f"{name} by its body."}) for domain, name in LOWERINGS
)


def expand(model: onnx.ModelProto, inputs: dict[str, Array]) -> onnx.ModelProto:
    """Return a widened model with the body of each vendor operator in place of its node, for inputs of these shapes.

    Integer inputs (positions, lengths, packed weights, which experts a token goes to) stand in the result as constants: it
    belongs to these inputs. HarnessError where a node cannot be described, or the model's opset is older than the bodies.
    """
    bodies: dict[int, Body] = {}

    def step(node: Node, inputs: Values, compute: Callable[[Values], Values]) -> Values:
        if (node.domain, node.op) in LOWERINGS:
            bodies[node.index] = lower(node.proto, inputs)
        return compute(inputs)

    Interpreter(model, (*wide_operators.OPERATORS, *OPERATORS)).run(inputs, step)
    expanded = onnx.ModelProto()
    expanded.CopyFrom(model)
    graph = expanded.graph
    del graph.node[:]
    for at, node in enumerate(model.graph.node):
        graph.node.extend(bodies[at].nodes if at in bodies else [node])
        graph.initializer.extend(bodies[at].constants if at in bodies else [])
    own = [one for one in expanded.opset_import if one.domain in ("", "ai.onnx")]
    others = {one.domain for one in graph.node} - {"", "ai.onnx"}
    kept = [one for one in expanded.opset_import if one.domain in others]
    version = own[0].version if own else OPSET
    if version < OLDEST and any(at not in bodies for at in range(len(model.graph.node))):
        raise HarnessError(f"a model of opset {version} cannot hold bodies of opset {OPSET}")
    version = max(version, OPSET)
    del expanded.opset_import[:]
    expanded.opset_import.extend([helper.make_opsetid("", version), *kept])
    return expanded
