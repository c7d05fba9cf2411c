"""The peer: ONNX's own backend tests on onnxruntime's CPU provider, as a module for pytest.

    python -m pytest -q -p no:cacheprovider --tb=no benchmarks/_onnx_backend_pytest.py

Cases that the provider does not support fail here, so exit code 1 is what is to be expected. `BENCH_THREADS` in the environment
is intra_op_num_threads; without it, the runtime's own choice.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime as ort
from onnx.backend.base import Backend, BackendRep
from onnx.backend.test import BackendTest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx import ModelProto


class Prepared(BackendRep):
    """A session behind ONNX's Backend API."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._inputs = [info.name for info in session.get_inputs()]

    def run(self, inputs: Sequence[Any], **_: Any) -> tuple[Any, ...]:
        """Return the outputs in graph order."""
        feeds = [np.asarray(one) if isinstance(one, np.generic) else one for one in inputs]
        return tuple(self._session.run(None, dict(zip(self._inputs, feeds, strict=False))))


class CpuProvider(Backend):
    """The least that `onnx.backend.test` asks of a backend."""

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **_: Any) -> Prepared:  # noqa: ARG003
        """Make a session."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = int(os.environ.get("BENCH_THREADS", "0"))
        return Prepared(ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]))

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Return whether the device is the CPU."""
        return device == "CPU"


ort.set_default_logger_severity(4)
globals().update(BackendTest(CpuProvider, __name__).test_cases)
