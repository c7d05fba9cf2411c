"""The lab's own commands that bring a device back after a crash or a time-out: reset, power cycle.

They are lists of words that no shell reads, run in a process group of their own, and every use is written down. One that
fails is the lab's fault: nothing is learned about the device.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from conformance.records import HookUse
from conformance.tensors import unicode_only

if TYPE_CHECKING:
    from collections.abc import Callable

RESET, POWER_CYCLE = "reset", "power_cycle"
TAIL = 2000


class Commands(NamedTuple):
    """What the bench file gives. `folder` is where relative paths start; both commands are run there."""

    reset: tuple[str, ...] = ()
    power_cycle: tuple[str, ...] = ()
    folder: Path = Path()
    settle_s: float = 0.0
    timeout_s: float = 60.0


class Recovery:
    """Brings the device back, step by step: first a reset, then a power cycle, then it is the lab's turn."""

    def __init__(self, commands: Commands, told: Callable[[HookUse], None]) -> None:
        self._commands = commands
        self._told = told
        self._tried = ""

    def note_opened(self) -> None:
        """The device is back: the next fault begins with a reset again."""
        self._tried = ""

    @property
    def was_tried(self) -> bool:
        """Whether a command was run since the device was opened last."""
        return bool(self._tried)

    def bring_back(self, case: str, why: str) -> str:
        """Run what has not been tried since the device was opened last. Return why that failed; empty where it did not.

        `case` is where the device was lost, `why` how. Where nothing is left to be tried, nothing is done.
        """
        failure = ""
        for name in (RESET, POWER_CYCLE):
            words = getattr(self._commands, name)
            if not words or self._tried in (name, POWER_CYCLE):
                continue
            self._tried = name
            use = run_command(name, words, self._commands, case, why)
            self._told(use)
            if not use.failure:
                time.sleep(self._commands.settle_s)
                return ""
            failure = f"{name.replace('_', ' ')}: {use.failure}"
        return failure

    @property
    def has_more(self) -> bool:
        """Whether there is a command that has not been tried since the device was opened last."""
        given = [name for name in (RESET, POWER_CYCLE) if getattr(self._commands, name)]
        return bool(given) and self._tried != given[-1]


def run_command(name: str, words: tuple[str, ...], commands: Commands, case: str, why: str) -> HookUse:
    """Run one command to its end or its time-out and return what is written down of it."""
    at, began = datetime.now(UTC).isoformat(timespec="milliseconds"), time.monotonic()
    code: int | None = None
    with tempfile.TemporaryFile() as output:  # a file: whoever keeps a pipe open would make us wait
        try:
            program = str(commands.folder / words[0]) if "/" in words[0] else words[0]
            process = subprocess.Popen(
                [program, *words[1:]],
                cwd=commands.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            failure = f"cannot be started: {error.strerror}"
        else:
            try:
                code = process.wait(commands.timeout_s)
                failure = "" if code == 0 else f"ended with code {code}"
            except subprocess.TimeoutExpired:
                failure = f"did not end within {commands.timeout_s:g} s and was killed"
            finally:
                _end_group(process)
        said = _tail(output.fileno())
    if failure and said:
        failure = f"{failure}: {said.splitlines()[-1]}"
    seconds = round(time.monotonic() - began, 3)
    return HookUse(at=at, hook=name, case=case, why=why, exit_code=code, seconds=seconds, failure=failure, output=said)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what a command did not end by itself: also where it is we who are interrupted."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tail(fd: int) -> str:
    size = os.fstat(fd).st_size
    return unicode_only(os.pread(fd, TAIL, max(0, size - TAIL)).decode("utf-8", "replace").strip())
