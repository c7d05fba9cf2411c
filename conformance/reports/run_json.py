"""run.json: what was tested, with what, and what was concluded. The cases are in cases.jsonl beside it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

import msgspec

from conformance.records import Outcome, RunInfo, Verdict
from conformance.reports.cases_jsonl import FILE_NAME as CASES_FILE
from conformance.reports.support.plain import encode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.records import RunResult

FILE_NAME = "run.json"


class RunDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A run: its stamp and its verdict. Fields may be added within a schema version; none changes its meaning."""

    schema: Literal["urn:resonance-conformance:run.schema.json"] = "urn:resonance-conformance:run.schema.json"
    schema_version: Literal[1] = 1
    info: RunInfo
    verdict: Verdict
    counts: dict[str, int]
    """Cases by outcome, every outcome named; their sum is `info.planned`."""
    cases: str = CASES_FILE
    """The file beside this one with one record per case."""


def document(result: RunResult) -> RunDocument:
    """Return what run.json says of a result."""
    counted = Counter(record.outcome for record in result.records)
    counts = {outcome.value: counted[outcome] for outcome in Outcome}
    return RunDocument(info=result.info, verdict=result.verdict, counts=counts)


def render(result: RunResult) -> Iterator[bytes]:
    """Yield the indented document."""
    yield msgspec.json.format(encode(document(result)), indent=2) + b"\n"
