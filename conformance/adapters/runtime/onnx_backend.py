"""Any module with the ONNX Backend API (`prepare`, `supports_device`): a runtime we never heard of needs no code of ours.

Source of the interface: onnx/docs/ImplementingAnOnnxBackend.md. It has no placement witness, so the verdict says
"placement not shown". Models that do not parse are refused here, by `onnx`, as a runtime that gets bytes would refuse them.
The child needs the `onnx` package for this adapter alone, because `prepare` takes a ModelProto.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from conformance.adapters.runtime.port import (
    Mode,
    PlaceOutput,
    RuntimeAdapter,
    RuntimeFault,
    RuntimeSession,
    Unavailable,
)
from conformance.errors import DeviceNotFound, UsageError
from conformance.records import Identity, TensorInfo
from conformance.tensors import ONNX_TYPE_OF

if TYPE_CHECKING:
    from conformance.tensors import Value

_NO_NAMES = "the ONNX Backend API takes inputs by position and has no way to say this"
_NAME_OF_ONNX = {number: name for name, number in ONNX_TYPE_OF.items()}


class RuntimeOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """`runtime:` of a profile for this adapter."""

    module: str
    device: str = "CPU"
    options: dict[str, str | int | float | bool] = {}
    """Keyword arguments of `prepare`."""
    binding: dict[str, str] = {}


class _Session(RuntimeSession):
    def __init__(self, backend: Any, model: Any, device: str, options: dict[str, Any]) -> None:
        initialised = {tensor.name for tensor in model.graph.initializer}
        self.inputs = tuple(_info(value) for value in model.graph.input if value.name not in initialised)
        self.outputs = tuple(_info(value) for value in model.graph.output)
        self._prepared = backend.prepare(model, device, **options)
        if self._prepared is None:
            raise RuntimeFault("compile", "NoneReturned", "prepare() returned None")

    def _infer(self, feeds: dict[str, Value], place: PlaceOutput | None) -> list[tuple[str, Value]]:  # noqa: ARG002
        results = list(self._prepared.run(self._ordered(feeds)))
        if len(results) != len(self.outputs):
            raise RuntimeFault(
                "run", "WrongOutputCount", f"run() returned {len(results)} outputs, the model has {len(self.outputs)}"
            )
        return [(info.name, value) for info, value in zip(self.outputs, results, strict=True)]

    def _ordered(self, feeds: dict[str, Value]) -> list[Value]:
        """Return the inputs by position, as the Backend API takes them: it knows no names.

        Too few go out as they are where the last ones lack, too many at the end, and the runtime says what it thinks of
        them. A request that only names could tell from a good one cannot be made: Unavailable, for the device never sees it.
        """
        names = [info.name for info in self.inputs]
        given = [name for name in names if name in feeds]
        further = [name for name in feeds if name not in names]
        if given != names[: len(given)] or (further and len(given) < len(names)):
            raise Unavailable("the ONNX Backend API takes inputs by position: it cannot leave one out or name another")
        return [feeds[name] for name in (*given, *further)]


class Adapter(RuntimeAdapter):
    """One device through the ONNX Backend API."""

    Options = RuntimeOptions
    options: RuntimeOptions
    unsayable: ClassVar[dict[str, str]] = dict.fromkeys(
        ("request/input-unknown", "request/input-in-capitals", "request/input-without-name"), _NO_NAMES
    )

    def _open(self) -> Identity:
        self._onnx = importlib.import_module("onnx")
        try:
            module = importlib.import_module(self.options.module)
        except ModuleNotFoundError as error:
            raise DeviceNotFound(f"runtime.module '{self.options.module}' is not installed: {error}") from error
        # The API may be the module itself or a class of it, conventionally named after it; both forms are in the wild.
        self._backend = module if hasattr(module, "prepare") else getattr(module, "Backend", None)
        if self._backend is None or not hasattr(self._backend, "prepare"):
            raise UsageError(
                f"runtime.module '{self.options.module}' has neither prepare() nor a class Backend with it"
            )
        supports = getattr(self._backend, "supports_device", None)
        if supports is not None and not supports(self.options.device):
            raise DeviceNotFound(f"{self.options.module} does not support device '{self.options.device}'")
        self.runs_on_host_cpu = self.options.device.upper() == "CPU"
        return Identity(
            runtime=self.options.module,
            runtime_version=str(getattr(module, "__version__", "")),
            provider=self.options.device,
            hardware="cpu" if self.runs_on_host_cpu else "",
            details={"kind": "onnx-backend"},
        )

    def _compile(self, model: bytes, mode: Mode) -> RuntimeSession:
        if mode in (Mode.HOST, Mode.SHARED):
            raise Unavailable("the ONNX Backend API cannot choose where nodes run")
        proto = self._onnx.load_model_from_string(model)
        return _Session(self._backend, proto, self.options.device, dict(self.options.options))


def _info(value: Any) -> TensorInfo:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return TensorInfo(name=value.name, type=str(kind).removesuffix("_type"), shape=None)
    tensor = value.type.tensor_type
    name = _NAME_OF_ONNX.get(tensor.elem_type, "undefined")
    if not tensor.HasField("shape"):
        return TensorInfo(name=value.name, type=f"tensor({name})", shape=None)
    shape = tuple(d.dim_value if d.HasField("dim_value") else (d.dim_param or None) for d in tensor.shape.dim)
    return TensorInfo(name=value.name, type=f"tensor({name})", shape=shape)
