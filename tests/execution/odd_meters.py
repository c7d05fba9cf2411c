"""Meters that misbehave, as another distribution would add them: what each does is an option. Copied next to its entry point by tests."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from conformance.adapters.telemetry.port import TelemetrySource, TelemetryUnavailable, ask
from conformance.metering.trace import Descriptor, Quantity, Reading

Deed = Literal["", "hang", "crash", "exit", "print", "gone", "raise", "garbage", "spawn", "nan", "silent", "flood"]


class SourceOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What it does, when, and at the how-manieth reading."""

    deed: Deed = ""
    at: Literal["open", "read", "close"] = "read"
    after: int = 2
    pid_file: str = ""


class Source(TelemetrySource):
    """One channel that counts its readings."""

    Options = SourceOptions
    options: SourceOptions

    def _open(self) -> Iterator[Descriptor]:
        self._count = 0
        if self.options.at == "open":
            self._misbehave()
        yield Descriptor(channel="count", quantity=Quantity.POWER, scope="board", kind="instantaneous")

    def _read(self) -> Iterator[Reading]:
        self._count += 1
        if self.options.at == "read" and self._count > self.options.after:
            self._misbehave()
        if self.options.deed == "silent":
            return
        yield ask("count", lambda: float("nan") if self.options.deed == "nan" else float(self._count))

    def _close(self) -> None:
        if self.options.at == "close":
            self._misbehave()

    def _misbehave(self) -> None:
        if self.options.deed in DEEDS:
            DEEDS[self.options.deed](self.options)


def _hang(_: SourceOptions) -> None:
    while True:  # as a library that swallows every wake-up
        time.sleep(60)


def _print(_: SourceOptions) -> None:
    print("vendor library 3.1", flush=True)  # noqa: T201
    os.write(1, b'{"type": "closed"}\n')  # what its C code prints


def _gone(_: SourceOptions) -> None:
    raise TelemetryUnavailable("the bus is dead", "replug it")


def _raise(_: SourceOptions) -> None:
    raise KeyError("libvendor.so")


def _write_everywhere(data: bytes) -> None:
    """Find the pipe that was moved away and write into it."""
    for fd in range(3, 64):
        try:
            os.write(fd, data)
        except OSError:
            continue


def _flood(_: SourceOptions) -> None:
    _write_everywhere(b"x" * 100)
    time.sleep(60)


def _spawn(options: SourceOptions) -> None:
    if not Path(options.pid_file).exists():
        daemon = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        Path(options.pid_file).write_text(str(daemon.pid))


DEEDS: dict[str, Callable[[SourceOptions], object]] = {
    "hang": _hang,
    "crash": lambda _: ctypes.string_at(0),
    "exit": lambda _: os._exit(3),
    "print": _print,
    "gone": _gone,
    "raise": _raise,
    "garbage": lambda _: _write_everywhere(b"not json\n"),
    "flood": _flood,
    "spawn": _spawn,
}
