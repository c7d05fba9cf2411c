"""Models of one node for the tests of this folder, and how they are run: by the reference and by ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper

from conformance.reference import wide_operators
from conformance.reference.contrib.lowering import OPERATORS
from conformance.reference.evaluate import widen
from conformance.reference.interpreter import Interpreter

if TYPE_CHECKING:
    from conformance.tensors import Array

Inputs = dict[str, "Array | None"]


def build(op: str, inputs: Inputs, outputs: tuple[str, ...] = ("output",), **attributes: Any) -> bytes:
    """Return a model of one node; None among the inputs is one left out."""
    domain = "" if op == "SimplifiedLayerNormalization" else "com.microsoft"
    names = ["" if value is None else name for name, value in inputs.items()]
    while names and not names[-1]:
        names.pop()
    node = helper.make_node(op, names, outputs, domain=domain, **attributes)
    given = {name: value for name, value in inputs.items() if value is not None}
    first = next(value for value in given.values() if value.dtype.kind == "f" or value.dtype == np.int8)
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in given.items()
    ]
    kind = helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(first.dtype), None)
    graph = helper.make_graph([node], "one", infos, [helper.make_value_info(name, kind) for name in outputs if name])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return bytes(helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString())


def fed(inputs: Inputs) -> dict[str, Array]:
    """Return the inputs that are there."""
    return {name: value for name, value in inputs.items() if value is not None}


def reference(model: bytes, inputs: dict[str, Array]) -> dict[str, Array]:
    """Return the outputs in float64."""
    return Interpreter(widen(model), (*wide_operators.OPERATORS, *OPERATORS)).run(inputs)


def on_runtime(model: bytes, inputs: dict[str, Array]) -> dict[str, Array]:
    """Return what ONNX Runtime's CPU provider gives."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def outputs_of(model: bytes) -> list[str]:
    """Return the names of the graph outputs."""
    return [one.name for one in onnx.load_model_from_string(model).graph.output]
