"""Models of one node for the tests of this folder."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from conformance.numerics.modes import PrecisionMode
from conformance.reference.evaluate import widen
from conformance.reference.interpreter import Interpreter
from conformance.reference.wide_operators import OPERATORS
from conformance.selftest.defects import DEFECTS
from conformance.selftest.injection import Baseline, Defective, Place
from conformance.selftest.simulate import Simulated
from conformance.tensors import ONNX_TYPE_OF, type_name

FLOAT64 = PrecisionMode(input="float64", accumulate="float64", output="float64")


def one_node(
    op: str, inputs: list[Any], outputs: int = 1, *, opset: int = 22, kind: str = "float32", **attributes: Any
) -> bytes:
    names = ["" if one is None else f"x{at}" for at, one in enumerate(inputs)]
    node = helper.make_node(op, names, [f"y{at}" for at in range(outputs)], **attributes)
    infos = [
        helper.make_tensor_value_info(name, ONNX_TYPE_OF[type_name(one)], one.shape)
        for name, one in zip(names, inputs, strict=True)
        if name
    ]
    given = [helper.make_tensor_value_info(f"y{at}", ONNX_TYPE_OF[kind], None) for at in range(outputs)]
    model = helper.make_model(
        helper.make_graph([node], "one", infos, given), opset_imports=[helper.make_opsetid("", opset)]
    )
    return bytes(model.SerializeToString())


def load(model: bytes) -> Interpreter:
    return Interpreter(widen(model), OPERATORS)


def feeds(inputs: list[Any]) -> dict[str, Any]:
    return {f"x{at}": one for at, one in enumerate(inputs) if one is not None}


def baseline(
    op: str, inputs: list[Any], *, kind: str = "float32", mode: PrecisionMode | None = None, **attributes: Any
) -> Baseline:
    interpreter = load(one_node(op, inputs, kind=kind, **attributes))
    return Baseline(interpreter, Simulated(mode or PrecisionMode()), feeds(inputs), {"y0": kind})


def with_defect(name: str, base: Baseline, place: Place = "all") -> Any:
    """Return the first output of a device with a defect; fails where the defect has no place in the model."""
    defect = next(one for one in DEFECTS if one.name == name)
    device = Defective(defect, base, place, 0)
    assert device.sites, f"{name} has no place in this model"
    return device.run()["y0"]


def draw(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def chain(operators: list[str], size: int = 8) -> bytes:
    """Return a model of unary operators one after another."""
    nodes = [helper.make_node(op, [f"t{at}"], [f"t{at + 1}"]) for at, op in enumerate(operators)]
    first, last = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [size]) for n in ("t0", f"t{len(operators)}"))
    graph = helper.make_graph(nodes, "chain", [first], [last])
    return bytes(
        onnx.ModelProto.SerializeToString(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)]))
    )
