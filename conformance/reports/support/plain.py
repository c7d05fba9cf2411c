"""JSON that any parser takes: no NaN, no lone surrogate, no character that breaks a line.

msgspec writes a number that is not finite as null; the text beside it keeps what was seen.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import msgspec

from conformance.records import Measurement, Record
from conformance.reports.support.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENCODER = msgspec.json.Encoder(order="deterministic")
_RAW = re.compile(rb"\x7f|\xc2[\x80-\x9f]|\xd8\x9c|\xe2\x80[\x8e\x8f\xa8-\xae]|\xe2\x81[\xa0-\xaf]|\xef\xbb\xbf")
"""In UTF-8: DEL, C1 with U+0085, line separators, bidi controls. Written as JSON escapes they lose nothing, a reader
that splits lines by Unicode's rules still finds one line per case, and no terminal obeys them."""


class MeasurementLine(Measurement, frozen=True, kw_only=True):
    """A measurement as written. A number that is not finite is null, and `text` tells it: `value Infinity`."""

    text: str = ""
    """Only where `value` or `margin` is null because JSON has no such number."""


class CaseLine(Record, frozen=True, kw_only=True):
    """The one line that every planned case ends with, as written to cases.jsonl."""

    measurements: tuple[MeasurementLine, ...] = ()


def encode(value: Any) -> bytes:
    """Return a struct as one line of JSON without its line end: fields in their order, mapping keys sorted."""
    try:
        raw = _ENCODER.encode(value)
    except UnicodeEncodeError:
        # back to the struct, for the order of its fields
        spelled = msgspec.convert(_spell_surrogates(msgspec.to_builtins(value)), type(value))
        raw = _ENCODER.encode(spelled)
    return _RAW.sub(_escape, raw)


def encode_record(record: Record) -> bytes:
    """Return a record as a `CaseLine`: the record's own fields, and the text of numbers that JSON does not have."""
    told = [_told(measurement) for measurement in record.measurements]
    if not any(told) and math.isfinite(record.duration_ms):
        return encode(record)
    fields = msgspec.structs.asdict(record)
    fields["measurements"] = tuple(
        MeasurementLine(**msgspec.structs.asdict(measurement), text=text)
        for measurement, text in zip(record.measurements, told, strict=True)
    )
    if not math.isfinite(record.duration_ms):
        fields["duration_ms"] = 0.0  # the field's own "never measured"
    return encode(CaseLine(**fields))


def _told(measurement: Measurement) -> str:
    return ", ".join(f"{name} {_spoken(number)}" for name, number in _not_finite(measurement))


def _not_finite(measurement: Measurement) -> Iterator[tuple[str, float]]:
    for name, number in (("value", measurement.value), ("margin", measurement.margin)):
        if isinstance(number, float) and not math.isfinite(number):
            yield name, number


def _spoken(number: float) -> str:
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _spell_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return printable(value)
        return value
    if isinstance(value, dict):
        return {_spell_surrogates(key): _spell_surrogates(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_spell_surrogates(item) for item in value]
    return value


def _escape(match: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(match[0].decode())
