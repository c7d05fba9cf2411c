"""The framed protocol between parent and child: messages, framing, version. docs/protocol.md is its page.

A frame is a 4-byte big-endian length and a MessagePack map with a `type`. It flows over the child's standard input and
output. Tensors above `INLINE_LIMIT` bytes travel by reference to a store (local transport) and inline otherwise.
"""

from __future__ import annotations

import os
import struct
from typing import Any, TypeAlias

import msgspec

from conformance.errors import HarnessError
from conformance.observation import Observation
from conformance.records import Case, Identity
from conformance.tensors import SequenceRef, unicode_only

PROTOCOL_VERSION = 1
INLINE_LIMIT = 64 * 1024
"""Tensors larger than this many bytes go through shared memory where the transport has it."""
FRAME_LIMIT = 256 * 1024 * 1024
"""A longer frame is a broken protocol, not a big message."""
NESTING_LIMIT = 16
LARGE_OUTPUT = 1024 * 1024
"""From this many bytes on, a runtime that can writes its output straight into shared memory."""

EXIT_CLOSED = 0
EXIT_PROTOCOL = 3
"""The child could not read or understand a frame."""

_HEADER = struct.Struct(">I")


class Deadlines(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds that a phase may take, as the device sees them; the parent kills later (docs/protocol.md)."""

    open_s: float = 60.0
    compile_s: float = 120.0
    run_s: float = 30.0

    def of(self, phase: str) -> float:
        """Return the budget of `open`, `compile` or `run`."""
        return {"open": self.open_s, "compile": self.compile_s, "run": self.run_s}[phase]


PHASES = ("compile", "run", "open")
"""What a child may say that a case has entered."""
DONE = "done"
"""What a child on another host says when a case is over and only the answer is still to come."""


class Open(msgspec.Struct, tag="open", tag_field="type", frozen=True, kw_only=True):
    """Parent → child, first: bind the device. `stores` maps store names to inherited file descriptors."""

    protocol: int
    adapter: str
    runtime: dict[str, Any]
    scratch: str
    stores: dict[str, int]
    deadlines: Deadlines


class Measure(msgspec.Struct, tag="measure", tag_field="type", frozen=True, kw_only=True):
    """Parent → child: measure one case. `seq` comes back with every answer."""

    seq: int
    case: Case
    deadlines: Deadlines


class Close(msgspec.Struct, tag="close", tag_field="type", frozen=True):
    """Parent → child: let the device go and exit 0."""


class Hello(msgspec.Struct, tag="hello", tag_field="type", frozen=True, kw_only=True):
    """Child → parent, unasked, first."""

    protocol: int
    harness_version: str
    pid: int
    versions: dict[str, str]


class Opened(msgspec.Struct, tag="opened", tag_field="type", frozen=True, kw_only=True):
    """Child → parent: the device is bound."""

    identity: Identity
    runs_on_host_cpu: bool
    has_witness: bool


class Refused(msgspec.Struct, tag="refused", tag_field="type", frozen=True, kw_only=True):
    """Child → parent: the device could not be bound. `kind` is `not-found`, `rejected`, `usage` or `harness`."""

    kind: str
    message: str


class Phase(msgspec.Struct, tag="phase", tag_field="type", frozen=True, kw_only=True):
    """Child → parent: case `seq` entered `compile` or `run`, and that phase's deadline starts now; or it is `done`."""

    seq: int
    phase: str


class Observed(msgspec.Struct, tag="observed", tag_field="type", frozen=True, kw_only=True):
    """Child → parent: what was seen. `overtime` names a phase that came back, but after its deadline."""

    seq: int
    observation: Observation
    overtime: str = ""
    peak_rss_kb: int = 0


class Failed(msgspec.Struct, tag="failed", tag_field="type", frozen=True, kw_only=True):
    """Child → parent: the harness's own code failed on case `seq` (never the device's fault)."""

    seq: int
    message: str


ToChild: TypeAlias = Open | Measure | Close
ToParent: TypeAlias = Hello | Opened | Refused | Phase | Observed | Failed

_ENCODER = msgspec.msgpack.Encoder()
TO_CHILD = msgspec.msgpack.Decoder(ToChild)
TO_PARENT = msgspec.msgpack.Decoder(ToParent)


def is_too_deep(observation: Observation) -> bool:
    """Whether an output holds sequences in sequences beyond NESTING_LIMIT: ONNX knows no such value."""
    level: list[Any] = [one.value for s in observation.sessions for i in s.inferences for one in i.outputs]
    for _ in range(NESTING_LIMIT):
        level = [item for ref in level if isinstance(ref, SequenceRef) for item in ref.items]
        if not level:
            return False
    return True


def encode(message: ToChild | ToParent) -> bytes:
    """Return the frame of a message. Text that is no Unicode (a runtime's words may be anything) is spelled."""
    try:
        body = _ENCODER.encode(message)
    except UnicodeEncodeError:
        body = _ENCODER.encode(_spelled(msgspec.to_builtins(message, builtin_types=(bytes,))))
    if len(body) > FRAME_LIMIT:
        raise HarnessError(f"a message of {len(body)} bytes exceeds the frame limit of {FRAME_LIMIT}")
    return _HEADER.pack(len(body)) + body


def _spelled(value: Any) -> Any:
    if isinstance(value, str):
        return unicode_only(value)
    if isinstance(value, dict):
        return {_spelled(key): _spelled(item) for key, item in value.items()}
    return [_spelled(item) for item in value] if isinstance(value, list | tuple) else value


def write_all(fd: int, data: bytes) -> None:
    """Write everything, however often the kernel takes a part."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def read_frame(fd: int) -> bytes | None:
    """Read one frame, blocking; None at end of file. HarnessError where a frame is cut or too long."""
    header = _read_exactly(fd, _HEADER.size)
    if header is None:
        return None
    (length,) = _HEADER.unpack(header)
    if length > FRAME_LIMIT:
        raise HarnessError(f"a frame of {length} bytes exceeds the limit")
    body = _read_exactly(fd, length)
    if body is None and length:
        raise HarnessError("the stream ended inside a frame")
    return body or b""


def _read_exactly(fd: int, count: int) -> bytes | None:
    parts: list[bytes] = []
    while count:
        part = os.read(fd, min(count, 1 << 20))
        if not part:
            if parts:
                raise HarnessError("the stream ended inside a frame")
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


class FrameBuffer:
    """Collects bytes of a non-blocking stream and gives back whole frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Add bytes and return the frames that are complete; HarnessError for one that is too long."""
        self._buffer += data
        frames = []
        at = 0
        while len(self._buffer) - at >= _HEADER.size:
            (length,) = _HEADER.unpack_from(self._buffer, at)
            if length > FRAME_LIMIT:
                raise HarnessError(f"a frame of {length} bytes exceeds the limit")
            end = at + _HEADER.size + length
            if len(self._buffer) < end:
                break
            frames.append(bytes(self._buffer[at + _HEADER.size : end]))
            at = end
        if at:
            del self._buffer[:at]
        return frames
