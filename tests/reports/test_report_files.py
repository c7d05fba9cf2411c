"""The run folder: every file whole or not at all, one line per case, and no report that spoils another."""

from __future__ import annotations

import json
import math
import os
import sys
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from click.testing import CliRunner

from conformance import conduct, registry
from conformance.cli import main
from conformance.errors import EXIT_HARNESS, EXIT_USAGE, HarnessError, UsageError
from conformance.records import Measurement, Outcome, Record
from conformance.reports import builtin_reports, cases_jsonl, find_reports, run_json, write_all
from conformance.reports.support import writing
from conformance.reports.support.plain import encode, encode_record
from conformance.reports.support.writing import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conformance.records import RunResult


def test_three_files_and_nothing_else(typical: RunResult, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    paths = write_all(typical, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["cases.jsonl", "junit.xml", "run.json"]
    assert sorted(paths) == sorted(folder.iterdir())
    first = {path: path.read_bytes() for path in paths}
    write_all(typical, folder)
    assert {path: path.read_bytes() for path in paths} == first


def test_one_line_per_case_in_plan_order(typical: RunResult, tmp_path: Path) -> None:
    write_all(typical, tmp_path)
    lines = (tmp_path / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["case"] for line in lines] == [record.case for record in typical.records]
    assert [msgspec.json.decode(line, type=Record) for line in lines] == list(typical.records)


def test_run_document(typical: RunResult) -> None:
    told = json.loads(b"".join(run_json.render(typical)))
    assert list(told) == ["schema", "schema_version", "info", "verdict", "counts", "cases"]
    assert (told["schema"], told["schema_version"]) == ("urn:resonance-conformance:run.schema.json", 1)
    assert told["counts"] == {**dict.fromkeys(Outcome, 0), **typical.verdict.counts}
    assert sum(told["counts"].values()) == told["info"]["planned"] == len(typical.records)
    assert told["verdict"]["requirements"][0]["title_zh"] == typical.verdict.requirements[0].title_zh
    assert list(told["info"]["versions"]) == ["conformance", "onnxruntime"]


# -- JSON that any parser takes ---------------------------------------------------------------------------------------


def strict(line: bytes) -> Any:
    """Parse as JSON proper: Python's own parser would let NaN pass."""
    return json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def test_numbers_that_json_does_not_have(record: Callable[..., Record]) -> None:
    measurements = (
        Measurement(name="error", value=math.nan, margin=math.inf),
        Measurement(name="low", value=-math.inf),
        Measurement(name="nodes", value=3, margin=0.5),
        Measurement(name="huge", value=10**30),
    )
    told = strict(encode_record(record(measurements=measurements, duration_ms=math.inf)))
    assert [(one["value"], one["margin"], one["text"]) for one in told["measurements"]] == [
        (None, None, "value NaN, margin Infinity"),
        (None, None, "value -Infinity"),
        (3, 0.5, ""),
        (10**30, None, ""),
    ]
    assert told["duration_ms"] == 0.0
    assert "text" not in strict(encode_record(record(measurements=measurements[2:])))["measurements"][0]


def test_text_that_utf8_does_not_have(record: Callable[..., Record]) -> None:
    broken = record(reason="a \ud800 b", measurements=(Measurement(name="\udfff", value=math.nan),))
    told = strict(encode_record(broken))
    assert told["reason"] == "a \\ud800 b"
    assert told["measurements"][0]["name"] == "\\udfff"
    assert list(told) == list(Record.__struct_fields__)
    assert strict(encode({"k\ud800": ["ok \x1b"]})) == {"k\\ud800": ["ok \x1b"]}


def test_text_that_breaks_lines_or_steers_terminals(record: Callable[..., Record]) -> None:
    hostile = "\x00\x1b[2J\x7f\x85\x9b\u2028\u2029\u202e\u2066\ufeff\u061c 芯 🚀 é¿\u00a0"
    line = encode_record(record(reason=hostile))
    assert strict(line)["reason"] == hostile
    assert len(line.decode().splitlines()) == 1
    assert not [c for c in line.decode() if ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or 0x2028 <= ord(c) <= 0x202E]
    assert "芯 🚀 é¿" in line.decode()


def test_long_text_is_kept(record: Callable[..., Record], result: Callable[..., RunResult]) -> None:
    (line,) = cases_jsonl.render(result([record(outcome=Outcome.FAIL, actual="x" * 10_000_000)]))
    assert len(strict(line)["actual"]) == 10_000_000


# -- whole or not at all ----------------------------------------------------------------------------------------------


def test_former_file_survives_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b"former")

    def breaking() -> Iterator[bytes]:
        yield b"half"
        raise OSError(28, "No space left on device")

    with pytest.raises(HarnessError, match=r"run\.json: .*No space left on device; make room or give another --out"):
        write_whole(path, breaking())
    assert path.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [path]


def test_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupted() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "run.json", interrupted())
    assert list(tmp_path.iterdir()) == []


def test_synced_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen = tmp_path / "run.json", []
    monkeypatch.setattr(writing.os, "fsync", lambda number: seen.append((os.fstat(number).st_size, path.exists())))
    write_whole(path, [b"ab", b"cd"])
    assert seen == [(4, False)]
    assert path.read_bytes() == b"abcd"


def test_folder_that_cannot_be_made(typical: RunResult, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match="the run folder cannot be made"):
        write_all(typical, tmp_path / "file" / "folder")


# -- reports of other distributions -----------------------------------------------------------------------------------


@pytest.fixture
def add_report(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Add a report by entry point, as an installed distribution would."""
    points: list[EntryPoint] = []
    monkeypatch.setattr(registry, "entry_points", lambda group: [p for p in points if p.group == group])

    def add(name: str, **members: Any) -> None:
        module = ModuleType(f"foreign_report_{len(points)}")
        module.__dict__.update(members)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        points.append(EntryPoint(name, module.__name__, "conformance.reports"))

    return add


def test_builtin_reports_by_scan() -> None:
    assert {name: report.FILE_NAME for name, report in builtin_reports().items()} == {
        "cases-jsonl": "cases.jsonl",
        "junit": "junit.xml",
        "run-json": "run.json",
    }


def test_added_report_is_written(typical: RunResult, tmp_path: Path, add_report: Callable[..., None]) -> None:
    add_report("tap", FILE_NAME="run.tap", render=lambda result: [result.verdict.name.encode()])
    assert tmp_path / "run.tap" in write_all(typical, tmp_path)
    assert (tmp_path / "run.tap").read_bytes() == b"NON-CONFORMANT"


@pytest.mark.parametrize("name", ["junit.xml", "journal.jsonl", "../escape", "a/b", "", ".."])
def test_added_report_may_not_take_a_file(name: str, add_report: Callable[..., None]) -> None:
    add_report("other", FILE_NAME=name, render=lambda _: [])
    with pytest.raises(UsageError, match="needs a free plain file name"):
        find_reports()


def test_two_added_reports_may_not_share_a_file(add_report: Callable[..., None]) -> None:
    add_report("one", FILE_NAME="same", render=lambda _: [])
    add_report("two", FILE_NAME="same", render=lambda _: [])
    with pytest.raises(UsageError, match="the report 'two' may not write 'same'"):
        find_reports()


def test_added_report_may_not_replace_a_name(add_report: Callable[..., None]) -> None:
    add_report("junit", FILE_NAME="other.xml", render=lambda _: [])
    with pytest.raises(UsageError, match="'junit'"):
        find_reports()


@pytest.mark.parametrize("members", [{}, {"FILE_NAME": 3, "render": print}, {"FILE_NAME": "x", "render": "no"}])
def test_not_a_report(members: dict[str, Any], add_report: Callable[..., None]) -> None:
    add_report("odd", **members)
    with pytest.raises(UsageError, match=r"'odd' has no FILE_NAME and render\(result\)"):
        find_reports()


def test_added_report_that_fails_spoils_no_other(
    typical: RunResult, tmp_path: Path, add_report: Callable[..., None]
) -> None:
    def refuse(_: RunResult) -> list[bytes]:
        raise HarnessError("no licence")

    add_report("bad", FILE_NAME="bad.txt", render=lambda _: 1 / 0)
    add_report("worse", FILE_NAME="worse.txt", render=refuse)
    add_report("good", FILE_NAME="good.txt", render=lambda _: [b"ok"])
    with pytest.raises(HarnessError, match="'bad' failed: ZeroDivisionError: division by zero.*; no licence"):
        write_all(typical, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cases.jsonl", "good.txt", "junit.xml", "run.json"]


@pytest.mark.parametrize(
    ("members", "code", "said"),
    [
        (
            {"FILE_NAME": "bad.txt", "render": lambda _: 1 / 0},
            EXIT_HARNESS,
            "error: the report 'bad' failed: ZeroDivisio",
        ),
        (
            {"FILE_NAME": "junit.xml", "render": lambda _: []},
            EXIT_USAGE,
            "error: the report 'bad' may not write 'junit.x",
        ),
    ],
)
def test_a_report_that_fails_costs_the_exit_code_and_not_the_sight_of_the_verdict(
    typical: RunResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    add_report: Callable[..., None],
    members: dict[str, Any],
    code: int,
    said: str,
) -> None:
    add_report("bad", **members)
    monkeypatch.setattr(conduct, "run", lambda request, display: (typical, tmp_path))
    done = CliRunner().invoke(main, ["run"])

    assert done.exit_code == code
    assert "NON-CONFORMANT against accelerator-card" in done.stdout
    assert str(tmp_path) in done.stdout, "where the reports are that could be written"
    assert done.stderr.startswith(said)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cases.jsonl", "junit.xml", "run.json"]


def test_a_run_whose_reports_are_written_has_the_exit_code_of_its_verdict(
    typical: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conduct, "run", lambda request, display: (typical, tmp_path))
    done = CliRunner().invoke(main, ["run"])

    assert (done.exit_code, done.stderr) == (typical.verdict.exit_code, "")


# -- the bench file ---------------------------------------------------------------------------------------------------


def test_the_bench_file_is_told_in_the_run_document(result: Callable[..., RunResult]) -> None:
    with_bench = result(info={"bench_file": "lab 1.yaml", "bench": {"lab": "Room 7"}})
    assert json.loads(b"".join(run_json.render(with_bench)))["info"]["bench_file"] == "lab 1.yaml"
    assert json.loads(b"".join(run_json.render(result())))["info"]["bench_file"] == "", "without one it is empty"
