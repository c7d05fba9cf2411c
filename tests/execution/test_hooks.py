"""Reset and power cycle: what is run, in which order, what is written down, and what a command that fails amounts to."""

from __future__ import annotations

import os
import signal
import stat
import threading
import time
from pathlib import Path

import pytest
from execution.staging import ORDERLY, Make, Stage

from conformance.execution.hooks import Commands, Recovery, run_command
from conformance.records import HookUse, Outcome

ABORT = "begin(); hear(); os.abort()"


@pytest.fixture
def program(tmp_path: Path):
    """Write a shell script into the folder of the bench file and return how it is named there."""

    def write(name: str, script: str) -> str:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return f"./{name}"

    return write


def use(folder: Path, *words: str, timeout_s: float = 10.0) -> HookUse:
    return run_command("reset", words, Commands(folder=folder, timeout_s=timeout_s), "a/b/c", "it died")


# -- one command ------------------------------------------------------------------------------------------------------


def test_a_command_is_run_beside_the_bench_file_and_no_shell_reads_it(tmp_path: Path, program) -> None:
    done = use(tmp_path, program("off", 'echo "$1 in $(pwd)"'), "$HOME; echo no")

    assert (done.failure, done.exit_code, done.hook, done.case, done.why) == ("", 0, "reset", "a/b/c", "it died")
    assert done.output == f"$HOME; echo no in {tmp_path}"
    assert 0 < done.seconds < 10
    assert done.at.endswith("+00:00")


def test_a_program_without_a_slash_is_looked_up(tmp_path: Path) -> None:
    assert use(tmp_path, "true").failure == ""


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        ("echo first; echo 'no such outlet' >&2; exit 4", "ended with code 4: no such outlet"),
        ("exit 1", "ended with code 1"),
    ],
)
def test_a_command_that_fails_says_so_in_its_own_words(tmp_path: Path, program, script: str, failure: str) -> None:
    assert use(tmp_path, program("off", script)).failure == failure


def test_a_command_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    done = use(tmp_path, "./nothing")

    assert (done.failure, done.exit_code) == ("cannot be started: No such file or directory", None)


def test_a_command_that_hangs_is_killed_with_all_of_its_group(tmp_path: Path, program) -> None:
    began = time.monotonic()
    done = use(tmp_path, program("off", "sleep 600 & echo $! > pid; wait"), timeout_s=0.3)
    left = int((tmp_path / "pid").read_text())

    assert done.failure == "did not end within 0.3 s and was killed"
    assert time.monotonic() - began < 10
    end = time.monotonic() + 5
    while _is_alive(left) and time.monotonic() < end:
        time.sleep(0.01)
    assert not _is_alive(left)


def test_an_interrupt_takes_the_command_with_it(tmp_path: Path, program) -> None:
    name = program("off", "echo $$ > pid; exec sleep 600")
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        use(tmp_path, name)

    assert not _is_alive(int((tmp_path / "pid").read_text()))


def _is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


# -- their order ------------------------------------------------------------------------------------------------------


def recover(commands: Commands) -> tuple[Recovery, list[tuple[str, bool]]]:
    told: list[tuple[str, bool]] = []
    return Recovery(commands, lambda one: told.append((one.hook, not one.failure))), told


def test_reset_first_then_power_cycle_then_nothing(tmp_path: Path) -> None:
    recovery, told = recover(Commands(("true",), ("true",), tmp_path))
    steps = [(recovery.has_more, recovery.bring_back("a", "b")) for _ in range(3)]

    assert steps == [(True, ""), (True, ""), (False, "")]
    assert told == [("reset", True), ("power_cycle", True)]
    recovery.note_opened()
    assert (recovery.has_more, recovery.was_tried) == (True, False)
    recovery.bring_back("a", "b")
    assert told[2:] == [("reset", True)]


def test_a_reset_that_fails_is_followed_by_a_power_cycle_at_once(tmp_path: Path) -> None:
    recovery, told = recover(Commands(("false",), ("true",), tmp_path))

    assert recovery.bring_back("a", "b") == ""
    assert told == [("reset", False), ("power_cycle", True)]


def test_where_both_fail_the_last_is_the_reason(tmp_path: Path) -> None:
    recovery, told = recover(Commands(("false",), ("false",), tmp_path))

    assert recovery.bring_back("a", "b") == "power cycle: ended with code 1"
    assert len(told) == 2


def test_without_commands_nothing_is_done(tmp_path: Path) -> None:
    recovery, told = recover(Commands())

    assert (recovery.has_more, recovery.bring_back("a", "b"), told) == (False, "", [])


def test_the_device_gets_time_to_settle(tmp_path: Path) -> None:
    recovery, _ = recover(Commands(("true",), (), tmp_path, settle_s=0.3))
    began = time.monotonic()
    recovery.bring_back("a", "b")

    assert time.monotonic() - began >= 0.3


# -- in a run ---------------------------------------------------------------------------------------------------------


def test_a_reset_follows_each_crash_and_is_told(stage: Stage, case: Make) -> None:
    stage.child(ABORT)
    stage.equip(Commands(("true",), (), stage.folder))
    records = stage.run([case("a")])

    assert [record.outcome for record in records] == [Outcome.CRASH]
    assert stage.crew is not None
    assert [(one.hook, one.case) for one in stage.crew.hooks] == [("reset", "interface/session/a")] * 2
    told = [note for note in stage.watcher.notes if note.startswith("reset after interface/session/a")]
    assert len(told) == 2
    assert "(the child died of SIGABRT): done in " in told[0]


def test_a_reset_follows_a_time_out(stage: Stage, case: Make) -> None:
    stage.child("begin(); hear(); time.sleep(60)")
    stage.equip(Commands(("true",), (), stage.folder))
    records = stage.run([case("a")])

    assert [record.outcome for record in records] == [Outcome.TIMEOUT]
    assert stage.crew is not None
    assert len(stage.crew.hooks) == 2


def test_a_device_that_does_not_open_after_the_reset_is_power_cycled(stage: Stage, case: Make, program) -> None:
    # It crashes once, and opens no more before its power was off.
    stage.child(
        """
        hello(); hear()
        if os.path.exists(os.environ["STATE"]) and not os.path.exists(os.environ["STATE"] + "-on"):
            say(protocol.Refused(kind="rejected", message="the bus is stuck")); hear()
        opened()
        if is_first(): hear(); os.abort()
        serve()
        """
    )
    stage.equip(Commands(("true",), (program("cycle", "touch state-on"),), stage.folder))
    records = stage.run([case("a"), case("b")])

    assert {record.case: record.outcome for record in records} == {
        "interface/session/a": Outcome.FAIL,
        "interface/session/b": Outcome.FAIL,
    }, "both are reached: these children refuse every model"
    assert stage.crew is not None
    assert [one.hook for one in stage.crew.hooks] == ["reset", "power_cycle"]
    assert stage.crew.hooks[1].why == "the bus is stuck"
    assert stage.lost == ""


def test_a_device_that_no_command_brings_back_is_lost_for_its_own_reason(stage: Stage, case: Make) -> None:
    stage.child(
        """
        hello(); hear()
        if not is_first(): say(protocol.Refused(kind="rejected", message="the bus is stuck")); hear()
        opened(); hear(); os.abort()
        """
    )
    stage.equip(Commands(("true",), ("true",), stage.folder))
    records = stage.run([case("a"), case("b")])

    assert [record.outcome for record in records] == [Outcome.CRASH], "it was not repeated: the device was given up"
    assert "the bus is stuck" in stage.lost


def test_a_hook_that_fails_is_the_lab_s_error_and_ends_the_run(stage: Stage, case: Make, program) -> None:
    stage.child(ABORT)
    stage.equip(Commands((program("off", "echo no such outlet >&2; exit 4"),), (), stage.folder))
    records = stage.run([case("a"), case("b")])

    (record,) = records
    assert record.outcome is Outcome.ERROR
    assert record.reason == "the lab could not bring the device back: reset: ended with code 4: no such outlet"
    assert [attempt.outcome for attempt in record.attempts] == [Outcome.CRASH], "what was seen stays in the record"
    assert stage.lost == record.reason
    assert stage.crew is not None
    assert stage.crew.hooks[0].exit_code == 4


def test_an_orderly_device_is_never_reset(stage: Stage, case: Make) -> None:
    stage.child(ORDERLY)
    stage.equip(Commands(("false",), ("false",), stage.folder))
    stage.run([case("a"), case("b")])

    assert stage.crew is not None
    assert stage.crew.hooks == []


@pytest.mark.parametrize(("budget", "reached"), [(0, 1), (1, 1), (3, 2)])
def test_beyond_the_crash_budget_the_run_stops(stage: Stage, case: Make, budget: int, reached: int) -> None:
    stage.child(ABORT)
    stage.equip(Commands(), budget)
    records = stage.run([case(name) for name in "abcd"])

    assert {record.outcome for record in records} == {Outcome.CRASH}
    assert len(records) >= reached
    assert (
        f"{budget + 1} crashes and time-outs are more than crash_budget allows: {budget}; first cause: " in stage.lost
    )
    assert "the child died of SIGABRT" in stage.lost


def test_crashes_before_an_interruption_count_for_the_budget(stage: Stage, case: Make) -> None:
    stage.child(ABORT)
    stage.equip(Commands(), 5, crashes=5)
    stage.run([case("a")])

    assert "6 crashes and time-outs are more than crash_budget allows: 5" in stage.lost


def test_time_outs_count_for_the_crash_budget(stage: Stage, case: Make) -> None:
    stage.child("begin(); hear(); time.sleep(60)")
    stage.equip(Commands(), 1)
    records = stage.run([case(name) for name in "ab"])

    assert {record.outcome for record in records} == {Outcome.TIMEOUT}
    assert "2 crashes and time-outs are more than crash_budget allows: 1; first cause: " in stage.lost
