"""A trace as a file: what is written is read again, and what is no recording is refused with its line."""

from __future__ import annotations

import math

import msgspec
import pytest

from conformance.metering.recording import read_recording, write_recording
from conformance.metering.trace import Descriptor, Quantity, Reading, Trace

DESCRIPTOR = Descriptor(
    channel="nvml/power",
    quantity=Quantity.POWER,
    scope="board",
    kind="averaged",
    window_ms=1000.0,
    uncertainty_relative=0.05,
)
TRACE = Trace(
    descriptors=[DESCRIPTOR],
    readings=[Reading("nvml/power", 1_000, 20, 61.5), Reading("nvml/power", 900, 20, None, "Timeout")],
    failures=["wall: no answer: switch it on"],
    period_ms=100.0,
    started_ns=1,
    ended_ns=2,
)


def test_what_is_written_is_read_again() -> None:
    data = write_recording(TRACE, "synthetic")
    assert read_recording(data) == (TRACE, "synthetic")
    assert data.decode().splitlines()[1] == '["nvml/power",1000,20,61.5,""]'
    assert read_recording(data + b"\n\n") == (TRACE, "synthetic")


def test_a_value_that_json_cannot_hold_is_not_written_as_none() -> None:
    trace = msgspec.structs.replace(TRACE, readings=[Reading("nvml/power", 1, 1, math.nan)])
    with pytest.raises(ValueError, match="a reading of nvml/power is nan"):
        write_recording(trace, "synthetic")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda data: b"", "line 1 is no head"),
        (lambda data: b"\xff" + data, "line 1 is no head"),
        (lambda data: data.replace(b'"version":1', b'"version":2'), "line 1 is no head"),
        (lambda data: data.replace(b'"made"', b'"mode"'), "line 1 is no head"),
        (lambda data: data.replace(b"power_w", b"power_kw"), "line 1 is no head"),
        (lambda data: data.replace(b"61.5", b'"61.5"'), "line 2 is no reading"),
        (lambda data: data.replace(b',61.5,""', b""), "line 2 is no reading"),
        (lambda data: data[:-3], "line 3 is no reading"),
        (lambda data: data + b'["other",1,1,1.0,""]\n', "line 4 is of 'other', which the head does not describe"),
        (lambda data: data + b"[" * 2000, "line 4 is no reading"),
    ],
)
def test_what_is_no_recording_is_refused_with_its_line(change, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_recording(change(write_recording(TRACE, "synthetic")))
