"""Children that do not start, devices that do not open, and devices that are another one when they open again."""

from __future__ import annotations

import pytest
from execution.staging import ORDERLY, Make, Stage, short, unclaimed

from conformance.errors import HarnessError, UsageError
from conformance.execution import pool, protocol
from conformance.execution.journal import FILE_NAME
from conformance.records import Identity, Outcome


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("sys.stderr.write('Traceback\\nno module named conformance\\n'); sys.exit(1)", "no module named conformance"),
        ("sys.exit(7)", "the child exited with code 7"),
        ("os.write(OUT, b'welcome to vendor python\\n'); time.sleep(9)", "broke the protocol"),
    ],
)
def test_a_child_that_never_says_hello_is_the_host_s_problem(
    stage: Stage, case: Make, script: str, message: str
) -> None:
    stage.child(script)

    with pytest.raises(HarnessError) as caught:
        stage.run([case()])
    assert str(caught.value).startswith(f"the child process did not start with {stage.python}: ")
    assert message in str(caught.value)
    assert stage.watcher.finished == []


def test_an_interpreter_that_does_not_exist_is_named(stage: Stage, case: Make) -> None:
    with pytest.raises(HarnessError, match="did not start with .*/python: cannot start .*/python: .*No such file"):
        stage.run([case()])


def test_a_child_that_is_silent_from_the_start_is_the_host_s_problem(
    stage: Stage, case: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "START_S", 0.2)
    stage.child("time.sleep(60)")

    with pytest.raises(HarnessError, match="no answer within 0.2 s in phase start"):
        stage.run([case()])


@pytest.mark.parametrize(("kind", "error"), [("usage", UsageError), ("harness", HarnessError)])
def test_a_refusal_that_is_not_the_device_s_ends_the_run(
    stage: Stage, case: Make, kind: str, error: type[Exception]
) -> None:
    stage.child(f"hello(); hear(); say(protocol.Refused(kind={kind!r}, message='install the same version')); hear()")

    with pytest.raises(error, match="install the same version"):
        stage.run([case()])


def test_a_device_that_is_not_there_leaves_everything_unrun(stage: Stage, case: Make) -> None:
    stage.child("hello(); hear(); say(protocol.Refused(kind='not-found', message='no such card')); hear()")

    assert stage.run([case("a"), case("b")]) == []
    assert stage.lost == "device not found: no such card"


def test_a_device_that_refuses_to_open_fails_on_one_case(stage: Stage, case: Make) -> None:
    stage.child("hello(); hear(); say(protocol.Refused(kind='rejected', message='E: busy')); hear()")
    (record,) = stage.run([case("a"), case("b")])

    assert (record.outcome, record.reason) == (Outcome.FAIL, "the device refuses to open: E: busy")
    assert stage.lost == "the device could not be opened: the device refuses to open: E: busy"


GONE = """
hello(); hear()
if os.path.exists(os.environ["STATE"]):
    say(protocol.Refused(kind=KIND, message="the card is not on the bus"))
    hear()
opened()
open(os.environ["STATE"], "w").close()
hear()
os.abort()
"""


@pytest.mark.parametrize("names", ["ab", "a"], ids=["before others", "last of all"])
@pytest.mark.parametrize("kind", ["not-found", "rejected"])
def test_a_crash_is_not_forgotten_when_the_device_never_opens_again(
    stage: Stage, case: Make, kind: str, names: str
) -> None:
    stage.child(GONE.replace("KIND", repr(kind)))
    records = stage.run([case(name) for name in names])

    outcomes = {short(record.case): record.outcome for record in records}
    assert outcomes.get("a") is Outcome.CRASH


# -- another device ---------------------------------------------------------------------------------------------------

OPENS_AS_ANOTHER = """
hello(); hear()
first = is_first()
opened(**({{}} if first else {changes}))
if first: await_untaken(); os.abort()
serve()
"""
"""The first child dies before it reads a case, so that nothing but the device's identity stands between the two."""


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"unit": "2"}, "unit was '' and is '2'"),
        ({"provider": "Q", "driver": "7"}, "provider was 'P' and is 'Q', driver was '' and is '7'"),
        ({"runtime_version": "2", "details": {"clock": "1"}}, "runtime_version was '1' and is '2'"),
    ],
)
def test_a_device_that_opens_as_another_one_is_lost(
    stage: Stage, case: Make, changes: dict[str, object], told: str
) -> None:
    stage.child(OPENS_AS_ANOTHER.format(changes=changes))

    assert stage.run([case("a"), case("b")]) == []
    assert stage.lost == f"the device that opens now is not the one that was opened first: {told}"
    assert stage.crew is not None
    assert stage.crew.identity == FIRST_SEEN, "the run is about the one that was opened first"


FIRST_SEEN = Identity(runtime="r", runtime_version="1", provider="P")


def test_details_may_change_from_one_opening_to_the_next(stage: Stage, case: Make) -> None:
    stage.child(OPENS_AS_ANOTHER.format(changes={"details": {"temperature": "40"}}))

    assert [short(record.case) for record in stage.run([case("a"), case("b")])] == ["a", "b"]
    assert stage.lost == ""


def test_another_device_does_not_continue_a_run(stage: Stage, case: Make) -> None:
    stage.child(ORDERLY)
    before = Identity(runtime="r", runtime_version="1", provider="P", unit="0000:01:00.0")

    with pytest.raises(UsageError) as caught:
        stage.run([case("a")], identity=before)
    assert str(caught.value) == (
        "cannot be resumed, the device is another one: unit was '0000:01:00.0' and is ''; start a new run"
    )
    assert stage.watcher.started == []


def test_the_same_device_continues_a_run(stage: Stage, case: Make) -> None:
    stage.child(ORDERLY)
    before = Identity(runtime="r", runtime_version="1", provider="P", details={"temperature": "40"})

    assert len(stage.run([case("a")], identity=before)) == 1
    assert '"type":"opened"' not in (stage.folder / FILE_NAME).read_text(), "it stands in the journal already"


def test_a_run_that_has_been_continued_may_lose_its_device_like_any_other(stage: Stage, case: Make) -> None:
    stage.child(OPENS_AS_ANOTHER.format(changes={"unit": "2"}))

    assert stage.run([case("a")], identity=FIRST_SEEN) == []
    assert stage.lost.endswith("unit was '' and is '2'")


def test_a_device_that_is_not_there_when_a_run_is_continued_was_not_lost_in_it(stage: Stage, case: Make) -> None:
    stage.child("hello(); hear(); say(protocol.Refused(kind='not-found', message='no such card')); hear()")

    assert stage.run([case("a")], identity=FIRST_SEEN) == []
    assert stage.lost == "device not found: no such card"


# -- said twice -------------------------------------------------------------------------------------------------------


def test_a_child_that_says_hello_again_instead_of_opening_breaks_the_protocol_on_one_case(
    stage: Stage, case: Make
) -> None:
    stage.child("hello(); hear(); hello(); hear()")
    (record,) = stage.run([case("a"), case("b")])

    assert record.outcome is Outcome.CRASH
    assert "broke the protocol: an answer that nobody waits for" in record.reason
    assert stage.lost.startswith("the device could not be opened: ")


@pytest.mark.parametrize("word", ["hello()", "opened()", "say(protocol.Refused(kind='usage', message='no'))"])
def test_what_belongs_to_opening_is_no_answer_to_a_case(stage: Stage, case: Make, word: str) -> None:
    stage.child(f"begin(); hear(); {word}; hear()")
    (record,) = stage.run([case()])

    assert record.outcome is Outcome.CRASH
    assert record.reason == "killed: the child's process broke the protocol: an answer that nobody waits for"


# -- faults at open ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "outcome", "words"),
    [
        ("os.abort()", Outcome.CRASH, "the child died of SIGABRT while it opened"),
        ("sys.exit(4)", Outcome.CRASH, "the child exited with code 4 while it opened"),
        ("time.sleep(60)", Outcome.TIMEOUT, "no answer within 0.2 s in phase open"),
    ],
)
def test_a_device_that_cannot_be_opened_twice_fails_on_one_case(
    stage: Stage, case: Make, script: str, outcome: Outcome, words: str
) -> None:
    stage.deadlines = protocol.Deadlines(open_s=0.2 if outcome is Outcome.TIMEOUT else 5, compile_s=5, run_s=5)
    stage.child(f"hello(); hear(); {script}")
    (record,) = stage.run([case("a"), case("b")])

    assert (record.outcome, words in record.reason) == (outcome, True), record.reason
    assert len(record.attempts) == 2


def test_a_device_that_opens_at_the_second_try_is_tested(stage: Stage, case: Make) -> None:
    stage.child("hello(); hear()\nif is_first(): os.abort()\nopened(); serve()")

    assert [short(record.case) for record in stage.run([case("a"), case("b")])] == ["a", "b"]
    assert stage.lost == ""


def test_a_device_that_opens_for_nobody_who_claims_it_crashes_there(stage: Stage, case: Make) -> None:
    stage.child("hello(); hear(); os.abort()")
    records = stage.run([unclaimed(case, "x"), unclaimed(case, "y")])

    assert [(short(record.case), record.outcome, record.observed) for record in records] == [
        ("x", Outcome.UNSUPPORTED, "crashes"),
        ("y", Outcome.UNSUPPORTED, "not tried"),
    ]


def test_a_crash_is_told_although_a_child_that_was_opened_ahead_finds_the_device_gone(stage: Stage, case: Make) -> None:
    stage.deadlines = protocol.Deadlines(open_s=20, compile_s=20, run_s=20)
    stage.child(
        """
        hello(); hear()
        if is_first():
            opened(); hear(); time.sleep(1.0); os.abort()
        say(protocol.Refused(kind="not-found", message="gone"))
        hear()
        """
    )
    (record,) = stage.run([case("a")], workers=2, warm=2)
    assert record.outcome is Outcome.CRASH
    assert record.attempts[0].signal == "SIGABRT"
    assert "gone" in stage.lost
