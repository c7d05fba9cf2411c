"""Shows that OpenVINO rounds half of what it should round up to bfloat16 down, and folds weights by it. See openvino.md."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import openvino
from onnx import TensorProto, helper

FLOAT, BFLOAT16 = TensorProto.FLOAT, TensorProto.BFLOAT16
COUNT = 64


def run(nodes: list[Any], inputs: dict[str, Any], weights: dict[str, Any], given: int) -> Any:
    """Return the one output, bfloat16, of a graph as float32."""
    ends = [helper.make_tensor_value_info(name, given, value.shape) for name, value in inputs.items()]
    held = [helper.make_tensor(name, BFLOAT16, one.shape, one.tobytes(), raw=True) for name, one in weights.items()]
    result = helper.make_tensor_value_info("y", BFLOAT16, None)
    graph = helper.make_graph(nodes, "graph", ends, [result], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8).SerializeToString()
    core = openvino.Core()
    request = core.compile_model(
        core.read_model(model, b""), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    ).create_infer_request()
    for name, value in inputs.items():
        is_narrow = value.dtype == ml_dtypes.bfloat16
        tensor = (
            openvino.Tensor(value.view(np.uint16), value.shape, openvino.Type.bf16)
            if is_narrow
            else openvino.Tensor(value)
        )
        request.set_tensor(name, tensor)
    request.infer()
    found = np.array(request.get_output_tensor(0).data)
    return (found if found.dtype == ml_dtypes.bfloat16 else found.view(ml_dtypes.bfloat16)).astype(np.float32)


def nearest(values: Any) -> Any:
    """Round to nearest, ties to even."""
    return values.astype(ml_dtypes.bfloat16).astype(np.float32)


def cut(values: Any) -> Any:
    """Round toward zero."""
    return (values.view(np.uint32) & 0xFFFF0000).view(np.float32)


def seen(values: Any) -> Any:
    """Round as is seen: half a step is added before cutting where the last bit kept is 1, and nothing where it is 0."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return cut((bits + ((bits & 0x10000) >> 1)).view(np.float32))


def tell(name: str, found: Any, exact: Any) -> None:
    """Print how many elements each rounding explains."""
    shares = [f"{np.mean(found == rule(exact)):6.1%} {rule.__name__}" for rule in (nearest, cut, seen)]
    print(
        f"{name:30} {', '.join(shares)}; mean error toward zero {np.mean((np.abs(exact) - np.abs(found)) / np.spacing(np.abs(exact)) / 2**16):.2f} steps"
    )


random = np.random.default_rng(1)
wide = random.standard_normal((COUNT, COUNT)).astype(np.float32)
a, b = (random.standard_normal((COUNT, COUNT)).astype(ml_dtypes.bfloat16) for _ in range(2))
tell("Cast", run([helper.make_node("Cast", ["x"], ["y"], to=BFLOAT16)], {"x": wide}, {}, FLOAT), wide)
for operator in ("Add", "Mul"):
    exact = (np.add if operator == "Add" else np.multiply)(a.astype(np.float32), b.astype(np.float32))
    tell(operator, run([helper.make_node(operator, ["x", "z"], ["y"])], {"x": a, "z": b}, {}, BFLOAT16), exact)

# A convolution by one pixel over the unit matrix gives its weights back: those that a BatchNormalization was folded into.
unit = np.eye(COUNT, dtype=np.float32).astype(ml_dtypes.bfloat16).reshape(COUNT, COUNT, 1, 1)
gain, variance = (random.uniform(0.5, 2, COUNT).astype(ml_dtypes.bfloat16) for _ in range(2))
parts = {"w": a.reshape(COUNT, COUNT, 1, 1), "g": gain, "z": np.zeros(COUNT, ml_dtypes.bfloat16), "v": variance}
nodes = [
    helper.make_node("Conv", ["x", "w"], ["c"]),
    helper.make_node("BatchNormalization", ["c", "g", "z", "z", "v"], ["y"]),
]
folded = run(nodes, {"x": unit}, parts, BFLOAT16).reshape(COUNT, COUNT).T
root = seen(np.sqrt(seen(variance.astype(np.float32) + np.float32(1e-5))))
scale = seen(gain.astype(np.float32) / root)[:, None]
tell("weights folded step by step", folded, a.astype(np.float32) * scale)
