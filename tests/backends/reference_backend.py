"""ONNX's reference evaluator behind the ONNX Backend API: a runtime that this package has never heard of."""

from __future__ import annotations

from typing import Any

import onnx
from onnx.reference import ReferenceEvaluator

__version__ = onnx.__version__


class Prepared:
    """What `prepare` returns."""

    def __init__(self, model: Any) -> None:
        self._evaluator = ReferenceEvaluator(model)

    def run(self, inputs: list[Any], **_: Any) -> tuple[Any, ...]:
        """Return the outputs for inputs in the order of the graph."""
        names = self._evaluator.input_names
        return tuple(self._evaluator.run(None, dict(zip(names, inputs, strict=False))))


def prepare(model: Any, device: str = "CPU", **_: Any) -> Prepared:
    """Return a prepared model."""
    return Prepared(model)


def supports_device(device: str) -> bool:
    """Only the host's CPU."""
    return device == "CPU"
