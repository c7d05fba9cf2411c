"""How the device's processes ended, judged: one bad end proves nothing, two are the device's, the host's are nobody's."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from conformance.checks import session as session_check
from conformance.records import Attempt, Case, Judgement, Outcome

CASE = Case(id="interface/session/release", check="session", requirements=("R",), why="", params={"probe": "release"})
CRASHED = Attempt(outcome=Outcome.CRASH, detail="the child died of SIGSEGV", stderr_tail="driver: fault")
LATE = Attempt(outcome=Outcome.TIMEOUT, detail="no answer within 5 s in phase close", stderr_tail="still there")
FULL = Attempt(outcome=Outcome.ERROR, detail="the disk of the run folder is full (0 MB free)")


def judge(see: Any, *ends: Attempt) -> Judgement:
    """Judge ends as they come from the pool: as plain data, over the wire."""
    return session_check.judge(CASE, see(facts={"ends": msgspec.to_builtins(list(ends))}), [])


@pytest.mark.parametrize(
    ("ends", "outcome", "reason"),
    [
        ([], Outcome.PASS, ""),
        ([CRASHED], Outcome.INCONCLUSIVE, "CRASH once: the child died of SIGSEGV"),
        ([LATE], Outcome.INCONCLUSIVE, "TIMEOUT once: no answer within 5 s in phase close"),
        ([FULL, CRASHED], Outcome.INCONCLUSIVE, "CRASH once: the child died of SIGSEGV"),
        ([CRASHED, FULL], Outcome.INCONCLUSIVE, "CRASH once: the child died of SIGSEGV"),
        ([CRASHED] * 2, Outcome.CRASH, "2 processes of the device ended badly: the child died of SIGSEGV"),
        ([CRASHED, FULL, CRASHED], Outcome.CRASH, "2 processes of the device ended badly"),
        ([CRASHED, LATE, LATE], Outcome.TIMEOUT, "3 processes of the device ended badly: no answer within 5 s"),
        ([LATE, CRASHED], Outcome.CRASH, "2 processes of the device ended badly: the child died of SIGSEGV"),
        ([FULL], Outcome.ERROR, "the disk of the run folder is full (0 MB free)"),
        ([FULL, FULL], Outcome.ERROR, "the disk of the run folder is full (0 MB free)"),
    ],
)
def test_ends_are_weighed(see: Any, ends: list[Attempt], outcome: Outcome, reason: str) -> None:
    judged = judge(see, *ends)

    assert (judged.outcome, judged.reason.startswith(reason)) == (outcome, True), judged.reason
    assert bool(judged.reason) == (outcome is not Outcome.PASS)
    assert not judged.stops


def test_what_the_device_said_at_its_end_is_told() -> None:
    assert session_check._judge_release([CRASHED]).context == "driver: fault"
    assert session_check._judge_release([CRASHED, LATE]).context == "still there"


@pytest.mark.parametrize("ends", [[CRASHED], [FULL]])
def test_an_end_that_proves_nothing_comes_with_its_remedy(see: Any, ends: list[Attempt]) -> None:
    assert judge(see, *ends).remedy
