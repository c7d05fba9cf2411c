"""Whole runs on devices that do wrong with what is malformed: must-reject catches each, and no other check is disturbed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from misbehaving.harness import check_books, run, write_profile

from conformance.errors import EXIT_CONFORMANT, EXIT_NON_CONFORMANT
from conformance.records import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from misbehaving.harness import Run

AREA = "must-reject/"
BAD = {"model/random-bytes", "model/cycle", "request/input-missing", "request/rank-lower"}
SELECTION = " ".join(["interface/session/*", "placement/model/*", *(AREA + name for name in sorted(BAD))])


def misbehave(folder: Path, behaviour: str, selection: str = SELECTION, **options: Any) -> Run:
    profile = write_profile(
        folder,
        runtime__options={"behaviour": behaviour, **options},
        runtime__deadlines={"open_s": 15, "compile_s": 15, "run_s": 15},
    )
    return run(profile, selection=selection)


def test_the_reference_refuses_everything_and_goes_on(tmp_path: Path) -> None:
    finished = misbehave(tmp_path, "none", f"{AREA}* interface/session/*")

    check_books(finished)
    rejected = [record for record in finished.result.records if record.case.startswith(AREA)]
    assert len(rejected) >= 60
    assert {record.outcome for record in finished.result.records} == {Outcome.PASS}
    assert all(record.actual.split(":")[0].isidentifier() for record in rejected), "kind, then the first line"
    assert {record.requirements for record in rejected} == {("MR-001",)}
    assert finished.code == EXIT_CONFORMANT


@pytest.mark.parametrize(
    ("behaviour", "outcome", "reason"),
    [
        ("accept-malformed", Outcome.FAIL, "accepted: "),
        ("wrong-after-reject", Outcome.FAIL, "after the rejected request the device no longer answers a good one"),
        ("die-after-reject", Outcome.CRASH, "the child died of SIGSEGV"),
    ],
)
def test_each_is_caught_by_must_reject_and_by_nothing_else(
    tmp_path: Path, behaviour: str, outcome: Outcome, reason: str
) -> None:
    finished = misbehave(tmp_path, behaviour)

    check_books(finished)
    caught = {AREA + name for name in BAD}
    assert {case for case, got in finished.outcomes.items() if got is outcome} == caught
    assert {got for case, got in finished.outcomes.items() if case not in caught} == {Outcome.PASS}
    assert all(reason in finished.record(case).reason for case in caught)
    not_met = [result.id for result in finished.result.verdict.requirements if result.result == "not met"]
    assert not_met == ["MR-001"]
    assert finished.code == EXIT_NON_CONFORMANT


def test_a_death_after_a_refusal_is_told_twice_with_its_last_words(tmp_path: Path) -> None:
    finished = misbehave(tmp_path, "die-after-reject", f"{AREA}request/input-missing")
    attempts = finished.record(f"{AREA}request/input-missing").attempts

    assert [attempt.signal for attempt in attempts] == ["SIGSEGV", "SIGSEGV"]
    assert "Segmentation fault" in attempts[0].stderr_tail


def test_a_device_that_answered_once_is_non_conformant(tmp_path: Path) -> None:
    """A wrong answer is no accident: it is not repeated."""
    finished = misbehave(tmp_path, "accept-malformed", once=True)

    check_books(finished)
    assert [got for got in finished.outcomes.values() if got is not Outcome.PASS] == [Outcome.FAIL]
    assert finished.code == EXIT_NON_CONFORMANT
