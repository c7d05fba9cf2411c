"""OpenVINO by its own API behind the ONNX Backend API: a runtime without onnxruntime.

Keyword arguments of `prepare` go to `compile_model` as properties; left alone, OpenVINO chooses the precision.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import openvino

__version__ = openvino.__version__.split("-", maxsplit=1)[0]
_HELD = {"bf16": ml_dtypes.bfloat16, "f8e4m3": ml_dtypes.float8_e4m3fn, "f8e5m2": ml_dtypes.float8_e5m2}


class Prepared:
    """What `prepare` returns."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled

    def run(self, inputs: list[Any], **_: Any) -> tuple[Any, ...]:
        """Return the outputs for inputs in the order of the graph."""
        wanted = len(self._compiled.inputs)
        if len(inputs) != wanted:
            raise ValueError(f"{len(inputs)} inputs were given, the model has {wanted}")
        request = self._compiled.create_infer_request()  # one serves one request at a time: threads need their own
        for port, value in zip(self._compiled.inputs, inputs, strict=True):
            request.set_tensor(port, _tensor(np.ascontiguousarray(value).reshape(value.shape)))
        request.infer()
        return tuple(_array(request.get_tensor(port)) for port in self._compiled.outputs)


def prepare(model: Any, device: str = "CPU", **properties: Any) -> Prepared:
    """Return a compiled model."""
    core = openvino.Core()
    return Prepared(core.compile_model(core.read_model(model.SerializeToString()), device, properties))


def supports_device(device: str) -> bool:
    """Return whether OpenVINO offers the device on this host."""
    return device in openvino.Core().available_devices


def _tensor(value: Any) -> Any:
    for name, dtype in _HELD.items():
        if value.dtype == dtype:
            return openvino.Tensor(
                value.view(np.uint8 if value.itemsize == 1 else np.uint16), value.shape, getattr(openvino.Type, name)
            )
    return openvino.Tensor(value)


def _array(tensor: Any) -> Any:
    name = tensor.element_type.get_type_name()
    data = np.array(tensor.data)
    return data.view(_HELD[name]) if name in _HELD and data.dtype != _HELD[name] else data
