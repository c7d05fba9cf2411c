"""The port through which the harness runs ONNX models on a device.

An adapter subclasses `RuntimeAdapter` and `RuntimeSession` and fills in the private hooks. The public methods wrap
them: whatever the runtime raises leaves as `AdapterError` with the runtime's own exception type and words, results are
checked for kind, and lazy results are materialised before they are returned. Adapters live in the child process only.
"""

from __future__ import annotations

import abc
import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeAlias

import msgspec
import numpy as np

from conformance.errors import AdapterError, ConformanceError, HarnessError, UsageError
from conformance.tensors import Array, type_name

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.records import Identity, TensorInfo, Witness
    from conformance.tensors import Value

PlaceOutput: TypeAlias = Callable[[str, tuple[int, ...]], Array | None]
"""Given a type name and a shape, returns a writable array in shared memory, or None to let the runtime allocate."""


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


class RuntimeFault(AdapterError):
    """A request that the runtime refused or failed; `kind` is its exception type, `phase` where it happened."""

    def __init__(self, phase: str, kind: str, message: str) -> None:
        super().__init__(message)
        self.phase = phase
        self.kind = kind


class Unavailable(AdapterError):
    """The adapter cannot do this kind of thing at all (no such mode, no such witness)."""


def _wrap(phase: str, error: Exception) -> NoReturn:
    if isinstance(error, ConformanceError):
        raise error
    raise RuntimeFault(phase, type(error).__name__, str(error)) from error


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
            return [(name, materialise(value)) for name, value in self._infer(feeds, place)]
        except Exception as error:  # noqa: BLE001 - the one place where vendor exceptions become evidence
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

    def __init__(self, options: msgspec.Struct, scratch: Path) -> None:
        self.options: Any = options
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

    def open(self) -> Identity:
        """Load the runtime, bind the one device and return who it says it is.

        DeviceNotFound where the device is not there; RuntimeFault where the runtime refuses.
        """
        try:
            return self._open()
        except Exception as error:  # noqa: BLE001
            _wrap("open", error)

    def compile(self, model: bytes, mode: Mode = Mode.STRICT) -> RuntimeSession:
        """Make a session from a serialised ModelProto. RuntimeFault where it is refused; Unavailable for a mode without sense."""
        try:
            return self._compile(model, mode)
        except Exception as error:  # noqa: BLE001
            _wrap("compile", error)

    def modes(self) -> tuple[Mode, ...]:
        """Return the modes in which a model is tried on the device under test, in order."""
        return (Mode.STRICT,)

    def close(self) -> None:
        """Let the device go; RuntimeFault where the runtime fails to."""
        try:
            self._close()
        except Exception as error:  # noqa: BLE001
            _wrap("open", error)

    @abc.abstractmethod
    def _open(self) -> Identity: ...

    @abc.abstractmethod
    def _compile(self, model: bytes, mode: Mode) -> RuntimeSession: ...

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
