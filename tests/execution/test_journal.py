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
    EndLine,
    HookLine,
    Journal,
    OpenedLine,
    RecordLine,
    ResumeLine,
    RunLine,
    StartedLine,
)
from conformance.records import Attempt, Basis, HookUse, Identity, JournalState, Outcome, Record

FIRST = RunLine(
    run_id="r", started="2026-04-28T00:00:00Z", harness_version="0", plan_digest="p", profile_digest="d", planned=2
)


def record(case: str) -> Record:
    return Record(case=case, check="session", requirements=("IF-001",), outcome=Outcome.PASS)


def write(folder: Path, *lines: journal.Line) -> Path:
    """Write a journal without a closing line, as a run that was killed leaves it."""
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
    HookLine(use=HookUse(at="t", hook="reset", case="a/b/ü", why="died", exit_code=0, seconds=1.0)),
    RecordLine(record=record("a/b/ü")),
    EndLine(at="2026-04-28T00:00:02Z", records=1),
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
    assert opened_run(tmp_path) == journal.Known(FIRST, resumed=1, records={}, attempts={}, unclosed=1)
    with pytest.raises(UsageError, match="exists already"):
        opened_run(tmp_path, resume=False)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"harness_version": "1"}, "version of the harness"),
        ({"profile_digest": "e"}, "profile"),
        ({"plan_digest": "q"}, "plan \\(level, selection or suite\\)"),
        ({"bench_digest": "b"}, "bench file \\(unit, host, interpreter, environment or server\\)"),
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


# -- the end ----------------------------------------------------------------------------------------------------------


def ended(folder: Path, *, result: bool = True) -> Path:
    """Write a journal of two records that was closed, and the result beside it; return the journal's path."""
    kept = Journal.create(folder, FIRST)
    for case in "ab":
        kept.write(StartedLine(case=case, worker=0, attempt=1))
        kept.write(RecordLine(record=record(case)))
    kept.end("later", "")
    kept.close()
    if result:
        say_result(folder, kept.state)
    return kept.path


def say_result(folder: Path, state: JournalState | None, run_id: str = "r") -> None:
    info = {"run_id": run_id, "journal": msgspec.to_builtins(state), "level": "full"}
    (folder / journal.RESULT_NAME).write_text(json.dumps({"schema_version": 1, "info": info}), encoding="utf-8")


def cut(path: Path, lines: int) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-lines]))


def test_a_run_that_ended_is_closed_by_a_line_that_counts_its_records(tmp_path: Path) -> None:
    path = ended(tmp_path)
    _, lines = Journal.resume(tmp_path)
    last = json.loads(path.read_bytes().splitlines()[-1])

    assert lines[-1] == EndLine(at="later", records=2)
    assert msgspec.json.decode((tmp_path / journal.RESULT_NAME).read_bytes())["info"]["journal"] == {
        "lines": 6,
        "records": 2,
        "chain": last["chain"],
        "unclosed": 0,
    }


@pytest.mark.parametrize("lines", [1, 2, 3, 5])
def test_a_journal_whose_end_was_taken_out_is_refused_where_there_is_a_result(tmp_path: Path, lines: int) -> None:
    path = ended(tmp_path)
    cut(path, lines)
    before = path.read_bytes()

    told = f"has {6 - lines} lines, and had 6 with 2 records when run.json was written: its end was taken out"
    with pytest.raises(UsageError, match=told):
        opened_run(tmp_path)
    assert path.read_bytes() == before


def test_without_a_result_an_end_that_was_taken_out_looks_like_a_kill_and_is_counted(tmp_path: Path) -> None:
    cut(ended(tmp_path, result=False), 2)

    assert opened_run(tmp_path).unclosed == 1
    assert opened_run(tmp_path).unclosed == 2, "the session that this test began and did not close"


def test_sessions_that_were_closed_are_not_counted(tmp_path: Path) -> None:
    ended(tmp_path)
    for _ in range(2):
        kept, known = journal.open_run(tmp_path, FIRST, resume=True)
        assert known.unclosed == 0
        kept.end("later still", "")
        kept.close()
        say_result(tmp_path, kept.state)
    assert known.resumed == 2


def test_a_journal_may_have_grown_since_its_result(tmp_path: Path) -> None:
    ended(tmp_path)
    opened_run(tmp_path)

    assert opened_run(tmp_path).resumed == 2


def test_another_journal_than_that_of_the_result_is_refused(tmp_path: Path) -> None:
    path = ended(tmp_path)
    told = "is not the journal that run.json was written for; start a new run"
    lines = path.read_bytes().splitlines()
    path.unlink()
    chain = b""
    for line in lines:  # as somebody would who computes the chain anew
        body = line.rpartition(journal.CHAIN)[0].replace(b'"pass"', b'"fail"').replace(b'"PASS"', b'"FAIL"') + b"}"
        whole, chain = journal.linked(chain, body)
        with path.open("ab") as stream:
            stream.write(whole)

    with pytest.raises(UsageError, match=told):
        opened_run(tmp_path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "run.json: this is no result of a run: "),
        ("{}", "run.json: this is no result of a run: "),
        ('{"info":{"run_id":"s"}}', "run.json: this is the result of another run than journal.jsonl beside it"),
        (
            '{"info":{"run_id":"r","journal":{"lines":0,"records":0,"chain":""}}}',
            "is not the journal that run.json was written for",
        ),
    ],
)
def test_a_result_that_is_none_of_this_run_is_refused(tmp_path: Path, text: str, told: str) -> None:
    ended(tmp_path)
    (tmp_path / journal.RESULT_NAME).write_text(text, encoding="utf-8")

    with pytest.raises(UsageError, match=told):
        opened_run(tmp_path)


def test_a_result_that_cannot_be_read_is_refused_and_one_without_a_journal_is_not(tmp_path: Path) -> None:
    ended(tmp_path)
    say_result(tmp_path, None)
    assert opened_run(tmp_path).resumed == 1
    (tmp_path / journal.RESULT_NAME).unlink()
    os.mkfifo(tmp_path / journal.RESULT_NAME)
    with pytest.raises(UsageError, match=r"run\.json: cannot be read: not a regular file"):
        opened_run(tmp_path)


# -- one at a time ----------------------------------------------------------------------------------------------------


def test_a_journal_has_one_writer(tmp_path: Path) -> None:
    kept = Journal.create(tmp_path, FIRST)
    with pytest.raises(UsageError, match="another run is writing this journal: wait for it to end"):
        Journal.resume(tmp_path)
    kept.close()

    assert opened_run(tmp_path).resumed == 1


def test_a_journal_that_grew_while_it_was_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, *EVERY)
    whole = path.read_bytes()
    shorter = whole[: whole[:-1].rfind(b"\n") + 1]
    monkeypatch.setattr(journal, "read_file", lambda one: shorter if one == path else Path(one).read_bytes())

    with pytest.raises(UsageError, match="another run is writing this journal"):
        Journal.resume(tmp_path)
    assert path.read_bytes() == whole


def test_a_file_system_without_locks_stands_in_nobody_s_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(journal.fcntl, "flock", fail)
    write(tmp_path)

    assert opened_run(tmp_path).resumed == 1


# -- what counts for the crash budget ---------------------------------------------------------------------------------


def test_crashes_and_time_outs_of_claimed_cases_count_and_what_the_host_spoilt_does_not(tmp_path: Path) -> None:
    outcomes = [Outcome.CRASH, Outcome.TIMEOUT, Outcome.ERROR]
    attempts = [AttemptLine(case="a", attempt=Attempt(outcome=one, detail="d")) for one in outcomes]
    nobodys = AttemptLine(case="b", attempt=Attempt(outcome=Outcome.CRASH, detail="d"))
    settled = msgspec.structs.replace(record("b"), outcome=Outcome.UNSUPPORTED, basis=Basis.UNCLAIMED)
    write(tmp_path, *attempts, nobodys, RecordLine(record=settled))

    assert opened_run(tmp_path).crashes == 2
