"""The ONNX Runtime adapter's values on the CPU provider: every type, every kind, in place or not."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
from adapters.models import CPU, casting, copying, sample, serialised, tensor
from onnx import TensorProto, helper

from conformance.adapters.runtime import onnxruntime as adapter
from conformance.adapters.runtime.port import Unavailable
from conformance.records import TensorInfo
from conformance.tensors import BITS_OF_PACKED, DTYPES, equal_bits

NOT_IN_IDENTITY = {"complex64", "complex128", "float8e8m0", "float6e2m3", "float6e3m2", *BITS_OF_PACKED}
"""Types that ONNX Runtime's Identity does not take."""


@pytest.mark.parametrize("shape", [(3, 5), (), (0, 4)])
@pytest.mark.parametrize("kind", sorted({*DTYPES, "string"} - NOT_IN_IDENTITY))
def test_every_type_goes_through_unchanged(cpu: adapter.Adapter, kind: str, shape: tuple[int, ...]) -> None:
    value = sample(kind, shape)
    session = cpu.compile(copying(kind, shape))
    ((name, result),) = session.infer({"x": value})
    gc.collect()

    assert name == "y"
    assert equal_bits(result, value)
    assert session.outputs == (TensorInfo(name="y", type=f"tensor({kind})", shape=shape or None),)
    session.close()


LOW_AND_HIGH = {
    "int4": [-8, -1, 0, 1, 7],
    "uint4": [0, 1, 8, 15, 3],
    "int2": [-2, -1, 0, 1, 1],
    "uint2": [0, 1, 2, 3, 3],
    "float4e2m1": [-6, -0.5, 0, 1.5, 6],
    "bfloat16": [-1, 0, 1, 2, 256],
    "float16": [-1, 0, 1, 2, 256],
    "float8e4m3fn": [-1, 0, 1, 2, 256],
    "float8e5m2": [-1, 0, 1, 2, 256],
    "float8e4m3fnuz": [-1, 0, 1, 2, 128],
}
"""Values that a type holds exactly; five of them, so that packed types end inside a byte."""


@pytest.mark.parametrize("kind", sorted(set(LOW_AND_HIGH) - {"float4e2m1"}))  # the provider has no Cast from it
def test_narrow_types_come_out_and_go_in_to_the_bit(cpu: adapter.Adapter, kind: str) -> None:
    value = np.array(LOW_AND_HIGH[kind], np.float32)
    ((_, narrow),) = cpu.compile(casting("float32", kind, [5])).infer({"x": value})
    assert isinstance(narrow, np.ndarray)
    assert narrow.dtype == DTYPES[kind]
    assert narrow.astype(np.float32).tolist() == value.tolist()

    ((_, wide),) = cpu.compile(casting(kind, "float32", [5])).infer({"x": value.astype(DTYPES[kind])})
    assert isinstance(wide, np.ndarray)
    assert wide.tolist() == value.tolist()


@pytest.mark.parametrize("kind", ["int4", "bfloat16"])
def test_nothing_at_all_can_be_narrow(cpu: adapter.Adapter, kind: str) -> None:
    ((_, narrow),) = cpu.compile(casting("float32", kind, [0])).infer({"x": np.zeros(0, np.float32)})
    ((_, wide),) = cpu.compile(casting(kind, "float32", [0])).infer({"x": np.zeros(0, DTYPES[kind])})

    assert isinstance(narrow, np.ndarray)
    assert isinstance(wide, np.ndarray)
    assert (narrow.shape, narrow.dtype, wide.shape) == ((0,), DTYPES[kind], (0,))


def test_a_sequence_goes_in_and_out(cpu: adapter.Adapter) -> None:
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    infos = [helper.make_value_info(name, kind) for name in "xy"]
    session = cpu.compile(serialised([helper.make_node("Identity", ["x"], ["y"])], infos[:1], infos[1:]))
    value: Any = [np.ones((2, 3), np.float32), np.zeros((1,), np.float32)]
    ((_, result),) = session.infer({"x": value})

    assert equal_bits(result, value)
    assert (
        session.inputs == (TensorInfo(name="x", type="seq(tensor(float32))", shape=None),)
        or session.inputs[0].shape == ()
    )


@pytest.mark.parametrize("full", [True, False])
def test_an_optional_may_be_empty(cpu: adapter.Adapter, full: bool) -> None:
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [2]))
    node = helper.make_node("OptionalHasElement", ["x"], ["y"])
    model = serialised([node], [helper.make_value_info("x", kind)], [tensor("y", "bool", [])])
    value = np.ones(2, np.float32) if full else None
    ((_, result),) = cpu.compile(model).infer({"x": value})

    assert isinstance(result, np.ndarray)
    assert result.tolist() is full


FLOATS = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))


def test_a_sequence_beside_a_type_that_numpy_lacks_is_unavailable_and_no_rejection(cpu: adapter.Adapter) -> None:
    nodes = [helper.make_node("SequenceLength", ["q"], ["n"]), helper.make_node("Identity", ["x"], ["y"])]
    inputs = [helper.make_value_info("q", FLOATS), tensor("x", "bfloat16", [2])]
    session = cpu.compile(serialised(nodes, inputs, [tensor("n", "int64", []), tensor("y", "bfloat16", [2])]))

    with pytest.raises(Unavailable, match="sequences and optionals"):
        session.infer({"q": [np.ones(2, np.float32)], "x": np.ones(2, DTYPES["bfloat16"])})


def test_a_sequence_out_of_a_typed_model_is_unavailable_and_no_failure(cpu: adapter.Adapter) -> None:
    nodes = [helper.make_node("SequenceConstruct", ["x"], ["q"]), helper.make_node("Identity", ["b"], ["y"])]
    inputs = [tensor("x", "float32", [2]), tensor("b", "bfloat16", [2])]
    session = cpu.compile(
        serialised(nodes, inputs, [helper.make_value_info("q", FLOATS), tensor("y", "bfloat16", [2])])
    )

    with pytest.raises(Unavailable, match="a sequence or optional among outputs"):
        session.infer({"x": np.ones(2, np.float32), "b": np.ones(2, DTYPES["bfloat16"])})


def test_large_outputs_are_written_in_place(cpu: adapter.Adapter) -> None:
    shape = (64, 64)
    given: list[np.ndarray[Any, Any]] = []

    def place(name: str, wanted: tuple[int, ...]) -> np.ndarray[Any, Any]:
        assert (name, wanted) == ("float32", shape)
        given.append(np.full(wanted, np.nan, np.float32))
        return given[-1]

    value = sample("float32", shape)
    session = cpu.compile(copying("float32", shape))
    ((_, result),) = session.infer({"x": value}, place)

    assert result is given[0]
    assert np.array_equal(given[0], value), "the runtime wrote into the memory that it was given"
    session.infer({"x": value}, place)
    assert session.witnesses()[1].nodes == {CPU: 2}, "bound runs are witnessed too"


def test_an_output_whose_shape_is_not_known_is_not_placed(cpu: adapter.Adapter) -> None:
    def place(name: str, wanted: tuple[int, ...]) -> None:
        raise AssertionError(name)

    value = sample("float32", (2, 4))
    ((_, result),) = cpu.compile(copying("float32", ["n", 4])).infer({"x": value}, place)

    assert equal_bits(result, value)


def test_an_output_of_unknown_rank_has_no_shape(cpu: adapter.Adapter) -> None:
    assert cpu.compile(copying("float32", None)).outputs[0].shape is None


@pytest.mark.parametrize("shape", [[], None])
def test_an_output_without_dimensions_may_be_of_unknown_rank_and_is_not_placed(
    cpu: adapter.Adapter, shape: Any
) -> None:
    def place(name: str, wanted: tuple[int, ...]) -> None:
        raise AssertionError(name)

    value = sample("float32", (2, 4)) if shape is None else np.array(3, np.float32)
    session = cpu.compile(copying("float32", shape))
    ((_, result),) = session.infer({"x": value}, place)

    assert session.outputs[0].shape is None
    assert equal_bits(result, value)


def test_a_small_output_is_not_placed(cpu: adapter.Adapter) -> None:
    ((_, result),) = cpu.compile(copying("float32", [2])).infer({"x": np.ones(2, np.float32)}, lambda *_: None)

    assert equal_bits(result, np.ones(2, np.float32))


def test_strings_are_never_placed(cpu: adapter.Adapter) -> None:
    session = cpu.compile(copying("string", [1]))
    ((_, result),) = session.infer({"x": np.array(["a"], object)}, lambda *_: pytest.fail("placed"))

    assert isinstance(result, np.ndarray)
    assert result.tolist() == ["a"]


def test_string_inputs_keep_numbers_from_being_bound(cpu: adapter.Adapter) -> None:
    nodes = [helper.make_node("Shape", ["x"], ["y"])]
    model = serialised(nodes, [tensor("x", "string", [2])], [tensor("y", "int64", [1])])
    ((_, result),) = cpu.compile(model).infer(
        {"x": np.array(["a", "b"], object)}, lambda name, shape: np.empty(shape, DTYPES[name])
    )

    assert isinstance(result, np.ndarray)
    assert result.tolist() == [2]
