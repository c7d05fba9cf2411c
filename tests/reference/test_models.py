"""What a model is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, TypeProto, helper, numpy_helper

from conformance.errors import HarnessError
from conformance.reference import models

F, I64, B = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def model(nodes: list[Any], inputs: list[Any], outputs: list[Any], *, opset: int = 18, **extra: Any) -> Any:
    imports = [helper.make_opsetid("", opset), *extra.pop("imports", [])]
    functions = extra.pop("functions", [])
    return helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs, **extra), opset_imports=imports, functions=functions
    )


def tensor(name: str, kind: int = F, shape: Any = (2,)) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


@pytest.mark.parametrize(("opset", "since", "following"), [(13, 13, 14), (14, 14, None), (22, 14, None), (6, 6, 7)])
def test_the_import_selects_the_operator_version(opset: int, since: int, following: int | None) -> None:
    facts = models.examine(
        model([helper.make_node("Add", ["x", "x"], ["y"])], [tensor("x")], [tensor("y")], opset=opset)
    )
    assert (facts.first.since_version, facts.first.next_version) == (since, following)
    assert facts.first.key == f"ai.onnx.Add-{since}"
    assert facts.opset_imports == {"ai.onnx": opset}


def test_attributes_take_effect_with_their_defaults() -> None:
    node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], auto_pad="VALID")
    x, y = tensor("x", F, (1, 1, 4, 4)), tensor("y", F, (1, 1, 3, 3))
    attributes = models.examine(model([node], [x], [y], opset=22)).first.attributes
    assert attributes["kernel_shape"] == [2, 2]
    assert attributes["auto_pad"] == "VALID"
    assert attributes["ceil_mode"] == 0
    assert "strides" not in attributes


def test_every_kind_of_plain_attribute_is_kept_and_the_others_are_not() -> None:
    node = helper.make_node(
        "LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", keys_strings=["a", "b"], values_floats=[1.0, 2.0]
    )
    imports = [helper.make_opsetid("ai.onnx.ml", 4)]
    facts = models.examine(model([node], [tensor("x", TensorProto.STRING)], [tensor("y")], imports=imports))
    assert facts.first.key == "ai.onnx.ml.LabelEncoder-4"
    assert facts.first.attributes["keys_strings"] == ["a", "b"]
    assert facts.first.attributes["values_floats"] == [1.0, 2.0]
    constant = helper.make_node("Constant", [], ["y"], value=numpy_helper.from_array(np.ones(2, np.float16)))
    facts = models.examine(model([constant], [], [tensor("y", TensorProto.FLOAT16)]))
    assert facts.first.attributes == {}
    assert facts.types == ("float16",)
    assert facts.subject_type == "float16"


def branch(name: str) -> Any:
    inner = helper.make_node("Cast", ["x"], [f"{name}_64"], to=TensorProto.DOUBLE)
    back = helper.make_node("Cast", [f"{name}_64"], [name], to=F)
    return helper.make_graph([inner, back], name, [], [tensor(name)])


def test_subgraphs_count_and_the_node_itself_comes_first() -> None:
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch("a"), else_branch=branch("b"))
    facts = models.examine(model([node], [tensor("c", B, ()), tensor("x")], [tensor("y")]))
    assert facts.first.op_type == "If"
    assert facts.subject_type == "bool"
    casts = [use for use in facts.uses if use.op_type == "Cast"]
    assert {use.attributes["to"] for use in casts} == {1, 11}
    assert len(casts) == 2  # the two branches use the same two
    assert "float32" in casts[0].types


def test_a_function_counts_by_its_body_under_its_own_imports() -> None:
    body = helper.make_node("Relu", ["a"], ["b"])
    function = helper.make_function("mine", "Twice", ["a"], ["b"], [body], [helper.make_opsetid("", 13)])
    call = helper.make_node("Twice", ["x"], ["y"], domain="mine")
    facts = models.examine(
        model([call], [tensor("x")], [tensor("y")], imports=[helper.make_opsetid("mine", 1)], functions=[function])
    )
    assert [use.key for use in facts.uses] == ["ai.onnx.Relu-13"]
    assert facts.opset_imports == {"ai.onnx": 18, "mine": 1}


def test_an_operator_that_onnx_does_not_define_is_refused() -> None:
    nodes = [helper.make_node("Nonesuch", ["x"], ["y"])]
    with pytest.raises(HarnessError, match=r"no operator ai\.onnx\.Nonesuch at opset 18"):
        models.examine(model(nodes, [tensor("x")], [tensor("y")]))


def test_types_include_what_only_inference_or_initialisers_know() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.DOUBLE),
        helper.make_node("Add", ["wide", "w"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["y"], to=TensorProto.INT32),
    ]
    initializer = [numpy_helper.from_array(np.ones(2), "w")]
    facts = models.examine(model(nodes, [tensor("x")], [tensor("y", TensorProto.INT32)], initializer=initializer))
    assert facts.types == ("float32", "float64", "int32")
    add = next(use for use in facts.uses if use.op_type == "Add")
    assert add.types == ("float64",)


def test_sparse_initialisers_count() -> None:
    values = helper.make_tensor("s", TensorProto.FLOAT16, [1], [1.0])
    sparse = helper.make_sparse_tensor(values, helper.make_tensor("i", I64, [1], [0]), [2])
    proto = model([helper.make_node("Identity", ["x"], ["y"])], [tensor("x")], [tensor("y")])
    proto.graph.sparse_initializer.append(sparse)
    assert "float16" in models.examine(proto).types
    proto.graph.input.append(tensor("s", TensorProto.FLOAT16))
    assert models.fed_inputs(proto.graph) == ["x"]


def map_type(key: int, value: TypeProto) -> TypeProto:
    return helper.make_map_type_proto(key, value)


PLAIN = helper.make_tensor_type_proto(F, [1])
SEQUENCE = helper.make_sequence_type_proto(helper.make_tensor_type_proto(I64, None))


@pytest.mark.parametrize(
    ("proto", "text", "types"),
    [
        (PLAIN, "tensor(float)", ["float32"]),
        (helper.make_tensor_type_proto(TensorProto.DOUBLE, []), "tensor(double)", ["float64"]),
        (helper.make_tensor_type_proto(TensorProto.BFLOAT16, []), "tensor(bfloat16)", ["bfloat16"]),
        (SEQUENCE, "seq(tensor(int64))", ["int64"]),
        (helper.make_optional_type_proto(SEQUENCE), "optional(seq(tensor(int64)))", ["int64"]),
        (map_type(I64, PLAIN), "map(int64,tensor(float))", ["int64", "float32"]),
        (helper.make_sparse_tensor_type_proto(F, [2]), "sparse_tensor(float)", ["float32"]),
        (helper.make_tensor_type_proto(0, []), "tensor(undefined)", []),
        (TypeProto(), "", []),
    ],
)
def test_types_are_spelled_as_onnx_spells_them(proto: TypeProto, text: str, types: list[str]) -> None:
    assert models.spell(proto) == text
    assert models._types_in(proto) == types


@pytest.mark.parametrize(
    ("shape", "stated", "dynamic"),
    [
        ((2, 3), (2, 3), False),
        (("n", 3), ("n", 3), True),
        ((None, 3), (None, 3), True),
        (None, None, True),
        ((), (), False),
    ],
)
def test_shapes_and_whether_they_are_fixed(shape: Any, stated: Any, dynamic: bool) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    facts = models.examine(model(nodes, [tensor("x", F, shape)], [tensor("y", F, shape)]))
    assert facts.dynamic_shapes is dynamic
    (info,) = facts.output_infos
    assert (info.name, info.type, info.shape) == ("y", "tensor(float)", stated)


def test_a_sequence_output_has_no_shape() -> None:
    nodes = [helper.make_node("SequenceConstruct", ["x"], ["y"])]
    proto = model(nodes, [tensor("x")], [helper.make_value_info("y", helper.make_sequence_type_proto(PLAIN))])
    (info,) = models.examine(proto).output_infos
    assert (info.type, info.shape) == ("seq(tensor(float))", None)
