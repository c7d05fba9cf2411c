"""A model run node by node: the evaluator's own answers, and a step that sees and changes every node."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from conformance.errors import HarnessError
from conformance.reference.evaluate import widen
from conformance.reference.interpreter import Interpreter, Node, Values, widened

INFO = helper.make_tensor_value_info


def model(nodes: list[Any], outputs: list[str], weights: dict[str, Any] | None = None, **inputs: Any) -> Any:
    graph = helper.make_graph(
        nodes,
        "graph",
        [INFO(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [INFO(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)


TWO_NODES = model(
    [helper.make_node("Mul", ["x", "w"], ["product"]), helper.make_node("LeakyRelu", ["product"], ["y"], alpha=0.5)],
    ["y"],
    {"w": [2.0, -3.0]},
    x=[2],
)
X = np.array([1.5, 1.0], np.float32)


def test_the_answers_are_those_of_the_evaluator_in_float64() -> None:
    found = Interpreter(widen(TWO_NODES.SerializeToString())).run({"x": X})
    assert found["y"].dtype == np.float64
    wanted: Any = ReferenceEvaluator(TWO_NODES).run(None, {"x": X})
    assert found["y"].tolist() == wanted[0].tolist() == [3.0, -1.5]


def test_a_step_sees_every_node_in_order_and_what_it_returns_goes_on() -> None:
    seen: list[tuple[int, str, list[str], Any]] = []

    def step(node: Node, inputs: Values, compute: Any) -> Values:
        seen.append((node.index, node.op, node.inputs, node.attribute("alpha", "none")))
        return [value + 1 for value in compute(inputs)]

    found = Interpreter(widen(TWO_NODES.SerializeToString())).run({"x": X}, step)
    assert seen == [(0, "Mul", ["x", "w"], "none"), (1, "LeakyRelu", ["product"], 0.5)]
    assert found["y"].tolist() == [5.0, 0.0]


def test_weights_can_be_replaced_for_one_run_and_inner_values_kept() -> None:
    interpreter = Interpreter(widen(TWO_NODES.SerializeToString()))
    found = interpreter.run({"x": X}, initializers={"w": np.array([1.0, 1.0])}, keep_all=True)
    assert found["product"].tolist() == [1.5, 1.0]
    assert "" not in found
    assert interpreter.run({"x": X})["y"].tolist() == [3.0, -1.5]


def test_a_subgraph_reads_values_of_the_graph_around_it() -> None:
    branches = {
        name: helper.make_graph(
            [helper.make_node(op, ["x", "x"], [name])], name, [], [INFO(name, TensorProto.FLOAT, None)]
        )
        for name, op in (("twice", "Add"), ("square", "Mul"))
    }
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
        helper.make_node("Cast", ["total"], ["is_any"], to=TensorProto.BOOL),
        helper.make_node("If", ["is_any"], ["y"], then_branch=branches["twice"], else_branch=branches["square"]),
    ]
    interpreter = Interpreter(widen(model(nodes, ["y"], x=[2]).SerializeToString()))
    assert interpreter.run({"x": X})["y"].tolist() == [3.0, 2.0]
    assert interpreter.run({"x": np.array([2.0, -2.0])})["y"].tolist() == [4.0, 4.0]


def test_a_node_that_cannot_run_is_named() -> None:
    with pytest.raises(HarnessError, match=r"cannot run Mul \(product\)"):
        Interpreter(widen(TWO_NODES.SerializeToString())).run({"x": np.ones(3)})


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ml_dtypes.bfloat16])
def test_floats_are_widened(dtype: Any) -> None:
    assert widened(np.array([1.5], dtype)).dtype == np.float64


@pytest.mark.parametrize("value", [np.array([1]), np.array([True]), np.array(["a"], object), None, [1.5]])
def test_anything_else_stays_what_it_is(value: Any) -> None:
    assert widened(value) is value
