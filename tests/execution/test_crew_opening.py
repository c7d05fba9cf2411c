"""Children that do not start, devices that do not open, and devices that are another one when they open again."""

from __future__ import annotations

import pytest
from execution.staging import Make, Stage, short

from conformance.errors import HarnessError, UsageError
from conformance.execution import pool
from conformance.records import Outcome


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

    with pytest.raises(HarnessError, match="no answer within 5 s in phase start"):
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


@pytest.mark.parametrize("kind", ["not-found", "rejected"])
def test_a_crash_is_not_forgotten_when_the_device_never_opens_again(stage: Stage, case: Make, kind: str) -> None:
    stage.child(GONE.replace("KIND", repr(kind)))
    records = stage.run([case("a"), case("b")])

    outcomes = {short(record.case): record.outcome for record in records}
    assert outcomes.get("a") is Outcome.CRASH
