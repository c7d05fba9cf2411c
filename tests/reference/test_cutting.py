"""Pieces of a model: what they hold, that they compute the same, and the folder that they are written to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from conformance.errors import HarnessError
from conformance.reference.cutting import Cutter, write_test

INFO = helper.make_tensor_value_info
X = np.array([1.0, -2.0, 3.0], np.float32)


def make_model(*more: Any, outputs: tuple[str, ...] = ("y",)) -> Any:
    """Return x → a = 2x → b = |a| → c = b + 1 → y = √(c + a), the 1 from a Constant."""
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["a"]),
        helper.make_node("Abs", ["a"], ["b"]),
        helper.make_node("Constant", [], ["one"], value=numpy_helper.from_array(np.array(1, np.float32))),
        helper.make_node("Add", ["b", "one"], ["c"]),
        helper.make_node("Add", ["c", "a"], ["d"]),
        helper.make_node("Sqrt", ["d"], ["y"]),
        *more,
    ]
    weights = [numpy_helper.from_array(np.array(2, np.float32), "two")]
    results = [INFO(name, TensorProto.FLOAT, [3]) for name in outputs]
    graph = helper.make_graph(nodes, "graph", [INFO("x", TensorProto.FLOAT, [3])], results, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10).SerializeToString()


def run(model: Any, inputs: dict[str, Any]) -> list[Any]:
    return list(ReferenceEvaluator(model).run(None, inputs))


def values_of(model: bytes) -> dict[str, Any]:
    proto = onnx.load_model_from_string(model)
    given = ["a", "b", "c", "d"]
    proto.graph.output.extend(INFO(name, TensorProto.FLOAT, [3]) for name in given)
    return {"x": X, **dict(zip(["y", *given], run(proto, {"x": X}), strict=True))}


@pytest.mark.parametrize(
    ("result", "nodes", "inputs", "held"),
    [
        ("y", 1, ("d",), ["Sqrt"]),
        ("y", 2, ("c", "a"), ["Add", "Sqrt"]),
        ("c", 1, ("b",), ["Constant", "Add"]),
        ("b", 2, ("x",), ["Mul", "Abs"]),
        ("y", 99, ("x",), ["Mul", "Abs", "Constant", "Add", "Add", "Sqrt"]),
    ],
)
def test_a_piece_holds_the_nearest_nodes_and_computes_the_same(
    result: str, nodes: int, inputs: tuple[str, ...], held: list[str]
) -> None:
    model = make_model()
    piece = Cutter(model).cut(result, nodes)
    cut = onnx.load_model_from_string(piece.model)
    onnx.checker.check_model(cut)
    assert sorted(piece.inputs) == sorted(inputs)
    assert [node.op_type for node in cut.graph.node] == held
    assert piece.nodes == len(held)
    known = values_of(model)
    found = run(cut, {name: known[name] for name in piece.inputs})[0]
    assert found.tolist() == known[result].tolist()


def test_what_a_subgraph_reads_becomes_an_input() -> None:
    branch = helper.make_graph(
        [helper.make_node("Add", ["b", "a"], ["z1"])], "then", [], [INFO("z1", TensorProto.FLOAT, [3])]
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["b"], ["z2"])], "else", [], [INFO("z2", TensorProto.FLOAT, [3])]
    )
    held = helper.make_node("Constant", [], ["is_so"], value=numpy_helper.from_array(np.array(True)))
    choice = helper.make_node("If", ["is_so"], ["z"], then_branch=branch, else_branch=other)
    piece = Cutter(make_model(held, choice, outputs=("y", "z"))).cut("z", 1)
    assert sorted(piece.inputs) == ["a", "b"]


def test_a_result_that_no_node_gives_is_refused() -> None:
    for name in ("x", "two", "nothing"):
        with pytest.raises(HarnessError, match=f"no node of the model gives '{name}'"):
            Cutter(make_model()).cut(name, 1)


def test_the_folder_is_one_that_onnx_reads_back(tmp_path: Path) -> None:
    piece = Cutter(make_model()).cut("y", 2)
    known = values_of(make_model())
    write_test(tmp_path, piece.model, {name: known[name] for name in piece.inputs}, {"y": known["y"]})
    data = tmp_path / "test_data_set_0"
    assert sorted(path.name for path in data.iterdir()) == ["input_0.pb", "input_1.pb", "output_0.pb"]
    model = onnx.load(tmp_path / "model.onnx")
    read = {path.stem: onnx.TensorProto.FromString(path.read_bytes()) for path in data.iterdir()}
    assert [read[f"input_{at}"].name for at in range(2)] == [info.name for info in model.graph.input]
    given = {read[f"input_{at}"].name: numpy_helper.to_array(read[f"input_{at}"]) for at in range(2)}
    wanted = numpy_helper.to_array(read["output_0"])
    assert run(model, given)[0].tolist() == wanted.tolist()
    write_test(tmp_path, piece.model, given, {"y": wanted + 1})
    assert (
        numpy_helper.to_array(onnx.TensorProto.FromString((data / "output_0.pb").read_bytes())).tolist()
        != wanted.tolist()
    )
