"""The crew, with children that are written for the test: who runs what, and what it amounts to."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from execution.staging import ORDERLY, Make, Stage, short, unclaimed

from conformance.execution import crew as crews
from conformance.execution import journal, protocol
from conformance.execution.journal import Journal
from conformance.records import SHARED, Attempt, Outcome


def test_an_orderly_child_gives_one_record_for_each_case(stage: Stage, case: Make) -> None:
    stage.child(ORDERLY)
    records = stage.run([case("a"), case("b")])

    assert [(record.case, record.outcome) for record in records] == [
        ("interface/session/a", Outcome.FAIL),
        ("interface/session/b", Outcome.FAIL),
    ]
    assert records[0].reason == "rejected at compile: K: refused"
    assert records == stage.watcher.finished
    assert [name for name, _ in stage.watcher.started] == [record.case for record in records]
    again, lines = Journal.resume(stage.folder)
    again.close()
    kinds = [journal.plain(line)["type"] for line in lines]
    assert kinds[0] == "run"
    assert kinds.count("opened") == 1
    assert (kinds.count("started"), kinds.count("record")) == (2, 2)
    assert stage.crew is not None
    assert stage.crew.identity is not None
    assert stage.crew.versions == {"python": "3"}


@pytest.mark.parametrize(
    ("script", "observed"),
    [
        ("say(observed(asked))", "rejects"),
        ("os.abort()", "crashes"),
        ("time.sleep(60)", "hangs"),
        ("say(protocol.Failed(seq=asked.seq, message='KeyError'))", "not tried"),
    ],
)
def test_what_nobody_claims_is_tried_once_and_told(
    stage: Stage, case: Make, monkeypatch: pytest.MonkeyPatch, script: str, observed: str
) -> None:
    monkeypatch.setattr(crews, "UNCLAIMED_DEADLINE_S", 0.2)
    stage.deadlines = protocol.Deadlines(open_s=5, compile_s=60, run_s=60)
    stage.child(f"begin(); asked = hear()\n{script}\nhear()")
    records = stage.run([unclaimed(case, "a")])

    assert [(record.outcome, record.observed) for record in records] == [(Outcome.UNSUPPORTED, observed)]
    assert records[0].reason == "nobody claims it"
    starts = [name for name, _ in stage.watcher.started]
    assert len(starts) == 1, "not repeated: nobody is judged by it"


def test_unclaimed_cases_cannot_lose_the_device(stage: Stage, case: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crews, "FAULT_BUDGET", 2)
    stage.child("begin(); hear(); os.abort()")
    records = stage.run([unclaimed(case, str(number)) for number in range(4)])

    assert stage.lost == ""
    assert [record.observed for record in records] == ["crashes", "crashes", "not tried", "not tried"]
    assert {record.outcome for record in records} == {Outcome.UNSUPPORTED}
    assert any("the rest of them is not tried" in note for note in stage.watcher.notes)


def test_unclaimed_cases_come_last(stage: Stage, case: Make) -> None:
    stage.child(ORDERLY)
    records = stage.run([unclaimed(case, "x"), case("b")])

    assert [short(record.case) for record in records] == ["b", "x"]


def test_attempts_of_the_run_before_count(stage: Stage, case: Make) -> None:
    stage.child("begin(); hear(); os.abort()")
    before = Attempt(outcome=Outcome.CRASH, detail="it was so before the resume", signal="SIGSEGV")
    (record,) = stage.run([case("a")], attempts={"interface/session/a": [before]})

    assert record.outcome is Outcome.CRASH
    assert [attempt.signal for attempt in record.attempts] == ["SIGSEGV", "SIGABRT"]


def test_several_workers_share_the_operators(stage: Stage, case: Make) -> None:
    # Each child keeps its first operator until three children have one: nobody can take them all.
    stage.deadlines = protocol.Deadlines(open_s=60, compile_s=60, run_s=60)
    stage.child(
        """
        begin()
        here = os.environ["STATE"] + "-operators"
        os.makedirs(here, exist_ok=True)
        while True:
            asked = hear()
            if isinstance(asked, protocol.Close): sys.exit(0)
            if asked.case.check == "operators":
                open(f"{here}/{os.getpid()}", "w").close()
                while len(os.listdir(here)) < 3: time.sleep(0.005)
            say(observed(asked))
        """
    )
    params = {"outputs": [], "rtol": 0.0, "atol": 0.0, "needs": [], "provider": "P", "allowed_host_ops": []}
    operators = [case(f"o{n}", check="operators", params=params) for n in range(6)]
    records = stage.run([case("gate"), *operators], workers=3)

    assert len(records) == 7
    assert records[0].case.endswith("/gate")
    assert {record.worker for record in records[1:]} == {0, 1, 2}


def test_large_inputs_go_through_the_inbox(stage: Stage, case: Make) -> None:
    stage.child(
        """
        begin()
        asked = hear()
        refs = [named.value for dataset in asked.case.workload.datasets for named in dataset]
        stores = {ref.store for ref in refs if ref.data is None}
        say(protocol.Failed(seq=asked.seq, message=f"{stores} {[ref.nbytes for ref in refs]}"))
        hear()
        """
    )
    from conformance.tensors import to_ref
    from conformance.workload import NamedValue, Workload

    asked = case()
    assert asked.workload is not None
    values = [np.zeros(40_000, np.float32), np.zeros(4, np.float32), np.zeros(90_000, np.uint8)]
    inputs = [NamedValue(f"x{n}", to_ref(value)) for n, value in enumerate(values)]
    inputs.append(NamedValue("s", to_ref([values[0]])))
    workload = Workload(model=asked.workload.model, datasets=[inputs[:3]])
    (record,) = stage.run([msgspec.structs.replace(asked, workload=workload)])

    assert record.context == "{'inbox'} [160000, 0, 90000]"


def test_a_message_larger_than_the_pipe_is_written_bit_by_bit(stage: Stage, case: Make) -> None:
    stage.child(
        "begin(); time.sleep(0.1); asked = hear(); say(protocol.Failed(seq=asked.seq, message=str(len(asked.case.why)))); hear()"
    )
    (record,) = stage.run([case(why="x" * 3_000_000)])

    assert record.context == "3000000"


SEES_THE_NEXT = """
begin()
while True:
    asked = hear()
    if isinstance(asked, protocol.Close): sys.exit(0)
    is_first_case = asked.case.id.endswith("/a")
    patience = 20 if asked.case.params.get("waits") else 0.2
    there = bool(select.select([0], [], [], patience)[0]) if is_first_case else None
    say(protocol.Failed(seq=asked.seq, message=f"the next one is there: {there}"))
"""


@pytest.mark.parametrize(
    ("nbytes", "large_input", "is_ahead"),
    [
        (0, False, True),
        (protocol.INLINE_LIMIT, False, True),
        (protocol.INLINE_LIMIT + 1, False, False),
        (None, False, False),
        (0, True, False),
    ],
)
def test_the_next_short_case_waits_in_the_child_s_pipe(
    stage: Stage, case: Make, nbytes: int | None, large_input: bool, is_ahead: bool
) -> None:
    from conformance.tensors import to_ref
    from conformance.workload import NamedValue

    stage.deadlines = protocol.Deadlines(open_s=5, compile_s=30, run_s=30)
    stage.child(SEES_THE_NEXT)
    first, second = (case(name, output_nbytes=nbytes, params={"waits": is_ahead}) for name in "ab")
    if large_input:
        assert second.workload is not None
        inputs = [[NamedValue("x", to_ref(np.zeros(protocol.INLINE_LIMIT + 1, np.uint8)))]]
        second = msgspec.structs.replace(second, workload=msgspec.structs.replace(second.workload, datasets=inputs))
    records = stage.run([first, second])

    assert [record.context for record in records] == [
        f"the next one is there: {is_ahead}",
        "the next one is there: None",
    ]


def test_a_case_that_waited_behind_a_crash_is_nobody_s_fault(stage: Stage, case: Make) -> None:
    stage.child("begin()\nif is_first(): hear(); await_untaken(); os.abort()\nserve()")
    records = stage.run([case(name, output_nbytes=0) for name in "abc"])

    assert {short(record.case): len(record.attempts) for record in records} == {"a": 1, "b": 0, "c": 0}
    assert len(records) == 3, "and none is lost"


def test_nothing_waits_behind_a_case_that_has_been_in_trouble(stage: Stage, case: Make) -> None:
    stage.deadlines = protocol.Deadlines(open_s=5, compile_s=30, run_s=30)
    stage.child(SEES_THE_NEXT)
    before = Attempt(outcome=Outcome.ERROR, detail="the disk was full")
    records = stage.run(
        [case(name, output_nbytes=0, params={}) for name in "ab"], attempts={"interface/session/a": [before]}
    )

    assert [record.context for record in records] == ["the next one is there: False", "the next one is there: None"]


def test_a_timed_case_runs_once_and_after_what_may_share_the_host(stage: Stage, case: Make) -> None:
    stage.child(ORDERLY)
    records = stage.run(
        [case("t", timed=True, order=SHARED), case("u", timed=True), case("x", order=SHARED), case("g")]
    )
    assert [short(record.case) for record in records] == ["g", "x", "t", "u"]
    assert len(stage.watcher.started) == 4
