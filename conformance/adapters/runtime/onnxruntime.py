"""ONNX Runtime: in-tree providers by name, plugin providers by library path or Python module.

The runtime is imported when the device is opened. Placement has three witnesses: the assignment record, the profile of
the session, and the runtime's refusal to fall back (not for the CPU provider, which has nothing to fall back to).
"""

from __future__ import annotations

import ctypes
import importlib
import math
import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from conformance.adapters.runtime.port import Mode, PlaceOutput, RuntimeAdapter, RuntimeSession, Unavailable
from conformance.errors import DeviceNotFound, HarnessError, UsageError
from conformance.records import Identity, TensorInfo, Witness
from conformance.tensors import BITS_OF_PACKED, DTYPES, ONNX_TYPE_OF, Array, Value, pack_bits, type_name, unpack_bits

HOST_PROVIDER = "CPUExecutionProvider"
PLAIN = frozenset(name for name in DTYPES if DTYPES[name].isbuiltin == 1) - {"complex64", "complex128"}
"""Tensor types that ONNX Runtime binds from and to numpy by itself; all others need typed OrtValues."""
_IDENTITY = (
    b'\x08\x07\x12\x00:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)
"""A ModelProto with one Identity of float32[1], opset 13: the child has no onnx to make one with."""
_OURS = frozenset({"optimized_model_filepath", "profile_file_prefix", "enable_profiling"})
_RUNTIME_NAMES = {"float": "float32", "double": "float64"}
_NAME_OF_ONNX = {number: name for name, number in ONNX_TYPE_OF.items()}


class RuntimeOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """`runtime:` of a profile for this adapter."""

    provider: str
    library: str | None = None
    """Path of a plugin provider library."""
    module: str | None = None
    """Python module with `get_library_path()`; or one that registers its provider when imported."""
    device: str | None = None
    """`cpu`, `gpu` or `npu`: narrows which of the plugin's devices is bound."""
    options: dict[str, str | int | float | bool] = {}
    session_options: dict[str, str | int | float | bool] = {}
    binding: dict[str, str] = {}
    """Device metadata that the bound device must carry."""


class _Session(RuntimeSession):
    def __init__(self, adapter: Adapter, model: bytes, mode: Mode) -> None:
        self._adapter = adapter
        options, arguments = adapter.session_options(mode)
        self._profiled = mode is not Mode.USER
        self._guarded = mode in (Mode.STRICT, Mode.UNFOLDED) and not adapter.is_host_provider
        self._ran = False
        self._session: Any = adapter.ort.InferenceSession(model, options, **arguments)
        self._raw = self._session._sess
        self.inputs = tuple(_info(arg) for arg in self._session.get_inputs())
        self.outputs = tuple(_info(arg) for arg in self._session.get_outputs())
        self._names = [info.name for info in self.outputs]
        self._is_plain = all(_is_plain(info.type) for info in (*self.inputs, *self.outputs))

    def _infer(self, feeds: dict[str, Value], place: PlaceOutput | None) -> list[tuple[str, Value]]:
        self._ran = True
        if not self._is_plain:
            return self._infer_typed(feeds)
        if place is not None:
            bound = self._infer_bound(feeds, place)
            if bound is not None:
                return bound
        return list(zip(self._names, self._raw.run(self._names, feeds, None), strict=True))

    def _infer_typed(self, feeds: dict[str, Value]) -> list[tuple[str, Value]]:
        typed = {name: self._adapter.to_ort_value(value) for name, value in feeds.items()}
        results = self._session.run_with_ort_values(self._names, typed)
        return list(zip(self._names, map(_from_ort_value, results), strict=True))

    def _infer_bound(self, feeds: dict[str, Value], place: PlaceOutput) -> list[tuple[str, Value]] | None:
        """Let the runtime write large outputs straight into shared memory; None where shapes are not known beforehand."""
        arrays: list[tuple[str, Array]] = []
        for info in self.outputs:
            name = _element_type(info.type)
            if info.shape is None or name not in PLAIN or not all(isinstance(dim, int) for dim in info.shape):
                return None
            array = place(name, tuple(int(dim) for dim in info.shape if isinstance(dim, int)))
            if array is None:
                return None
            arrays.append((info.name, array))
        if not all(isinstance(value, np.ndarray) and type_name(value) in PLAIN for value in feeds.values()):
            return None
        make = self._adapter.ort.OrtValue.ortvalue_from_numpy
        binding = self._session.io_binding()
        for name, value in feeds.items():
            binding.bind_ortvalue_input(name, make(value))
        for name, array in arrays:
            binding.bind_ortvalue_output(name, make(array))
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return [(name, array) for name, array in arrays]

    def _witnesses(self) -> tuple[Witness, ...]:
        found = []
        if hasattr(self._session, "get_provider_graph_assignment_info"):
            nodes: dict[str, int] = {}
            host_ops: set[str] = set()
            for part in self._session.get_provider_graph_assignment_info():
                members = part.get_nodes()
                nodes[part.ep_name] = nodes.get(part.ep_name, 0) + len(members)
                if part.ep_name == HOST_PROVIDER and not self._adapter.is_host_provider:
                    host_ops.update(member.op_type for member in members)
            found.append(Witness(source="assignment", nodes=nodes, host_ops=tuple(sorted(host_ops))))
        if self._profiled and self._ran:
            found.append(self._read_profile())
        if self._guarded:
            found.append(
                Witness(source="refusal", refused=True, detail="session.disable_cpu_ep_fallback=1 was accepted")
            )
        return tuple(found)

    def _read_profile(self) -> Witness:
        self._profiled = False
        path = self._session.end_profiling()
        try:
            with open(path, "rb") as stream:  # noqa: PTH123 - pathlib costs 40 µs here, on every case
                events = msgspec.json.decode(stream.read())
            os.unlink(path)  # noqa: PTH108
        except (OSError, msgspec.DecodeError) as error:  # the host's disk, and no word about the device
            raise HarnessError(f"the runtime's profile cannot be read: {error}; is the disk full?") from error
        nodes: dict[str, int] = {}
        host_ops: set[str] = set()
        for event in events:
            arguments = event.get("args")
            if event.get("cat") != "Node" or not arguments or "provider" not in arguments or "op_name" not in arguments:
                continue
            provider = arguments["provider"]
            nodes[provider] = nodes.get(provider, 0) + 1
            if provider == HOST_PROVIDER and not self._adapter.is_host_provider:
                host_ops.add(arguments["op_name"])
        return Witness(source="profile", nodes=nodes, host_ops=tuple(sorted(host_ops)))

    def _close(self) -> None:
        if self._profiled:
            self._profiled = False
            Path(self._session.end_profiling()).unlink(missing_ok=True)
        del self._raw, self._session


class Adapter(RuntimeAdapter):
    """One device through ONNX Runtime."""

    Options = RuntimeOptions
    options: RuntimeOptions
    has_witness = True

    def __init__(self, options: msgspec.Struct, scratch: Path) -> None:
        super().__init__(options, scratch)
        self._sequence = 0
        self._device: Any = None
        self.is_host_provider = self.options.provider == HOST_PROVIDER

    def modes(self) -> tuple[Mode, ...]:
        """Strict; then shared with the host, unless the device under test is the host."""
        return (Mode.STRICT,) if self.is_host_provider else (Mode.STRICT, Mode.SHARED)

    def _open(self) -> Identity:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        self.ort = importlib.import_module("onnxruntime")
        self.ort.set_default_logger_severity(3)
        self._check_session_options()
        library = self._plugin_library()
        if library is None:
            return self._open_builtin()
        return self._open_plugin(library)

    def _check_session_options(self) -> None:
        """Set every session option once, so that a wrong one is the profile's fault and never a model's."""
        options = self.ort.SessionOptions()
        for key, value in self.options.session_options.items():
            _set_session_option(self.ort, options, key, value)
        try:  # what is only read when a session is made
            self.ort.InferenceSession(_IDENTITY, options, providers=[HOST_PROVIDER])
        except Exception as error:  # noqa: BLE001 - the runtime has an exception type for every status
            raise UsageError(f"runtime.session_options: onnxruntime rejects them: {error}") from None

    def _plugin_library(self) -> str | None:
        if self.options.library is not None:
            if not Path(self.options.library).is_file():
                raise DeviceNotFound(f"runtime.library {self.options.library} does not exist")
            return self.options.library
        if self.options.module is None:
            return None
        try:
            module = importlib.import_module(self.options.module)
        except ModuleNotFoundError as error:
            raise DeviceNotFound(f"runtime.module '{self.options.module}' is not installed: {error}") from error
        if hasattr(module, "get_library_path"):
            return str(module.get_library_path())
        raise UsageError(f"runtime.module '{self.options.module}' has no get_library_path(); name the library instead")

    def _open_builtin(self) -> Identity:
        available = self.ort.get_available_providers()
        if self.options.provider not in available:
            raise DeviceNotFound(
                f"this build of onnxruntime {self.ort.__version__} has no {self.options.provider}; "
                f"it offers {', '.join(available)}"
            )
        self.runs_on_host_cpu = self.is_host_provider
        return Identity(
            runtime="onnxruntime",
            runtime_version=self.ort.__version__,
            provider=self.options.provider,
            hardware="cpu" if self.is_host_provider else "",
            details={"build": self.ort.get_build_info(), "kind": "in-tree"},
        )

    def _open_plugin(self, library: str) -> Identity:
        name = self.options.provider
        before = {_device_key(device) for device in self.ort.get_ep_devices()}
        self.ort.register_execution_provider_library(name, library)
        offered = [d for d in self.ort.get_ep_devices() if _device_key(d) not in before or d.ep_name == name]
        matching = [device for device in offered if device.ep_name == name and self._is_wanted(device)]
        if not matching:
            seen = ", ".join(f"{d.ep_name} ({d.device.type.name.lower()})" for d in offered) or "none"
            host = next((d.device.vendor for d in self.ort.get_ep_devices() if d.ep_name == HOST_PROVIDER), "unknown")
            raise DeviceNotFound(
                f"{Path(library).name} registered, but offers no device '{name}'{self._wanted_text()} on this host "
                f"(offered: {seen}; host CPU vendor: {host or 'unknown'})"
            )
        self._device = matching[0]
        hardware = self._device.device.type.name.lower()
        self.runs_on_host_cpu = hardware == "cpu"
        metadata = dict(self._device.ep_metadata) | dict(self._device.device.metadata)
        return Identity(
            runtime="onnxruntime",
            runtime_version=self.ort.__version__,
            provider=name,
            device_name=metadata.get("Description", ""),
            hardware=hardware,
            vendor=self._device.ep_vendor,
            driver=metadata.get("version", ""),
            unit=str(self._device.device.device_id),
            details={"kind": "plugin", "library": Path(library).name, "matching": str(len(matching)), **metadata},
        )

    def _is_wanted(self, device: Any) -> bool:
        if self.options.device is not None and device.device.type.name.lower() != self.options.device.lower():
            return False
        metadata = dict(device.ep_metadata) | dict(device.device.metadata)
        return all(metadata.get(key) == value for key, value in self.options.binding.items())

    def _wanted_text(self) -> str:
        wanted = [f"{key}={value}" for key, value in self.options.binding.items()]
        if self.options.device is not None:
            wanted.append(f"device={self.options.device}")
        return f" with {', '.join(wanted)}" if wanted else ""

    def session_options(self, mode: Mode) -> tuple[Any, dict[str, Any]]:
        """Return SessionOptions and the further arguments of InferenceSession for a mode."""
        options = self.ort.SessionOptions()
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        for key, value in self.options.session_options.items():
            _set_session_option(self.ort, options, key, value)
        if mode is not Mode.USER:
            options.enable_profiling = True
            self._sequence += 1
            options.profile_file_prefix = str(self.scratch / f"profile-{os.getpid()}-{self._sequence}")
        if mode is Mode.HOST:
            return options, {"providers": [HOST_PROVIDER]}
        further: dict[str, Any] = {"disabled_optimizers": ["ConstantFolding"]} if mode is Mode.UNFOLDED else {}
        if mode in (Mode.STRICT, Mode.UNFOLDED) and not self.is_host_provider:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        given = {key: _option_text(value) for key, value in self.options.options.items()}
        if self._device is not None:
            options.add_provider_for_devices([self._device], given)
            return options, further
        if self.is_host_provider and mode is Mode.SHARED:
            raise Unavailable("the CPU provider is the host: there is nobody to share nodes with")
        provider: Any = (self.options.provider, given) if given else self.options.provider
        # enable_fallback=0: Python's own retry on the CPU would hide the cause (TRAPS); a plain user gets the retry.
        if mode is not Mode.USER:
            further["enable_fallback"] = 0
        return options, {"providers": [provider], **further}

    def _compile(self, model: bytes, mode: Mode) -> RuntimeSession:
        return _Session(self, model, mode)

    def to_ort_value(self, value: Value) -> Any:
        """Make a typed OrtValue over an array; sub-byte types are packed as ONNX stores them."""
        if not isinstance(value, np.ndarray):
            raise Unavailable("sequences and optionals cannot be mixed with types that numpy lacks")
        make = self.ort.OrtValue
        name = type_name(value)
        if name in PLAIN:
            return make.ortvalue_from_numpy(value)
        if name in BITS_OF_PACKED:
            packed = pack_bits(value, name)
            typed = make.ortvalue_from_shape_and_type(list(value.shape), ONNX_TYPE_OF[name])
            if packed.size:
                ctypes.memmove(typed.data_ptr(), packed.ctypes.data, packed.nbytes)
            return typed
        raw = value.view(np.uint16 if value.itemsize == 2 else np.uint8)
        return make.ortvalue_from_numpy_with_onnx_type(raw, ONNX_TYPE_OF[name])


def _from_ort_value(typed: Any) -> Value:
    if not typed.is_tensor():
        raise Unavailable("a sequence or optional among outputs whose types numpy lacks")
    name = _NAME_OF_ONNX[typed.element_type()]
    if name in PLAIN or name == "string":
        plain: Array = typed.numpy()
        return plain
    shape = tuple(typed.shape())
    count = math.prod(shape)
    if name in BITS_OF_PACKED:
        size = -(-count * BITS_OF_PACKED[name] // 8)
        return unpack_bits(_copy_bytes(typed, size), name, shape)
    return _copy_bytes(typed, count * DTYPES[name].itemsize).view(DTYPES[name]).reshape(shape)


def _copy_bytes(typed: Any, size: int) -> Array:
    raw = np.empty(size, dtype=np.uint8)
    if size:
        ctypes.memmove(raw.ctypes.data, typed.data_ptr(), size)
    return raw


def _info(argument: Any) -> TensorInfo:
    shape = argument.shape
    # The runtime gives [] for a scalar and for an unknown rank alike: either way the shape is not known.
    return TensorInfo(name=argument.name, type=_named(argument.type), shape=tuple(shape) if shape else None)


def _named(text: str) -> str:
    """`tensor(float)` → `tensor(float32)`: ONNX's names for the two types that the runtime calls otherwise."""
    head, _, rest = text.rpartition("(")
    element = rest.rstrip(")")
    return f"{head}({_RUNTIME_NAMES.get(element, element)}{')' * text.count(')')}" if head else text


def _element_type(text: str) -> str:
    return text.rpartition("(")[2].rstrip(")")


def _is_plain(text: str) -> bool:
    element = _element_type(text)
    return element in PLAIN or element == "string"


def _option_text(value: str | int | float | bool) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _device_key(device: Any) -> tuple[str, str, int, int]:
    return device.ep_name, device.device.type.name, device.device.vendor_id, device.device.device_id


def _set_session_option(ort: Any, options: Any, key: str, value: str | int | float | bool) -> None:
    if "." in key:
        try:
            options.add_session_config_entry(key, _option_text(value))
        except Exception as error:  # noqa: BLE001 - the runtime has an exception type for every status
            raise UsageError(f"runtime.session_options.{key[:40]}: {error}") from None
        return
    if key in _OURS:
        raise UsageError(
            f"runtime.session_options.{key}: not a profile's to set: it names files or is the harness's own"
        )
    if key.startswith("_") or not hasattr(options, key) or callable(getattr(options, key)):
        known = ", ".join(
            sorted(n for n in dir(options) if not n.startswith("_") and not callable(getattr(options, n)))
        )
        raise UsageError(f"runtime.session_options: onnxruntime has no '{key}'; known are {known}, and keys with a dot")
    named = {"graph_optimization_level": ort.GraphOptimizationLevel, "execution_mode": ort.ExecutionMode}.get(key)
    if named is None:
        try:
            setattr(options, key, value)
        except (TypeError, ValueError, RuntimeError):
            kind = type(getattr(options, key)).__name__
            raise UsageError(f"runtime.session_options.{key}: '{value}' is no {kind}") from None
        return
    if str(value) not in named.__members__:
        raise UsageError(
            f"runtime.session_options.{key}: there is no '{value}'; known are {', '.join(named.__members__)}"
        )
    setattr(options, key, named.__members__[str(value)])
