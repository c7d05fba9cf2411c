"""A widened model run node by node, each step open to whoever wants to look or meddle.

ONNX's reference evaluator does every operator; this loop only stands between the nodes. A *step* gets the node, its inputs
and a function that computes it, and returns the outputs: Monte Carlo arithmetic perturbs there, simulated devices round
there, the self-test injects its defects there, and the search for the first wrong node looks there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from onnx.reference import ReferenceEvaluator

from conformance.errors import HarnessError
from conformance.reference.wide_operators import OPERATORS

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx

    from conformance.tensors import Array

Values = list[Any]
"""Inputs or outputs of a node in order: arrays, or None where an optional one is left out."""


class Node:
    """A node as a step sees it."""

    def __init__(self, index: int, runner: Any) -> None:
        self.index = index
        self.proto: onnx.NodeProto = runner.onnx_node
        self.op = str(self.proto.op_type)
        self.domain = str(self.proto.domain)
        self.inputs = list(self.proto.input)
        self.outputs = list(self.proto.output)
        self.runner = runner
        self.attributes = {one.name: _attribute(one) for one in self.proto.attribute}

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute as a Python value, or what it is where it is left out."""
        return self.attributes.get(name, default)


class Step(Protocol):
    """What happens at a node."""

    def __call__(self, node: Node, inputs: Values, compute: Callable[[Values], Values]) -> Values:
        """Return the node's outputs; `compute(inputs)` gives what it should."""


class Interpreter:
    """A widened model (see `evaluate.widen`), loaded once and run as often as wanted."""

    def __init__(self, model: onnx.ModelProto, operators: Any = OPERATORS) -> None:
        self._runner = ReferenceEvaluator(model, new_ops=list(operators))
        self.nodes = [Node(at, one) for at, one in enumerate(self._runner.rt_nodes_)]
        self.input_names = [info.name for info in model.graph.input]
        self.output_names = [info.name for info in model.graph.output]
        self.initializers: dict[str, Array] = dict(self._runner.rt_inits_)

    def run(
        self,
        inputs: dict[str, Any],
        step: Step | None = None,
        *,
        initializers: dict[str, Array] | None = None,
        keep_all: bool = False,
    ) -> dict[str, Any]:
        """Return the outputs by name, or every value of the graph with `keep_all`.

        Floating-point inputs are widened; `initializers` replaces weights by name. HarnessError where a node cannot run.
        """
        results: dict[str, Any] = {"": None, **self.initializers, **(initializers or {})}
        results |= {name: widened(value) for name, value in inputs.items()}
        for node in self.nodes:
            values = [results[name] for name in node.inputs]

            def compute(given: Values, node: Node = node) -> Values:
                return self._compute(node, given, results)

            outputs = compute(values) if step is None else step(node, values, compute)
            results.update(zip(node.outputs, outputs, strict=False))
        if keep_all:
            return {name: value for name, value in results.items() if name}
        return {name: results[name] for name in self.output_names}

    @staticmethod
    def _compute(node: Node, given: Values, results: dict[str, Any]) -> Values:
        context = {"context": results} if node.runner.need_context() else {}
        try:
            with np.errstate(all="ignore"):
                return list(node.runner.run(*given, **context))
        except Exception as error:
            text = f"the reference evaluator cannot run {node.op} ({node.outputs[0] or 'no output'}): {error}"
            raise HarnessError(text) from error


def widened(value: Any) -> Any:
    """Return a floating-point tensor as float64, anything else as it is."""
    if isinstance(value, np.ndarray) and (value.dtype.kind == "f" or value.dtype.name == "bfloat16"):
        return value.astype(np.float64)
    return value


def _attribute(proto: onnx.AttributeProto) -> Any:
    from onnx import AttributeProto, helper

    if proto.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
        return proto
    value = helper.get_attribute_value(proto)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
