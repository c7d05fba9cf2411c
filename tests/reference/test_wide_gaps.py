"""Operators that onnx's evaluator gets wrong in float64, against other ways to compute them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from conformance.reference.evaluate import widen
from conformance.reference.interpreter import Interpreter
from conformance.reference.wide_gaps import GAPS
from conformance.reference.wide_operators import OPERATORS
from conformance.tensors import ONNX_TYPE_OF, type_name


def run(op: str, inputs: dict[str, Any], **attributes: Any) -> Any:
    infos = [helper.make_tensor_value_info(key, ONNX_TYPE_OF[type_name(one)], one.shape) for key, one in inputs.items()]
    node = helper.make_node(op, list(inputs), ["y"], **attributes)
    graph = helper.make_graph([node], "one", infos, [helper.make_tensor_value_info("y", 1, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    return Interpreter(widen(model.SerializeToString()), (*GAPS, *OPERATORS)).run(inputs)["y"]


X = np.random.default_rng(0).standard_normal((2, 4, 5, 6)).astype(np.float32)
W = np.random.default_rng(1).standard_normal((4, 3, 2, 2)).astype(np.float32)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_values_are_dequantised_per_tensor_and_per_axis(kind: Any, axis: int) -> None:
    q = np.arange(24).reshape(2, 3, 4).astype(kind)
    scale = np.linspace(0.1, 0.5, q.shape[axis]).astype(np.float32)
    zero = np.arange(q.shape[axis]).astype(kind)
    shape = [1, 1, 1]
    shape[axis] = -1
    wide = scale.astype(np.float64).reshape(shape)
    found = run("DequantizeLinear", {"q": q, "s": scale, "z": zero}, axis=axis)
    np.testing.assert_allclose(found, (q.astype(np.float64) - zero.reshape(shape)) * wide, rtol=1e-15)
    whole = run("DequantizeLinear", {"q": q, "s": scale[:1].reshape(())})
    np.testing.assert_allclose(whole, q.astype(np.float64) * float(scale[0]), rtol=1e-15)


def test_values_are_dequantised_block_by_block() -> None:
    q = np.arange(24).reshape(2, 12).astype(np.int8)
    scale = np.arange(1, 7).reshape(2, 3).astype(np.float32)
    found = run("DequantizeLinear", {"q": q, "s": scale}, axis=1, block_size=4)
    np.testing.assert_array_equal(found, q * np.repeat(scale, 4, axis=1))


def test_groups_of_a_transposed_convolution_stand_side_by_side() -> None:
    whole = run("ConvTranspose", {"x": X, "w": W}, group=2)
    parts = [run("ConvTranspose", {"x": X[:, at : at + 2], "w": W[at : at + 2]}) for at in (0, 2)]
    np.testing.assert_allclose(whole, np.concatenate(parts, axis=1), rtol=1e-14)


def test_softplus_does_not_overflow() -> None:
    found = run("Softplus", {"x": np.array([-1e4, 0.0, 1.0, 1e4], dtype=np.float32)})
    np.testing.assert_allclose(found, [0.0, np.log(2), np.log1p(np.e), 1e4], rtol=1e-15)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_neighbouring_channels_are_summed_in_every_channel(size: int) -> None:
    wide, low, high = X.astype(np.float64), (size - 1) // 2, size // 2
    padded = np.pad(wide**2, [(0, 0), (low, high), (0, 0), (0, 0)])
    sums = sum(padded[:, at : at + 4] for at in range(size))
    found = run("LRN", {"x": X}, size=size, alpha=0.5, beta=0.5, bias=2.0)
    np.testing.assert_allclose(found, wide / np.sqrt(2 + 0.5 / size * sums), rtol=1e-14)


@pytest.mark.parametrize(("power", "order"), [(1, 1), (2, 2)])
def test_a_norm_is_that_of_magnitudes(power: int, order: int) -> None:
    wide = X.astype(np.float64)
    expected = wide / np.linalg.norm(wide, ord=order, axis=1, keepdims=True)
    np.testing.assert_allclose(run("LpNormalization", {"x": X}, axis=1, p=power), expected, rtol=1e-14)
    assert not run("LpNormalization", {"x": X * 0}, p=power).any()
