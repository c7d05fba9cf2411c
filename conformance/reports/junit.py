"""junit.xml: what a CI system reads. A view of the records, mapped as docs/outcomes.md says, valid by Jenkins' schema.

One suite per area, and one named `requirements` that carries what no case can: a requirement that has no case yet, and
the verdict itself, so that a CI that reads nothing else is never green where the verdict is not. Suites are written
piece by piece: memory does not grow with the run.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree as ET

from junit_xml import TestCase, TestSuite

from conformance.reports.support.junit_entries import (
    REQUIREMENTS,
    Entry,
    case_entry,
    requirement_entries,
    seconds,
    status_of,
)
from conformance.reports.support.telling import drawn_from, is_must, musts
from conformance.reports.support.text import ascii_only, clip

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from conformance.records import Record, RunInfo, RunResult

FILE_NAME = "junit.xml"
_CHUNK = 256
_PROPERTY_LIMIT = 4096


class Tally(NamedTuple):
    """What a suite's first line counts."""

    tests: int = 0
    failures: int = 0
    errors: int = 0
    skipped: int = 0
    time_s: float = 0.0

    def attributes(self) -> dict[str, str]:
        """Return the numbers as Jenkins' schema takes them."""
        counts = {key: str(getattr(self, key)) for key in ("tests", "failures", "errors", "skipped")}
        return {**counts, "time": f"{self.time_s:.3f}"}


def render(result: RunResult) -> Iterator[bytes]:
    """Yield the report as UTF-8, suite by suite."""
    must_ids = musts(result)
    areas: dict[str, list[Record]] = {}
    for record in result.records:
        areas.setdefault(record.case.partition("/")[0], []).append(record)
    tallies = {
        area: _tally((status_of(r.outcome, must=is_must(r, must_ids)), seconds(r)) for r in records)
        for area, records in areas.items()
    }
    requirements = list(requirement_entries(result))
    last = _tally((entry.status, entry.time_s) for entry in requirements)
    properties = _properties(result)
    yield b'<?xml version="1.0" encoding="UTF-8"?>\n'
    yield _first_tag(_root(result.info, [*tallies.values(), last]))
    for area, records in areas.items():
        entries = (case_entry(record, result.info, must_ids) for record in records)
        yield from _suite(area, tallies[area], entries, properties)
    yield from _suite(REQUIREMENTS, last, requirements, properties)
    yield b"</testsuites>\n"


def _tally(ended: Iterable[tuple[str, float]]) -> Tally:
    tests = failures = errors = skipped = 0
    time_s = 0.0
    for status, spent_s in ended:
        tests += 1
        failures += status == "failure"
        errors += status == "error"
        skipped += status == "skipped"
        time_s += spent_s
    return Tally(tests, failures, errors, skipped, time_s)


def _root(info: RunInfo, tallies: list[Tally]) -> ET.Element:
    whole = Tally(*(sum(column) for column in zip(*tallies, strict=True)))
    attributes = whole.attributes()
    del attributes["skipped"]  # Jenkins' schema knows it on suites only
    return ET.Element("testsuites", {"name": ascii_only(info.device_key), **attributes})


def _properties(result: RunResult) -> dict[str, str]:
    info, verdict = result.info, result.verdict
    told = {
        "run_id": info.run_id,
        "verdict": verdict.name,
        "exit_code": str(verdict.exit_code),
        "certifiable": "yes" if verdict.certifiable else f"no: {verdict.why_not_certifiable}",
        "placement_shown": "yes" if verdict.placement_shown else "no",
        "eligibility": verdict.eligibility,
        **{f"document_wanted.{at}": one for at, one in enumerate(verdict.documents_wanted, 1)},
        **{f"document_given.{at}": f"{one.name} ({one.state})" for at, one in enumerate(verdict.documents_given, 1)},
        "vendor": info.vendor,
        "model": info.model,
        "category": f"{info.category} {info.category_version}",
        "profile": info.profile,
        "profile_digest": info.profile_digest,
        "level": info.level,
        "selection": info.selection,
        "inputs": drawn_from(info),
        "challenge": info.challenge,
        "planned": str(info.planned),
        "not_selected": str(info.not_selected),
        "interrupted": info.interrupted,
        "started": info.started,
        "finished": info.finished,
        **{f"bench.{name}": told for name, told in info.bench.items()},
        **{f"device_host.{name}": told for name, told in info.device_host.items()},
        "hook_uses": str(len(info.hooks)) if info.hooks else "",
        **{f"version.{name}": version for name, version in sorted(info.versions.items())},
    }
    return {ascii_only(name): clip(value, _PROPERTY_LIMIT) for name, value in told.items() if value}


def _suite(name: str, tally: Tally, entries: Iterable[Entry], properties: dict[str, str]) -> Iterator[bytes]:
    head: ET.Element = TestSuite(ascii_only(name) or "-", properties=properties).build_xml_doc()
    del head.attrib["disabled"]  # Jenkins' schema refuses it
    head.attrib.update(tally.attributes())
    started = _timestamp(properties.get("started", ""))
    if started:
        head.set("timestamp", started)
    yield _first_tag(head)
    remaining = iter(entries)
    while chunk := list(itertools.islice(remaining, _CHUNK)):
        yield _inside(_chunk(chunk))
    yield b"</testsuite>\n"


def _chunk(entries: list[Entry]) -> ET.Element:
    """Return a suite element with these entries; its own attributes are those of the chunk and of no use."""
    built: ET.Element = TestSuite("chunk", [_test_case(entry) for entry in entries]).build_xml_doc()
    built.text = "\n"
    for element, entry in zip(built, entries, strict=True):
        element.set("time", f"{entry.time_s:.3f}")
        element.tail = "\n"
        for child in element.iter("skipped"):
            child.set("type", entry.type)  # junit-xml writes "skipped" whatever it is told
    return built


def _test_case(entry: Entry) -> TestCase:
    case = TestCase(entry.name, entry.classname, stdout=entry.output or None)
    if entry.status == "failure":
        case.add_failure_info(entry.message, entry.body, entry.type)
    elif entry.status == "error":
        case.add_error_info(entry.message, entry.body, entry.type)
    elif entry.status == "skipped":
        case.add_skipped_info(entry.message, entry.body)
    return case


def _timestamp(started: str) -> str:
    """Return UTC to the second without a zone, the one form that every JUnit reader takes; empty where unknown."""
    try:
        return datetime.fromisoformat(started).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except ValueError:
        return ""


def _first_tag(element: ET.Element) -> bytes:
    """Return the element without its end tag, properties included."""
    text = ET.tostring(element, encoding="unicode", short_empty_elements=False)
    return text.removesuffix(f"</{element.tag}>").encode() + b"\n"


def _inside(element: ET.Element) -> bytes:
    """Return what is between the element's tags."""
    text = ET.tostring(element, encoding="unicode")
    return text[text.index(">") + 2 : text.rindex("</")].encode()
