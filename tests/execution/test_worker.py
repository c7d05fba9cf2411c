"""The parent's side of one child: what is told to the keeper and to nobody else, what was read of what was sent, how it ended."""

from __future__ import annotations

import fcntl
import select
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from execution.staging import Make, Stage

from conformance.errors import HarnessError
from conformance.execution import line, protocol, stores, worker
from conformance.execution.keeping import KEEPER
from conformance.execution.worker import Worker

LIMIT_S = 20.0
"""By far longer than anything here takes: a bound, not a measure."""
UNTIL_TOLD = "while not os.path.exists(os.environ['STATE']): time.sleep(0.01)"
"""Lets a child live until this test has sent all that it means to send."""
Begin = Callable[..., Worker]


@pytest.fixture
def begin(stage: Stage) -> Iterator[Begin]:
    """Start a child that is a script; nothing is left of it afterwards."""
    made: list[Worker] = []
    stage._inputs_fd = stores.sealed_copy("inputs", b"")

    def start(script: str, **env: str) -> Worker:
        stage.child(script)
        launch = stage.launch()
        made.append(Worker(0, launch._replace(env=launch.env | env)))
        made[-1].start()
        return made[-1]

    yield start
    for one in made:
        if one.alive:
            one.kill()
        one.release()


def heard(one: Worker) -> list[protocol.ToParent]:
    """Return the next messages of a child."""
    messages: list[protocol.ToParent] | None = []
    while messages == []:
        assert select.select([one.stdout], [], [], LIMIT_S)[0], "the child says nothing"
        messages = one.read_messages()
    return messages or []


def await_end(one: Worker) -> None:
    """Wait until the keeper has told how the child ended, and leave it there."""
    assert select.select([one.status], [], [], LIMIT_S)[0], "the child does not end"


def command_line(pid: int) -> list[str]:
    return (Path("/proc") / str(pid) / "cmdline").read_text().rstrip("\0").split("\0")


# -- the keeper -------------------------------------------------------------------------------------------------------


def test_what_the_keeper_is_told_is_on_no_command_line(begin: Begin) -> None:
    one = begin("hello(); time.sleep(60)", LAB="s3cr3t-of-the-lab")
    (hello,) = heard(one)
    assert isinstance(hello, protocol.Hello)
    seen = [command_line(one._keeper.pid), command_line(hello.pid)]

    assert seen[0] == [sys.executable, "-I", "-S", str(KEEPER)], "its configuration comes on standard input"
    assert not any("s3cr3t" in word for words in seen for word in words)
    assert "LAB=s3cr3t-of-the-lab" in (Path("/proc") / str(hello.pid) / "environ").read_text().split("\0")
    assert b"s3cr3t" not in (Path("/proc") / str(one._keeper.pid) / "environ").read_bytes()


def test_a_keeper_that_is_killed_is_told_as_the_child_s_end(begin: Begin) -> None:
    one = begin("hello(); time.sleep(60)")
    heard(one)
    one._keeper.kill()

    assert one.wait_status() == worker.Ended(cause="ended", signal=signal.SIGKILL)
    assert not one.alive


def test_a_keeper_that_does_not_come_to_an_end_is_the_harness_s_error(begin: Begin) -> None:
    one = begin("hello(); time.sleep(60)")
    heard(one)

    with pytest.raises(HarnessError, match="the keeper did not come to an end"):
        one.wait_status(limit_s=0.0)
    assert one._keeper.returncode == -signal.SIGKILL
    assert not one.alive


def test_a_host_that_starts_no_process_is_named(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage._inputs_fd = stores.sealed_copy("inputs", b"")
    one = Worker(0, stage.launch())
    monkeypatch.setattr(sys, "executable", str(stage.folder / "no-python"))

    with pytest.raises(HarnessError, match="cannot start a child process: No such file or directory"):
        one.start()
    one.release()


def test_a_host_that_keeps_pipes_short_is_no_obstacle(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fcntl.fcntl

    def refuse(fd: int, command: int, *rest: Any) -> Any:
        if command == fcntl.F_SETPIPE_SZ:
            raise PermissionError(1, "Operation not permitted")
        return real(fd, command, *rest)

    monkeypatch.setattr(fcntl, "fcntl", refuse)

    assert isinstance(heard(begin("hello(); time.sleep(60)"))[0], protocol.Hello)


# -- what was sent, and what was read of it ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "taken"),
    [
        ("await_untaken()", False),
        ("await_untaken(); os.read(0, 1)", True),
        ("hear()", True),
    ],
)
@pytest.mark.parametrize("size", [10, 300_000], ids=["small", "larger than the pipe"])
def test_a_message_that_a_dead_child_left_untouched_is_known(
    begin: Begin, stage: Stage, case: Make, script: str, size: int, taken: bool
) -> None:
    one = begin(f"hello(); {script}\n{UNTIL_TOLD}\nos.abort()")
    heard(one)
    one.measure(1, case(why="x" * size), protocol.Deadlines())
    while script == "hear()" and one.wants_write:
        assert select.select([], [one.stdin], [], LIMIT_S)[1]
        one.flush()
    (stage.folder / "state").touch()
    await_end(one)

    assert one.has_taken(1) == taken
    assert one.wait_status().signal == signal.SIGABRT


@pytest.mark.parametrize(
    ("script", "taken"),
    [
        ("await_untaken()", {1: False, 2: False}),
        ("await_untaken(); os.read(0, 1)", {1: False, 2: True}),
        ("hear()", {1: False, 2: True}),
        ("hear(); await_untaken(); os.read(0, 1)", {1: True, 2: True}),
        ("hear(); hear()", {1: True, 2: True}),
    ],
)
def test_which_of_two_messages_a_dead_child_had_begun_to_read_is_known(
    begin: Begin, stage: Stage, case: Make, script: str, taken: dict[int, bool]
) -> None:
    one = begin(f"hello(); hear(); hello()\n{UNTIL_TOLD}\n{script}; os.abort()")
    heard(one)
    one.ask_to_close()  # read and done with: it does not count
    heard(one)
    for seq in (1, 2):
        one.measure(seq, case(why="x" * (100 * seq)), protocol.Deadlines())
    (stage.folder / "state").touch()
    await_end(one)

    assert {last: one.has_taken(last) for last in (1, 2)} == taken


def test_a_child_that_has_stopped_listening_cannot_stop_the_parent(begin: Begin) -> None:
    one = begin("os.close(0); hello(); time.sleep(60)")
    heard(one)
    one.ask_to_close()

    assert not one.wants_write
    assert one.kill().signal == signal.SIGKILL


def test_silence_is_no_message_and_no_end(begin: Begin) -> None:
    one = begin("hello(); hear(); sys.exit(0)")
    heard(one)

    assert one.read_messages() == []
    assert one.read_stderr(), "more may come"
    one.ask_to_close()
    await_end(one)
    assert one.read_messages() is None


@pytest.mark.parametrize("body", [b"hello", b"", b"\x80", b"\x81\xa4type\xa5sings", b"\x81\xa4type\xa5hello"])
def test_a_frame_that_is_no_message_breaks_the_protocol(begin: Begin, body: bytes) -> None:
    one = begin(f"os.write(OUT, {len(body).to_bytes(4, 'big') + body!r}); time.sleep(60)")

    with pytest.raises(HarnessError, match="the child sent what is no message: "):
        heard(one)


def test_the_end_of_a_long_speech_is_kept(begin: Begin) -> None:
    one = begin("sys.stderr.write('a' * 500_000 + 'the end'); sys.stderr.flush(); sys.exit(3)")
    ended = one.wait_status()

    assert (ended.cause, ended.exit_code) == ("ended", 3)
    assert len(one.stderr_tail) == line.STDERR_TAIL
    assert one.stderr_tail.endswith("the end")


# -- letting go -------------------------------------------------------------------------------------------------------


def test_a_child_that_closes_in_time_is_not_late(begin: Begin) -> None:
    one = begin("hello(); hear(); sys.stderr.write('bye'); sys.stderr.flush(); os.write(OUT, b'x' * 100); sys.exit(5)")
    heard(one)
    one.ask_to_close()
    ended, is_late = one.finish_close()

    assert (ended.cause, ended.exit_code, is_late) == ("ended", 5, False)
    assert one.stderr_tail == "bye"


def test_a_child_that_does_not_close_in_time_is_killed_and_late(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "CLOSE_S", 0.1)
    one = begin("hello(); hear(); time.sleep(60)")
    heard(one)
    one.ask_to_close()
    ended, is_late = one.finish_close()

    assert (ended.cause, ended.signal, is_late) == ("told", signal.SIGKILL, True)


def test_letting_go_takes_no_longer_than_opening_may(begin: Begin, stage: Stage) -> None:
    assert begin("hello()").close_s == stage.deadlines.open_s < line.CLOSE_S
    stage.deadlines = protocol.Deadlines(open_s=600)
    assert begin("hello()").close_s == line.CLOSE_S
