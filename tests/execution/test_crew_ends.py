"""How children end: in a case, between two, or when they are let go; and when a device is given up."""

from __future__ import annotations

import pytest
from execution.staging import Make, Stage, short

from conformance.execution import crew as crews
from conformance.execution import worker
from conformance.records import Outcome

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
    monkeypatch.setattr(worker, "CLOSE_S", 0.2)
    stage.child(
        "begin(); say(observed(hear())); hear()\nsys.stderr.write('bye'); sys.stderr.flush(); os.write(OUT, b'x' * 100); time.sleep(60)"
    )

    assert len(stage.run([case()])) == 1
