"""A trace as a file, to be judged again or replayed: JSON lines, a head with the descriptors and then a line per reading.

    {"format": "conformance-telemetry", "version": 1, "made": "…", "period_ms": 100.0, "descriptors": [{…}], "failures": []}
    ["nvml/power instant", 81273645000000, 410000, 61.72, ""]

`made` says how the trace came about: a recording names the unit and the day, made-up data say so. Pure: bytes in, bytes out.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from conformance.metering.trace import Descriptor, Reading, Trace

LONGEST = 256 << 20
"""Bytes that are taken for a recording: an hour of 20 channels at 100 Hz is smaller."""


class Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first line."""

    format: Literal["conformance-telemetry"]
    version: Literal[1]
    made: str
    period_ms: float
    descriptors: list[Descriptor]
    failures: list[str] = []
    started_ns: int = 0
    ended_ns: int = 0


_HEAD = msgspec.json.Decoder(Head)
_READING = msgspec.json.Decoder(Reading)


def write_recording(trace: Trace, made: str) -> bytes:
    """Return a trace as a file. ValueError for a value that is no finite number, which JSON cannot hold."""
    for one in trace.readings:
        if one.value is not None and not math.isfinite(one.value):
            raise ValueError(f"a reading of {one.channel} is {one.value}: a reading without a number is None")
    head = Head(
        format="conformance-telemetry",
        version=1,
        made=made,
        period_ms=trace.period_ms,
        descriptors=trace.descriptors,
        failures=trace.failures,
        started_ns=trace.started_ns,
        ended_ns=trace.ended_ns,
    )
    return b"\n".join([msgspec.json.encode(head), *map(msgspec.json.encode, trace.readings), b""])


def read_recording(data: bytes) -> tuple[Trace, str]:
    """Return the trace of a file and how it was made. ValueError names the line that is none of a recording."""
    if len(data) > LONGEST:
        raise ValueError(f"a recording of {len(data)} bytes is too large: {LONGEST} are taken")
    first, *rest = data.split(b"\n")
    try:
        head = _HEAD.decode(first)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"line 1 is no head of a recording: {error}") from None
    known = {one.channel for one in head.descriptors}
    readings = []
    for number, line in enumerate(rest, 2):
        if not line.strip():
            continue
        try:
            reading = _READING.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"line {number} is no reading: {error}") from None
        if reading.channel not in known:
            raise ValueError(f"line {number} is of '{reading.channel}', which the head does not describe")
        readings.append(reading)
    trace = Trace(
        descriptors=head.descriptors,
        readings=readings,
        failures=head.failures,
        period_ms=head.period_ms,
        started_ns=head.started_ns,
        ended_ns=head.ended_ns,
    )
    return trace, head.made
