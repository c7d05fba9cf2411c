"""Perturbed runs: how far they scatter is what the declared precision explains, and devices of that precision lie inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from conformance.errors import HarnessError
from conformance.numerics.modes import PrecisionMode
from conformance.numerics.spread import judge_spread
from conformance.reference.evaluate import widen
from conformance.reference.interpreter import Interpreter
from conformance.reference.montecarlo.runs import perturbed_runs, perturbed_sequence, spreads

FLOAT32 = PrecisionMode()
BFLOAT16 = PrecisionMode(input="bfloat16", output="bfloat16")
TF32 = PrecisionMode(input="tf32")


def _draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _model(
    op: str,
    inputs: dict[str, np.ndarray],
    weights: dict[str, np.ndarray] | None = None,
    *,
    opset: int = 22,
    outputs: int = 1,
    **attributes: Any,
) -> onnx.ModelProto:
    weights = weights or {}
    names = [f"y{at}" for at in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(op, [*inputs, *weights], names, **attributes)],
        "one",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for n, v in inputs.items()
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    return widen(model.SerializeToString())


def _scatter(
    op: str, *arrays: np.ndarray, precision: PrecisionMode = FLOAT32, **given: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return the reference and the deviations of the runs from it, for an operator with all its inputs given."""
    inputs = {f"x{at}": value for at, value in enumerate(arrays)}
    interpreter = Interpreter(_model(op, inputs, **given))
    reference = interpreter.run(inputs)["y0"]
    return reference, perturbed_runs(interpreter, inputs, precision, 1)["y0"] - reference


@pytest.mark.parametrize("op", ["Relu", "Transpose", "MaxPool", "Identity", "Neg", "Flatten"])
def test_data_movement_adds_nothing(op: str) -> None:
    attributes: dict[str, Any] = {"kernel_shape": [2, 2]} if op == "MaxPool" else {}
    _, deviations = _scatter(op, _draw(2, 3, 4, 4), **attributes)

    assert not deviations.any()


@pytest.mark.parametrize("mode", [FLOAT32, BFLOAT16], ids=["float32", "bfloat16"])
def test_an_output_moves_by_its_roundoff_at_most(mode: PrecisionMode) -> None:
    x = [_draw(64, 8, seed=seed).astype(ml_dtypes.bfloat16).astype(np.float32) for seed in (0, 1)]
    reference, deviations = _scatter("Mul", *x, precision=mode)
    share = np.abs(deviations) / np.abs(reference) / mode.results.roundoff

    assert 0.95 < share.max() <= 1.01
    assert abs(float(deviations.mean() / np.abs(deviations).mean())) < 0.05


def test_inputs_are_narrowed_only_where_the_format_does_not_hold_them() -> None:
    held = _draw(64).astype(ml_dtypes.bfloat16).astype(np.float32)
    _, none = _scatter("Relu", held, precision=BFLOAT16)
    _, some = _scatter("Relu", np.abs(_draw(64)), precision=BFLOAT16)
    _, kept = _scatter("Relu", np.abs(_draw(64)), precision=TF32)

    assert not none.any()
    assert some.any()
    assert not kept.any()  # a device that narrows operands only stores what it is given


@pytest.mark.parametrize("length", [16, 256])
def test_a_contraction_scatters_with_its_length(length: int) -> None:
    a, b = _draw(40, length), _draw(length, 30, seed=1)
    _, deviations = _scatter("MatMul", a, b)
    squares = np.square(a.astype(np.float64)) @ np.square(b.astype(np.float64))
    product = a.astype(np.float64) @ b
    wanted = 2.0**-24 * np.sqrt(length / 6 * squares + length / 9 * product**2 + product**2 / 3)

    assert float(np.sqrt(np.square(deviations / wanted).mean())) == pytest.approx(1, abs=0.05)


def test_operands_of_tf32_are_narrowed_at_each_contraction() -> None:
    a, b = _draw(40, 64), _draw(64, 30, seed=1)
    _, wide = _scatter("MatMul", a, b)
    _, narrow = _scatter("MatMul", a, b, precision=TF32)

    assert np.abs(narrow).mean() > 500 * np.abs(wide).mean()


def test_truncated_accumulation_leans_toward_zero() -> None:
    a, b = np.abs(_draw(40, 64)), np.abs(_draw(64, 30, seed=1))
    reference, nearest = _scatter("MatMul", a, b)
    _, truncated = _scatter("MatMul", a, b, precision=PrecisionMode(accumulate_rounding="toward-zero"))

    assert truncated.mean() < -10 * abs(float(nearest.mean()))
    assert np.abs(truncated / reference).max() < 2 * 64 * 2.0**-24


def test_a_long_sum_stagnates_and_a_chain_does_not() -> None:
    x = np.full((3, 4096), 1.0, np.float32)
    half = PrecisionMode(input="float16", accumulate="float16", output="float16")
    chained = PrecisionMode(input="float16", accumulate="float16", output="float16", accumulate_chain=64)
    _, long = _scatter("ReduceSum", x, np.array([1]), precision=half)
    _, short = _scatter("ReduceSum", x, np.array([1]), precision=chained)

    assert long.mean() < -1000  # 2048 + 1 is 2048 in float16
    assert np.abs(short).max() < 200


@pytest.mark.parametrize(
    ("op", "arrays", "attributes"),
    [
        ("Gemm", [_draw(6, 8), _draw(8, 5), _draw(5)], {"alpha": 0.5, "beta": 2.0}),
        ("Conv", [_draw(2, 4, 6, 6), _draw(4, 2, 3, 3), _draw(4)], {"group": 2, "pads": [1, 1, 1, 1]}),
        ("ConvTranspose", [_draw(2, 4, 5, 5), _draw(4, 3, 2, 2)], {"strides": [2, 2]}),
        ("Einsum", [_draw(3, 4, 5), _draw(3, 5, 6)], {"equation": "bij,bjk->bik"}),
        ("ReduceMean", [_draw(4, 30), np.array([1])], {}),
        ("ReduceL2", [_draw(4, 30), np.array([1])], {"keepdims": 0}),
        ("ReduceLogSumExp", [_draw(4, 30), np.array([-1])], {}),
        ("ReduceProd", [_draw(4, 6), np.array([1])], {}),
        ("CumSum", [_draw(4, 30), np.array(1)], {}),
        ("GlobalAveragePool", [_draw(2, 3, 5, 5)], {}),
        ("AveragePool", [_draw(2, 3, 6, 6)], {"kernel_shape": [3, 3]}),
        ("AveragePool", [_draw(2, 3, 6, 6)], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
        ("Softmax", [_draw(4, 12)], {}),
        ("LogSoftmax", [_draw(4, 12)], {"axis": 0}),
        ("LayerNormalization", [_draw(4, 24), _draw(24), _draw(24)], {}),
        ("InstanceNormalization", [_draw(2, 3, 20), _draw(3), _draw(3)], {}),
        ("GroupNormalization", [_draw(2, 4, 20), _draw(4), _draw(4)], {"num_groups": 2}),
        ("BatchNormalization", [_draw(2, 3, 8), _draw(3), _draw(3), _draw(3), np.abs(_draw(3)) + 0.1], {}),
        ("HardSwish", [_draw(40)], {}),
        ("HardSigmoid", [_draw(40)], {"alpha": 0.3}),
        ("LeakyRelu", [_draw(40)], {}),
        ("Sigmoid", [_draw(40)], {}),
        ("Tanh", [_draw(40)], {}),
        ("Pow", [np.abs(_draw(40)), _draw(40)], {}),
        (
            "Resize",
            [_draw(1, 2, 4, 4), np.zeros(0, np.float32), np.array([1, 1, 2, 2], np.float32)],
            {"mode": "linear"},
        ),
        ("GRU", [_draw(3, 2, 4), _draw(1, 15, 4), _draw(1, 15, 5), _draw(1, 30)], {"hidden_size": 5}),
        ("LSTM", [_draw(3, 2, 4), _draw(1, 20, 4), _draw(1, 20, 5), _draw(1, 40)], {"hidden_size": 5}),
        ("RNN", [_draw(3, 2, 4), _draw(1, 5, 4), _draw(1, 5, 5), _draw(1, 10)], {"hidden_size": 5}),
        ("Mish", [_draw(40)], {}),
        ("Gelu", [_draw(40)], {}),
        ("Elu", [_draw(40)], {}),
        ("Attention", [_draw(1, 2, 3, 8), _draw(1, 2, 5, 8), _draw(1, 2, 5, 8)], {"opset": 24}),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_every_kind_of_operator_scatters_around_its_reference(
    op: str, arrays: list[np.ndarray], attributes: dict[str, Any]
) -> None:
    """The runs are right up to rounding: near enough that a rule which computes something else is noticed."""
    reference, deviations = _scatter(op, *arrays, **attributes)
    largest = float(np.abs(reference).max())

    assert deviations.shape == (24, *reference.shape)
    assert deviations.any()
    assert float(np.abs(deviations).max()) < 2e-5 * largest
    assert not np.array_equal(deviations[2], deviations[3])


def test_both_directions_of_a_recurrent_operator_agree_with_the_reference() -> None:
    weights = [_draw(2, 15, 4), _draw(2, 15, 5), _draw(2, 30)]
    given: dict[str, Any] = {"hidden_size": 5, "direction": "bidirectional", "linear_before_reset": 1, "outputs": 2}
    reference, deviations = _scatter("GRU", _draw(3, 2, 4), *weights, **given)

    assert 0 < float(np.abs(deviations).max()) < 1e-5 * float(np.abs(reference).max())


def test_infinities_stay() -> None:
    x = np.array([1.0, -np.inf, np.inf, 2.0], np.float32)
    interpreter = Interpreter(_model("Add", {"a": x, "b": np.ones(4, np.float32)}))
    runs = perturbed_runs(interpreter, {"a": x, "b": np.ones(4, np.float32)}, FLOAT32, 1)["y0"]

    assert (runs[:, 1] == -np.inf).all()
    assert (runs[:, 2] == np.inf).all()


def test_runs_come_from_the_seed_alone() -> None:
    x = {"a": _draw(8), "b": _draw(8, seed=1)}
    interpreter = Interpreter(_model("Mul", x))
    first = perturbed_runs(interpreter, x, FLOAT32, 1, runs=3)["y0"]

    assert np.array_equal(first, perturbed_runs(interpreter, lambda run: x, FLOAT32, 1, runs=3)["y0"])
    assert not np.array_equal(first, perturbed_runs(interpreter, x, FLOAT32, 2, runs=3)["y0"])


def test_outputs_whose_shape_depends_on_rounding_have_no_spread() -> None:
    x = np.array([1.0, 1.0, 2.0], np.float32)
    interpreter = Interpreter(_model("NonZero", {"x": x}))

    with pytest.raises(HarnessError, match="differ in the shape"):
        perturbed_runs(interpreter, lambda run: {"x": x[: 1 + run % 2]}, FLOAT32, 1)


def _as_bfloat16(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    narrow = [one.astype(ml_dtypes.bfloat16).astype(np.float32) for one in (x, w)]
    return (narrow[0] @ narrow[1]).astype(ml_dtypes.bfloat16).astype(np.float32)


@pytest.mark.parametrize(
    ("mode", "device", "is_right"),
    [
        (FLOAT32, lambda x, w: x @ w, True),
        (FLOAT32, _as_bfloat16, False),
        (FLOAT32, lambda x, w: x[:, 1:] @ w[1:], False),
        (FLOAT32, lambda x, w: (x @ w).astype(np.float16).astype(np.float32), False),
        (BFLOAT16, _as_bfloat16, True),
        (BFLOAT16, lambda x, w: 1.02 * (x @ w), False),
    ],
)
def test_a_device_is_judged_by_the_spread_of_its_model(
    mode: PrecisionMode, device: Callable[[np.ndarray, np.ndarray], np.ndarray], is_right: bool
) -> None:
    x, w = _draw(32, 96), _draw(96, 40, seed=1)
    made = spreads(_model("MatMul", {"x": x}, {"w": w}), {"x": x}, mode, 5, {"y0": "float32"})

    assert judge_spread(made["y0"], device(x, w).astype(np.float32), "y0").ok is is_right


def test_caches_go_from_request_to_request_in_each_run() -> None:
    graph = helper.make_graph(
        [
            helper.make_node("Concat", ["past.0", "x"], ["present.0"], axis=0),
            helper.make_node("ReduceSum", ["present.0"], ["y"], keepdims=0),
            helper.make_node("Mul", ["present.0", "half"], ["present.1"]),
        ],
        "cached",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in ("past.0", "x", "past.1")],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "present.0", "present.1")],
        [numpy_helper.from_array(np.array(0.3, np.float32), "half")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)])
    interpreter = Interpreter(widen(model.SerializeToString()))
    past = {"past.0": _draw(2), "past.1": _draw(2)}
    steps = [{"x": _draw(1, seed=at)} for at in range(3)]
    clean, runs = perturbed_sequence(
        interpreter, steps, past, lambda name: name.replace("present.", "past."), FLOAT32, 1, runs=5
    )

    assert [one["present.0"].shape for one in clean] == [(3,), (4,), (5,)]
    assert [one["present.0"].shape for one in runs] == [(5, 3), (5, 4), (5, 5)]
    np.testing.assert_allclose(runs[2]["y"], np.broadcast_to(clean[2]["y"], 5), rtol=1e-5)
    assert np.unique(runs[2]["y"]).size == 5
