"""ONNX Runtime: in-tree providers by name, plugin providers by library path or Python module.

The runtime is imported when the device is opened. Placement has three witnesses: the assignment record, the profile of
the session, and the runtime's refusal to fall back (not for the CPU provider, which has nothing to fall back to).
"""

from __future__ import annotations

import gc
import importlib
import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from conformance.adapters.runtime.port import (
    Bound,
    Feature,
    Mode,
    PlaceOutput,
    RuntimeAdapter,
    RuntimeSession,
    Setting,
    Unavailable,
)
from conformance.adapters.runtime.support.ort_options import (
    option_text,
    read_provider_options,
    read_session_options,
    set_session_option,
)
from conformance.adapters.runtime.support.ort_values import (
    PLAIN,
    element_type,
    from_ort_value,
    info_of,
    is_plain,
    to_ort_value,
)
from conformance.errors import DeviceNotFound, HarnessError, UsageError
from conformance.records import Identity, Witness
from conformance.tensors import Array, Value, type_name

HOST_PROVIDER = "CPUExecutionProvider"
_IDENTITY = (
    b'\x08\x07\x12\x00:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)
"""A ModelProto with one Identity of float32[1], opset 13: the child has no onnx to make one with."""
_CACHES = {
    "OpenVINOExecutionProvider": ("cache_dir", {}),
    "TensorrtExecutionProvider": ("trt_engine_cache_path", {"trt_engine_cache_enable": "1"}),
}
"""The option that names the folder in which an in-tree provider keeps what it compiled, and what else it takes to use it."""


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
    cache_option: str | None = None
    """The provider option that names a folder for compiled models; known ones need not be given."""


class _Bound(Bound):
    """An IOBinding, with the OrtValues that it has to keep alive."""

    def __init__(self, session: Any, make: Any, inputs: dict[str, Array], outputs: dict[str, Array]) -> None:
        self._session, self._make = session, make
        self._binding = session.io_binding()
        self._held: dict[str, Any] = {}
        self._rebind(inputs, outputs)

    def _run(self) -> None:
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()

    def _rebind(self, inputs: dict[str, Array], outputs: dict[str, Array]) -> None:
        strange = sorted({type_name(value) for value in (*inputs.values(), *outputs.values())} - PLAIN)
        if strange:
            raise Unavailable(f"numpy has no memory of type {', '.join(strange)} that onnxruntime could bind")
        for name, value in inputs.items():
            self._held[name] = self._make(value)
            self._binding.bind_ortvalue_input(name, self._held[name])
        for name, value in outputs.items():
            self._held[f"> {name}"] = self._make(value)
            self._binding.bind_ortvalue_output(name, self._held[f"> {name}"])


class _Session(RuntimeSession):
    def __init__(
        self, adapter: Adapter, model: bytes, mode: Mode, dimensions: dict[str, int], cache: Path | None
    ) -> None:
        self._adapter = adapter
        options, arguments = adapter.session_options(mode, dimensions=dimensions, cache=cache)
        self._profiled = adapter.is_profiled(mode)
        self._guarded = mode in (Mode.STRICT, Mode.UNFOLDED) and not adapter.is_host_provider
        self._ran = False
        self._session: Any = adapter.ort.InferenceSession(model, options, **arguments)
        self._raw = self._session._sess
        self.inputs = tuple(info_of(arg) for arg in self._session.get_inputs())
        self.outputs = tuple(info_of(arg) for arg in self._session.get_outputs())
        self._names = [info.name for info in self.outputs]
        self._is_plain = all(is_plain(info.type) for info in (*self.inputs, *self.outputs))

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
        typed = {name: to_ort_value(self._adapter.ort.OrtValue, value) for name, value in feeds.items()}
        results = self._session.run_with_ort_values(self._names, typed)
        return list(zip(self._names, map(from_ort_value, results), strict=True))

    def _infer_bound(self, feeds: dict[str, Value], place: PlaceOutput) -> list[tuple[str, Value]] | None:
        """Let the runtime write large outputs straight into shared memory; None where shapes are not known beforehand."""
        arrays: list[tuple[str, Array]] = []
        for info in self.outputs:
            name = element_type(info.type)
            if info.shape is None or name not in PLAIN or not all(isinstance(dim, int) for dim in info.shape):
                return None
            array = place(name, tuple(int(dim) for dim in info.shape if isinstance(dim, int)))
            if array is None:
                return None
            arrays.append((info.name, array))
        if not all(isinstance(value, np.ndarray) and type_name(value) in PLAIN for value in feeds.values()):
            return None
        fed = {name: value for name, value in feeds.items() if isinstance(value, np.ndarray)}
        _Bound(self._session, self._adapter.ort.OrtValue.ortvalue_from_numpy, fed, dict(arrays)).run()
        return [(name, array) for name, array in arrays]

    def _bind(self, inputs: dict[str, Array], outputs: dict[str, Array]) -> Bound:
        return _Bound(self._session, self._adapter.ort.OrtValue.ortvalue_from_numpy, inputs, outputs)

    def _settings(self) -> tuple[Setting, ...]:
        """The profile's own, and those of ours on which a witness rests."""
        runtime = self._adapter.options
        ours = {"session.record_ep_graph_assignment_info": "1"}
        if self._guarded:
            ours["session.disable_cpu_ep_fallback"] = "1"
        found = read_session_options(self._session, {**runtime.session_options, **ours})
        return (*found, *read_provider_options(self._session, runtime.provider, runtime.options))

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
        self._is_timing = False
        self._device: Any = None
        self.is_host_provider = self.options.provider == HOST_PROVIDER

    @classmethod
    def features(cls, options: msgspec.Struct) -> frozenset[Feature]:
        """All of them; a cache folder where the provider's option for it is known or given."""
        assert isinstance(options, RuntimeOptions)  # noqa: S101 - `read_options` made it
        offered = set(Feature) - {Feature.CACHE_FOLDER}
        return frozenset(offered | {Feature.CACHE_FOLDER} if _cache_options(options) else offered)

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
            set_session_option(self.ort, options, key, value)
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

    def session_options(
        self, mode: Mode, *, dimensions: dict[str, int] | None = None, cache: Path | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Return SessionOptions and the further arguments of InferenceSession for a mode."""
        options = self.ort.SessionOptions()
        for name, size in (dimensions or {}).items():
            options.add_free_dimension_override_by_name(name, size)
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        for key, value in self.options.session_options.items():
            set_session_option(self.ort, options, key, value)
        if self.is_profiled(mode):
            options.enable_profiling = True
            self._sequence += 1
            options.profile_file_prefix = str(self.scratch / f"profile-{os.getpid()}-{self._sequence}")
        if mode is Mode.HOST:
            return options, {"providers": [HOST_PROVIDER]}
        further: dict[str, Any] = {"disabled_optimizers": ["ConstantFolding"]} if mode is Mode.UNFOLDED else {}
        if mode in (Mode.STRICT, Mode.UNFOLDED) and not self.is_host_provider:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        given = self._provider_options(cache)
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

    def _provider_options(self, cache: Path | None) -> dict[str, str]:
        given = {key: option_text(value) for key, value in self.options.options.items()}
        if cache is None:
            return given
        known = _cache_options(self.options)
        if known is None:
            raise Unavailable(f"no option of {self.options.provider} is known that names a cache folder")
        return given | known[1] | {known[0]: str(cache)}

    def is_profiled(self, mode: Mode) -> bool:
        """Whether a session of a mode writes a profile: one of the witnesses, and never while something is timed."""
        return mode is not Mode.USER and not self._is_timing

    def _compile(self, model: bytes, mode: Mode) -> RuntimeSession:
        return self._compile_with(model, mode, {}, None)

    def _compile_timed(self, model: bytes, mode: Mode) -> RuntimeSession:
        """Without the profile; the assignment record, made once when a session is, and the refusal to fall back stay."""
        self._is_timing = True
        try:
            return self._compile(model, mode)
        finally:
            self._is_timing = False

    def _compile_with(self, model: bytes, mode: Mode, dimensions: dict[str, int], cache: Path | None) -> RuntimeSession:
        return _Session(self, model, mode, dimensions, cache)

    def _precompile(self, model: bytes, mode: Mode) -> bytes:
        """By ModelCompiler, the compiled parts embedded. A provider that compiles nothing gives the model back as it is."""
        compiler = getattr(self.ort, "ModelCompiler", None)
        if compiler is None:
            raise Unavailable(f"onnxruntime {self.ort.__version__} has no ModelCompiler")
        options, arguments = self.session_options(mode)
        options.enable_profiling = False
        if "providers" in arguments:  # a device is among the options already
            options.add_provider(self.options.provider, self._provider_options(None))
        return bytes(compiler(options, model, embed_compiled_data_into_model=True).compile_to_bytes())

    def _release(self) -> None:
        """Unregister a plugin; an in-tree provider is bound to no more than its sessions."""
        if self._device is None:
            return
        self._device = None
        gc.collect()  # sessions in reference cycles hold the library
        self.ort.unregister_execution_provider_library(self.options.provider)


def _cache_options(options: RuntimeOptions) -> tuple[str, dict[str, str]] | None:
    if options.cache_option is not None:
        return options.cache_option, {}
    if options.library is not None or options.module is not None:  # a plugin's options are its own
        return None
    return _CACHES.get(options.provider)


def _device_key(device: Any) -> tuple[str, str, int, int]:
    return device.ep_name, device.device.type.name, device.device.vendor_id, device.device.device_id
