"""The relay: the far end of a connection, on the host that holds the device. It stands where the parent stands locally.

    python -P -m conformance.execution.relay

It speaks channels on its standard input and output (`protocol.md`), starts a keeper with one child, and passes on what
both say. It always reads what the parent sends, so it sees at once when the connection goes; then it closes the keeper's
lifeline and the keeper leaves nothing behind. Dies the relay itself, the kernel closes the lifeline. Standard library only.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from typing import TYPE_CHECKING

from conformance.execution.pressure import free_mb, oom_kills

if TYPE_CHECKING:
    from typing import Any

KEEPER = f"{os.path.dirname(os.path.abspath(__file__))}/keeper.py"
RELAY_VERSION = 1
MAGIC = b"\0conformance-relay\0"
"""Comes first: what a login shell prints before it is no part of the conversation."""
HEADER = struct.Struct(">cI")
CHUNK = 1 << 18
HELD = 1 << 22
"""Bytes on their way to the parent beyond which the child has to wait."""
LEASE_S = 120.0
"""A parent that has begun to send heartbeats and is silent for so long is gone, whatever the network says."""
BEAT_S = 15.0
END_S = 30.0
DROPPED_PREFIXES = ("CONFORMANCE_", "PYTEST_")


def pack(channel: bytes, data: bytes | bytearray | memoryview) -> bytes:
    """Return what travels: the channel, the length, the data."""
    return HEADER.pack(channel, len(data)) + bytes(data)


class Channels:
    """Collects bytes and gives back (channel, data) where they are complete."""

    def __init__(self, limit: int) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Add bytes and return what is whole; ValueError for a length beyond the limit."""
        self._buffer += data
        found = []
        at = 0
        while len(self._buffer) - at >= HEADER.size:
            channel, length = HEADER.unpack_from(self._buffer, at)
            if length > self._limit:
                raise ValueError(f"{length} bytes on channel {channel!r}")
            end = at + HEADER.size + length
            if len(self._buffer) < end:
                break
            found.append((channel, bytes(self._buffer[at + HEADER.size : end])))
            at = end
        if at:
            del self._buffer[:at]
        return found


class Relay:
    """One child with its keeper, between a parent far away and this host."""

    def __init__(self) -> None:
        self._channels = Channels(1 << 26)
        self._to_parent = bytearray(MAGIC)
        self._to_child = bytearray()
        self._given = 0
        self._folder = ""
        self._keeper: subprocess.Popen[bytes] | None = None
        self._child_in = self._child_out = self._child_err = self._status = self._lifeline = -1
        self._told = bytearray()
        self._is_parent_there = True
        self._heard: float | None = None
        self._said = time.monotonic()
        self._ends_at = float("inf")
        self._oom_kills = oom_kills()

    # -- the child ----------------------------------------------------------------------------------------------------

    def _start(self, config: dict[str, Any]) -> None:
        self._folder = tempfile.mkdtemp(prefix="conformance-", dir=config["workdir"] or None)
        environment = {key: value for key, value in os.environ.items() if not key.startswith(DROPPED_PREFIXES)}
        environment |= config["env"]
        environment |= {"TMPDIR": self._folder, "XDG_CACHE_HOME": f"{self._folder}/cache"}
        stdin_r, self._child_in = os.pipe()
        self._child_out, stdout_w = os.pipe()
        self._child_err, stderr_w = os.pipe()
        lifeline_r, self._lifeline = os.pipe()
        self._status, status_w = os.pipe()
        given = [stdin_r, stdout_w, stderr_w, lifeline_r, status_w]
        asked = {
            "argv": [sys.executable, "-m", "conformance.execution.child"],
            "env": environment,
            "cwd": self._folder,
            "pass_fds": [],
            "child_stdin": stdin_r,
            "child_stdout": stdout_w,
            "child_stderr": stderr_w,
            "lifeline": lifeline_r,
            "status": status_w,
            "memory_kb": config["memory_kb"],
        }
        with tempfile.TemporaryFile() as held:  # the environment holds secrets: on no command line, under no name
            held.write(json.dumps(asked).encode())
            held.seek(0)
            command = [sys.executable, "-I", "-S", KEEPER]
            self._keeper = subprocess.Popen(command, stdin=held, stdout=subprocess.DEVNULL, pass_fds=given)
        for fd in given:
            os.close(fd)
        for fd in (self._child_in, self._child_out, self._child_err, self._status):
            os.set_blocking(fd, False)
        ready = {"relay": RELAY_VERSION, "folder": self._folder, "host": describe()}
        self._say(b"R", json.dumps(ready).encode())

    def _drop_lifeline(self) -> None:
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
            self._to_child.clear()
            self._ends_at = time.monotonic() + END_S

    # -- the two sides ------------------------------------------------------------------------------------------------

    def _say(self, channel: bytes, data: bytes) -> None:
        self._to_parent += pack(channel, data)
        self._said = time.monotonic()

    def _lose_parent(self) -> None:
        self._is_parent_there = False
        self._drop_lifeline()

    def _hear(self) -> None:
        try:
            data = os.read(0, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose_parent()
            return
        if self._heard is not None:
            self._heard = time.monotonic()
        for channel, body in self._channels.feed(data):
            if channel == b"C":
                self._start(json.loads(body))
            elif channel == b"D" and self._lifeline >= 0:
                self._to_child += body
                self._given += len(body)
            elif channel == b"P":
                self._heard = time.monotonic()
                self._say(b"P", body)
            elif channel == b"I":
                self._heard = None

    def _tell(self, *, limit_s: float = 0.0) -> None:
        """Write what the connection takes, for `limit_s` at most where it takes nothing."""
        while self._to_parent:
            try:
                written = os.write(1, memoryview(self._to_parent)[:CHUNK])
            except BlockingIOError:
                if not select.select([], [1], [], limit_s)[1]:
                    return
                continue
            except OSError:
                self._to_parent.clear()
                self._lose_parent()
                return
            del self._to_parent[:written]

    def _feed_child(self) -> None:
        try:
            written = os.write(self._child_in, memoryview(self._to_child)[:CHUNK])
        except BlockingIOError:
            return
        except OSError:  # it is gone; its status will say how
            self._given -= len(self._to_child)
            self._to_child.clear()
            return
        del self._to_child[:written]

    def _take(self, fd: int, channel: bytes) -> bool:
        """Pass on what a pipe of the child holds; False at its end."""
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return True
        if data:
            self._say(channel, data)
        return bool(data)

    def _taken(self) -> int:
        """Return how many bytes for the child it has read."""
        unread = bytearray(4)
        fcntl.ioctl(self._child_in, termios.FIONREAD, unread)
        return self._given - len(self._to_child) - int.from_bytes(unread, sys.byteorder)

    # -- the loop -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Pass on until the child has ended and all that it left is gone."""
        os.set_blocking(0, False)
        os.set_blocking(1, False)
        open_ends = {"out", "err"}
        while time.monotonic() < self._ends_at:
            self._tell()
            if self._keeper is None and not self._is_parent_there:
                return
            reading = [0] if self._is_parent_there else []
            if self._keeper is not None:
                reading.append(self._status)
                if len(self._to_parent) < HELD:
                    reading += [self._child_out] if "out" in open_ends else []
                    reading += [self._child_err] if "err" in open_ends else []
            writing = ([1] if self._to_parent else []) + ([self._child_in] if self._to_child else [])
            ready, writable, _ = select.select(reading, writing, [], 1.0)
            if self._child_in in writable:
                self._feed_child()
            for fd, name, channel in ((self._child_out, "out", b"D"), (self._child_err, "err", b"E")):
                if fd in ready and not self._take(fd, channel):
                    open_ends.discard(name)
            if 0 in ready:
                self._hear()
            now = time.monotonic()
            if self._heard is not None and now - self._heard > LEASE_S:
                self._lose_parent()
            if now - self._said > BEAT_S:
                self._say(b"B", b"")
            if self._status in ready and self._has_ended():
                break
        self._finish(open_ends)

    def _has_ended(self) -> bool:
        try:
            data = os.read(self._status, CHUNK)
        except BlockingIOError:
            return False
        self._told += data
        return not data or self._told.endswith(b"\n")

    def _finish(self, open_ends: set[str]) -> None:
        for fd, name, channel in ((self._child_out, "out", b"D"), (self._child_err, "err", b"E")):
            while name in open_ends and select.select([fd], [], [], 0)[0] and self._take(fd, channel):
                self._tell(limit_s=END_S)
        end = json.loads(self._told) if self._told else {"cause": "ended", "signal": 9, "exit_code": None, "reaped": 0}
        end |= {
            "taken": self._taken(),
            "oom_kills": oom_kills() - self._oom_kills,
            "free_mb": free_mb(self._folder),
        }
        self._say(b"S", json.dumps(end).encode())
        shutil.rmtree(self._folder, ignore_errors=True)
        self._tell(limit_s=END_S)


def _host_id() -> str:
    """Return a digest of this installation's id, which is not to be told itself; empty where there is none."""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            with open(path, "rb") as stream:
                return hashlib.blake2b(b"resonance-conformance" + stream.read(256).strip(), digest_size=8).hexdigest()
        except OSError:
            continue
    return ""


def describe() -> dict[str, str]:
    """Return what this host is, for the stamp of the run."""
    name = os.uname()
    return {
        "name": name.nodename,
        "id": _host_id(),
        "system": f"{name.sysname} {name.release}",
        "machine": name.machine,
        "python": sys.version.split()[0],
        "cpus": str(len(os.sched_getaffinity(0))),
    }


def main() -> int:
    """Run one child; exit 1 with a line on standard error where it cannot be started here."""
    relay = Relay()
    try:
        relay.run()
    except (OSError, ValueError, KeyError) as error:
        relay._drop_lifeline()  # what was started must not stay
        print(f"the relay on this host failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
