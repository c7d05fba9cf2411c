"""Recordings of other tools: CSV with one row per instant and one column per channel, `nvidia-smi`'s among them.

    nvidia-smi --query-gpu=timestamp,uuid,power.draw.instant,temperature.gpu,clocks_event_reasons.active --format=csv -lms 100

Time stands in a column `timestamp` (date and time of the day), `at_ns` or `time_s`; only differences of it are used. Columns of
`nvidia-smi` are known; what others mean the bench file says. `[N/A]`, `[Not Supported]` and empty fields are no readings.
"""

from __future__ import annotations

import csv
import datetime
import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from conformance.adapters.telemetry.nvml import HELD_BACK
from conformance.metering.trace import Descriptor, Kind, Quantity, Reading, Scope, Trace

if TYPE_CHECKING:
    from collections.abc import Iterator

_STAMPS = (
    "%Y/%m/%d %H:%M:%S.%f",
    "%Y-%m-%d %H:%M:%S.%f",
    "%Y-%m-%dT%H:%M:%S.%f",
    "%Y/%m/%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
)
_NUMBER = re.compile(r"([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*(?:[A-Za-z%°]+)?")
_UNITS = re.compile(r"\s*\[[^\]]*\]$")


class Column(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a column of a CSV file means."""

    column: str
    """Its title, without a unit in brackets."""
    quantity: Quantity
    kind: Kind
    scope: Scope
    factor: float = 1.0
    """From the column's unit to the quantity's."""
    window_ms: float | None = None
    period_ms: float | None = None
    resolution: float | None = None
    valid_low: float | None = None
    valid_high: float | None = None
    wraps_at: float | None = None


def _gpu(column: str, quantity: Quantity, kind: Kind, step: float, **more: float) -> Column:
    scope: Scope = "board" if quantity is Quantity.POWER else "chip"
    return Column(column=column, quantity=quantity, kind=kind, scope=scope, resolution=step, **more)


KNOWN = {
    one.column: one
    for one in (
        _gpu(
            "power.draw", Quantity.POWER, "averaged", 0.01, window_ms=1000.0
        ),  # on some GPUs instantaneous: the weaker claim
        _gpu("power.draw.average", Quantity.POWER, "averaged", 0.01, window_ms=1000.0),
        _gpu("power.draw.instant", Quantity.POWER, "instantaneous", 0.01),
        _gpu("temperature.gpu", Quantity.TEMPERATURE, "instantaneous", 1.0),
        _gpu("temperature.memory", Quantity.TEMPERATURE, "instantaneous", 1.0),
        _gpu("clocks.sm", Quantity.CLOCK, "instantaneous", 1.0),
        _gpu("clocks.current.sm", Quantity.CLOCK, "instantaneous", 1.0),
        _gpu("utilization.gpu", Quantity.UTILISATION, "averaged", 0.01, factor=0.01),
        _gpu("clocks_event_reasons.active", Quantity.THROTTLE, "instantaneous", 1.0),
        _gpu("clocks_throttle_reasons.active", Quantity.THROTTLE, "instantaneous", 1.0),
    )
}
"""Columns of `nvidia-smi --query-gpu`, by their titles without units."""


class _Field(NamedTuple):
    place: int
    means: Column


def read_csv(text: str, columns: list[Column], unit: str) -> Trace:
    """Return the trace of a CSV file. ValueError says what it lacks, or which row is wrong."""
    rows = csv.reader(text.splitlines(), skipinitialspace=True)
    titles = [_UNITS.sub("", title.strip()) for title in next(rows, [])]
    known = KNOWN | {one.column: one for one in columns}
    missing = [one.column for one in columns if one.column not in titles]
    if missing:
        raise ValueError(f"there is no column {', '.join(missing)}: there are {', '.join(titles)}")
    fields = [_Field(place, known[title]) for place, title in enumerate(titles) if title in known]
    time = next((title for title in ("at_ns", "time_s", "timestamp") if title in titles), None)
    if time is None or not fields:
        raise ValueError("a column at_ns, time_s or timestamp is wanted, and one at least whose meaning is known")
    named = titles.index("uuid") if "uuid" in titles else None
    readings: list[Reading] = []
    units: set[str] = set()
    for number, row in enumerate(rows, 2):
        if not row:
            continue
        if len(row) < len(titles):
            continue  # the last row of a recording that was cut off
        if named is not None:
            units.add(row[named].strip())
            if unit and row[named].strip() != unit:
                continue
        try:
            at_ns = _time_ns(time, row[titles.index(time)].strip())
        except ValueError as error:
            raise ValueError(f"row {number}: {error}") from None
        readings += _readings(fields, row, at_ns)
    if not unit and len(units) > 1:
        raise ValueError(f"the rows are of {len(units)} GPUs: name one by unit: {', '.join(sorted(units))}")
    if unit and named is not None and unit not in units:
        raise ValueError(f"no row is of {unit}: there are {', '.join(sorted(units))}")
    owner = unit or next(iter(units), "")
    return Trace(descriptors=[_describe(one.means, owner) for one in fields], readings=readings)


def _readings(fields: list[_Field], row: list[str], at_ns: int) -> Iterator[Reading]:
    for place, means in fields:
        text = row[place].strip()
        if means.quantity is Quantity.THROTTLE and text.startswith("0x"):
            bits = int(text, 16)
            held = [bit for bit in HELD_BACK if bits & bit]
            yield Reading(means.column, at_ns, 0, float(sum(held)), ", ".join(HELD_BACK[bit] for bit in held))
            continue
        found = _NUMBER.fullmatch(text)
        try:
            value = None if found is None else float(found[1]) * means.factor
        except ValueError:
            value = None
        yield Reading(means.column, at_ns, 0, value, "" if value is not None else f"the recording says '{text[:40]}'")


def _time_ns(title: str, text: str) -> int:
    if title == "at_ns":
        return int(text)
    if title == "time_s":
        return round(float(text) * 1e9)
    for form in _STAMPS:
        try:
            stamp = datetime.datetime.strptime(text, form).replace(tzinfo=datetime.UTC)
        except ValueError:
            continue
        return (stamp - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1) * 1000
    raise ValueError(f"'{text}' is no time")


def _describe(means: Column, unit: str) -> Descriptor:
    return Descriptor(
        channel=means.column,
        quantity=means.quantity,
        scope=means.scope,
        kind=means.kind,
        window_ms=means.window_ms,
        period_ms=means.period_ms,
        resolution=means.resolution,
        valid_low=means.valid_low,
        valid_high=means.valid_high,
        wraps_at=means.wraps_at,
        bound_to=unit,
    )
