"""The Open Inference Protocol v2 over gRPC, through tritonclient: `GRPCInferenceService` with tensors as raw contents."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from conformance.adapters.runtime.port import LOST, Unavailable
from conformance.adapters.runtime.support.oip_access import Censor
from conformance.adapters.runtime.support.oip_rest import ANSWER_LIMIT, CONNECT_S
from conformance.adapters.runtime.support.oip_values import (
    IndexEntry,
    ModelMetadata,
    Refused,
    ServerMetadata,
    TensorMetadata,
    bad,
    from_json,
    from_raw,
    shown,
    to_tensor,
)
from conformance.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.adapters.runtime.support.oip_access import Access
    from conformance.tensors import Value

_CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
"""Where a typed answer keeps its elements; FP16 and BF16 have raw contents only."""
_LOST = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED"})
"""What the library says where nobody answers, or nobody any more."""
_NO_MESSAGE = "Exception deserializing response!"
"""What the library says, as INTERNAL, of an answer with status OK that is none."""
_NOT_LET_IN = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED"})


class GrpcClient:
    """One server by its address. Threads may use it at once."""

    def __init__(self, access: Access) -> None:
        try:
            self._library = importlib.import_module("tritonclient.grpc")
            self._errors = importlib.import_module("tritonclient.utils").InferenceServerException
        except ModuleNotFoundError as error:
            raise UsageError(
                f"runtime.encoding: grpc needs tritonclient in the child's environment ({error}): "
                "pip install 'tritonclient[grpc]>=2.73'"
            ) from None
        self._censor = Censor(access.token)
        self._headers = {"authorization": f"Bearer {access.token}"} if access.token else None
        self._client = self._library.InferenceServerClient(
            access.address,
            ssl=access.is_secure,
            root_certificates=access.ca_file or None,
            private_key=access.client_key or None,
            certificate_chain=access.client_certificate or None,
            channel_args=[
                ("grpc.max_send_message_length", -1),
                ("grpc.max_receive_message_length", ANSWER_LIMIT),
                ("grpc.enable_http_proxy", 0),
            ],
        )

    def close(self) -> None:
        """Close the channel."""
        self._client.close()

    def server_metadata(self) -> ServerMetadata:
        """Return who the server says it is; ConnectionError where nobody answers."""
        try:
            told = self._call(self._client.get_server_metadata, client_timeout=CONNECT_S)
        except Refused as error:
            if error.kind == LOST:
                raise ConnectionError(str(error)) from None
            raise
        return ServerMetadata(told.name, told.version, list(told.extensions))

    def is_live(self) -> bool:
        """Return whether the server says that it is alive."""
        return bool(self._call(self._client.is_server_live))

    def readiness(self, model: str) -> str:
        """Return why a model is not ready, in the server's words; empty where it is. Refused where nobody may ask."""
        try:
            is_ready = self._call(self._client.is_model_ready, model)
        except Refused as error:
            if error.kind.removeprefix("gRPC ") in _NOT_LET_IN:
                raise
            return f"{error.kind}: {error}"
        return "" if is_ready else "the server says that it is not ready"

    def model_metadata(self, model: str) -> ModelMetadata:
        """Return the inputs and outputs of a model."""
        told = self._call(self._client.get_model_metadata, model)
        sides = [
            [TensorMetadata(one.name, one.datatype, list(one.shape)) for one in side]
            for side in (told.inputs, told.outputs)
        ]
        return ModelMetadata(told.name, *sides)

    def index(self) -> list[IndexEntry]:
        """Return the models of the repository."""
        told = self._call(self._client.get_model_repository_index)
        return [IndexEntry(one.name, one.state, one.reason) for one in told.models]

    def load(self, model: str, config: str | None = None, files: dict[str, bytes] | None = None) -> None:
        """Load a model from the repository, or from these files."""
        named = {f"file:{path}": content for path, content in files.items()} if files is not None else None
        self._call(self._client.load_model, model, config=config, files=named)

    def unload(self, model: str) -> None:
        """Unload a model."""
        self._call(self._client.unload_model, model)

    def infer(self, model: str, feeds: dict[str, Value]) -> list[tuple[str, Value]]:
        """Run once; return the outputs as they came, by name. Refused or Unavailable."""
        inputs = []
        for name, value in feeds.items():
            datatype, array = to_tensor(name, value)
            tensor = self._library.InferInput(name, list(array.shape), datatype)
            try:
                tensor.set_data_from_numpy(array.astype(object) if datatype == "BYTES" else array)
            except (self._errors, UnicodeEncodeError) as error:
                raise Unavailable(f"input {name} cannot be made into a request: {shown(error)}") from None
            inputs.append(tensor)
        return _read_outputs(self._quiet(self._call(self._client.infer, model, inputs).get_response()), model)

    def _call(self, method: Callable[..., Any], *arguments: Any, **further: Any) -> Any:
        try:
            return self._quiet(method(*arguments, headers=self._headers, **further))
        except self._errors as error:
            code = shown(self._censor.text(error.status() or "no status").removeprefix("StatusCode."), 60)
            words = shown(self._censor.text(error.message()), 2000) or "no words"
        if code in _LOST:
            raise Refused(LOST, f"gRPC {code}: {words}")
        if words == _NO_MESSAGE:
            raise bad(f"gRPC {code}: {words}")
        raise Refused(f"gRPC {code}", words)

    def _quiet(self, told: Any) -> Any:
        """Return a message without the token, wherever in it the server quoted it."""
        if not self._headers or not hasattr(told, "SerializeToString"):
            return told
        before = told.SerializeToString()
        after = self._censor.raw(before)
        return told if after == before else type(told).FromString(after)


def _read_outputs(told: Any, model: str) -> list[tuple[str, Value]]:
    if told.model_name not in ("", model):
        raise bad(f"the answer is of another model: {shown(told.model_name, 60)}")
    raw = told.raw_output_contents
    if raw and len(raw) != len(told.outputs):
        raise bad(f"the answer has {len(told.outputs)} outputs and {len(raw)} raw contents")
    found: list[tuple[str, Value]] = []
    for at, output in enumerate(told.outputs):
        shape = list(output.shape)
        if raw:
            found.append((output.name, from_raw(output.name, output.datatype, shape, raw[at])))
            continue
        field = _CONTENTS.get(output.datatype)
        elements = list(getattr(output.contents, field)) if field is not None else None
        found.append((output.name, from_json(output.name, output.datatype, shape, elements)))
    return found
