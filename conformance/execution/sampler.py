"""The sampler: a process that reads one meter at its period and tells the parent what it read. It judges nothing.

    python -P -m conformance.execution.sampler

One meter, one process: a vendor library that hangs, crashes or prints takes nobody with it. Standard input holds the `Config` as one
line of JSON and stays open; its end is the word to stop. Standard output carries one line of JSON per message: `Opened` or
`Failed` first, then a `Taken` per tick, empty where the meter had nothing new, and `Closed` at an orderly end. What vendor code
prints goes to standard error.

Ticks lie on an absolute grid of CLOCK_MONOTONIC, so that the schedule does not drift; a tick that was missed is left out, never
made up for.
"""

from __future__ import annotations

import faulthandler
import os
import select
import time
from typing import TYPE_CHECKING, Any

import msgspec

from conformance.adapters.telemetry import source_class
from conformance.adapters.telemetry.port import Given, TelemetryUnavailable
from conformance.errors import ConformanceError
from conformance.execution.stdio import take_over_stdio
from conformance.metering.trace import Descriptor, Reading  # noqa: TC001 - msgspec resolves field types when it runs

if TYPE_CHECKING:
    from conformance.adapters.telemetry.port import TelemetrySource

LONGEST_CONFIG = 48 << 10
"""Bytes: it has to fit into a pipe that nobody reads yet."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A meter: which source reads it, with which options, how often, and what the lab says of it."""

    source: str
    options: dict[str, Any]
    given: Given
    period_ms: float


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    """The meter was found; what its channels are, and what it does not offer."""

    descriptors: list[Descriptor]
    remarks: list[str]


class Taken(msgspec.Struct, frozen=True, tag="taken"):
    """What one tick gave."""

    readings: list[Reading]


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The meter cannot be read, or can be read no more. Nothing follows."""

    reason: str
    remedy: str


class Closed(msgspec.Struct, frozen=True, tag="closed"):
    """The meter was let go. Nothing follows."""


Message = Opened | Taken | Failed | Closed
MESSAGES: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


class _Pipe:
    """Where messages go: whole lines, however many writes a line takes."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._encoder = msgspec.json.Encoder()

    def send(self, message: Message) -> None:
        data = memoryview(self._encoder.encode(message) + b"\n")
        while data:
            data = data[os.write(self._fd, data) :]


def _read_config(incoming: int) -> Config | None:
    """Return the configuration, None where the parent is gone before it came."""
    data = bytearray()
    while not data.endswith(b"\n"):
        part = os.read(incoming, 1 << 16)
        if not part:
            return None
        data += part
    return msgspec.json.decode(bytes(data), type=Config)


def _is_told_to_stop(incoming: int, until_ns: int) -> bool:
    """Wait until an instant of CLOCK_MONOTONIC; True at once where the parent says stop, or is gone."""
    while True:
        wait = until_ns - time.monotonic_ns()
        readable, _, _ = select.select([incoming], [], [], max(0, wait) / 1e9)
        if readable:
            return True
        if time.monotonic_ns() >= until_ns:
            return False


def sample(source: TelemetrySource, period_ns: int, incoming: int, pipe: _Pipe) -> None:
    """Read a source tick by tick until told to stop. TelemetryUnavailable where it can be read no more."""
    begin, tick = time.monotonic_ns(), 0
    while not _is_told_to_stop(incoming, begin + tick * period_ns):
        pipe.send(Taken(source.read()))
        tick = max(tick + 1, -((begin - time.monotonic_ns()) // period_ns))


def main() -> None:
    """Open the meter that the configuration names, sample it, let it go."""
    incoming, outgoing = take_over_stdio()
    faulthandler.enable()
    pipe = _Pipe(outgoing)
    try:
        config = _read_config(incoming)
        if config is None:
            return
        kind = source_class(config.source)
        source = kind(kind.read_options(config.options), config.given)
        descriptors = source.open()
        pipe.send(Opened(descriptors, source.remarks))
        sample(source, max(1, round(config.period_ms * 1e6)), incoming, pipe)
        source.close()
    except TelemetryUnavailable as error:
        pipe.send(Failed(error.reason, error.remedy))
    except ConformanceError as error:
        pipe.send(Failed(str(error), "correct the bench file"))
    except BrokenPipeError:
        return  # the parent is gone; the keeper ends this process
    else:
        pipe.send(Closed())


if __name__ == "__main__":
    main()
