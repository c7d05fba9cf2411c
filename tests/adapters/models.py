"""Small models of one or two nodes, values of every type, and the CPU provider to run them on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper

from conformance.adapters.runtime import onnxruntime as adapter
from conformance.tensors import DTYPES, ONNX_TYPE_OF

CPU = adapter.HOST_PROVIDER


def opened(folder: Path, **runtime: Any) -> adapter.Adapter:
    made = adapter.Adapter(adapter.Adapter.read_options({"provider": CPU} | runtime), folder)
    made.open()
    return made


def serialised(nodes: list[Any], inputs: list[Any], outputs: list[Any], opset: int = 21) -> bytes:
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return bytes(model.SerializeToString())


def tensor(name: str, kind: str, shape: Any) -> Any:
    return helper.make_tensor_value_info(name, ONNX_TYPE_OF[kind], shape)


def copying(kind: str, shape: Any) -> bytes:
    node = helper.make_node("Identity", ["x"], ["y"])
    return serialised([node], [tensor("x", kind, shape)], [tensor("y", kind, shape)])


def casting(source: str, target: str, shape: Any) -> bytes:
    node = helper.make_node("Cast", ["x"], ["y"], to=ONNX_TYPE_OF[target])
    opset = 23 if "float4e2m1" in (source, target) else 25
    return serialised([node], [tensor("x", source, shape)], [tensor("y", target, shape)], opset)


def sample(kind: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    count = int(np.prod(shape))
    if kind == "bool":
        return (np.arange(count) % 2 == 0).reshape(shape)
    if kind == "string":
        return np.array([f"ü{n}" for n in range(count)], dtype=object).reshape(shape)
    return (np.arange(count) % 7).astype(np.float32).astype(DTYPES[kind]).reshape(shape)


def two_nodes() -> bytes:
    nodes = [helper.make_node("MatMul", ["a", "b"], ["t"]), helper.make_node("Relu", ["t"], ["y"])]
    return serialised(nodes, [tensor(n, "float32", [2, 2]) for n in "ab"], [tensor("y", "float32", [2, 2])])


FEEDS: dict[str, Any] = {"a": np.eye(2, dtype=np.float32), "b": np.eye(2, dtype=np.float32)}
