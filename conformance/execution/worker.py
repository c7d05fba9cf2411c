"""The parent's side of one child: start it, speak with it without ever blocking on it, end it.

Between parent and child stands the keeper (`keeper.py`), which the parent tells to kill by closing its lifeline and which
tells how the child ended. Descriptors are all non-blocking here; `Crew` waits on them.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import sys
import termios
import time
from typing import TYPE_CHECKING

import msgspec

from conformance.errors import HarnessError
from conformance.execution import protocol
from conformance.execution.blame import Ended
from conformance.execution.keeping import start_kept
from conformance.execution.line import KEEPER_GRACE_S, Launch, Line
from conformance.execution.stores import Clock, Reader, Writer, region
from conformance.tensors import TensorRef, from_ref

__all__ = ["Launch", "Worker", "margin_s", "needs_inbox"]

if TYPE_CHECKING:
    from conformance.records import Case
    from conformance.workload import NamedValue


def margin_s(budget_s: float) -> float:
    """Return how much later than the child's own budget the parent kills, in seconds."""
    return 0.5 + 0.1 * budget_s


def needs_inbox(named: NamedValue) -> bool:
    """Whether an input is too large for a message."""
    ref = named.value
    return isinstance(ref, TensorRef) and ref.data is not None and len(ref.data) > protocol.INLINE_LIMIT


class Worker(Line):
    """One child after another, under one number."""

    def __init__(self, number: int, launch: Launch) -> None:
        super().__init__(number, launch)
        self._inbox_fd = region(f"inbox-{number}")
        self._outbox_fd = region(f"outbox-{number}")
        self._clock_fd = region(f"clock-{number}")
        self._clock = Clock(self._clock_fd)
        self._inbox = Writer(self._inbox_fd, "inbox")
        self._outbox = Reader(self._outbox_fd)

    def start(self) -> None:
        """Start a keeper and its child. HarnessError where the host refuses."""
        launch = self._launch
        folder = launch.scratch / f"child-{self.number}-{self.starts}"
        folder.mkdir(parents=True, exist_ok=True)
        self._clear()
        self._dropped = 0
        self._stores = {
            "inbox": self._inbox_fd,
            "outbox": self._outbox_fd,
            "clock": self._clock_fd,
            "inputs": launch.inputs_fd,
        }
        self._folder = folder
        started = start_kept(
            "a child process",
            [launch.python, "-m", "conformance.execution.child"],
            launch.env | {"TMPDIR": str(folder), "XDG_CACHE_HOME": str(folder / "cache")},
            folder,
            pass_fds=list(self._stores.values()),
            memory_kb=launch.memory_mb * 1024,
        )
        self._keeper, self.stdin, self.stdout, self.stderr, self._lifeline, self.status = started
        os.set_blocking(self.stdin, False)
        _widen(self.stderr)
        self.alive = True
        self.starts += 1

    def open(self) -> None:
        """Ask the child to bind the device."""
        launch = self._launch
        self.send(
            protocol.Open(
                protocol=protocol.PROTOCOL_VERSION,
                adapter=launch.adapter,
                runtime=launch.runtime,
                scratch=str(self._folder),
                stores=self._stores,
                deadlines=launch.deadlines,
            )
        )

    def measure(self, seq: int, case: Case, deadlines: protocol.Deadlines) -> None:
        """Ask the child to measure a case; large inline inputs go through the inbox."""
        if case.workload is not None:
            self._inbox.restart()
            datasets = [[self._placed(value) for value in dataset] for dataset in case.workload.datasets]
            case = msgspec.structs.replace(case, workload=msgspec.structs.replace(case.workload, datasets=datasets))
        self.send(protocol.Measure(seq=seq, case=case, deadlines=deadlines))

    def _placed(self, named: NamedValue) -> NamedValue:
        if not needs_inbox(named):
            return named
        value = from_ref(named.value)
        if value is None or isinstance(value, list):
            return named
        return msgspec.structs.replace(named, value=self._inbox.put(value))

    def has_taken(self, last: int) -> bool:
        """Whether the child has read at least a part of the first of the `last` messages sent: asked once it has ended."""
        unread = bytearray(4)
        fcntl.ioctl(self.stdin, termios.FIONREAD, unread)
        never_read = int.from_bytes(unread, sys.byteorder) + len(self._outgoing) + self._dropped
        return never_read < sum(self._sent[-last:])

    def _drop_outgoing(self) -> None:
        self._dropped += len(self._outgoing)
        super()._drop_outgoing()

    def read_messages(self) -> list[protocol.ToParent] | None:
        """Return the messages that have arrived, None at the end. HarnessError where the child broke the protocol."""
        try:
            data = os.read(self.stdout, 1 << 20)
        except BlockingIOError:
            return []
        if not data:
            return None
        return self._decode(data)

    def wait_status(self, limit_s: float = KEEPER_GRACE_S) -> Ended:
        """Return how the child ended, once nothing is left of it; the keeper has to say so within `limit_s`."""
        told = bytearray()
        end = time.monotonic() + limit_s
        while not told.endswith(b"\n"):
            wait = end - time.monotonic()
            if wait <= 0:
                self._keeper.kill()
                self._reap()
                raise HarnessError("the keeper did not come to an end: processes of the device may be left behind")
            select.select([self.status], [], [], min(wait, 0.05))
            self.read_stderr()
            try:
                data = os.read(self.status, 1 << 16)
            except BlockingIOError:
                continue
            if not data:
                break
            told += data
        while self._more_stderr():
            pass
        self._reap()
        if not told:
            return Ended(cause="ended", signal=signal.SIGKILL)  # the keeper itself was killed, and the child with it
        end_of = json.loads(told)
        return Ended(end_of["cause"], end_of["signal"], end_of["exit_code"], end_of["reaped"], end_of["peak_rss_kb"])

    def _more_stderr(self) -> bool:
        readable, _, _ = select.select([self.stderr], [], [], 0)
        return bool(readable) and self.read_stderr()

    def kill(self) -> Ended:
        """Kill the child and everything it spawned; return how it ended. Blocks until all of it is gone."""
        self._drop_lifeline()
        return self.wait_status()

    def finish_close(self) -> tuple[Ended, bool]:
        """Wait for a child that was asked to close; kill it where it does not in time. Return its end, and whether it was late."""
        end = time.monotonic() + self.close_s
        while time.monotonic() < end:
            readable, _, _ = select.select([self.status, self.stderr, self.stdout], [], [], 0.05)
            if self.status in readable:
                return self.wait_status(), False
            if self.stderr in readable:
                self.read_stderr()
            if self.stdout in readable:
                self._discard_stdout()
        return self.kill(), True

    def _discard_stdout(self) -> None:
        try:
            os.read(self.stdout, 1 << 20)
        except BlockingIOError:
            return

    def _drop_lifeline(self) -> None:
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def _reap(self) -> None:
        self.alive = False
        self._drop_lifeline()
        self._keeper.wait(timeout=KEEPER_GRACE_S)
        for fd in (self.stdin, self.stdout, self.stderr, self.status):
            os.close(fd)

    def stores(self, needed: int) -> dict[str, memoryview]:
        """Return the store that outputs come through, `needed` bytes of it at least."""
        return {"outbox": self._outbox.view(needed)}

    def mark(self, seq: int, phase: str) -> None:
        """Note that case `seq` has entered a phase, where the child said so in a message."""
        self._clock.write(seq, phase)

    def entered(self, seq: int) -> tuple[str, float]:
        """Return the phase that case `seq` is in and since when (monotonic seconds), as the child's clock has it."""
        return self._clock.read(seq)

    def release(self) -> None:
        """Give back the shared memory, after the last child has ended."""
        for fd in (self._inbox_fd, self._outbox_fd, self._clock_fd):
            os.close(fd)


def _widen(fd: int) -> None:
    """Make a pipe larger, so that a child that shouts on standard error seldom waits. Best effort: a host may forbid it."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 1 << 20)
    except OSError:
        return
