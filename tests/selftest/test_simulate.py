"""Simulated devices against the reference evaluator: the same in float64, and as far off as their format elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from selftest.nodes import FLOAT64, baseline, draw, feeds, load, one_node

from conformance.numerics.modes import PrecisionMode, native
from conformance.selftest.arithmetic import ORDERS
from conformance.selftest.simulate import OPERATORS, Simulated, as_stored, run_device

CASES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("MatMul", [draw(2, 3, 5), draw(5, 4)], {}),
    ("MatMul", [draw(5), draw(5, 4)], {}),
    ("MatMul", [draw(3, 5), draw(5)], {}),
    ("Gemm", [draw(5, 3), draw(4, 5), draw(4)], {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}),
    ("Gemm", [draw(3, 5), draw(5, 4)], {}),
    ("Conv", [draw(2, 4, 9, 8), draw(6, 2, 3, 2), draw(6)], {"group": 2, "pads": [1, 0, 2, 1], "strides": [2, 1]}),
    ("Conv", [draw(1, 2, 11), draw(3, 2, 3)], {"dilations": [2], "auto_pad": "SAME_LOWER"}),
    ("Conv", [draw(1, 2, 11), draw(3, 2, 4)], {"strides": [3], "auto_pad": "SAME_UPPER"}),
    ("ConvTranspose", [draw(2, 4, 5, 4), draw(4, 3, 3, 2), draw(3)], {"strides": [2, 3], "pads": [1, 0, 1, 1]}),
    ("ConvTranspose", [draw(1, 3, 4), draw(3, 2, 2)], {"strides": [3], "output_padding": [1], "dilations": [2]}),
    ("ConvTranspose", [draw(1, 3, 4), draw(3, 2, 1)], {"pads": [1, 1]}),
    ("ReduceMean", [draw(2, 3, 4), np.array([-1, 0])], {"keepdims": 0}),
    ("ReduceSum", [draw(2, 3, 4)], {}),
    ("ReduceL1", [draw(2, 3), np.array([1])], {}),
    ("ReduceL2", [draw(2, 3), np.array([1])], {}),
    ("ReduceSumSquare", [draw(2, 3), np.array([0])], {}),
    ("Softmax", [draw(2, 3, 4)], {"axis": 1}),
    ("LayerNormalization", [draw(2, 3, 4), draw(3, 4), draw(3, 4)], {"axis": 1}),
    ("BatchNormalization", [draw(2, 3, 4), draw(3), draw(3), draw(3), np.abs(draw(3))], {}),
    ("AveragePool", [draw(1, 2, 6, 6)], {"kernel_shape": [3, 2], "pads": [1, 0, 1, 0], "strides": [2, 1]}),
    ("AveragePool", [draw(1, 2, 6)], {"kernel_shape": [3], "pads": [1, 1], "count_include_pad": 1}),
    ("GlobalAveragePool", [draw(2, 3, 4, 5)], {}),
]


def test_every_operator_is_tried() -> None:
    assert {op for op, _, _ in CASES} == set(OPERATORS)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("op", "inputs", "attributes"), CASES, ids=[f"{at}-{op}" for at, (op, _, _) in enumerate(CASES)]
)
def test_in_float64_it_is_the_evaluator(op: str, inputs: list[Any], attributes: dict[str, Any], order: Any) -> None:
    interpreter = load(one_node(op, inputs, **attributes))
    wanted = interpreter.run(feeds(inputs))["y0"]
    found = run_device(interpreter, Simulated(FLOAT64, order), feeds(inputs), {"y0": "float64"})["y0"]
    assert found.shape == wanted.shape
    assert np.allclose(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
def test_errors_are_those_of_the_format(kind: str) -> None:
    inputs = [draw(16, 64), draw(64, 16, seed=1)]
    interpreter = load(one_node("MatMul", inputs))
    wanted = interpreter.run(feeds(inputs))["y0"]
    mode = native(kind)
    found = run_device(interpreter, Simulated(mode), feeds(inputs), {"y0": "float64"})["y0"]
    error = np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2))
    assert 0.1 * mode.operands.roundoff < error < 4 * mode.operands.roundoff


def test_tf32_narrows_what_contractions_read_and_nothing_else() -> None:
    device = Simulated(PrecisionMode(input="tf32"))
    value = np.array([1 + 2.0**-20])
    assert device.enter({"x": value})["x"] == value
    added = run_device(load(one_node("Add", [draw(4), draw(4)])), device, feeds([draw(4), draw(4)]), {"y0": "float32"})
    assert np.array_equal(added["y0"], draw(4) + draw(4))
    assert (
        baseline(
            "MatMul", [np.full((1, 1), 1 + 2.0**-20, np.float32), np.ones((1, 1), np.float32)], mode=device.mode
        ).outputs["y0"]
        == 1
    )


def test_groups_of_a_transposed_convolution_are_convolutions_side_by_side() -> None:
    x, w = draw(1, 4, 6), draw(4, 2, 3)
    whole = baseline("ConvTranspose", [x, w], group=2, pads=[1, 2]).outputs["y0"]
    parts = [
        baseline("ConvTranspose", [x[:, at], w[at]], pads=[1, 2]).outputs["y0"] for at in (slice(0, 2), slice(2, 4))
    ]
    assert np.array_equal(whole, np.concatenate(parts, axis=1))


def test_flushing_devices_flush() -> None:
    tiny = np.array([1e-40, -1e-40, 1.0], np.float32)
    found = baseline("Identity", [tiny], mode=PrecisionMode(subnormals="flushed")).outputs["y0"]
    assert found.tolist() == [0.0, -0.0, 1.0]
    assert np.signbit(found[1])


def test_integers_go_through() -> None:
    given = [np.array([2**53 + 1], np.int64), np.array([1], np.int64)]
    assert baseline("Add", given, kind="int64").outputs["y0"].tolist() == [2**53 + 2]


def test_outputs_come_in_the_type_of_the_graph() -> None:
    assert as_stored(np.array([1 / 3]), "bfloat16").dtype.name == "bfloat16"
    assert as_stored(np.array([1e6]), "float16")[0] == np.inf
    assert as_stored(np.array([3]), "float32").dtype == np.int64


def test_numbers_become_tensors() -> None:
    assert baseline("Sin", [np.asarray(0.5, np.float32)]).outputs["y0"].shape == ()
