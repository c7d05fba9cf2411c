"""A runtime class for MLServer that serves ONNX models through onnxruntime, on the CPU.

MLServer has none of its own. It imports this module from the folder of each model (`implementation: onnx_runtime.OnnxRuntime`),
so the file is published beside the model. Needs `mlserver` and `onnxruntime` in the server's environment.
"""

from pathlib import Path

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.errors import InferenceError, MLServerError
from mlserver.types import InferenceRequest, InferenceResponse, MetadataTensor, ResponseOutput

DATATYPES = {
    "tensor(bool)": "BOOL", "tensor(uint8)": "UINT8", "tensor(uint16)": "UINT16", "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64", "tensor(int8)": "INT8", "tensor(int16)": "INT16", "tensor(int32)": "INT32",
    "tensor(int64)": "INT64", "tensor(float16)": "FP16", "tensor(float)": "FP32", "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}  # fmt: skip
NUMPY = {
    "BOOL": np.bool_, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64, "INT8": np.int8,
    "INT16": np.int16, "INT32": np.int32, "INT64": np.int64, "FP16": np.float16, "FP32": np.float32, "FP64": np.float64,
}  # fmt: skip


class OnnxRuntime(MLModel):
    """One ONNX model."""

    async def load(self) -> bool:
        """Load `model.onnx` from the model's folder; what onnxruntime refuses is refused in its words."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        try:
            model = Path(self.settings.parameters.uri, "model.onnx").read_bytes()
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            self.inputs = [describe(one) for one in self._session.get_inputs()]
            self.outputs = [describe(one) for one in self._session.get_outputs()]
        except Exception as error:
            raise MLServerError(f"{type(error).__name__}: {error}") from error
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run once; every output is returned, in the model's order."""
        names = [one.name for one in self._session.get_outputs()]
        try:
            feeds = {one.name: decode(one) for one in payload.inputs}
            results = self._session.run(names, feeds)
        except Exception as error:
            raise InferenceError(f"{type(error).__name__}: {error}") from error
        outputs = [encode(one, value) for one, value in zip(self._session.get_outputs(), results, strict=True)]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)


def describe(argument) -> MetadataTensor:
    """Return an input or output as the protocol's metadata have it."""
    if argument.type not in DATATYPES:
        raise ValueError(f"{argument.name} is {argument.type}, which the server cannot carry")
    shape = [dim if isinstance(dim, int) else -1 for dim in argument.shape]
    return MetadataTensor(name=argument.name, datatype=DATATYPES[argument.type], shape=shape)


def decode(given) -> np.ndarray:
    """Return an input as an array."""
    kind, elements = given.datatype, given.data.root
    kind = getattr(kind, "value", kind)
    if kind == "BYTES":
        array = np.empty(len(elements), dtype=object)
        array[:] = [item.decode() if isinstance(item, bytes) else item for item in elements]
    else:
        array = np.array(elements, dtype=NUMPY[kind])
    return array.reshape(given.shape)


def encode(argument, value) -> ResponseOutput:
    """Return an output as the protocol has it."""
    array = np.asarray(value)
    return ResponseOutput(
        name=argument.name,
        datatype=DATATYPES[argument.type],
        shape=list(array.shape),
        data=array.reshape(-1).tolist(),
    )
