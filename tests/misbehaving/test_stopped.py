"""Runs that are stopped from outside: killed, interrupted, terminated; and what --resume makes of them."""

from __future__ import annotations

import json
import random
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from misbehaving.harness import PROBES, TRIGGER, check_books, run, start, wait_gone, write_profile

from conformance.errors import EXIT_INCOMPLETE
from conformance.execution.journal import CHAIN, FILE_NAME, linked
from conformance.records import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from misbehaving.harness import Started

SEED = 20260428
MANY = "operators/ai.onnx.[AC][abcdeloruv]*/*/test_*"
PAUSE_S = 0.012
"""Time that the display takes for each case, so that there is something to be killed in."""
KILLS = 10


def lines_of(folder: Path) -> list[Any]:
    path = folder / FILE_NAME
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


def wait_for(started: Started, count: int, kind: str = "record") -> None:
    """Wait until the journal has `count` lines of a kind, or the run has ended."""
    while started.process.poll() is None:
        if sum(line["type"] == kind for line in lines_of(started.folder)) >= count:
            return
        time.sleep(0.005)


def test_ten_kills_and_ten_resumes_give_each_record_once(tmp_path: Path) -> None:
    whole_folder = tmp_path / "whole"
    whole_folder.mkdir()
    profile = write_profile(tmp_path)
    whole = run(write_profile(whole_folder), selection=MANY)
    check_books(whole)

    chance = random.Random(SEED)  # noqa: S311 - moments, not secrets
    folder = tmp_path / "run"
    kills: list[float] = []
    while len(kills) < KILLS:
        started = start(profile, selection=MANY, resume=bool(kills), pause_s=PAUSE_S)
        wait_for(started, len(kills) + 1, "run") if not kills else wait_for(started, len(kills), "resume")
        moment = chance.uniform(0.0, 0.3)
        time.sleep(moment)
        assert started.process.poll() is None, f"the run was over before kill {len(kills)} of seed {SEED}"
        started.process.kill()
        started.process.communicate()
        assert wait_gone(started.mark) == [], f"kill {len(kills)} of seed {SEED}, after {moment:.3f} s"
        kills.append(moment)
    print(f"seed {SEED}, kills after {[round(moment, 3) for moment in kills]} s")  # noqa: T201
    finished = start(profile, selection=MANY, resume=True).finish()

    assert finished.left == []
    recorded = [line["record"]["case"] for line in lines_of(folder) if line["type"] == "record"]
    assert len(recorded) == len(set(recorded)), "none twice"
    assert {record.case for record in finished.result.records} == set(whole.outcomes)
    assert finished.outcomes == whole.outcomes, "a kill of the parent is never the device's fault"
    assert finished.result.info.resumed == KILLS
    assert finished.code == whole.code


def test_a_fault_seen_before_the_kill_still_counts_after_the_resume(tmp_path: Path) -> None:
    profile = write_profile(tmp_path, runtime__options={"behaviour": "segv", "trigger": TRIGGER})
    started = start(profile, selection=PROBES, pause_s=0.2)
    wait_for(started, 1, "attempt")
    started.process.kill()
    started.process.communicate()
    assert wait_gone(started.mark) == []
    finished = start(profile, selection=PROBES, resume=True).finish()

    record = finished.record("interface/session/output-contract")
    assert record.outcome is Outcome.CRASH
    assert [attempt.signal for attempt in record.attempts] == ["SIGSEGV", "SIGSEGV"]
    attempts = [line for line in lines_of(finished.folder) if line["type"] == "attempt"]
    assert len(attempts) == 2, "the crash before the kill and the one repeat after it"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_with_a_valid_result_that_can_be_resumed(tmp_path: Path, number: signal.Signals) -> None:
    profile = write_profile(tmp_path)
    started = start(profile, selection=MANY, pause_s=PAUSE_S)
    wait_for(started, 5)
    started.process.send_signal(number)
    stopped = started.finish()

    check_books(stopped)
    assert stopped.code == EXIT_INCOMPLETE
    assert "Traceback" not in stopped.stderr
    assert stopped.result.info.interrupted == "interrupted by the user; continue with --resume"
    rest = [record for record in stopped.result.records if record.outcome is Outcome.NOT_RUN]
    assert rest
    assert {record.reason for record in rest} == {"not reached: interrupted by the user; continue with --resume"}
    reached = {case for case, outcome in stopped.outcomes.items() if outcome is not Outcome.NOT_RUN}
    assert len(reached) >= 5

    again = start(profile, selection=MANY, resume=True).finish()
    assert again.left == []
    assert Outcome.NOT_RUN not in again.outcomes.values()
    assert again.result.info.resumed == 1
    assert {case: again.outcomes[case] for case in reached} == {case: stopped.outcomes[case] for case in reached}
    recorded = [line["record"]["case"] for line in again.lines if line["type"] == "record"]
    assert len(recorded) == len(set(recorded))


def test_an_interrupt_during_a_hang_does_not_wait_for_the_deadline(tmp_path: Path) -> None:
    profile = write_profile(
        tmp_path,
        runtime__options={"behaviour": "hang", "trigger": TRIGGER},
        runtime__deadlines={"open_s": 15, "compile_s": 15, "run_s": 60},
    )
    started = start(profile, selection="interface/session/output-contract")
    wait_for(started, 1, "started")
    started.process.send_signal(signal.SIGINT)
    stopped = started.finish(limit_s=30)

    check_books(stopped)
    assert set(stopped.outcomes.values()) == {Outcome.NOT_RUN}


def test_two_runs_on_one_device_do_not_mix(tmp_path: Path) -> None:
    first = start(write_profile(tmp_path), selection=MANY, pause_s=PAUSE_S)
    wait_for(first, 1)
    second = start(write_profile(tmp_path), out=tmp_path / "second", selection=PROBES).finish()
    first.process.kill()
    first.process.communicate()

    assert second.code == 70
    assert f"is in use by process {first.process.pid}: wait for that run to end, or stop it" in second.stderr
    assert "Traceback" not in second.stderr
    assert wait_gone(first.mark) == []
    assert not list((tmp_path / "second").glob("*")), "nothing is left of a run that never was"
    third = start(write_profile(tmp_path), out=tmp_path / "third", selection=PROBES).finish()
    assert third.code == 0, "the lock is gone with the process that was killed"


def test_a_second_run_on_the_same_folder_does_not_harm_the_first(tmp_path: Path) -> None:
    first = start(write_profile(tmp_path), selection=MANY, pause_s=PAUSE_S)
    wait_for(first, 1)
    second = start(write_profile(tmp_path), selection=MANY).finish()
    ended = first.finish()

    assert second.code == 70
    check_books(ended)
    alone = start(write_profile(tmp_path), out=tmp_path / "alone", selection=MANY).finish()
    assert ended.outcomes == alone.outcomes


def test_a_journal_that_was_edited_is_refused_with_the_line(tmp_path: Path) -> None:
    profile = write_profile(tmp_path, runtime__options={"behaviour": "segv", "trigger": TRIGGER})
    run(profile, selection=PROBES)
    path = tmp_path / "run" / FILE_NAME
    lines = path.read_text(encoding="utf-8").splitlines()
    at = next(n for n, line in enumerate(lines) if '"type":"record"' in line and '"outcome":"CRASH"' in line)
    lines[at] = lines[at].replace('"outcome":"CRASH"', '"outcome":"PASS"')
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    again = run(profile, selection=PROBES, resume=True)

    assert again.code == 2
    assert f"{FILE_NAME}:{at + 1}:1: this line was changed after it was written" in again.stderr
    assert "Traceback" not in again.stderr


def test_a_journal_of_another_plan_is_not_believed(tmp_path: Path) -> None:
    profile = write_profile(tmp_path)
    run(profile, selection=PROBES)
    path = tmp_path / "run" / FILE_NAME
    rewrite(path, [line.replace('["IF-001"]', "[]") for line in path.read_text(encoding="utf-8").splitlines()])
    again = run(profile, selection=PROBES, resume=True)

    assert again.code == 2
    assert "is not of this plan" in again.stderr


def rewrite(path: Path, lines: list[str]) -> None:
    """Write a journal as somebody would who knows how the chain is made."""
    chain, whole = b"", b""
    for line in lines:
        body = line.encode().rpartition(CHAIN)[0] + b"}"
        linked_line, chain = linked(chain, body)
        whole += linked_line
    path.write_bytes(whole)


def test_eight_fast_interrupts_are_one(tmp_path: Path) -> None:
    profile = write_profile(tmp_path)
    started = start(profile, selection=MANY, pause_s=PAUSE_S)
    wait_for(started, 5)
    for _ in range(8):
        started.process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    stopped = started.finish()

    check_books(stopped)
    assert stopped.code == EXIT_INCOMPLETE
    assert stopped.stderr == ""


def test_a_finished_run_can_be_resumed_and_stays_the_same(tmp_path: Path) -> None:
    profile = write_profile(tmp_path)
    first = run(profile, selection=PROBES)
    again = run(profile, selection=PROBES, resume=True)

    assert again.result.records == first.result.records
    assert again.result.verdict == first.result.verdict


def test_a_resumed_run_keeps_the_identity_of_its_device(tmp_path: Path) -> None:
    profile = write_profile(tmp_path)
    first = run(profile, selection=PROBES)
    again = run(profile, selection=PROBES, resume=True)

    assert first.result.info.identity is not None
    assert again.result.info.identity == first.result.info.identity
    assert again.result.info.versions == first.result.info.versions


def test_a_run_is_not_finished_on_another_device(tmp_path: Path) -> None:
    profile = write_profile(tmp_path)
    run(profile, selection=PROBES)
    journal = tmp_path / "run" / FILE_NAME
    kept = []
    for line in lines_of(tmp_path / "run"):
        if line["type"] == "opened":
            line["identity"]["device_name"] = "the unit with the other serial number"
        if line["type"] != "record" or line["record"]["case"] != "interface/session/output-contract":
            kept.append(json.dumps(line, separators=(",", ":")))
    rewrite(journal, kept)
    again = run(profile, selection=PROBES, resume=True)

    assert again.code == 2, "half of the cases on one unit and half on another are no verdict about either"
    assert (
        "the device is another one: device_name was 'the unit with the other serial number' and is ''" in again.stderr
    )
