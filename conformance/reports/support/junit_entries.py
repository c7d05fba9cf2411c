"""How a record, a requirement and the verdict appear in JUnit: passed, failure, error or skipped, and the texts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from conformance.records import CLASS_OF, Outcome, OutcomeClass
from conformance.reports.support.telling import EXIT_MEANINGS, headline, is_must, is_open, parts, run_again
from conformance.reports.support.text import ascii_only, clip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.records import Record, RequirementResult, RunInfo, RunResult, Verdict

LIMIT = 64 * 1024
"""Bytes of one message and of one body. Readers hold a whole report in memory; the full text is in cases.jsonl."""
REQUIREMENTS = "requirements"


class Entry(NamedTuple):
    """One test case of the report."""

    classname: str
    name: str
    status: str
    """`passed`, `failure`, `error` or `skipped`."""
    type: str = ""
    message: str = ""
    body: str = ""
    output: str = ""
    time_s: float = 0.0


def status_of(outcome: Outcome, *, must: bool) -> str:
    """Return how JUnit calls an outcome; `must` says whether the case serves a MUST that applies."""
    if outcome is Outcome.PASS:
        return "passed"
    if CLASS_OF[outcome] is OutcomeClass.NOT_MET:
        return "failure"
    if outcome is Outcome.ERROR or (must and is_open(outcome)):
        return "error"
    return "skipped"


def name_of(device: str, case_id: str) -> tuple[str, str]:
    """Return classname and name of a case: `device.area.subject` and the rest of its id, both ASCII and never empty."""
    area, _, rest = ascii_only(case_id).partition("/")
    subject, _, variant = rest.partition("/")
    device = ascii_only(device) or "device"
    if variant:
        return f"{device}.{area}.{subject}", variant
    return (f"{device}.{area}", subject) if subject else (device, area or "-")


def case_entry(record: Record, info: RunInfo, must_ids: frozenset[str]) -> Entry:
    """Return the test case of one record."""
    classname, name = name_of(info.device_key, record.case)
    status = status_of(record.outcome, must=is_must(record, must_ids))
    entry = Entry(classname, name, status, time_s=seconds(record))
    if status != "passed":
        return entry._replace(
            type=record.outcome.value,
            message=clip(headline(record), LIMIT),
            body=_body(list(parts(record)), f"again: {run_again(info, record.case)}"),
        )
    if record.attempts:  # a PASS that took more than one run does not hide the others
        return entry._replace(output=_body([part for part in parts(record) if part[0] == "attempts"], ""))
    return entry


def seconds(record: Record) -> float:
    """Return how long a case took; 0 where it never started."""
    return max(0.0, record.duration_ms / 1000) if math.isfinite(record.duration_ms) else 0.0


def _body(told: list[tuple[str, str]], last: str) -> str:
    """Return all parts within LIMIT: where they are too much, each gets its share, so that none hides another."""
    last = clip(last, LIMIT // 4)
    room = LIMIT - len(last.encode()) - 1
    share = room
    if sum(len(label) + len(text) for label, text in told) * 4 > room:  # 4 bytes are the most that a character takes
        share = room // max(1, len(told))
    pieces = [clip(f"{label}: {text}", share - 1) for label, text in told]
    return "\n".join([*pieces, last] if last else pieces)


def requirement_entries(result: RunResult) -> Iterator[Entry]:
    """Yield a test case per requirement, and `verdict` last."""
    classname = f"{ascii_only(result.info.device_key) or 'device'}.{REQUIREMENTS}"
    for requirement in result.verdict.requirements:
        status, note = _requirement_status(requirement, result.verdict)
        if status == "passed":
            yield Entry(classname, ascii_only(requirement.id), status)
            continue
        why = requirement.reason or requirement.why or "no reason was given"
        counts = ", ".join(f"{count} {name}" for name, count in requirement.counts.items()) or "no case"
        told = [
            ("requirement", f"{requirement.id} ({requirement.level}, {requirement.status}) {requirement.title_en}"),
            ("origin", ", ".join(requirement.origin)),
            ("applies" if requirement.applies else "does not apply", requirement.why),
            ("cases", counts),
        ]
        message = f"{requirement.level} {requirement.result.value}{note}: {why}"
        yield Entry(
            classname,
            ascii_only(requirement.id),
            status,
            type=requirement.result.value,
            message=clip(message, LIMIT),
            body=_body(told, ""),
        )
    yield _verdict_entry(result.verdict, classname)


def _requirement_status(requirement: RequirementResult, verdict: Verdict) -> tuple[str, str]:
    if not requirement.applies:
        return "skipped", ""
    if requirement.result is OutcomeClass.MET:
        return "passed", ""
    if requirement.result is OutcomeClass.NOT_MET:
        return "failure", ""
    if requirement.result is OutcomeClass.OPEN and requirement.level == "MUST":
        if verdict.partial and not requirement.counts:  # not held against a partial run; the verdict says it is one
            return "skipped", ", outside this partial run"
        return "error", ""
    return "skipped", ""


def _verdict_entry(verdict: Verdict, classname: str) -> Entry:
    status = {"NON-CONFORMANT": "failure", "CONFORMANT": "passed", "CONDITIONAL": "skipped", "CLEAN-PARTIAL": "skipped"}
    entry = Entry(classname, "verdict", status.get(verdict.name, "error"))
    if entry.status == "passed":
        return entry
    meaning = EXIT_MEANINGS.get(verdict.name, "")
    message = f"{verdict.name} (exit code {verdict.exit_code}): {meaning or verdict.summary}"
    why_not = [] if verdict.certifiable else [("not certifiable", verdict.why_not_certifiable)]
    return entry._replace(
        type=verdict.name, message=clip(message, LIMIT), body=_body([("summary", verdict.summary), *why_not], "")
    )
