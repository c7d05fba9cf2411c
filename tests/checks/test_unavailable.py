"""What our own adapter cannot do is no word about the device; what the device refused beside it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conformance.checks import operators
from conformance.checks.support.valuing import judge_faults
from conformance.numerics.limits import Exact
from conformance.observation import InferenceSeen, SessionSeen
from conformance.records import UNAVAILABLE, Case, DeviceFault, Outcome, Witness

OURS = DeviceFault(phase="compile", kind=UNAVAILABLE, message="the API cannot choose where nodes run\nat all")
THEIRS = DeviceFault(phase="run", kind="Fail", message="no kernel")
NOTHING = (Witness(source="assignment", nodes={}), Witness(source="profile", nodes={}))
Y = np.array([1.0, 2.0], np.float32)
LIMITS = [[Exact(name="y", expected=Y)]]
CASE = Case(
    id="operators/a/b/c",
    check="operators",
    requirements=("R",),
    why="",
    params={
        "provider": "P",
        "allowed_host_ops": [],
        "rtol": 0.0,
        "atol": 0.0,
        "sets": [],
        "outputs": ["y"],
        "needs": [],
    },
)


@pytest.mark.parametrize(
    ("faults", "outcome", "reason"),
    [
        ([OURS], Outcome.ERROR, "the adapter cannot do this: the API cannot choose where nodes run"),
        ([OURS, OURS], Outcome.ERROR, "the adapter cannot do this: the API cannot choose where nodes run"),
        ([THEIRS, OURS], Outcome.FAIL, "rejected at run: Fail: no kernel"),
        ([OURS, THEIRS], Outcome.FAIL, "rejected at run: Fail: no kernel"),
    ],
)
def test_the_device_s_own_refusal_decides(faults: list[DeviceFault], outcome: Outcome, reason: str) -> None:
    judged = judge_faults([SessionSeen(mode=f"mode{at}", fault=fault) for at, fault in enumerate(faults)])

    assert judged is not None
    assert (judged.outcome, judged.reason) == (outcome, reason)
    assert all(f"mode{at}: {fault.kind}" in judged.context for at, fault in enumerate(faults)), "each is told"


@pytest.mark.parametrize(
    ("fault", "outcome", "reason"),
    [(OURS, Outcome.ERROR, "the adapter cannot do this: "), (THEIRS, Outcome.FAIL, "rejected at run: Fail: no kernel")],
)
def test_an_inference_that_came_to_nothing_is_told_with_its_mode(
    fault: DeviceFault, outcome: Outcome, reason: str
) -> None:
    judged = judge_faults([SessionSeen(mode="shared", inferences=[InferenceSeen(fault=fault)])])

    assert judged is not None
    assert (judged.outcome, judged.reason.startswith(reason)) == (outcome, True)
    assert judged.context == f"shared session: {fault.message}"


@pytest.mark.parametrize("fault", [OURS, THEIRS])
def test_a_folded_graph_that_cannot_be_unfolded_keeps_its_right_answers_and_shows_no_place(
    session: Any, see: Any, fault: DeviceFault
) -> None:
    unfolded = (SessionSeen(mode="unfolded", fault=fault), [])
    judged = operators.judge(CASE, see(session([("y", Y)], witnesses=NOTHING), unfolded), LIMITS)

    assert (judged.outcome, "folded the whole graph" in judged.reason) == (Outcome.UNMEASURED, True)
    assert judged.context == f"unfolded session: {fault.kind}: {fault.message}"
    wrong = operators.judge(CASE, see(session([("y", Y + 1)], witnesses=NOTHING), unfolded), LIMITS)
    assert wrong.outcome is Outcome.FAIL


def test_no_session_at_all_is_an_error(see: Any) -> None:
    assert operators.judge(CASE, see(), LIMITS).outcome is Outcome.ERROR
