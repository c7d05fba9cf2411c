"""The search for the first wrong node, on a small model and a device that is wrong at one of its nodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from conformance.bisection import Found, Search, narrowed
from conformance.errors import HarnessError
from conformance.numerics.modes import native

CHAIN = ("Sigmoid", "Tanh", "Softsign", "Relu", "Exp", "Neg", "Sigmoid", "Tanh")


def _model() -> bytes:
    """A product, then one elementwise operator after another; each result is named after its place."""
    weights = np.random.default_rng(3).standard_normal((16, 24)).astype(np.float32) / 4
    nodes = [helper.make_node("MatMul", ["x", "w"], ["r0"], name="product")]
    nodes += [helper.make_node(op, [f"r{at}"], [f"r{at + 1}"], name=f"n{at + 1}") for at, op in enumerate(CHAIN)]
    nodes.append(helper.make_node("Add", [f"r{len(CHAIN)}", "r0"], ["y"], name="sum"))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [32, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [32, 24])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


INPUTS = {"x": np.random.default_rng(5).standard_normal((32, 16)).astype(np.float32)}


def _device(change: Callable[[Any], None]) -> Callable[[bytes, dict[str, Any]], dict[str, Any]]:
    def run(model: bytes, inputs: dict[str, Any]) -> dict[str, Any]:
        proto = onnx.load_model_from_string(model)
        for node in proto.graph.node:
            change(node)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        names = [one.name for one in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))

    return run


def _wrong_at(name: str, op: str) -> Callable[[Any], None]:
    def change(node: Any) -> None:
        if node.name == name:
            node.op_type = op

    return change


def _find(change: Callable[[Any], None], folder: Path) -> tuple[Found, list[str]]:
    told: list[str] = []
    return Search(_device(change), _model(), INPUTS, native("float32"), told.append).find(folder), told


@pytest.mark.parametrize(
    ("name", "op", "result"), [("n1", "HardSigmoid", "r1"), ("n5", "Softplus", "r5"), ("n8", "Erf", "r8")]
)
def test_the_first_wrong_node_is_found_in_few_runs_and_its_piece_fails_alone(
    name: str, op: str, result: str, tmp_path: Path
) -> None:
    found, told = _find(_wrong_at(name, op), tmp_path)

    assert (found.result, found.shows_alone, found.nodes) == (result, True, 1)
    assert found.node.endswith(f"'{name}'")
    assert found.device_runs <= 6  # the whole, log2(10), the piece
    assert found.reason.startswith(f"{result}[")
    assert told


def test_the_piece_is_a_standard_test_that_a_right_runtime_passes_and_the_wrong_one_fails(tmp_path: Path) -> None:
    change = _wrong_at("n5", "Softplus")
    _find(change, tmp_path)
    model = (tmp_path / "model.onnx").read_bytes()
    proto = onnx.load_model_from_string(model)
    onnx.checker.check_model(proto, full_check=True)
    data = tmp_path / "test_data_set_0"
    (given,) = [numpy_helper.to_array(onnx.TensorProto.FromString((data / "input_0.pb").read_bytes()))]
    want = numpy_helper.to_array(onnx.TensorProto.FromString((data / "output_0.pb").read_bytes()))
    inputs = {proto.graph.input[0].name: given}

    right = _device(lambda _: None)(model, inputs)["r5"]
    wrong = _device(change)(model, inputs)["r5"]

    np.testing.assert_allclose(right, want, rtol=1e-6)
    assert np.abs(wrong - want).max() > 0.1


def test_a_fault_that_only_two_nodes_together_show_gets_a_piece_of_both(tmp_path: Path) -> None:
    """As where a device fuses two operators wrongly: each by itself is right."""
    honest = _device(lambda _: None)

    def run(model: bytes, inputs: dict[str, Any]) -> dict[str, Any]:
        outputs = honest(model, inputs)
        names = {node.name for node in onnx.load_model_from_string(model).graph.node}
        is_fused = {"n4", "n5"} <= names
        return {
            name: value * np.float32(1.01) if is_fused and name == "r5" else value for name, value in outputs.items()
        }

    def later(model: bytes, inputs: dict[str, Any]) -> dict[str, Any]:
        outputs = run(model, inputs)
        return {
            name: value + np.float32(0.01) if name in ("r6", "r7", "r8", "y") else value
            for name, value in outputs.items()
        }

    found = Search(later, _model(), INPUTS, native("float32"), lambda _: None).find(tmp_path)

    assert (found.result, found.shows_alone, found.nodes) == ("r5", True, 2)


def test_a_model_that_is_right_once_its_results_are_given_out_is_written_whole(tmp_path: Path) -> None:
    found, _ = _find(lambda _: None, tmp_path)

    assert (found.node, found.shows_alone) == ("", False)
    assert found.nodes == len(CHAIN) + 2
    assert (tmp_path / "model.onnx").read_bytes() == _model()


def test_what_the_device_raises_ends_the_search(tmp_path: Path) -> None:
    def refuse(_: bytes, __: dict[str, Any]) -> dict[str, Any]:
        raise HarnessError("gone")

    with pytest.raises(HarnessError, match="gone"):
        Search(refuse, _model(), INPUTS, native("float32"), lambda _: None).find(tmp_path)


def test_a_right_result_is_rounded_once_into_the_type_it_has_in_the_graph() -> None:
    value = np.array([1 + 2.0**-8 + 2.0**-30, -0.1])
    assert narrowed(value, TensorProto.BFLOAT16).astype(np.float64).tolist() == [1 + 2.0**-7, -0.10009765625]
    assert narrowed(np.array([3]), TensorProto.INT64).dtype == np.int64
