"""ONNX Runtime behind the ONNX Backend API, with one operator computed wrongly inside every model."""

from __future__ import annotations

from typing import Any

import onnx
import onnxruntime

__version__ = onnxruntime.__version__
WRONG = {"Erf": "Tanh", "GlobalAveragePool": "GlobalMaxPool"}
"""What is computed as something else."""


class Prepared:
    """What `prepare` returns."""

    def __init__(self, model: Any) -> None:
        for node in model.graph.node:
            node.op_type = WRONG.get(node.op_type, node.op_type)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def run(self, inputs: list[Any], **_: Any) -> tuple[Any, ...]:
        """Return the outputs for inputs in the order of the graph."""
        names = [one.name for one in self._session.get_inputs()]
        return tuple(self._session.run(None, dict(zip(names, inputs, strict=False))))


def prepare(model: Any, device: str = "CPU", **_: Any) -> Prepared:
    """Return a prepared model."""
    return Prepared(onnx.ModelProto.FromString(model.SerializeToString()))


def supports_device(device: str) -> bool:
    """Only the host's CPU."""
    return device == "CPU"
