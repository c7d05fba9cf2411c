"""What a child says of a case: in time or late, once or twice, possible or not."""

from __future__ import annotations

import pytest
from execution.staging import Make, Stage

from conformance.checks.support.port import Planned
from conformance.execution import pool, protocol, slot
from conformance.execution.pool import Pool, Slot
from conformance.observation import Observation
from conformance.records import Case, Outcome


def test_words_that_come_before_the_end_still_count(stage: Stage, case: Make) -> None:
    stage.child("begin(); say(observed(hear())); os._exit(3)")
    (record,) = stage.run([case()])

    assert (record.outcome, record.attempts) == (Outcome.FAIL, ())


def test_a_phase_restarts_the_clock_and_only_for_the_case_that_runs(stage: Stage, case: Make) -> None:
    stage.child(
        """
        begin()
        asked = hear()
        for phase in ("run", "compile", "run"):
            time.sleep(0.4)
            say(protocol.Phase(seq=asked.seq, phase=phase))
        say(observed(asked))
        hear()
        """
    )
    (record,) = stage.run([case()])
    assert record.outcome is Outcome.FAIL, "each phase kept its own time: 0.2 s and a margin"

    other = Stage(stage.folder / "other")
    other.folder.mkdir()
    other.child(
        "begin(); asked = hear()\nwhile True:\n    time.sleep(0.1); say(protocol.Phase(seq=asked.seq + 1, phase='run'))"
    )
    (record,) = other.run([case()])
    assert record.outcome is Outcome.TIMEOUT


def test_all_phases_of_a_case_together_have_an_end(stage: Stage, case: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot, "ROUNDS", 3)
    stage.deadlines = protocol.Deadlines(open_s=0.3, compile_s=0.2, run_s=0.2)
    stage.child(
        "begin(); asked = hear()\nwhile True:\n    time.sleep(0.05); say(protocol.Phase(seq=asked.seq, phase='run'))"
    )
    (record,) = stage.run([case()])

    assert record.outcome is Outcome.TIMEOUT
    assert record.reason == "no end within 2.1 s, all phases together; the child was killed"


def test_a_phase_that_came_back_late_is_a_time_out(stage: Stage, case: Make) -> None:
    stage.child(
        "begin()\nwhile True:\n    asked = hear()\n    if isinstance(asked, protocol.Close): sys.exit(0)\n    say(observed(asked, overtime='run'))"
    )
    (record,) = stage.run([case()])

    assert record.outcome is Outcome.TIMEOUT
    assert record.reason == "phase run came back after its deadline of 0.2 s"
    assert len(record.attempts) == 2


CLOCKED = """
from conformance.execution.stores import Clock
hello(); clock = Clock(hear().stores["clock"]); opened()
asked = hear()
for phase in ("run", "compile", "run"):
    time.sleep(0.4)
    clock.write(asked.seq + OTHER, phase)
say(observed(asked))
hear()
"""


@pytest.mark.parametrize(("other", "outcome"), [(0, Outcome.FAIL), (1, Outcome.TIMEOUT)])
def test_a_phase_in_shared_memory_restarts_the_clock_of_its_case(
    stage: Stage, case: Make, other: int, outcome: Outcome
) -> None:
    stage.child(CLOCKED.replace("OTHER", str(other)))
    (record,) = stage.run([case()])

    assert record.outcome is outcome, "each phase keeps its own time: 0.2 s and a margin"


def test_a_phase_that_does_not_exist_is_not_heard(stage: Stage, case: Make) -> None:
    stage.child(
        "begin(); asked = hear(); say(protocol.Phase(seq=asked.seq, phase='sing')); say(observed(asked)); serve()"
    )
    records = stage.run([case("a")])
    assert [(record.outcome, record.attempts) for record in records] == [(Outcome.FAIL, ())]

    other = Stage(stage.folder / "other")
    other.folder.mkdir()
    other.child(
        "begin(); asked = hear()\nwhile True:\n    time.sleep(0.1); say(protocol.Phase(seq=asked.seq, phase='warp'))"
    )
    (record,) = other.run([case()])
    assert record.outcome is Outcome.TIMEOUT, "it gives nobody more time"


def test_an_overtime_in_a_phase_that_does_not_exist_breaks_the_protocol(stage: Stage, case: Make) -> None:
    stage.child("begin(); asked = hear(); say(observed(asked, overtime='close')); hear()")
    (record,) = stage.run([case()])

    assert record.outcome is Outcome.CRASH
    assert record.reason == "killed: the child's process broke the protocol: an answer that nobody waits for"


def test_a_fault_of_the_harness_in_the_child_is_an_error(stage: Stage, case: Make) -> None:
    stage.child(
        "begin(); say(protocol.Failed(seq=hear().seq, message='Traceback\\n  in measure\\nKeyError: 1\\n')); hear()"
    )
    (record,) = stage.run([case()])

    assert (record.outcome, record.reason) == (Outcome.ERROR, "the harness failed: KeyError: 1")
    assert "in measure" in record.context


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (
            "protocol.Observed(seq=asked.seq + 7, observation=observed(asked).observation)",
            "an answer that nobody waits for",
        ),
        ("protocol.Failed(seq=0, message='x')", "an answer that nobody waits for"),
    ],
)
def test_an_answer_to_another_question_breaks_the_protocol(stage: Stage, case: Make, answer: str, why: str) -> None:
    stage.child(f"begin(); asked = hear(); say({answer}); hear()")
    (record,) = stage.run([case()])

    assert record.outcome is Outcome.CRASH
    assert record.reason == f"killed: the child's process broke the protocol: {why}"


TWICE = """
begin()
asked = hear()
frame = protocol.encode(observed(asked))
os.write(OUT, frame + frame)
hear(); hear()
"""


def test_an_answer_given_twice_does_not_take_the_harness_down(stage: Stage, case: Make) -> None:
    stage.child(TWICE)
    records = stage.run([case()])

    assert [record.outcome for record in records] == [Outcome.FAIL]


def test_an_impossible_tensor_is_the_device_s_failure(stage: Stage, case: Make) -> None:
    stage.child(
        """
        begin()
        asked = hear()
        ref = TensorRef("float32", (4,), b"too few", "", 0, 0)
        seen = SessionSeen(mode="strict", inferences=[InferenceSeen(outputs=[NamedValue("y", ref)])])
        say(observed(asked, observation=Observation(sessions=[seen])))
        hear()
        """
    )
    (record,) = stage.run([case()])

    assert record.outcome is Outcome.FAIL
    assert "sent an impossible tensor: 7 bytes do not make a float32 tensor of shape [4]" in record.reason


OUTSIDE = """
begin()
asked = hear()
ref = TensorRef("float32", (4,), None, "outbox", 1 << 40, 16)
seen = SessionSeen(mode="strict", inferences=[InferenceSeen(outputs=[NamedValue("y", ref)])])
say(observed(asked, observation=Observation(sessions=[seen])))
hear()
"""


def test_a_region_outside_the_store_is_the_device_s_failure(stage: Stage, case: Make) -> None:
    stage.child(OUTSIDE)
    (record,) = stage.run([case()])

    assert record.outcome is Outcome.FAIL


DEEP_OUTSIDE = OUTSIDE.replace('NamedValue("y", ref)', 'NamedValue("y", SequenceRef([SequenceRef([ref])]))')


def test_a_region_is_found_in_sequences_too(stage: Stage, case: Make) -> None:
    stage.child(DEEP_OUTSIDE)
    (record,) = stage.run([case()])

    assert (record.outcome, record.output_digest) == (Outcome.FAIL, "")
    assert "sent an impossible tensor" in record.reason


RUNS_NOTHING = """
begin(); asked = hear()
say(observed(asked, observation=Observation(sessions=observed(asked).observation.sessions, has_witness=True)))
hear()
"""


def test_a_device_that_runs_nothing_ends_the_run(stage: Stage, case: Make) -> None:
    stage.child(RUNS_NOTHING)
    placement = {"probe": "model/device-nodes", "provider": "P", "on_host_cpu": True, "is_host_cpu_allowed": True}
    records = stage.run([case("a", check="placement", params=placement | {"allowed_host_ops": []}), case("b")])

    assert [record.outcome for record in records] == [Outcome.FAIL]
    assert stage.lost == "interface/session/a: the device was found, but runs nothing: K: refused"


NO_SESSION = "begin(); say(observed(hear(), observation=Observation(has_witness=True))); hear()"


@pytest.mark.parametrize("probe", ["create-run-destroy", "output-contract"])
def test_an_observation_that_cannot_be_judged_is_an_error_of_its_case(stage: Stage, case: Make, probe: str) -> None:
    stage.child(NO_SESSION)
    placement = {"probe": "model/device-nodes", "provider": "P", "on_host_cpu": True, "allowed_host_ops": []}
    asked = (
        case(params={"probe": probe, "outputs": []})
        if probe == "create-run-destroy"
        else case(check="placement", params=placement)
    )
    (record,) = stage.run([asked])

    assert record.outcome is Outcome.ERROR


def test_a_parent_that_stood_still_excuses_a_late_phase() -> None:
    slot = Slot(None)  # type: ignore[arg-type]
    slot.state, slot.seq, slot.late_s = "busy", 3, 2.0
    slot.task = pool.Task(Planned(Case(id="a/b/c", check="session", requirements=(), why="")))
    watched = Pool.__new__(Pool)
    (event,) = watched._take(slot, protocol.Observed(seq=3, observation=Observation(), overtime="run"))

    assert isinstance(event, pool.Observed)
    assert event.overtime == ""


def test_no_deadline_of_the_device_cuts_short_what_the_plan_gives_a_case(
    stage: Stage, case: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot, "ROUNDS", 1)
    stage.deadlines = protocol.Deadlines(open_s=0.3, compile_s=0.2, run_s=0.2)
    stage.child(
        """
        begin(); asked = hear()
        for _ in range(40):
            time.sleep(0.05); say(protocol.Phase(seq=asked.seq, phase='run'))
        say(observed(asked))
        hear()
        """
    )
    (record,) = stage.run([case("long", timed=True, lasts_s=30.0)])
    assert record.outcome is Outcome.FAIL, "what it answered, and no time-out"
    assert record.attempts == ()
