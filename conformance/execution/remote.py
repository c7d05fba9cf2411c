"""The parent's side of a child on another host: one connection of OpenSSH's client, a relay at its far end.

There is no shared memory: inputs and outputs travel inside the messages, and a case's phases are told by messages. A
connection that fails is the lab's fault, so what is told by the relay and what is told by the client are kept apart.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from typing import TYPE_CHECKING, Any

import msgspec

from conformance.errors import HarnessError
from conformance.execution import protocol, ssh
from conformance.execution.blame import Ended
from conformance.execution.line import KEEPER_GRACE_S, Launch, Line
from conformance.execution.relay import BEAT_S, CHUNK, MAGIC, RELAY_VERSION, Channels, pack
from conformance.execution.stores import Reader
from conformance.tensors import SequenceRef, TensorRef

if TYPE_CHECKING:
    from conformance.records import Case
    from conformance.tensors import ValueRef
    from conformance.workload import ModelRef, NamedValue, Workload

LINK_S = 20.0
"""Seconds that the relay may take to answer before the connection counts as lost."""
LET_GO_S = 3.0
NOISE = 1 << 16
"""Bytes that a login shell may print before the relay speaks."""


class RemoteWorker(Line):
    """One child after another on another host, under one number."""

    is_remote = True

    def __init__(self, number: int, launch: Launch) -> None:
        super().__init__(number, launch)
        if launch.remote is None:
            raise HarnessError("a child on another host was asked for, and no host was named")
        self._remote = launch.remote
        self._inputs = Reader(launch.inputs_fd)
        self.host: dict[str, str] = {}
        """What the relay says of its host."""

    def start(self) -> None:
        """Start the client, whose far end starts a relay, a keeper and the child. HarnessError where there is no client."""
        self._clear()
        self._channels = Channels(protocol.FRAME_LIMIT)
        self._noise: bytearray | None = bytearray()
        self._words = bytearray()
        self._told: dict[str, Any] | None = None
        self._folder = ""
        self._is_gone = self._is_lost = self._is_stdin_closed = self._beats = False
        self._given = 0
        self._marks = (0, "", 0.0)
        self._questions = 0
        self._asked_at: float | None = None
        self._beaten = 0.0
        command = ssh.command(self._remote)
        pipes = [os.pipe() for _ in range(4)]
        (stdin_r, self.stdin), (self.stdout, stdout_w), (self.stderr, stderr_w), (self.status, self._status_w) = pipes
        try:
            self._ssh = subprocess.Popen(
                command, stdin=stdin_r, stdout=stdout_w, stderr=stderr_w, start_new_session=True
            )
        except OSError as error:
            raise HarnessError(f"cannot start {command[0]}: {error.strerror}") from error
        finally:
            for fd in (stdin_r, stdout_w, stderr_w):
                os.close(fd)
        for fd in (self.stdin, self.stdout, self.stderr, self.status):
            os.set_blocking(fd, False)
        config = {"workdir": self._remote.workdir, "env": self._remote.env, "memory_kb": self._launch.memory_mb * 1024}
        self._outgoing += pack(b"C", json.dumps(config).encode())
        self.flush()
        self.alive = True
        self.starts += 1

    # -- messages -----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Ask the child to bind the device."""
        launch = self._launch
        asked = protocol.Open(
            protocol=protocol.PROTOCOL_VERSION,
            adapter=launch.adapter,
            runtime=launch.runtime,
            scratch=self._folder,
            stores={},
            deadlines=launch.deadlines,
        )
        self.send(asked)

    def measure(self, seq: int, case: Case, deadlines: protocol.Deadlines) -> None:
        """Ask the child to measure a case, with its model and all its inputs inside the message."""
        if case.workload is not None:
            case = msgspec.structs.replace(case, workload=self._inline(case.workload))
        self.send(protocol.Measure(seq=seq, case=case, deadlines=deadlines))

    def _inline(self, workload: Workload) -> Workload:
        model = workload.model
        if model.data is None:
            model = msgspec.structs.replace(model, data=self._bytes(model), store="", offset=0, nbytes=0)
        datasets = [[self._carried(named) for named in dataset] for dataset in workload.datasets]
        return msgspec.structs.replace(workload, model=model, datasets=datasets)

    def _carried(self, named: NamedValue) -> NamedValue:
        return msgspec.structs.replace(named, value=self._value(named.value))

    def _value(self, ref: ValueRef) -> ValueRef:
        if isinstance(ref, SequenceRef):
            return SequenceRef([self._value(item) for item in ref.items])
        if isinstance(ref, TensorRef) and ref.data is None:
            return TensorRef(ref.dtype, ref.shape, self._bytes(ref))
        return ref

    def _bytes(self, ref: ModelRef | TensorRef) -> bytes:
        if ref.store != "inputs":
            raise HarnessError(f"there is no store '{ref.store}' to send from")
        return bytes(self._inputs.view(ref.offset + ref.nbytes)[ref.offset : ref.offset + ref.nbytes])

    def _queue(self, frame: bytes) -> None:
        self._given += len(frame)
        view = memoryview(frame)
        for at in range(0, len(frame), CHUNK):
            self._outgoing += pack(b"D", view[at : at + CHUNK])

    def read_messages(self) -> list[protocol.ToParent] | None:
        """Return the messages that have arrived, None at the end. HarnessError where the child broke the protocol."""
        data = self._receive()
        return None if data is None else self._decode(data)

    def _receive(self) -> bytes | None:
        """Take what the connection brings: the child's words are returned, the relay's are noted. None at its end."""
        try:
            data = os.read(self.stdout, 1 << 20)
        except BlockingIOError:
            return b""
        if not data:
            self._end()
            return None
        if self._noise is not None:
            self._noise += data
            before, found, data = bytes(self._noise).partition(MAGIC)
            if not found:
                if len(before) > NOISE:
                    self._lose("what speaks at the other end is no relay")
                return b""
            self._noise = None
        words = bytearray()
        try:
            for channel, body in self._channels.feed(data):
                if channel == b"D":
                    words += body
                else:
                    self._note(channel, body)
        except (ValueError, KeyError) as error:
            self._lose(f"what the relay says cannot be read: {error}")
        return bytes(words)

    def _note(self, channel: bytes, body: bytes) -> None:
        if channel == b"E":
            self._keep(body)
        elif channel == b"R":
            ready = json.loads(body)
            if ready["relay"] != RELAY_VERSION:
                raise ValueError(
                    f"its version is {ready['relay']}, this one's {RELAY_VERSION}: install the same version"
                )
            self._folder, self.host = ready["folder"], ready["host"]
        elif channel == b"P" and body == str(self._questions).encode():
            self._asked_at = None if self._asked_at is None else -1.0
        elif channel == b"S":
            self._told = json.loads(body)
            self._end()

    def read_stderr(self) -> bool:
        """Take what the client itself says; what the child says comes through the connection."""
        try:
            data = os.read(self.stderr, CHUNK)
        except BlockingIOError:
            return True
        self._keep(data)
        self._words += data
        del self._words[:-4096]
        return bool(data)

    # -- time ---------------------------------------------------------------------------------------------------------

    def mark(self, seq: int, phase: str) -> None:
        """Note that case `seq` has entered a phase."""
        self._marks = (seq, phase, time.monotonic())

    def entered(self, seq: int) -> tuple[str, float]:
        """Return the phase that case `seq` is in and since when, as far as messages have told."""
        return self._marks[1:] if self._marks[0] == seq else ("", 0.0)

    def is_in_doubt(self) -> bool:
        """Ask the relay, which answers after all that the child has said; True until it does, or counts as lost."""
        if self._asked_at is None:
            self._questions += 1
            self._asked_at = time.monotonic()
            self._speak(b"P", str(self._questions).encode())
            return True
        if self._asked_at < 0:
            return False
        if time.monotonic() - self._asked_at > LINK_S:
            self._lose(f"no sign of life for {LINK_S:g} s")
            return False
        return True

    def forget_doubt(self) -> None:
        """Another deadline runs: an answer to an old question says nothing about it."""
        self._asked_at = None

    def beat(self) -> None:
        """Give the relay a sign of life; from the first one on it ends where none follows."""
        if self._folder and time.monotonic() - self._beaten > BEAT_S:
            self._beaten, self._beats = time.monotonic(), True
            self._speak(b"P", b"")

    def rest(self) -> None:
        """Tell the relay that silence is no bad sign for a while."""
        if self.alive and self._beats:
            self._beats, self._beaten = False, 0.0
            self._speak(b"I", b"")

    def _speak(self, channel: bytes, body: bytes) -> None:
        if not self._is_stdin_closed:
            self._outgoing += pack(channel, body)
            self.flush()

    # -- the end ------------------------------------------------------------------------------------------------------

    def has_taken(self, last: int) -> bool:
        """Whether the child has read at least a part of the first of the `last` messages; True where nobody can tell."""
        if self._told is None:
            return True
        return self._given - int(self._told["taken"]) < sum(self._sent[-last:])

    def finish_close(self) -> tuple[Ended, bool]:
        """Wait for a child that was asked to close; kill it where it does not in time. Return its end, and whether it was late."""
        end = time.monotonic() + self.close_s
        while time.monotonic() < end or (not self._is_gone and self.is_in_doubt()):
            if self._is_gone:
                return self.wait_status(), False
            self._pump(0.05)
        return self.kill(), True

    def kill(self) -> Ended:
        """Close the connection's near end: the relay lets the keeper kill all, and tells. Blocks until that is so."""
        self._close_stdin()
        if self._is_lost:
            self._ssh.kill()
        return self.wait_status()

    def wait_status(self, limit_s: float = KEEPER_GRACE_S) -> Ended:
        """Return how the child ended; where nobody says so within `limit_s`, the connection is lost."""
        end = time.monotonic() + limit_s
        while not self._is_gone and time.monotonic() < end:
            self._pump(0.05)
        if not self._is_gone:
            self._lose(f"the relay does not say within {limit_s:g} s how the child ended")
        code = self._reap()
        words = bytes(self._words).decode("utf-8", "replace").strip().splitlines()[-3:]
        if self._told is not None:
            told = self._told
            return Ended(
                told["cause"],
                told["signal"],
                told["exit_code"],
                told["reaped"],
                told.get("peak_rss_kb", 0),
                oom_kills=told["oom_kills"],
                free_mb=told["free_mb"],
            )
        spoken = " · ".join(words) or f"the client ended with code {code}"
        if self._folder or code == ssh.UNREACHABLE or self._is_lost:
            return Ended("lost", words=f"{self._remote.address.name}: {spoken}")
        return Ended("ended", exit_code=code, words=spoken)  # the host was there, and could not start a relay

    def _pump(self, wait_s: float) -> None:
        """Take what comes and let nothing of it count, for `wait_s` where nothing does."""
        self.flush()
        readable, _, _ = select.select([self.stdout, self.stderr], [], [], wait_s)
        is_over = self.stdout in readable and self._receive() is None
        if self.stderr in readable:
            is_over = not self.read_stderr() or is_over
        if is_over:  # readable for ever, and nothing comes
            time.sleep(0.001)

    def _lose(self, why: str) -> None:
        self._is_lost = True
        self._words += f"\n{why}".encode()
        self._end()

    def _end(self) -> None:
        """From now on it can be told how the child ended."""
        if not self._is_gone:
            self._is_gone = True
            os.close(self._status_w)

    def _close_stdin(self) -> None:
        if not self._is_stdin_closed:
            self._is_stdin_closed = True
            self._outgoing.clear()
            os.close(self.stdin)

    def _reap(self) -> int:
        self.alive = False
        self._close_stdin()
        end = time.monotonic() + (0 if self._is_lost else LET_GO_S)
        while self._ssh.poll() is None and time.monotonic() < end:
            self._pump(0.01)
        self._ssh.kill()
        code = self._ssh.wait()
        for _ in range(64):  # what it said last
            if not select.select([self.stderr], [], [], 0)[0] or not self.read_stderr():
                break
        for fd in (self.stdout, self.stderr, self.status):
            os.close(fd)
        return code

    def stores(self, needed: int) -> dict[str, memoryview]:  # noqa: ARG002 - the port's name
        """Return nothing: outputs lie in the messages."""
        return {}

    def release(self) -> None:
        """Nothing outlives a child here."""
