"""A stand-in for `tritonclient.grpc`, as far as the adapter uses it, with onnxruntime behind it and nothing on the wire.

The ordinary tests have no tritonclient (pyproject.toml says why); the peers' tests have it, and real servers.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from servers.oip_server import OF_ONNX, from_bytes, to_bytes


class InferenceServerException(Exception):
    def __init__(self, msg: str, status: str | None = None) -> None:
        super().__init__(msg)
        self._status = status

    def status(self) -> str | None:
        return self._status

    def message(self) -> str:
        return str(self)


class Message(SimpleNamespace):
    """What stands for a message of protobuf: it can be turned into bytes and back."""

    def SerializeToString(self) -> bytes:  # noqa: N802
        return pickle.dumps(vars(self))

    @classmethod
    def FromString(cls, content: bytes) -> Message:  # noqa: N802
        return cls(**pickle.loads(content))  # noqa: S301 - its own


class InferInput:
    def __init__(self, name: str, shape: list[int], datatype: str) -> None:
        self.name, self.shape, self.datatype, self.raw = name, shape, datatype, b""

    def set_data_from_numpy(self, array: Any) -> None:
        if self.datatype == "FP64":
            raise InferenceServerException("this client has no FP64")
        self.raw = to_bytes(array) if self.datatype == "BYTES" else array.tobytes()


class Client:
    """The client, and the server behind it. `twists` answer instead, by the name of a method."""

    def __init__(self) -> None:
        self.made: tuple[Any, dict[str, Any]] = ("", {})
        self.models: dict[str, onnxruntime.InferenceSession] = {}
        self.twists: dict[str, Callable[..., Any]] = {}
        self.headers: list[Any] = []
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True

    def __getattr__(self, name: str) -> Callable[..., Any]:
        real = getattr(self, f"_{name}") if not name.startswith("_") else object.__getattribute__(self, name)

        def call(*arguments: Any, headers: Any, client_timeout: float = 0, **further: Any) -> Any:
            self.headers.append(headers)
            return self.twists.get(name, real)(*arguments, **further)

        return call

    def _get_server_metadata(self) -> Any:
        return Message(name="tiny", version="7", extensions=["model_repository"])

    def _is_server_live(self) -> bool:
        return True

    def _is_model_ready(self, name: str) -> bool:
        return name in self.models

    def _get_model_repository_index(self) -> Any:
        return Message(models=[Message(name=n, state="READY", reason="") for n in self.models])

    def _load_model(self, name: str, config: str | None = None, files: dict[str, bytes] | None = None) -> None:
        try:
            self.models[name] = onnxruntime.InferenceSession(
                (files or {})["file:1/model.onnx"], providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise InferenceServerException(f"failed to load: {error}", "StatusCode.INTERNAL") from error

    def _unload_model(self, name: str) -> None:
        del self.models[name]

    def _get_model_metadata(self, name: str) -> Any:
        session = self.models[name]
        inputs, outputs = (
            [Message(name=one.name, datatype=OF_ONNX[one.type], shape=list(one.shape)) for one in side]
            for side in (session.get_inputs(), session.get_outputs())
        )
        return Message(name=name, inputs=inputs, outputs=outputs)

    def _infer(self, name: str, inputs: list[InferInput]) -> Any:
        session = self.models[name]
        feeds = {one.name: from_bytes(one.raw, one.datatype).reshape(one.shape) for one in inputs}
        try:
            results = session.run(None, feeds)
        except Exception as error:
            raise InferenceServerException(str(error), "StatusCode.INVALID_ARGUMENT") from error
        kinds = {one.name: OF_ONNX[one.type] for one in session.get_outputs()}
        outputs = [
            Message(name=key, datatype=kind, shape=list(np.shape(value)), contents=Message())
            for (key, kind), value in zip(kinds.items(), results, strict=True)
        ]
        raw = [to_bytes(np.asarray(value)) for value in results]
        return answer(outputs, raw)


def answer(outputs: list[Any], raw: list[bytes], model: str = "") -> Any:
    """Return what `infer` returns."""
    told = Message(model_name=model, outputs=outputs, raw_output_contents=raw)
    return SimpleNamespace(get_response=lambda: told)


def install(monkeypatch: pytest.MonkeyPatch) -> Client:
    """Put the stand-in where the adapter imports tritonclient from; return the client that it will be given."""
    client = Client()
    grpc, utils = ModuleType("tritonclient.grpc"), ModuleType("tritonclient.utils")

    def make(*arguments: Any, **further: Any) -> Client:
        client.made = (arguments, further)
        return client

    vars(grpc).update(InferenceServerClient=make, InferInput=InferInput)
    vars(utils).update(InferenceServerException=InferenceServerException)
    for name, module in (
        ("tritonclient", ModuleType("tritonclient")),
        ("tritonclient.grpc", grpc),
        ("tritonclient.utils", utils),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    return client
