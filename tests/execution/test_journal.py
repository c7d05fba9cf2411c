"""The journal: what was written survives, what was torn is cut off, what is foreign is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from conformance.errors import HarnessError, UsageError
from conformance.execution import journal
from conformance.execution.journal import (
    FILE_NAME,
    AttemptLine,
    Journal,
    OpenedLine,
    RecordLine,
    ResumeLine,
    RunLine,
    StartedLine,
)
from conformance.records import Attempt, Identity, Outcome, Record

FIRST = RunLine(
    run_id="r", started="2026-04-28T00:00:00Z", harness_version="0", plan_digest="p", profile_digest="d", planned=2
)


def record(case: str) -> Record:
    return Record(case=case, check="session", requirements=("IF-001",), outcome=Outcome.PASS)


def write(folder: Path, *lines: journal.Line) -> Path:
    kept = Journal.create(folder, FIRST)
    for line in lines:
        kept.write(line)
    kept.close()
    return kept.path


EVERY: list[journal.Line] = [
    ResumeLine(at="2026-04-28T00:00:01Z"),
    OpenedLine(identity=Identity(runtime="r", runtime_version="1", provider="P"), versions={"python": "3"}),
    StartedLine(case="a/b/ü", worker=1, attempt=1),
    AttemptLine(case="a/b/ü", attempt=Attempt(outcome=Outcome.CRASH, detail="died\nwith \u2028 odd \x00 characters")),
    RecordLine(record=record("a/b/ü")),
]


def test_every_line_comes_back(tmp_path: Path) -> None:
    write(tmp_path, *EVERY)
    again, lines = Journal.resume(tmp_path)
    again.close()

    assert lines == [FIRST, *EVERY]
    assert journal.finished(lines) == {"a/b/ü": record("a/b/ü")}
    assert journal.plain(lines[1]) == {"type": "resume", "at": "2026-04-28T00:00:01Z"}


@pytest.mark.parametrize("cut", [1, 10, 50])
def test_a_torn_last_line_is_cut_off_and_written_over(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path, *EVERY)
    path.write_bytes(path.read_bytes()[:-cut])
    again, lines = Journal.resume(tmp_path)
    again.write(RecordLine(record=record("later")))
    again.close()

    assert lines == [FIRST, *EVERY[:-1]]
    _, lines = Journal.resume(tmp_path)
    assert lines == [FIRST, *EVERY[:-1], RecordLine(record=record("later"))]


def test_every_possible_tear_gives_a_prefix(tmp_path: Path) -> None:
    path = write(tmp_path, *EVERY[:3])
    data = path.read_bytes()
    for length in range(data.index(b"\n") + 1, len(data) + 1):
        path.write_bytes(data[:length])
        again, lines = Journal.resume(tmp_path)
        again.close()
        assert lines == [FIRST, *EVERY[:3]][: len(lines)]
        assert len(lines) == data[:length].count(b"\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", ":1:1: the journal does not begin with its run line"),
        (b'{"type":"run"', ":1:1: the journal does not begin with its run line"),
        (b'{"type":"resume","at":"x"}\n', ":1:1: the journal does not begin with its run line"),
        (b"\x00\x00\x00\n", ":1:1: not a journal line"),
        (b'{"type":"unheard-of"}\n', ":1:1: not a journal line"),
        (b'{"type":"run","run_id":1}\n', ":1:1: not a journal line"),
    ],
)
def test_what_is_no_journal_is_refused(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / journal.FILE_NAME).write_bytes(text)

    with pytest.raises(UsageError) as caught:
        Journal.resume(tmp_path)
    assert message in str(caught.value)
    assert (tmp_path / journal.FILE_NAME).read_bytes() == text, "what is refused is left as it was"


def test_garbage_in_the_middle_names_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, *EVERY)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"garbage\n", *lines[2:]]))

    with pytest.raises(UsageError, match=r"journal\.jsonl:3:1: not a journal line"):
        Journal.resume(tmp_path)


def test_two_records_of_a_case_are_refused(tmp_path: Path) -> None:
    write(tmp_path, RecordLine(record=record("a")), RecordLine(record=record("b")), RecordLine(record=record("a")))
    _, lines = Journal.resume(tmp_path)

    with pytest.raises(UsageError, match="two records of a; start a new run"):
        journal.finished(lines)


def test_a_journal_is_not_begun_twice(tmp_path: Path) -> None:
    write(tmp_path)

    with pytest.raises(UsageError, match="exists already: continue that run with --resume, or give another --out"):
        Journal.create(tmp_path, FIRST)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="cannot be written: No such file or directory"):
        Journal.create(tmp_path / "none", FIRST)
    with pytest.raises(UsageError, match="there is no run to resume: No such file or directory"):
        Journal.resume(tmp_path / "none")


def test_lines_reach_the_disk_about_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    kept = Journal.create(tmp_path, FIRST)
    assert len(synced) == 1, "the run line at once"
    kept.tick()
    kept.write(EVERY[0])
    kept.tick()
    assert len(synced) == 1, "not yet a second"
    monkeypatch.setattr(journal, "SYNC_EVERY_S", 0.0)
    kept.tick()
    kept.tick()
    assert len(synced) == 2, "once, and not again while nothing is new"
    kept.close()


@pytest.mark.parametrize("method", ["sync", "write"])
def test_a_disk_that_fails_is_the_harness_s_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    kept = Journal.create(tmp_path, FIRST)

    def fail(*_: Any) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync" if method == "sync" else "write", fail)
    with pytest.raises(HarnessError, match="Input/output error"):
        kept.sync() if method == "sync" else kept.write(EVERY[0])


def test_text_that_is_no_unicode_is_our_own_error_and_leaves_the_journal_whole(tmp_path: Path) -> None:
    kept = Journal.create(tmp_path, FIRST)
    with pytest.raises(HarnessError, match=r"journal\.jsonl: a line holds text that is no Unicode: "):
        kept.write(StartedLine(case="a/b/\udcff", worker=1, attempt=1))
    kept.write(EVERY[2])
    kept.close()
    again, lines = Journal.resume(tmp_path)
    again.close()

    assert lines == [FIRST, EVERY[2]]


def opened_run(folder: Path, *, resume: bool = True, **changes: Any) -> journal.Known:
    kept, known = journal.open_run(folder, msgspec.structs.replace(FIRST, **changes), resume=resume)
    kept.close()
    return known


def test_a_run_knows_what_its_journal_knows(tmp_path: Path) -> None:
    crashed = Attempt(outcome=Outcome.CRASH, detail="once")
    lines = [EVERY[1], AttemptLine(case="open", attempt=crashed), AttemptLine(case="done", attempt=crashed)]
    write(tmp_path, *lines, RecordLine(record=record("done")))
    known = opened_run(tmp_path, run_id="another", started="later")

    assert known.first == FIRST, "it is the run that was begun"
    assert (known.resumed, known.records) == (1, {"done": record("done")})
    assert known.attempts == {"open": [crashed]}, "those of a case that has its record are settled"
    assert known.identity == EVERY[1].identity  # type: ignore[union-attr]
    assert known.versions == {"python": "3"}
    assert opened_run(tmp_path, started="later still").resumed == 2


def test_a_run_that_is_new_or_never_opened_a_device_knows_none(tmp_path: Path) -> None:
    assert opened_run(tmp_path, resume=False) == journal.Known(FIRST)
    assert opened_run(tmp_path) == journal.Known(FIRST, resumed=1, records={}, attempts={})
    with pytest.raises(UsageError, match="exists already"):
        opened_run(tmp_path, resume=False)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"harness_version": "1"}, "version of the harness"),
        ({"profile_digest": "e"}, "profile"),
        ({"plan_digest": "q"}, "plan \\(level, selection or suite\\)"),
    ],
)
def test_another_run_is_not_continued(tmp_path: Path, changes: dict[str, str], what: str) -> None:
    before = write(tmp_path).read_bytes()
    with pytest.raises(UsageError, match=f"cannot be resumed, the {what} has changed since; start a new run"):
        opened_run(tmp_path, **changes)

    assert (tmp_path / journal.FILE_NAME).read_bytes() == before


FULL = """
import resource, signal, sys
from pathlib import Path
from conformance.errors import HarnessError
from conformance.execution.journal import Journal, RunLine, StartedLine
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
first = RunLine(run_id="r", started="s", harness_version="0", plan_digest="p", profile_digest="d", planned=2)
journal = Journal.create(Path(sys.argv[1]), first)
written = 0
try:
    while True:
        journal.write(StartedLine(case=f"case/{written}", worker=0, attempt=1))
        written += 1
except HarnessError as error:
    print(written, error)
"""


def test_a_full_disk_loses_nothing_that_was_written(tmp_path: Path) -> None:
    told = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    written, _, message = told.stdout.partition(" ")
    again, lines = Journal.resume(tmp_path)
    again.close()

    assert "the disk is full; nothing before this line is lost: free space, then --resume" in message
    assert int(written) > 3
    assert [journal.plain(line).get("case") for line in lines[1:]] == [f"case/{n}" for n in range(int(written))]
    assert (
        json.loads((tmp_path / journal.FILE_NAME).read_bytes().splitlines()[-1])["case"] == f"case/{int(written) - 1}"
    )


def test_a_pipe_in_the_place_of_a_journal_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / FILE_NAME)

    with pytest.raises(UsageError, match="there is no run to resume: not a regular file"):
        Journal.resume(tmp_path)
    with pytest.raises(UsageError, match="exists already"):
        Journal.create(tmp_path, FIRST)


@pytest.mark.parametrize("what", ["change", "take out", "swap", "forge the digest"])
def test_a_line_that_was_tampered_with_is_named(tmp_path: Path, what: str) -> None:
    kept = Journal.create(tmp_path, FIRST)
    for name in "abcd":
        kept.write(StartedLine(case=name, worker=0, attempt=1))
    kept.close()
    path = tmp_path / FILE_NAME
    lines = path.read_bytes().splitlines()
    if what == "change":
        lines[2] = lines[2].replace(b'"b"', b'"x"')
    elif what == "take out":
        del lines[2]
    elif what == "swap":
        lines[2], lines[3] = lines[3], lines[2]
    else:
        lines[2] = lines[2][:-4] + b'00"}'
    path.write_bytes(b"\n".join(lines) + b"\n")

    with pytest.raises(UsageError, match=f"{FILE_NAME}:3:1: this line was changed after it was written"):
        Journal.resume(tmp_path)


def test_the_chain_goes_on_where_a_torn_line_was_cut_off(tmp_path: Path) -> None:
    kept = Journal.create(tmp_path, FIRST)
    kept.write(StartedLine(case="a", worker=0, attempt=1))
    kept.close()
    with (tmp_path / FILE_NAME).open("ab") as stream:
        stream.write(b'{"type":"started","ca')
    for _ in range(2):
        again, lines = Journal.resume(tmp_path)
        again.write(StartedLine(case="b", worker=0, attempt=1))
        again.close()

    assert len(lines) == 3
