"""The parent's side of one sampler: start it below a keeper, hear what it says without ever blocking on it, end it.

The keeper (`keeper.py`) leaves nothing behind, whatever the vendor's library spawned, and kills when the parent's end of the
lifeline closes, so also where the parent dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from conformance.execution.keeping import start_kept
from conformance.execution.sampler import MESSAGES, Closed, Config, Failed, Opened, Taken

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.metering.trace import Descriptor, Reading

SAMPLER = "conformance.execution.sampler"
LONGEST_LINE = 4 << 20
MOST_READINGS = 5_000_000
"""Of one meter in one case: half an hour of 25 channels at 100 Hz."""
STDERR_TAIL = 4096
KEEPER_GRACE_S = 10.0
_WIDE = 1 << 20


class SamplerLine:
    """One sampler from start to end. Only the thread of `Sampling` touches it once it has been started."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.name = config.given.name
        self.descriptors: list[Descriptor] = []
        self.readings: list[Reading] = []
        self.remarks: list[str] = []
        self.failure = ""
        self.is_open = False
        """Whether the meter was found."""
        self.is_over = False
        """Whether nothing is left of the process."""
        self.is_stopping = False
        self.heard = time.monotonic()
        """When it was heard last, in seconds of CLOCK_MONOTONIC."""
        self._said_goodbye = False
        self._buffer = bytearray()
        self._tail = bytearray()
        self._told = bytearray()

    def start(self, folder: Path, env: dict[str, str]) -> None:
        """Start the keeper with the sampler and hand it its configuration. HarnessError where the host refuses."""
        argv = [sys.executable, "-P", "-m", SAMPLER]
        started = start_kept(f"the sampler of {self.name}", argv, env, folder)
        self._keeper, self._stdin, self.stdout, self.stderr, self._lifeline, self.status = started
        with contextlib.suppress(BrokenPipeError):  # it is gone already, and its status says how
            os.write(self._stdin, msgspec.json.encode(self.config) + b"\n")
        self.heard = time.monotonic()

    def hear(self, fd: int) -> bool:
        """Take what has arrived on one of its descriptors; False once nothing more can come there."""
        while True:
            try:
                data = os.read(fd, _WIDE)
            except BlockingIOError:
                return True
            if fd == self.stderr:
                self._tail = (self._tail + data)[-STDERR_TAIL:]
            elif fd == self.stdout:
                self._take(data)
            else:
                self._told += data
                if not data or self._told.endswith(b"\n"):
                    self._finish()
                    return False
            if not data:
                return False

    def _take(self, data: bytes) -> None:
        if self.failure:
            return  # what follows a failure is nobody's word
        self._buffer += data
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = bytearray(rest)
        if len(rest) > LONGEST_LINE:
            self.fail("its sampler sent a line without an end", "a defect of the source")
            self.kill()
            return
        for line in lines:
            try:
                message = MESSAGES.decode(bytes(line))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                self.fail(f"its sampler sent what is no message ({error})", "a defect of the source")
                self.kill()
                return
            self._heed(message)

    def _heed(self, message: Opened | Taken | Failed | Closed) -> None:
        self.heard = time.monotonic()
        if isinstance(message, Taken):
            self.readings += message.readings
            if len(self.readings) > MOST_READINGS:
                self.fail(f"it gave more than {MOST_READINGS} readings", "give it a longer period_ms")
                self.kill()
        elif isinstance(message, Opened):
            self.is_open = True
            self.descriptors, self.remarks = message.descriptors, message.remarks
        else:
            self._said_goodbye = True
            if isinstance(message, Failed):
                self.fail(message.reason, message.remedy)

    @property
    def told_remarks(self) -> list[str]:
        """What the meter does not offer, under its name."""
        return [f"{self.name}: {told}" for told in self.remarks]

    def fail(self, reason: str, remedy: str) -> None:
        """Note why the meter gave nothing or stopped; the first reason stays."""
        if not self.failure:
            self.failure = f"{self.name}: {reason}: {remedy.replace(': ', ', ')}"

    def ask_to_stop(self) -> None:
        """Tell the sampler to let its meter go."""
        if not self.is_stopping:
            self.is_stopping, self.heard = True, time.monotonic()
            os.close(self._stdin)

    def kill(self) -> None:
        """Have the keeper kill the sampler and all that it spawned; its status tells when that is done."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
            self.heard = time.monotonic()

    @property
    def is_killed(self) -> bool:
        """Whether the keeper was told to kill."""
        return self._lifeline < 0

    def abandon(self) -> None:
        """Give up a process that even the keeper cannot end: the kernel does not let it go."""
        before = self.failure.removeprefix(f"{self.name}: ").rpartition(": ")[0]
        self.failure = ""
        self.fail(
            f"{before}; its sampler cannot be killed, it waits inside the kernel".removeprefix("; "),
            "see dmesg for the driver, restart the host",
        )
        self._keeper.kill()
        self._finish()

    def _finish(self) -> None:
        """Take the rest of what it said, note an end that it did not announce, and give everything back."""
        for fd in (self.stderr, self.stdout):
            self.hear(fd)
        if not (self._said_goodbye or self.failure):
            self.fail(*self._end())
        self.kill()
        self.ask_to_stop()
        self._keeper.wait(timeout=KEEPER_GRACE_S)
        self.is_over = True

    @property
    def descriptors_to_hear(self) -> tuple[int, int, int]:
        """Where something may arrive."""
        return (self.stdout, self.stderr, self.status)

    def destroy(self) -> None:
        """End it without listening any more, and give everything back: where the harness itself went wrong."""
        if self.is_over:
            return
        self.kill()
        self.ask_to_stop()
        try:
            self._keeper.wait(timeout=KEEPER_GRACE_S)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
        self.is_over = True
        self.release()

    def release(self) -> None:
        """Give the descriptors back, once it is over and nobody waits on them."""
        for fd in self.descriptors_to_hear:
            os.close(fd)

    def _end(self) -> tuple[str, str]:
        """Return in words how the process ended without a word of its own."""
        end = json.loads(self._told) if self._told.endswith(b"\n") else {}
        number, code = end.get("signal", 0), end.get("exit_code")
        if number:
            known = {one.value: one.name for one in signal.Signals}
            how = f"was ended by {known.get(number, f'signal {number}')}"
        else:
            how = f"ended with exit code {code}" if code is not None else "ended in a way that nobody saw"
        when = "while it was read" if self.is_open else "while it was opened"
        said = " ".join(self._tail.decode("utf-8", "replace").split())[-300:]
        return f"its sampler {how} {when}, and said last {said!r}", "see the vendor's library"
