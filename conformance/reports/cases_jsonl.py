"""cases.jsonl: one record per line, in the order of the plan. The evidence in full; other reports are views of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.reports.support.plain import encode_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.records import RunResult

FILE_NAME = "cases.jsonl"


def render(result: RunResult) -> Iterator[bytes]:
    """Yield one line per record."""
    for record in result.records:
        yield encode_record(record) + b"\n"
