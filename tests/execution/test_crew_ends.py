"""How children end: in a case, between two, or when they are let go; and when a device is given up."""

from __future__ import annotations

import pytest
from execution.staging import Make, Stage, short, unclaimed

from conformance.execution import crew as crews
from conformance.execution import line, protocol
from conformance.records import Case, Outcome

DIES_AFTER_ANSWERING = """
begin()
first = not os.path.exists(os.environ["STATE"])
open(os.environ["STATE"], "w").close()
while True:
    asked = hear()
    if isinstance(asked, protocol.Close):
        sys.exit(0)
    say(observed(asked))
    if first:
        os.abort()
"""


def test_a_child_that_dies_after_its_answer_is_not_the_next_case_s_fault(stage: Stage, case: Make) -> None:
    stage.child(DIES_AFTER_ANSWERING)
    records = stage.run([case("a"), case("b"), case("c")])

    assert {short(record.case): len(record.attempts) for record in records} == {"a": 0, "b": 0, "c": 0}


def test_crashes_in_a_row_give_the_device_up(stage: Stage, case: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crews, "FAULT_BUDGET", 3)
    stage.child("begin(); hear(); os.abort()")
    records = stage.run([case(str(number)) for number in range(5)])

    assert stage.lost.startswith("the device was given up after 3 crashes in a row, first cause: interface/session/0: ")
    assert [record.outcome for record in records] == [Outcome.CRASH] * 3
    assert {record.context for record in records} == {"not repeated: the device was given up"}


def test_time_outs_give_the_device_up(stage: Stage, case: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crews, "TIMEOUT_BUDGET", 2)
    stage.child("begin(); hear(); time.sleep(60)")
    records = stage.run([case(str(number)) for number in range(4)])

    assert "given up after 2 time-outs" in stage.lost
    assert [record.outcome for record in records] == [Outcome.TIMEOUT] * 2
    assert "phase compile" in records[0].reason


def test_a_child_that_does_not_close_is_killed(stage: Stage, case: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "CLOSE_S", 0.2)
    stage.child(
        "begin(); say(observed(hear())); hear()\nsys.stderr.write('bye'); sys.stderr.flush(); os.write(OUT, b'x' * 100); time.sleep(60)"
    )

    assert len(stage.run([case()])) == 1


# -- between two cases ------------------------------------------------------------------------------------------------

NEVER_READS = "begin(); await_untaken(); os.abort()"


def test_a_child_that_dies_before_it_read_its_case_is_not_the_case_s_fault(stage: Stage, case: Make) -> None:
    stage.child("begin()\nif is_first(): await_untaken(); os.abort()\nserve()")
    (record,) = stage.run([case()])

    assert (record.outcome, record.attempts) == (Outcome.FAIL, ()), "as the second child says"
    assert stage.watcher.notes == ["a child ended between two cases: the child died of SIGABRT"]
    assert stage.crew is not None
    assert [end.outcome for end in stage.crew._pool.ends] == [Outcome.CRASH]


def test_children_that_all_die_before_they_read_a_case_end_with_its_fault(stage: Stage, case: Make) -> None:
    stage.child(NEVER_READS)
    (record,) = stage.run([case()])

    assert (record.outcome, record.reason) == (Outcome.CRASH, "the child died of SIGABRT")
    assert [attempt.signal for attempt in record.attempts] == ["SIGABRT", "SIGABRT"]
    assert len([note for note in stage.watcher.notes if "between two cases" in note]) == 1, "it is spared once"


# -- let go -----------------------------------------------------------------------------------------------------------

OPERATOR = {"outputs": [], "rtol": 0.0, "atol": 0.0, "needs": [], "provider": "P", "allowed_host_ops": []}


def release(make: Make) -> Case:
    return make("release", at_end=True, params={"probe": "release"}, workload=None)


@pytest.mark.parametrize(
    ("closing", "outcome", "words"),
    [
        ("sys.exit(0)", Outcome.PASS, ""),
        ("os.abort()", Outcome.INCONCLUSIVE, "CRASH once: the child died of SIGABRT while the device was let go"),
        ("sys.exit(3)", Outcome.INCONCLUSIVE, "the child exited with code 3 while the device was let go"),
        ("time.sleep(60)", Outcome.INCONCLUSIVE, "TIMEOUT once: no answer within 0.3 s in phase close"),
    ],
)
def test_how_the_last_child_ended_is_a_case_of_its_own(
    stage: Stage, case: Make, monkeypatch: pytest.MonkeyPatch, closing: str, outcome: Outcome, words: str
) -> None:
    monkeypatch.setattr(line, "CLOSE_S", 0.3 if "sleep" in closing else 5.0)
    stage.child(f"begin(); sys.stderr.write('closing words'); sys.stderr.flush(); serve(lambda: {closing})")
    records = stage.run([release(case), case("a")])

    assert [short(record.case) for record in records] == ["a", "release"], "it comes last"
    assert (records[1].outcome, words in records[1].reason) == (outcome, True), records[1].reason
    assert stage.lost == ""


@pytest.mark.parametrize(("closing", "outcome"), [("os.abort()", Outcome.CRASH), ("time.sleep(60)", Outcome.TIMEOUT)])
def test_two_children_that_end_badly_are_the_device_s_failure(
    stage: Stage, case: Make, monkeypatch: pytest.MonkeyPatch, closing: str, outcome: Outcome
) -> None:
    monkeypatch.setattr(line, "CLOSE_S", 0.3 if "sleep" in closing else 5.0)
    stage.deadlines = protocol.Deadlines(open_s=5, compile_s=5, run_s=5)
    stage.child(f"begin(); serve(lambda: {closing})")
    operators = [case(f"o{number}", check="operators", params=OPERATOR) for number in range(2)]
    records = stage.run([case("gate"), *operators, release(case)], workers=2)

    assert (records[-1].outcome, short(records[-1].case)) == (outcome, "release")
    assert records[-1].reason.startswith("2 processes of the device ended badly: ")


def test_ends_of_unclaimed_cases_are_not_weighed(stage: Stage, case: Make) -> None:
    stage.child("begin(); serve(lambda: sys.exit(0) if is_first() else os.abort())")
    records = stage.run([unclaimed(case, "x"), release(case)])

    assert [(short(record.case), record.outcome) for record in records] == [
        ("release", Outcome.PASS),
        ("x", Outcome.UNSUPPORTED),
    ]


DIES_WHILE_IT_WAITS = """
begin()
told = os.environ["STATE"]
while True:
    asked = hear()
    if isinstance(asked, protocol.Close):
        sys.exit(0)
    if asked.case.id.endswith("outlasts"):
        while not os.path.exists(told): time.sleep(0.01)
        keeper = open(told).read()
        while os.path.exists("/proc/" + keeper): time.sleep(0.01)
    if asked.case.id.endswith("dies"):
        with open(told + ".part", "w") as stream: stream.write(str(os.getppid()))
    say(observed(asked))
    if asked.case.id.endswith("dies"):
        os.rename(told + ".part", told)
        os.abort()
"""
"""One child dies when it has nothing more to do; the other one keeps the crew busy until it has been told of that end."""


def test_a_child_that_dies_while_it_waits_is_weighed(stage: Stage, case: Make) -> None:
    stage.deadlines = protocol.Deadlines(open_s=5, compile_s=20, run_s=20)
    stage.child(DIES_WHILE_IT_WAITS)
    operators = [case(name, check="operators", params=OPERATOR) for name in ("outlasts", "dies")]
    records = stage.run([case("gate"), *operators, release(case)], workers=2)

    assert {short(record.case): record.outcome for record in records} == {
        "gate": Outcome.FAIL,
        "outlasts": Outcome.FAIL,
        "dies": Outcome.FAIL,
        "release": Outcome.INCONCLUSIVE,
    }
    assert records[-1].reason == "CRASH once: the child died of SIGABRT while it waited for a case"
    assert all(record.attempts == () for record in records)


def test_a_child_that_dies_between_two_cases_is_weighed(stage: Stage, case: Make) -> None:
    stage.child("begin()\nif is_first(): await_untaken(); os.abort()\nserve()")
    records = stage.run([case("a"), release(case)])

    assert [(short(record.case), record.outcome) for record in records] == [
        ("a", Outcome.FAIL),
        ("release", Outcome.INCONCLUSIVE),
    ]
