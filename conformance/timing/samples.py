"""The raw material of every latency verdict: three times for each query, and the bytes as which they are kept.

The times are int64 nanoseconds of one monotonic clock of one host, in the order of issue. A kept run is one line of text
that says whether it had a schedule, then a numpy array file (`.npy` from the second line on) of shape [3, n].
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.lib import format as npy

from conformance.errors import HarnessError

if TYPE_CHECKING:
    from conformance.tensors import Array

SCHEDULED = b"timing-samples 1 scheduled\n"
UNSCHEDULED = b"timing-samples 1 unscheduled\n"
LATEST_NS = 1 << 62
"""No time is later, so that no difference of two overflows."""
_STORED = np.dtype("<i8")
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    re.escape(_MAGIC) + rb"([\x00-\xff]{2})\{'descr': '<i8', 'fortran_order': False, 'shape': \(3, (\d{1,15})\), \} *\n"
)
"""As numpy writes it. It is matched rather than parsed: numpy's own reader evaluates the text as Python."""
_NAMES = ("due_ns", "issued_ns", "done_ns")


class Samples(NamedTuple):
    """The queries of one run: int64[n] each, in the order of issue."""

    due_ns: Array
    """When a query should have been issued; in a scenario without a schedule, when the generator was ready to."""
    issued_ns: Array
    """When it was."""
    done_ns: Array
    """When its outputs were there."""
    is_scheduled: bool = True
    """Whether `due_ns` is a schedule that does not wait for the device: paced and server, not single-stream."""

    @property
    def size(self) -> int:
        """Return the number of queries."""
        return int(self.issued_ns.size)

    @property
    def latency_ns(self) -> Array:
        """Return int64[n]: from when a query was due on a schedule, else from when it was issued, until it was done.

        On a schedule a query that a slow one before it holds up has waited too; timed from its issue, that wait would
        be lost (coordinated omission).
        """
        latency: Array = self.done_ns - (self.due_ns if self.is_scheduled else self.issued_ns)
        return latency

    @property
    def lateness_ns(self) -> Array:
        """Return int64[n]: how much later than due a query was issued."""
        lateness: Array = self.issued_ns - self.due_ns
        return lateness

    @property
    def service_ns(self) -> Array:
        """Return int64[n]: from issue to done, whatever the schedule."""
        service: Array = self.done_ns - self.issued_ns
        return service

    def take(self, chosen: slice | Array) -> Samples:
        """Return the chosen queries alone."""
        return Samples(self.due_ns[chosen], self.issued_ns[chosen], self.done_ns[chosen], self.is_scheduled)


def from_times(due_ns: object, issued_ns: object, done_ns: object, *, is_scheduled: bool = True) -> Samples:
    """Return samples from three sequences of whole nanoseconds; HarnessError where they cannot be a run."""
    samples = Samples(_whole(due_ns), _whole(issued_ns), _whole(done_ns), is_scheduled)
    wrong = find_defect(samples)
    if wrong:
        raise HarnessError(f"times of a run: {wrong}")
    return samples


def _whole(times: object) -> Array:
    array = np.asarray(times)
    if array.size and array.dtype.kind not in "iu":
        raise HarnessError(f"times of a run are {array.dtype}: whole nanoseconds are wanted")
    if array.dtype.kind == "u" and array.size and int(array.max()) > LATEST_NS:
        raise HarnessError(f"times of a run: one lies above {LATEST_NS}")
    return array.astype(np.int64)


def find_defect(samples: Samples) -> str:
    """Return why three arrays cannot be the times of a run, or nothing."""
    arrays = samples[:3]
    if any(one.ndim != 1 or one.dtype != np.int64 for one in arrays):
        return "one int64 array of one dimension is wanted for each of due, issued and done"
    if len({one.size for one in arrays}) > 1:
        lengths = ", ".join(f"{one.size} {name}" for name, one in zip(_NAMES, arrays, strict=True))
        return f"lengths differ: {lengths}"
    if not samples.size:
        return ""
    for name, one in zip(_NAMES, arrays, strict=True):
        if int(one.min()) < 0 or int(one.max()) > LATEST_NS:
            return f"{name} leaves the range of a monotonic clock, 0 to 2^62 ns"
    for text, later, earlier in (
        ("is issued before the query ahead of it: the clock went back", samples.issued_ns[1:], samples.issued_ns[:-1]),
        ("is done before it was issued", samples.done_ns, samples.issued_ns),
        ("is issued before it was due: its latency would be flattered", samples.issued_ns, samples.due_ns),
    ):
        backward = later < earlier
        if backward.any():
            at = int(np.argmax(backward))
            by = int(earlier[at] - later[at])
            return f"query {at + samples.size - later.size} {text} ({by} ns; {int(backward.sum())} such queries)"
    return ""


def pack(samples: Samples) -> bytes:
    """Return the bytes that `unpack` takes; HarnessError where the samples cannot be a run."""
    wrong = find_defect(samples)
    if wrong:
        raise HarnessError(f"times of a run: {wrong}")
    file = io.BytesIO()
    file.write(SCHEDULED if samples.is_scheduled else UNSCHEDULED)
    npy.write_array(file, np.stack(samples[:3]).astype(_STORED), version=(1, 0), allow_pickle=False)
    return file.getvalue()


def unpack(data: bytes) -> Samples:
    """Return the samples in bytes of unknown origin; HarnessError for anything that `pack` would not have written.

    Nothing is unpickled, and nothing is allocated beyond the bytes that came.
    """
    first = next((one for one in (SCHEDULED, UNSCHEDULED) if data.startswith(one)), None)
    if first is None:
        raise HarnessError(f"kept times do not begin with {SCHEDULED!r} or {UNSCHEDULED!r}")
    header = _HEADER.match(data, len(first))
    if header is None or int.from_bytes(header[1], "little") != len(header[0]) - len(_MAGIC) - 2:
        raise HarnessError(f"kept times have no header of a numpy array of {_STORED} in the shape [3, n]")
    body, n = memoryview(data)[header.end() :], int(header[2])
    if len(body) != 3 * n * _STORED.itemsize:
        raise HarnessError(f"kept times: {len(body)} bytes do not make 3 × {n} numbers")
    times = np.frombuffer(body, dtype=_STORED).reshape(3, n).astype(np.int64)
    samples = Samples(times[0], times[1], times[2], first == SCHEDULED)
    wrong = find_defect(samples)
    if wrong:
        raise HarnessError(f"kept times: {wrong}")
    return samples
