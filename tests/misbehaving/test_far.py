"""Runs whose device is on another host: the same records as here, and what a lost connection amounts to."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from misbehaving.far import ORDINARY, Far
from misbehaving.harness import MARK, PROBES, TRIGGER, VICTIM, check_books, run, start, wait_gone, write_profile

from conformance.errors import EXIT_HARNESS, EXIT_INCOMPLETE, EXIT_NON_CONFORMANT
from conformance.records import Outcome

if TYPE_CHECKING:
    from misbehaving.harness import Run, Started

SELECTION = f"{PROBES} operators/ai.onnx.A[bc]*/*/test_*"


@pytest.fixture
def far(tmp_path: Path) -> Far:
    """The other host."""
    return Far(tmp_path)


def misbehave(far: Far, behaviour: str, selection: str = PROBES, trigger: str = TRIGGER) -> Run:
    profile = write_profile(far.folder, runtime__options={"behaviour": behaviour, "trigger": trigger})
    return start(profile, selection=selection, **far.request).finish()


def relays(mark: str) -> list[int]:
    """Return the process ids of the relays of a run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            marked = f"{MARK}={mark}".encode() in (folder / "environ").read_bytes()
            if marked and (folder / "cmdline").read_bytes().endswith(b"\0-P\0-m\0conformance.execution.relay\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def wait_for_case(started: Started, case: str) -> None:
    """Wait until a case has been sent."""
    end = time.monotonic() + 30
    journal = started.folder / "journal.jsonl"
    while time.monotonic() < end:
        if journal.exists() and f'"started","case":"{case}"' in journal.read_text(encoding="utf-8"):
            return
        time.sleep(0.01)
    raise AssertionError(f"{case} never started")


def test_records_outcomes_and_verdict_are_those_of_here(far: Far, tmp_path: Path) -> None:
    there = start(write_profile(far.folder), selection=SELECTION, **far.request).finish()
    here = run(write_profile(far.folder), out=tmp_path / "here", selection=SELECTION)

    check_books(there)
    assert there.code == here.code == 0
    assert there.outcomes == here.outcomes
    for record in here.result.records:
        other = there.record(record.case)
        assert (other.output_digest, other.reason, other.basis) == (record.output_digest, record.reason, record.basis)
    assert there.result.info.identity == here.result.info.identity
    assert there.result.info.bench["ssh"] == "lab-host"
    assert there.result.info.device_host["name"] == os.uname().nodename
    assert here.result.info.device_host == {}
    assert not list(far.folder.glob("conformance-*")), "the other host keeps nothing"


@pytest.mark.parametrize(
    ("behaviour", "outcome", "number", "code", "reason"),
    [
        ("segv", Outcome.CRASH, "SIGSEGV", None, "the child died of SIGSEGV"),
        ("exit0", Outcome.CRASH, "", 0, "the child exited with code 0"),
        ("hang", Outcome.TIMEOUT, "SIGKILL", None, "no answer within 1 s in phase run"),
        ("babble", Outcome.CRASH, "SIGKILL", None, "broke the protocol"),
    ],
)
def test_a_child_that_does_not_come_back_is_told_as_here(
    far: Far, behaviour: str, outcome: Outcome, number: str, code: int | None, reason: str
) -> None:
    finished = misbehave(far, behaviour)

    check_books(finished)
    assert finished.code == EXIT_NON_CONFORMANT
    assert {case for case, seen in finished.outcomes.items() if seen is not Outcome.PASS} == {VICTIM}
    record = finished.record(VICTIM)
    assert reason in record.reason
    assert [attempt.outcome for attempt in record.attempts] == [outcome, outcome]
    assert [attempt.signal for attempt in record.attempts] == [number, number]
    assert [attempt.exit_code for attempt in record.attempts] == [code, code]
    if behaviour == "segv":
        assert "Fatal Python error: Segmentation fault" in record.attempts[0].stderr_tail


def test_grandchildren_in_sessions_of_their_own_do_not_outlive_the_run(far: Far) -> None:
    finished = misbehave(far, "grandchildren", trigger="Relu")

    check_books(finished)
    assert finished.left == []


def test_a_shouting_device_changes_nothing(far: Far) -> None:
    profile = write_profile(
        far.folder,
        runtime__options={"behaviour": "shout", "trigger": TRIGGER},
        runtime__deadlines={"open_s": 15, "compile_s": 15, "run_s": 30},
    )
    finished = start(profile, selection=VICTIM, **far.request).finish()

    assert finished.outcomes == {VICTIM: Outcome.PASS}


def test_the_device_does_not_open_as_here(far: Far) -> None:
    profile = write_profile(
        far.folder,
        runtime__options={"behaviour": "open-hang"},
        runtime__deadlines={"open_s": 1, "compile_s": 10, "run_s": 10},
    )
    finished = start(profile, selection="interface/session/*", **far.request).finish()

    check_books(finished)
    first = finished.record("interface/session/registration")
    assert (first.outcome, len(first.attempts)) == (Outcome.TIMEOUT, 2)
    assert "no answer within 1 s in phase open" in first.reason


# -- the connection ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        'echo "ssh: connect to host $HOST port 22: Connection refused" >&2; exit 255',
        'echo "Host key verification failed." >&2; exit 255',
    ],
)
def test_a_host_that_is_not_reached_is_the_lab_s_matter(far: Far, script: str) -> None:
    far.answer(script)
    finished = start(write_profile(far.folder), selection=PROBES, **far.request).finish()

    check_books(finished)
    assert finished.code == EXIT_INCOMPLETE
    assert set(finished.outcomes.values()) == {Outcome.NOT_RUN}
    told = finished.result.info.interrupted
    assert told.startswith("the device's host was not reached: lab-host: ")
    assert script.split('"')[1].replace("$HOST", "lab-host") in told
    assert "use --resume" in told


def test_a_host_without_the_interpreter_ends_the_run_and_names_it(far: Far) -> None:
    python = "/nonexistent/python"
    far.say(python=python)
    finished = start(write_profile(far.folder), selection=PROBES, **far.request).finish()

    assert finished.code == EXIT_HARNESS
    assert f"did not start with {python} on lab-host" in finished.stderr
    assert "not found" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_host_without_the_folder_for_work_ends_the_run_and_says_so(far: Far) -> None:
    far.say(workdir="/nonexistent/folder")
    finished = start(write_profile(far.folder), selection=PROBES, **far.request).finish()

    assert finished.code == EXIT_HARNESS
    assert "/nonexistent/folder" in finished.stderr


def test_what_a_login_shell_prints_is_no_part_of_the_conversation(far: Far) -> None:
    far.answer(f"echo 'Welcome to the lab'; {ORDINARY}")
    finished = start(write_profile(far.folder), selection=VICTIM, **far.request).finish()

    assert finished.outcomes == {VICTIM: Outcome.PASS}


def test_a_connection_lost_in_a_case_is_no_crash_of_the_device(far: Far) -> None:
    # The first connection goes in the middle of the case; the second stays.
    far.answer(
        "if mkdir $HERE/first 2>/dev/null; then sh -c \"$*\"; echo 'client_loop: send disconnect: Broken pipe' >&2; exit 255; fi\n"
        + ORDINARY
    )
    far.say(workers=1)
    profile = write_profile(
        far.folder,
        runtime__options={"behaviour": "hang", "trigger": TRIGGER},
        runtime__deadlines={"open_s": 15, "compile_s": 15, "run_s": 1},
    )
    started = start(profile, selection=VICTIM, **far.request)
    wait_for_case(started, VICTIM)
    (relay,) = relays(started.mark)
    os.kill(relay, signal.SIGKILL)
    finished = started.finish()

    check_books(finished)
    record = finished.record(VICTIM)
    first, second = [line["attempt"] for line in finished.lines if line["type"] == "attempt"][:2]
    assert first["outcome"] == "ERROR"
    assert "the connection to the device's host was lost" in first["detail"]
    assert "Broken pipe" in first["detail"]
    assert second["outcome"] == "TIMEOUT", "the device did hang: the repeat shows it"
    assert record.outcome is Outcome.TIMEOUT


def test_nothing_is_left_when_the_parent_is_killed(far: Far) -> None:
    profile = write_profile(
        far.folder,
        runtime__options={"behaviour": "hang", "trigger": TRIGGER},
        runtime__deadlines={"open_s": 15, "compile_s": 15, "run_s": 60},
    )
    started = start(profile, selection=VICTIM, **far.request)
    wait_for_case(started, VICTIM)
    started.process.kill()
    started.process.communicate()

    assert wait_gone(started.mark) == []
    assert not list(far.folder.glob("conformance-*"))


def test_an_interrupt_leaves_nothing_and_does_not_wait(far: Far) -> None:
    profile = write_profile(
        far.folder,
        runtime__options={"behaviour": "hang", "trigger": TRIGGER},
        runtime__deadlines={"open_s": 15, "compile_s": 15, "run_s": 60},
    )
    started = start(profile, selection=VICTIM, **far.request)
    wait_for_case(started, VICTIM)
    started.process.send_signal(signal.SIGINT)
    finished = started.finish(limit_s=30)

    check_books(finished)
    assert set(finished.outcomes.values()) == {Outcome.NOT_RUN}


def test_the_client_is_asked_for_nothing_but_a_command(far: Far) -> None:
    far.say(env={"LAB_SECRET": "s3cr3t"}, ssh={"host": "lab-host", "user": "tester", "port": 2222})
    finished = start(write_profile(far.folder), selection=VICTIM, **far.request).finish()

    assert finished.outcomes == {VICTIM: Outcome.PASS}
    words = far.asked
    options = {word.partition("=")[0]: word.partition("=")[2] for word in words if "=" in word}
    assert {"-T", "-a", "-x"} <= set(words)
    assert (options["BatchMode"], options["StrictHostKeyChecking"]) == ("yes", "yes")
    assert options["ClearAllForwardings"] == "yes"
    assert words[words.index("--") + 1 : words.index("--") + 2] == ["lab-host"]
    assert not any("s3cr3t" in word for word in words)


def test_a_library_beside_the_profile_is_not_on_the_other_host(far: Far) -> None:
    runtime: dict[str, Any] = {"adapter": "onnxruntime", "provider": "P", "library": "./libp.so"}
    finished = start(write_profile(far.folder, runtime=runtime), selection=PROBES, **far.request).finish()

    assert finished.code == 2
    assert "write the absolute path on that host" in finished.stderr
