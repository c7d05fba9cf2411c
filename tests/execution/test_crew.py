"""The crew and its pool, with children that are written for the test: what each message, silence and end amounts to."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from conformance.checks.support.port import Planned
from conformance.errors import HarnessError, UsageError
from conformance.execution import crew as crews
from conformance.execution import journal, pool, protocol, worker
from conformance.execution.crew import Crew
from conformance.execution.journal import Journal, RunLine
from conformance.execution.pool import Pool, Slot
from conformance.records import Attempt, Basis, Case, Outcome, Record
from conformance.reference import probes

FIRST = RunLine(run_id="r", started="s", harness_version="0", plan_digest="p", profile_digest="d", planned=0)
PRELUDE = """
import os, sys, time
from conformance.execution import protocol
from conformance.observation import InferenceSeen, Observation, SessionSeen
from conformance.records import DeviceFault, Identity, TensorInfo
from conformance.tensors import TensorRef
from conformance.workload import NamedValue

OUT = os.dup(1)
def say(message):
    os.write(OUT, protocol.encode(message))
def hear():
    body = protocol.read_frame(0)
    if body is None:
        sys.exit(0)
    return protocol.TO_CHILD.decode(body)
def hello():
    say(protocol.Hello(protocol=1, harness_version="0", pid=os.getpid(), versions={"python": "3"}))
def opened(on_cpu=True):
    identity = Identity(runtime="r", runtime_version="1", provider="P")
    say(protocol.Opened(identity=identity, runs_on_host_cpu=on_cpu, has_witness=False))
def observed(asked, **changes):
    fault = DeviceFault(phase="compile", kind="K", message="refused")
    seen = Observation(sessions=[SessionSeen(mode="strict", fault=fault)])
    return protocol.Observed(**({"seq": asked.seq, "observation": seen} | changes))
def begin():
    hello(); hear(); opened()
"""


class Notes:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.started: list[tuple[str, int]] = []
        self.finished: list[Record] = []

    def case_started(self, case_id: str, worker: int) -> None:
        self.started.append((case_id, worker))

    def case_finished(self, record: Record) -> None:
        self.finished.append(record)

    def note(self, text: str) -> None:
        self.notes.append(text)


class Stage:
    """Runs cases with children made of a script."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.watcher = Notes()
        self.lost = ""
        self.python = folder / "python"
        self.deadlines = protocol.Deadlines(open_s=5, compile_s=0.2, run_s=0.2)
        self.crew: Crew | None = None

    def child(self, script: str) -> None:
        body = textwrap.dedent(script)
        self.python.write_text(f"#!{sys.executable}\n{PRELUDE}\n{body}", encoding="utf-8")
        self.python.chmod(0o755)

    def launch(self) -> worker.Launch:
        return worker.Launch(
            python=str(self.python),
            adapter="misbehaving",
            runtime={},
            deadlines=self.deadlines,
            scratch=self.folder / "scratch",
            env=dict(os.environ) | {"STATE": str(self.folder / "state")},
            memory_mb=0,
            inputs_fd=None,
        )

    def run(
        self, cases: list[Case], workers: int = 1, attempts: dict[str, list[Attempt]] | None = None
    ) -> list[Record]:
        kept = Journal.create(self.folder, FIRST)
        self.crew = Crew(self.launch(), kept, self.watcher, workers)
        self.crew.restore(attempts or {})
        values = [list(probes.four_outputs(3)[1])]
        try:
            return list(self.crew.run([Planned(case, lambda: values) for case in cases]))
        finally:
            kept.close()
            self.lost = self.crew.lost


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    yield Stage(tmp_path)


@pytest.fixture
def case(make_case: Callable[..., Case]) -> Callable[..., Case]:
    """Make a case under a name, with changes."""

    def make(name: str = "a", **changes: Any) -> Case:
        return msgspec.structs.replace(make_case(), id=f"interface/session/{name}", **changes)

    return make


Make = Callable[..., Case]


def test_an_orderly_child_gives_one_record_for_each_case(stage: Stage, case: Make) -> None:
    stage.child(
        "begin()\nwhile True:\n    asked = hear()\n    if isinstance(asked, protocol.Close): sys.exit(0)\n    say(observed(asked))"
    )
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


def test_a_phase_that_came_back_late_is_a_time_out(stage: Stage, case: Make) -> None:
    stage.child(
        "begin()\nwhile True:\n    asked = hear()\n    if isinstance(asked, protocol.Close): sys.exit(0)\n    say(observed(asked, overtime='run'))"
    )
    (record,) = stage.run([case()])

    assert record.outcome is Outcome.TIMEOUT
    assert record.reason == "phase run came back after its deadline of 0.2 s"
    assert len(record.attempts) == 2


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

    assert {record.case.rsplit("/", 1)[1]: len(record.attempts) for record in records} == {"a": 0, "b": 0, "c": 0}


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


def unclaimed(make: Make, name: str) -> Case:
    return make(name, basis=Basis.UNCLAIMED, unsupported="nobody claims it")


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
    stage.child(
        "begin()\nwhile True:\n    asked = hear()\n    if isinstance(asked, protocol.Close): sys.exit(0)\n    say(observed(asked))"
    )
    records = stage.run([unclaimed(case, "x"), case("b")])

    assert [record.case.rsplit("/", 1)[1] for record in records] == ["b", "x"]


def test_attempts_of_the_run_before_count(stage: Stage, case: Make) -> None:
    stage.child("begin(); hear(); os.abort()")
    before = Attempt(outcome=Outcome.CRASH, detail="it was so before the resume", signal="SIGSEGV")
    (record,) = stage.run([case("a")], attempts={"interface/session/a": [before]})

    assert record.outcome is Outcome.CRASH
    assert [attempt.signal for attempt in record.attempts] == ["SIGSEGV", "SIGABRT"]


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

    outcomes = {record.case.rsplit("/", 1)[1]: record.outcome for record in records}
    assert outcomes.get("a") is Outcome.CRASH


def test_several_workers_share_the_operators(stage: Stage, case: Make) -> None:
    stage.deadlines = protocol.Deadlines(open_s=5, compile_s=5, run_s=5)
    stage.child(
        """
        begin()
        while True:
            asked = hear()
            if isinstance(asked, protocol.Close): sys.exit(0)
            time.sleep(0.15)
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


def test_a_child_that_does_not_close_is_killed(stage: Stage, case: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "CLOSE_S", 0.2)
    stage.child(
        "begin(); say(observed(hear())); hear()\nsys.stderr.write('bye'); sys.stderr.flush(); os.write(OUT, b'x' * 100); time.sleep(60)"
    )

    assert len(stage.run([case()])) == 1


def test_a_parent_that_stood_still_excuses_a_late_phase() -> None:
    slot = Slot(None)  # type: ignore[arg-type]
    slot.state, slot.seq, slot.late_s = "busy", 3, 2.0
    slot.task = pool.Task(Planned(Case(id="a/b/c", check="session", requirements=(), why="")))
    watched = Pool.__new__(Pool)
    from conformance.observation import Observation

    (event,) = watched._take(slot, protocol.Observed(seq=3, observation=Observation(), overtime="run"))

    assert isinstance(event, pool.Observed)
    assert event.overtime == ""
