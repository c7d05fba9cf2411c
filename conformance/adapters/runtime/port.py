"""The port through which the harness runs ONNX models on a device.

An adapter subclasses `RuntimeAdapter` and `RuntimeSession` and fills in the private hooks. The public methods wrap
them: whatever the runtime raises leaves as `AdapterError` with the runtime's own exception type and words, results are
checked for kind, and lazy results are materialised before they are returned. Adapters live in the child process only.
"""

from __future__ import annotations

import abc
import enum
import traceback
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, NoReturn, TypeAlias

import msgspec
import numpy as np

from conformance.errors import AdapterError, ConformanceError, HarnessError, UsageError
from conformance.records import Identity
from conformance.tensors import Array, type_name

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.records import TensorInfo, Witness
    from conformance.tensors import Value

PlaceOutput: TypeAlias = Callable[[str, tuple[int, ...]], Array | None]
"""Given a type name and a shape, returns a writable array in shared memory, or None to let the runtime allocate."""


LOST = "ConnectionLost"
"""`RuntimeFault.kind` where the way to the device broke off: the end of a process, never its refusal. The words say how."""
BAD_ANSWER = "BadAnswer"
"""`RuntimeFault.kind` of an answer, given as a good one, that cannot be one. It is an answer all the same, and no refusal."""


class Mode(enum.StrEnum):
    """How a model is compiled."""

    STRICT = "strict"
    """On the device under test, falling back refused where the runtime can refuse it."""
    SHARED = "shared"
    """On the device under test, with the host allowed to take nodes (which ones is then witnessed)."""
    UNFOLDED = "unfolded"
    """Strict, and without folding constants away beforehand: for models of which otherwise no node is left to place."""
    HOST = "host"
    """Forced to the host's own provider: the control of placement, and the yardstick of host CPU time."""
    USER = "user"
    """As someone does who follows the runtime's quick start, silent retries included."""


class Feature(enum.StrEnum):
    """What a runtime may offer beside plain runs. What an adapter says that it offers has to work."""

    BINDING = "binding"
    """`RuntimeSession.bind`: inputs and outputs in the caller's memory."""
    FIXED_DIMENSIONS = "fixed-dimensions"
    """`compile(…, dimensions=…)`: a symbolic dimension of the model is given its size when it is compiled."""
    COMPILED_MODELS = "compiled-models"
    """`precompile`: the compiled model as bytes, which `compile` takes like any model."""
    CACHE_FOLDER = "cache-folder"
    """`compile(…, cache=…)`: a folder in which the runtime keeps what it compiled."""
    OPTIONS = "options"
    """`RuntimeSession.settings`: options can be read back."""


class Setting(NamedTuple):
    """An option that was set, as text, and what the runtime says it is."""

    name: str
    wanted: str
    actual: str | None
    """Empty where the runtime tells its options and this one is not among them; None where it tells none."""


class RuntimeFault(AdapterError):
    """A request that the runtime refused or failed; `kind` is its exception type, `phase` where it happened."""

    def __init__(self, phase: str, kind: str, message: str) -> None:
        super().__init__(message)
        self.phase = phase
        self.kind = kind


SLIPS = (AttributeError, NameError, TypeError, KeyError, IndexError)
"""What is more often the adapter's own slip than the runtime's word: told with the place where it was raised."""


class Unavailable(AdapterError):
    """The adapter cannot do this kind of thing at all (no such mode, no such witness, no such feature)."""


def _wrap(phase: str, error: Exception) -> NoReturn:
    if isinstance(error, ConformanceError):
        raise error
    if isinstance(error, ConnectionError | TimeoutError):
        raise RuntimeFault(phase, LOST, f"{type(error).__name__}: {error}") from error
    place = _place_of(error) if isinstance(error, SLIPS) else ""
    raise RuntimeFault(phase, type(error).__name__, f"{error}{place}") from error


def _place_of(error: Exception) -> str:
    """Return where in Python it was raised, for the author of an adapter to find it."""
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    return "".join(f" ({one.filename.rpartition('/')[2]}:{one.lineno} in {one.name})" for one in frames)


def _wrong(phase: str, message: str) -> RuntimeFault:
    return RuntimeFault(phase, "WrongResult", message)


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _pairs(results: object) -> list[tuple[str, Any]]:
    """Return what `_infer` returned as pairs; a generator is taken as it comes, for it may fail on its way."""
    if isinstance(results, dict | str | bytes | np.ndarray) or not isinstance(results, Iterable):
        raise _wrong("run", f"_infer must return (name, value) pairs, returned {_kind(results)}")
    pairs: list[tuple[str, Any]] = []
    for one in results:
        if not (isinstance(one, tuple | list) and len(one) == 2 and isinstance(one[0], str)):
            raise _wrong("run", f"_infer must return (name, value) pairs, returned {_kind(results)} with {_kind(one)}")
        pairs.append((one[0], one[1]))
    return pairs


def _read_identity(identity: object) -> Identity:
    """Return an Identity of which every field is a text, as reports and the protocol take it."""
    if not isinstance(identity, Identity):
        raise _wrong("open", f"_open must return an Identity, returned {_kind(identity)}")
    fields = {name: getattr(identity, name) for name in identity.__struct_fields__}
    details = fields.pop("details")
    if not isinstance(details, dict):
        raise _wrong("open", f"Identity.details must be a dict of texts, is {_kind(details)}")
    for name, value in (fields | {f"details[{key!r}]": value for key, value in details.items()}).items():
        if not isinstance(value, str):
            raise _wrong("open", f"Identity.{name} must be a text, is {_kind(value)}")
    for key in details:
        if not isinstance(key, str):
            raise _wrong("open", f"the keys of Identity.details must be texts, {key!r} is {_kind(key)}")
    return identity


class Bound(abc.ABC):
    """A session whose inputs and outputs are tied to the caller's memory."""

    def run(self) -> None:
        """Run once, on the bound inputs into the bound outputs; RuntimeFault where the runtime refuses or fails."""
        try:
            self._run()
        except Exception as error:  # noqa: BLE001
            _wrap("run", error)

    def rebind(self, inputs: dict[str, Array], outputs: dict[str, Array]) -> None:
        """Tie it to other memory from the next run on; what was bound before is the caller's alone again."""
        try:
            self._rebind(inputs, outputs)
        except Exception as error:  # noqa: BLE001
            _wrap("run", error)

    @abc.abstractmethod
    def _run(self) -> None: ...

    @abc.abstractmethod
    def _rebind(self, inputs: dict[str, Array], outputs: dict[str, Array]) -> None: ...


class RuntimeSession(abc.ABC):
    """A compiled model. `inputs` and `outputs` are as the runtime declares them, in its order."""

    inputs: tuple[TensorInfo, ...] = ()
    outputs: tuple[TensorInfo, ...] = ()

    def infer(self, feeds: dict[str, Value], place: PlaceOutput | None = None) -> list[tuple[str, Value]]:
        """Run once and return (name, value) for every output, materialised, in the session's order.

        `feeds` maps input names to values and may not be changed. RuntimeFault where the runtime refuses or fails. Feeds that
        do not fit the model reach the runtime as they are: nothing is dropped, renamed or converted on the way. What the
        runtime's interface has no way to say is Unavailable.
        """
        try:  # results are looked at inside: a lazy one fails when somebody does
            return [(name, materialise(value)) for name, value in _pairs(self._infer(feeds, place))]
        except Exception as error:  # noqa: BLE001 - the one place where vendor exceptions become evidence
            _wrap("run", error)

    def bind(self, inputs: dict[str, Array], outputs: dict[str, Array]) -> Bound:
        """Tie inputs and outputs, by name, to the caller's C-ordered arrays. Unavailable without `Feature.BINDING`."""
        try:
            return self._bind(inputs, outputs)
        except Exception as error:  # noqa: BLE001
            _wrap("run", error)

    def settings(self) -> tuple[Setting, ...]:
        """Return the options that were set for this session beside what the runtime says of them."""
        try:
            return self._settings()
        except Exception as error:  # noqa: BLE001
            _wrap("run", error)

    def witnesses(self) -> tuple[Witness, ...]:
        """Return what the runtime can show about where the nodes ran; empty where it can show nothing."""
        try:
            return self._witnesses()
        except Exception as error:  # noqa: BLE001
            _wrap("run", error)

    def close(self) -> None:
        """Release the session; RuntimeFault where the runtime fails to."""
        try:
            self._close()
        except Exception as error:  # noqa: BLE001
            _wrap("run", error)

    @abc.abstractmethod
    def _infer(self, feeds: dict[str, Value], place: PlaceOutput | None) -> list[tuple[str, Value]]: ...

    def _bind(self, inputs: dict[str, Array], outputs: dict[str, Array]) -> Bound:  # noqa: ARG002
        raise Unavailable("this adapter cannot bind the caller's memory")

    def _settings(self) -> tuple[Setting, ...]:
        raise Unavailable("this adapter cannot read options back")

    def _witnesses(self) -> tuple[Witness, ...]:
        return ()

    def _close(self) -> None:
        return None


class RuntimeAdapter(abc.ABC):
    """One device through one runtime. Subclasses set `Options`, the typed form of the profile's `runtime:` mapping."""

    Options: ClassVar[type[msgspec.Struct]]
    runs_on_host_cpu: bool = False
    """True once opened where the bound device is the host's CPU: untimed cases may then use several workers."""
    has_witness: ClassVar[bool] = False
    """Whether sessions of this adapter can show where nodes ran. Where they should and do not, that is no PASS."""
    needs_server: ClassVar[bool] = False
    """Whether the device is reached at an address, which the bench file gives: the options then take a key `server`."""
    unsayable: ClassVar[dict[str, str]] = {}
    """Cases of must-reject, such as `request/sequence`, that the interface has no way to ask, each with the reason.

    They are then not claimed of the device. Believed of built-in adapters alone: no other may excuse its own device."""

    def __init__(self, options: msgspec.Struct, scratch: Path) -> None:
        self.options: Any = options
        self.given = options
        """The options as they came, with which another process can open the same device."""
        self.scratch = scratch

    @classmethod
    def read_options(cls, runtime: dict[str, Any]) -> msgspec.Struct:
        """Validate the `runtime:` mapping of a profile; UsageError says which key is wrong."""
        given = {
            key: value for key, value in runtime.items() if key not in ("adapter", "deadlines") and value is not None
        }
        try:
            return msgspec.convert(given, cls.Options)
        except msgspec.ValidationError as error:
            raise UsageError(f"runtime: {error}") from None

    @classmethod
    def features(cls, options: msgspec.Struct) -> frozenset[Feature]:  # noqa: ARG003
        """Return what is offered beside plain runs, by the options alone: nothing is loaded for it."""
        return frozenset()

    def open(self) -> Identity:
        """Load the runtime, bind the one device and return who it says it is.

        DeviceNotFound where the device is not there; RuntimeFault where the runtime refuses.
        """
        try:
            return _read_identity(self._open())
        except Exception as error:  # noqa: BLE001
            _wrap("open", error)

    def compile(
        self,
        model: bytes,
        mode: Mode = Mode.STRICT,
        *,
        dimensions: dict[str, int] | None = None,
        cache: Path | None = None,
        timed: bool = False,
    ) -> RuntimeSession:
        """Make a session from a serialised ModelProto. RuntimeFault where it is refused; Unavailable for a mode without sense.

        `dimensions` gives symbolic dimensions of the model, by name, their sizes; `cache` is a folder in which the runtime
        may keep what it compiles. Unavailable where `features` does not have them. `timed` asks for a session like any other
        of that mode but without what slows each inference down to witness it: a profile makes one three times as slow.
        """
        try:
            if timed:
                return self._compile_timed(model, mode)
            if dimensions or cache is not None:
                return self._compile_with(model, mode, dimensions or {}, cache)
            return self._compile(model, mode)
        except Exception as error:  # noqa: BLE001
            _wrap("compile", error)

    def precompile(self, model: bytes, mode: Mode = Mode.STRICT) -> bytes:
        """Return the compiled model, for `compile` to take. Unavailable without `Feature.COMPILED_MODELS`."""
        try:
            return self._precompile(model, mode)
        except Exception as error:  # noqa: BLE001
            _wrap("compile", error)

    def modes(self) -> tuple[Mode, ...]:
        """Return the modes in which a model is tried on the device under test, in order."""
        return (Mode.STRICT,)

    def release(self) -> None:
        """Let the device go, to `open` it again later in this process. No session of it may be open."""
        try:
            self._release()
        except Exception as error:  # noqa: BLE001
            _wrap("open", error)

    def close(self) -> None:
        """Let the device go, for this process will end; RuntimeFault where the runtime fails to."""
        try:
            self._close()
        except Exception as error:  # noqa: BLE001
            _wrap("open", error)

    @abc.abstractmethod
    def _open(self) -> Identity: ...

    @abc.abstractmethod
    def _compile(self, model: bytes, mode: Mode) -> RuntimeSession: ...

    def _compile_timed(self, model: bytes, mode: Mode) -> RuntimeSession:
        """An adapter whose ordinary sessions profile or record each inference leaves that out here."""
        return self._compile(model, mode)

    def _compile_with(
        self,
        model: bytes,  # noqa: ARG002
        mode: Mode,  # noqa: ARG002
        dimensions: dict[str, int],
        cache: Path | None,  # noqa: ARG002
    ) -> RuntimeSession:
        raise Unavailable(f"this adapter cannot {'fix dimensions' if dimensions else 'name a cache folder'}")

    def _precompile(self, model: bytes, mode: Mode) -> bytes:  # noqa: ARG002
        raise Unavailable("this adapter cannot give a compiled model out")

    def _release(self) -> None:
        self._close()

    def _close(self) -> None:
        return None


def materialise(value: object) -> Value:
    """Turn a runtime's result into a plain value: C-ordered arrays of the host's byte order, lists, None.

    RuntimeFault for anything else, a type that ONNX does not have included.
    """
    if value is None:
        return None
    if isinstance(value, np.ndarray):
        return _plain(value)
    if isinstance(value, list | tuple):
        return [materialise(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(np.asarray(value))
    if isinstance(value, str | bytes):
        return np.asarray(value, dtype=object)
    if hasattr(value, "__array__"):
        return materialise(np.asarray(value))
    raise RuntimeFault(
        "run", "UnknownOutput", f"the runtime returned a {type(value).__name__}, which is no tensor, sequence or None"
    )


def _plain(array: Array) -> Array:
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    try:
        type_name(array)
    except HarnessError as error:
        raise RuntimeFault("run", "UnknownType", f"the runtime returned an array whose {error}") from error
    if array.dtype.kind == "O" and not all(isinstance(item, str | bytes) for item in array.reshape(-1).tolist()):
        raise RuntimeFault("run", "UnknownType", "the runtime returned an array of objects that are no strings")
    return array if array.flags.c_contiguous else np.ascontiguousarray(array).reshape(array.shape)
