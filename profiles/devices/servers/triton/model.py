"""A model of Triton's Python backend that serves an ONNX model through onnxruntime, on the CPU.

For Triton builds without the onnxruntime backend: this file is published as `1/model.py`, the ONNX model beside it. Needs
`onnxruntime` and `numpy` in the Python that the backend runs.
"""

from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as utils

TYPES = {
    "tensor(bool)": "TYPE_BOOL", "tensor(uint8)": "TYPE_UINT8", "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32", "tensor(uint64)": "TYPE_UINT64", "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16", "tensor(int32)": "TYPE_INT32", "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16", "tensor(float)": "TYPE_FP32", "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}  # fmt: skip


def open_session():
    """Return the session of the model that lies beside this file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = Path(__file__).with_name("model.onnx").read_bytes()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def describe(argument):
    """Return an input or output as the model's configuration has it."""
    if argument.type not in TYPES:
        raise ValueError(f"{argument.name} is {argument.type}, which the server cannot carry")
    dimensions = [dim if isinstance(dim, int) else -1 for dim in argument.shape]
    return {"name": argument.name, "data_type": TYPES[argument.type], "dims": dimensions}


def texts_of(array):
    """Return strings as onnxruntime takes them: the backend hands them over as UTF-8."""
    found = np.empty(array.shape, dtype=object)
    found.reshape(-1)[:] = [item.decode() for item in array.reshape(-1)]
    return found


class TritonPythonModel:
    """One ONNX model."""

    @staticmethod
    def auto_complete_config(config):
        """Say what the model takes and gives; what onnxruntime refuses is refused here, in its words."""
        session = open_session()
        config.set_max_batch_size(0)
        for argument in session.get_inputs():
            config.add_input(describe(argument))
        for argument in session.get_outputs():
            config.add_output(describe(argument))
        return config

    def initialize(self, _arguments):
        """Make the session."""
        self.session = open_session()
        self.inputs = [one.name for one in self.session.get_inputs()]
        self.outputs = [one.name for one in self.session.get_outputs()]
        self.texts = {one.name for one in self.session.get_inputs() if one.type == "tensor(string)"}

    def execute(self, requests):
        """Answer each request with every output of the model."""
        return [self.answer(request) for request in requests]

    def answer(self, request):
        """Run once."""
        try:
            feeds = {}
            for tensor in request.inputs():
                array = tensor.as_numpy()
                feeds[tensor.name()] = texts_of(array) if tensor.name() in self.texts else array
            results = self.session.run(self.outputs, feeds)
        except Exception as error:
            return utils.InferenceResponse(error=utils.TritonError(f"{type(error).__name__}: {error}"))
        tensors = [utils.Tensor(name, value) for name, value in zip(self.outputs, results, strict=True)]
        return utils.InferenceResponse(output_tensors=tensors)
