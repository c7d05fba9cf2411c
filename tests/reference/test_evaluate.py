"""The float64 evaluator: it widens everything, agrees with itself in float32, and refuses to pass float32 for more."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from conformance.errors import HarnessError
from conformance.reference.evaluate import evaluate, widen
from conformance.reference.probes import draw_bits


def _drawn(*shape: int, salt: int = 1) -> np.ndarray:
    """Values with all 24 bits, so that their products have more than float32 holds."""
    return (draw_bits(shape, salt) / 2.0**63 - 1).astype(np.float32)


def _model(
    node: onnx.NodeProto, inputs: dict[str, tuple], held: dict[str, np.ndarray], kind: int = TensorProto.FLOAT
) -> bytes:
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


CONVOLUTIONS = {
    "plain": ((2, 3, 9, 8), (4, 3, 3, 3), {}),
    "strided and padded": ((2, 3, 9, 8), (4, 3, 3, 3), {"strides": [2, 1], "pads": [1, 0, 1, 2]}),
    "dilated": ((1, 2, 11, 11), (2, 2, 3, 3), {"dilations": [2, 3]}),
    "depthwise": ((2, 6, 7, 7), (6, 1, 3, 3), {"group": 6, "pads": [1, 1, 1, 1]}),
    "grouped": ((2, 6, 7, 7), (4, 3, 3, 3), {"group": 2}),
    "same upper": ((1, 2, 7, 8), (3, 2, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same lower": ((1, 2, 7, 8), (3, 2, 2, 2), {"auto_pad": "SAME_LOWER"}),
    "one axis": ((2, 3, 20), (4, 3, 5), {"strides": [2]}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution_agrees_with_a_runtime(name: str) -> None:
    shape, kernel, attributes = CONVOLUTIONS[name]
    held = {"w": _drawn(*kernel, salt=2), "b": _drawn(kernel[0], salt=3)}
    model = _model(helper.make_node("Conv", ["x", "w", "b"], ["y"], **attributes), {"x": shape}, held)
    x = _drawn(*shape)

    got = evaluate(widen(model), {"x": x})["y"]
    want = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]

    assert got.dtype == np.float64
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


def test_erf_is_of_double_accuracy() -> None:
    x = _drawn(64)

    got = evaluate(widen(_model(helper.make_node("Erf", ["x"], ["y"]), {"x": (64,)}, {})), {"x": x})["y"]

    assert got.tolist() == [math.erf(one) for one in x.astype(np.float64).tolist()]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_narrow_weights_and_inputs_keep_their_values(dtype: type) -> None:
    w, x = _drawn(64, 64).astype(dtype), _drawn(64, 64, salt=5).astype(dtype)
    kind = TensorProto.FLOAT16 if dtype is np.float16 else TensorProto.BFLOAT16

    got = evaluate(
        widen(_model(helper.make_node("MatMul", ["x", "w"], ["y"]), {"x": (64, 64)}, {"w": w}, kind)), {"x": x}
    )

    np.testing.assert_array_equal(got["y"], x.astype(np.float64) @ w.astype(np.float64))


def test_casts_and_constants_are_widened_too() -> None:
    nodes = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.full(16, 1 / 3, np.float32))),
        helper.make_node("Cast", ["x"], ["d"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["d"], ["e"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["e", "c"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (16,))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (16,))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    x = _drawn(16, salt=7)

    assert (
        evaluate(widen(model), {"x": x})["y"].tolist()
        == (x.astype(np.float64) * np.float64(np.float32(1 / 3))).tolist()
    )


def test_what_holds_nothing_beyond_float32_is_no_reference() -> None:
    model = widen(_model(helper.make_node("Relu", ["x"], ["y"]), {"x": (32,)}, {}))

    with pytest.raises(HarnessError, match="nothing beyond float32"):
        evaluate(model, {"x": np.ones(32, np.float32)})


def test_a_model_with_functions_of_its_own_is_refused() -> None:
    proto = onnx.load_model_from_string(_model(helper.make_node("Relu", ["x"], ["y"]), {"x": (3,)}, {}))
    node = helper.make_node("Relu", ["a"], ["b"])
    proto.functions.append(helper.make_function("d", "F", ["a"], ["b"], [node], [helper.make_opsetid("", 17)]))

    with pytest.raises(HarnessError, match="cannot be widened"):
        widen(bytes(proto.SerializeToString()))


def test_what_is_not_finite_is_no_reference() -> None:
    model = widen(_model(helper.make_node("Log", ["x"], ["y"]), {"x": (4,)}, {}))

    with np.errstate(divide="ignore"), pytest.raises(HarnessError, match="not finite"):
        evaluate(model, {"x": np.zeros(4, np.float32)})
