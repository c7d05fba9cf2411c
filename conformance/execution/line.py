"""The line to one child: messages out and in, what it says on standard error. How it is started and ended is a subclass's.

Descriptors are all non-blocking here; `Pool` waits on them.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from conformance.errors import HarnessError
from conformance.execution import protocol

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.execution.blame import Ended
    from conformance.execution.ssh import Remote
    from conformance.records import Case

STDERR_TAIL = 64 * 1024
KEEPER_GRACE_S = 30.0
CLOSE_S = 15.0


class Launch(NamedTuple):
    """How children of a run are started."""

    python: str
    adapter: str
    runtime: dict[str, Any]
    deadlines: protocol.Deadlines
    scratch: Path
    env: dict[str, str]
    memory_mb: int
    inputs_fd: int
    """The suite's inputs: sealed before any device is opened, empty where no case needs them."""
    remote: Remote | None = None
    """The host that holds the device; None where it is this one."""


class Line(ABC):
    """One child after another, under one number."""

    is_remote = False
    """Whether the child is on another host: then there is no shared memory, and time passes on the way."""
    stdin: int
    """The descriptor to wait on for writing while `wants_write`."""
    stdout: int
    stderr: int
    status: int
    """Readable once it can be told how the child ended."""

    def __init__(self, number: int, launch: Launch) -> None:
        self.number = number
        self._launch = launch
        self.alive = False
        self.starts = 0
        self._clear()

    def _clear(self) -> None:
        self._frames = protocol.FrameBuffer()
        self._tail = bytearray()
        self._outgoing = bytearray()
        self._sent = (0, 0)

    @abstractmethod
    def start(self) -> None:
        """Start a child. HarnessError where the host refuses."""

    @abstractmethod
    def open(self) -> None:
        """Ask the child to bind the device."""

    @abstractmethod
    def measure(self, seq: int, case: Case, deadlines: protocol.Deadlines) -> None:
        """Ask the child to measure a case."""

    def ask_to_close(self) -> None:
        """Ask the child to let the device go and end."""
        self.send(protocol.Close())

    @abstractmethod
    def finish_close(self) -> tuple[Ended, bool]:
        """Wait for a child that was asked to close; kill it where it does not in time. Return its end, and whether it was late."""

    @abstractmethod
    def wait_status(self, limit_s: float = KEEPER_GRACE_S) -> Ended:
        """Return how the child ended, once nothing is left of it; it has to be told within `limit_s`."""

    @abstractmethod
    def kill(self) -> Ended:
        """Kill the child and everything it spawned; return how it ended. Blocks until all of it is gone."""

    @abstractmethod
    def has_taken(self, last: int) -> bool:
        """Whether the child has read at least a part of the first of the `last` messages sent: asked once it has ended."""

    @abstractmethod
    def stores(self, needed: int) -> dict[str, memoryview]:
        """Return the stores that outputs come through, `needed` bytes of them at least."""

    @abstractmethod
    def mark(self, seq: int, phase: str) -> None:
        """Note that case `seq` has entered a phase, where the child said so in a message."""

    @abstractmethod
    def entered(self, seq: int) -> tuple[str, float]:
        """Return the phase that case `seq` is in and since when (monotonic seconds); ("", 0.0) where nothing was said."""

    @abstractmethod
    def release(self) -> None:
        """Give back what outlives a child, after the last one has ended."""

    def beat(self) -> None:  # noqa: B027 - a child on this host needs no sign of life
        """Give a sign of life; called in each round of the loop."""

    def rest(self) -> None:  # noqa: B027
        """Say that no sign of life will come for a while."""

    def is_in_doubt(self) -> bool:
        """Whether it is not known yet that a child which seems to be silent is: its words may be on their way."""
        return False

    def forget_doubt(self) -> None:  # noqa: B027
        """Another deadline runs."""

    @property
    def wants_write(self) -> bool:
        """Whether a message has not been taken yet."""
        return bool(self._outgoing)

    @property
    def close_s(self) -> float:
        """Seconds that a child may take to let the device go and end."""
        return min(CLOSE_S, self._launch.deadlines.open_s)

    def send(self, message: protocol.ToChild) -> None:
        """Queue a message and write what the pipe takes."""
        frame = protocol.encode(message)
        self._sent = (self._sent[1], len(frame))
        self._queue(frame)
        self.flush()

    def _queue(self, frame: bytes) -> None:
        self._outgoing += frame

    def flush(self) -> None:
        """Write what the pipe takes. A child that is gone is noticed elsewhere, by its status."""
        while self._outgoing:
            try:
                written = os.write(self.stdin, memoryview(self._outgoing)[: 1 << 20])
            except BlockingIOError:
                return
            except BrokenPipeError:
                self._drop_outgoing()
                return
            del self._outgoing[:written]

    def _drop_outgoing(self) -> None:
        self._outgoing.clear()

    @abstractmethod
    def read_messages(self) -> list[protocol.ToParent] | None:
        """Return the messages that have arrived, None at the end. HarnessError where the child broke the protocol."""

    def _decode(self, data: bytes) -> list[protocol.ToParent]:
        try:
            messages = [protocol.TO_PARENT.decode(frame) for frame in self._frames.feed(data)]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise HarnessError(f"the child sent what is no message: {error}") from error
        for message in messages:
            if isinstance(message, protocol.Observed) and protocol.is_too_deep(message.observation):
                raise HarnessError("the child sent sequences nested too deeply")
        return messages

    def read_stderr(self) -> bool:
        """Take what has arrived on standard error and keep the end of it; False once nothing more can come."""
        try:
            data = os.read(self.stderr, 1 << 20)
        except BlockingIOError:
            return True
        self._keep(data)
        return bool(data)

    def _keep(self, data: bytes) -> None:
        self._tail += data
        if len(self._tail) > STDERR_TAIL:
            del self._tail[:-STDERR_TAIL]

    def forget_stderr(self) -> None:
        """Begin a new case: what was said before does not belong to it."""
        self._tail.clear()

    @property
    def stderr_tail(self) -> str:
        """The end of what the child said on standard error."""
        return self._tail.decode("utf-8", "replace")
