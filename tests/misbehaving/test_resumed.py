"""What a resumed run has to find as it was: the bench file, the journal up to its end, the device's host."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from misbehaving.far import ORDINARY, Far
from misbehaving.harness import PROBES, TRIGGER, VICTIM, check_books, run, start, write_profile
from misbehaving.test_stopped import MANY, PAUSE_S, lines_of, wait_for

from conformance import conduct
from conformance.errors import EXIT_INCOMPLETE, EXIT_NON_CONFORMANT, EXIT_USAGE
from conformance.execution.journal import FILE_NAME, RESULT_NAME
from conformance.execution.pool import host_differences
from conformance.execution.relay import describe
from conformance.records import Outcome
from conformance.reports import run_json

if TYPE_CHECKING:
    from pathlib import Path

ELSEWHERE = "import os\nname = os.uname()\nos.uname = lambda: os.uname_result((name[0], 'other-host', *name[2:]))\n"
"""What makes a Python believe that it is on another host."""


def bench(folder: Path, **given: Any) -> str:
    path = folder / "bench.yaml"
    path.write_text(json.dumps({"conformance": 1, "bench": given}), encoding="utf-8")
    return str(path)


# -- the bench file ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [{"unit_serial": "8"}, {"env": {"CARD": "1"}}, {}])
def test_a_run_is_not_continued_with_another_bench_file(tmp_path: Path, other: dict[str, Any]) -> None:
    profile = write_profile(tmp_path)
    first = {"env": {"CARD": "0"}, "operator": "A"}
    run(profile, selection=VICTIM, bench=bench(tmp_path, **first))
    before = (tmp_path / "run" / FILE_NAME).read_bytes()
    again = run(profile, selection=VICTIM, bench=bench(tmp_path, **other), resume=True)

    assert again.code == EXIT_USAGE
    told = "the bench file (unit, host, interpreter, environment or server) has changed since; start a new run"
    assert told in again.stderr
    assert (tmp_path / "run" / FILE_NAME).read_bytes() == before
    assert run(profile, selection=VICTIM, bench=bench(tmp_path, **first | {"operator": "B"}), resume=True).code == 0


# -- the end of the journal -------------------------------------------------------------------------------------------


def test_a_late_failure_cannot_be_rolled_again_while_its_result_is_there(tmp_path: Path) -> None:
    profile = write_profile(tmp_path, runtime__options={"behaviour": "wrong-value", "trigger": TRIGGER})
    finished = run(profile, selection=PROBES)
    (tmp_path / "run" / RESULT_NAME).write_bytes(b"".join(run_json.render(finished.result)))
    journal = tmp_path / "run" / FILE_NAME
    lines = journal.read_bytes().splitlines(keepends=True)
    last = lines_of(tmp_path / "run")[-1]

    assert finished.outcomes[VICTIM] is Outcome.FAIL
    assert (last["type"], last["records"], last["cause"]) == ("end", len(finished.outcomes), "")
    state = finished.result.info.journal
    assert state is not None
    assert (state.lines, state.records, state.chain) == (len(lines), len(finished.outcomes), last["chain"])
    at = next(n for n, line in enumerate(lines) if b'"type":"record"' in line and f'"{VICTIM}"'.encode() in line)
    journal.write_bytes(b"".join(lines[:at]))
    again = run(profile, selection=PROBES, resume=True)
    assert again.code == EXIT_USAGE
    assert "its end was taken out; start a new run" in again.stderr


def test_after_a_kill_the_old_scratch_folder_goes_and_the_gap_is_told(tmp_path: Path) -> None:
    profile = write_profile(tmp_path)
    started = start(profile, selection=MANY, pause_s=PAUSE_S)
    wait_for(started, 3)
    started.process.kill()
    started.process.communicate()
    left = list((tmp_path / "run").glob(f"{conduct.SCRATCH}-*"))
    (tmp_path / "run" / "scratch-of-mine").mkdir()
    finished = start(profile, selection=MANY, resume=True).finish()

    assert len(left) == 1
    assert [path.name for path in (tmp_path / "run").glob(f"{conduct.SCRATCH}-*")] == ["scratch-of-mine"]
    assert finished.result.info.journal is not None
    assert finished.result.info.journal.unclosed == 1


# -- the host ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def far(tmp_path: Path) -> Far:
    """A host that is another one from the second connection on."""
    made = Far(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "sitecustomize.py").write_text(ELSEWHERE)
    move = "export PYTHONPATH=$HERE/elsewhere:$PYTHONPATH"
    made.answer(f"mkdir $HERE/first 2>/dev/null || {move}\n{ORDINARY}")
    made.say(workers=1)
    return made


def test_another_host_in_the_middle_of_a_run_ends_it_there(far: Far) -> None:
    profile = write_profile(far.folder, runtime__options={"behaviour": "segv", "trigger": TRIGGER})
    finished = start(profile, selection=PROBES, **far.request).finish()

    check_books(finished)
    assert finished.code == EXIT_NON_CONFORMANT
    record = finished.record(VICTIM)
    assert (record.outcome, record.context) == (Outcome.CRASH, "not repeated: the device was given up")
    host = os.uname().nodename
    told = f"the host that answers now is not the one that answered first: name was '{host}' and is 'other-host'"
    assert finished.result.info.interrupted == told
    rest = [one for one in finished.result.records if one.outcome is Outcome.NOT_RUN]
    assert rest
    assert all(told in one.reason for one in rest)
    assert finished.result.info.device_host["name"] == host

    again = start(profile, selection=PROBES, resume=True, **far.request).finish()
    assert again.code == EXIT_USAGE
    assert "cannot be resumed, the device is on another host: name was " in again.stderr


def test_the_same_host_stays_the_same_whatever_its_load() -> None:
    first = describe()

    assert set(first) >= {"name", "id", "system", "machine"}
    assert host_differences({}, first) == host_differences(first, first | {"cpus": "999", "python": "4"}) == ""
    assert host_differences(first, first | {"id": "x"}).startswith("id was '")
    assert host_differences(first, first | {"system": "Linux 1"}).endswith("is 'Linux 1'")


def test_a_host_that_was_never_reached_is_not_another_one(far: Far) -> None:
    profile = write_profile(far.folder)
    far.answer("exit 255")
    assert start(profile, selection=VICTIM, **far.request).finish().code == EXIT_INCOMPLETE
    far.answer(ORDINARY)

    assert start(profile, selection=VICTIM, resume=True, **far.request).finish().code == 0
