"""A recorded trace in place of a meter: what was read once is read again, at the pace at which it was recorded.

    telemetry:
      - {source: replay, options: {path: traces/h100-load-step.jsonl}}

The recording plays on its own clock, which begins with the first recorded reading when the source is opened: gaps, repeated values and
steps of its clock come out as they are in the file. Channels say that they are a replay, so no report can take them for the unit
on the bench. Files: JSON lines as `metering.recording` writes them, or CSV (`support/csv_recording.py`).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import msgspec

from conformance.adapters.telemetry.port import TelemetrySource, TelemetryUnavailable
from conformance.adapters.telemetry.support.csv_recording import Column, read_csv
from conformance.metering.recording import LONGEST, read_recording

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.metering.trace import Descriptor, Reading, Trace


class SourceOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Options beside those of every meter."""

    path: str
    """The recording, relative to the bench file; `.csv` or JSON lines."""
    columns: list[Column] = []
    """What columns of a CSV file mean, where `nvidia-smi` did not write it."""
    unit: str = ""
    """The UUID of the rows to play, where a CSV file holds several GPUs'."""


class Source(TelemetrySource):
    """One recording."""

    Options = SourceOptions
    options: SourceOptions
    paths: ClassVar[tuple[str, ...]] = ("path",)

    def _open(self) -> Iterator[Descriptor]:
        path = Path(self.options.path)
        trace, made = self._load(path)
        self.knows_uncertainty = path.suffix.lower() != ".csv"  # type: ignore[misc]
        if not trace.readings:
            raise TelemetryUnavailable(
                f"{path} holds no reading", "record one: a meter that said nothing replays nothing"
            )
        self._readings, self._next = trace.readings, 0
        self._origin = time.monotonic_ns() - trace.readings[0].at_ns
        self.remarks += [f"{path.name}, as recorded: {told}" for told in trace.failures]
        for one in trace.descriptors:
            bound_to = f"replay of {path.name} ({made})" + (f": {one.bound_to}" if one.bound_to else "")
            yield msgspec.structs.replace(one, bound_to=bound_to)

    def _load(self, path: Path) -> tuple[Trace, str]:
        try:
            with path.open("rb") as stream:
                data = stream.read(LONGEST + 1)
        except OSError as error:
            raise TelemetryUnavailable(
                f"{path} cannot be read ({error.strerror})", "name a recording that is there"
            ) from error
        try:
            if path.suffix.lower() != ".csv":
                return read_recording(data)
            return read_csv(data.decode("utf-8-sig"), self.options.columns, self.options.unit), "CSV"
        except ValueError as error:
            raise TelemetryUnavailable(
                f"{path} is no recording: {error}", "see metering/recording.py for the form"
            ) from None

    def _read(self) -> Iterator[Reading]:
        """Yield what has become due. A clock that stepped back does not: its readings follow those before them at once."""
        if self._next == len(self._readings):
            raise TelemetryUnavailable(f"the recording {self.options.path} has come to its end", "play a longer one")
        now = time.monotonic_ns()
        while self._next < len(self._readings):
            one = self._readings[self._next]
            if one.at_ns + self._origin > now:
                return
            self._next += 1
            yield msgspec.structs.replace(one, at_ns=one.at_ns + self._origin)
