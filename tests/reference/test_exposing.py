"""A model with its inner results as outputs."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from conformance.errors import HarnessError
from conformance.reference.exposing import Result, expose, results


def model(*nodes: onnx.NodeProto, domain: str = "") -> bytes:
    shape = ("N", 4)
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    imports = [helper.make_opsetid("", 13), *([helper.make_opsetid(domain, 1)] if domain else [])]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:])
    return bytes(helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString())


CHAIN = model(
    helper.make_node("Relu", ["x"], ["a"], name="first"),
    helper.make_node("Shape", ["a"], ["s"]),
    helper.make_node("Reshape", ["a", "s"], ["y"], name="last"),
)


def test_every_result_is_named_with_its_node_in_computing_order() -> None:
    assert results(CHAIN) == [Result("a", "Relu 'first'"), Result("s", "Shape"), Result("y", "Reshape 'last'")]


def test_an_exposed_model_gives_what_the_model_gives_and_more() -> None:
    exposed = expose(CHAIN, ["s", "y", "a", "a"])
    onnx.checker.check_model(onnx.load_model_from_string(exposed), full_check=True)
    x = np.array([[1, -2, 3, -4]], np.float32)
    session = onnxruntime.InferenceSession(exposed, providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_outputs()] == ["y", "s", "a"]
    y, s, a = session.run(None, {"x": x})
    assert np.array_equal(y, np.maximum(x, 0))
    assert np.array_equal(a, y)
    assert s.tolist() == [1, 4]


def test_what_nobody_knows_the_type_of_is_left_out_and_refused() -> None:
    unknown = model(
        helper.make_node("Mystery", ["x"], ["a"], domain="vendor"),
        helper.make_node("Mystery", ["a"], ["y"], domain="vendor"),
        domain="vendor",
    )
    assert [one.name for one in results(unknown)] == ["y"]
    with pytest.raises(HarnessError, match="'a' cannot be exposed: its type is not known"):
        expose(unknown, ["a"])


def test_a_name_that_no_node_gives_is_refused() -> None:
    for name in ("x", "nothing", ""):
        with pytest.raises(HarnessError, match="no node of the model gives it"):
            expose(CHAIN, [name])
