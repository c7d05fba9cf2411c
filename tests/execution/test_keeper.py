"""The keeper: nothing below it outlives the child, the word of the parent, or the parent itself."""

from __future__ import annotations

import json
import os
import secrets
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from conformance.execution import keeper

SLEEP = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
FAMILY = f"""
import subprocess, sys, time
for new_session in (False, True):
    subprocess.Popen([sys.executable, "-S", "-c", {SLEEP!r}], start_new_session=new_session)
orphaner = "import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', {SLEEP!r}], start_new_session=True)"
subprocess.run([sys.executable, "-S", "-c", orphaner], check=True)
print("ready", flush=True)
"""


class Kept:
    """A keeper with a Python child, and this test as its parent."""

    def __init__(self, folder: Path, script: str, memory_kb: int = 0, argv: list[str] | None = None) -> None:
        self.mark = f"KEEPER_TEST_{secrets.token_hex(6)}=1"
        name, _, value = self.mark.partition("=")
        pipes = [os.pipe() for _ in range(5)]
        (stdin_r, self.stdin), (self.stdout, stdout_w), (self.stderr, stderr_w) = pipes[:3]
        (lifeline_r, self.lifeline), (self.status, status_w) = pipes[3:]
        given = [stdin_r, stdout_w, stderr_w, lifeline_r, status_w]
        config = {
            "argv": argv or [sys.executable, "-S", "-c", script],
            "env": os.environ | {name: value},
            "cwd": str(folder),
            "pass_fds": [],
            "child_stdin": stdin_r,
            "child_stdout": stdout_w,
            "child_stderr": stderr_w,
            "lifeline": lifeline_r,
            "status": status_w,
            "memory_kb": memory_kb,
        }
        path = folder / f"{name}.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        with path.open("rb") as stream:
            command = [sys.executable, "-I", "-S", str(keeper.__file__)]
            self.process = subprocess.Popen(command, stdin=stream, pass_fds=given)
        for fd in given:
            os.close(fd)

    def wait_ready(self) -> None:
        """Wait for the child's word."""
        assert select.select([self.stdout], [], [], 20)[0]
        assert os.read(self.stdout, 100).startswith(b"ready")

    def told(self) -> dict[str, Any]:
        """Return what the keeper says in the end."""
        assert select.select([self.status], [], [], 20)[0], "the keeper says nothing"
        self.process.wait(timeout=20)
        answer: dict[str, Any] = json.loads(os.read(self.status, 10_000))
        return answer

    def left(self) -> list[str]:
        """Return the processes that carry the mark of this child, once none goes away any more."""
        end = time.monotonic() + 5
        found = ["?"]
        while found and time.monotonic() < end:
            found = []
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    if self.mark.encode() in (folder / "environ").read_bytes():
                        found.append(folder.name)
                except OSError:
                    continue
            time.sleep(0.01)
        return found

    def close(self) -> None:
        """Let everything go."""
        self.process.kill()
        self.process.wait()
        for fd in (self.stdin, self.stdout, self.stderr, self.status, self.lifeline):
            try:
                os.close(fd)
            except OSError:
                continue


def test_a_child_that_ends_takes_its_descendants_with_it(tmp_path: Path) -> None:
    kept = Kept(tmp_path, FAMILY)
    kept.wait_ready()
    told = kept.told()

    assert (told["cause"], told["signal"], told["exit_code"]) == ("ended", 0, 0)
    assert told["reaped"] == 3
    assert told["peak_rss_kb"] > 1000
    assert kept.left() == []
    kept.close()


def test_the_parent_s_word_ends_everything(tmp_path: Path) -> None:
    kept = Kept(tmp_path, FAMILY + SLEEP)
    kept.wait_ready()
    os.close(kept.lifeline)
    told = kept.told()

    assert (told["cause"], told["signal"], told["exit_code"]) == ("told", signal.SIGKILL, None)
    assert kept.left() == []
    kept.close()


def test_nothing_outlives_a_parent_that_is_gone_altogether(tmp_path: Path) -> None:
    kept = Kept(tmp_path, FAMILY + SLEEP)
    kept.wait_ready()
    for fd in (kept.stdin, kept.stdout, kept.stderr, kept.status, kept.lifeline):
        os.close(fd)

    assert kept.process.wait(timeout=20) == 0, "nobody is left to tell, which is no error"
    assert kept.left() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_keeper_minds_its_parent_only(tmp_path: Path, number: signal.Signals) -> None:
    kept = Kept(tmp_path, "print('ready', flush=True); import time; time.sleep(600)")
    kept.wait_ready()
    kept.process.send_signal(number)
    time.sleep(0.15)
    assert kept.process.poll() is None
    os.close(kept.lifeline)

    assert kept.told()["cause"] == "told"
    kept.close()


def test_a_keeper_that_is_killed_takes_the_child_with_it(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "print('ready', flush=True); import time; time.sleep(600)")
    kept.wait_ready()
    kept.process.kill()
    kept.process.wait()

    assert kept.left() == []
    kept.close()


def test_memory_is_that_of_the_whole_tree(tmp_path: Path) -> None:
    hungry = "held = bytearray(b'x') * (150 << 20); import time; time.sleep(600)"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {hungry!r}])"
    kept = Kept(tmp_path, script, memory_kb=100 << 10)
    told = kept.told()

    assert (told["cause"], told["signal"]) == ("memory", signal.SIGKILL)
    assert told["peak_rss_kb"] > 100 << 10
    assert kept.left() == []
    kept.close()


def test_an_interpreter_that_does_not_exist_says_so(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "", argv=[str(tmp_path / "python")])
    told = kept.told()

    assert told["exit_code"] == 127
    assert os.read(kept.stderr, 1000).decode().startswith(f"cannot start {tmp_path / 'python'}: [Errno 2]")
    kept.close()


def test_signals_of_the_child_are_told(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "import os; os.kill(os.getpid(), 40)")

    assert kept.told()["signal"] == 40
    kept.close()


def test_descendants_are_found_to_any_depth() -> None:
    inner = f"import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', {SLEEP!r}]).wait()"
    with subprocess.Popen([sys.executable, "-S", "-c", inner]) as child:
        end = time.monotonic() + 10
        while keeper.resident_kb(keeper.descendants(child.pid)) <= 1000 and time.monotonic() < end:
            time.sleep(0.01)  # it has been forked, and becomes an interpreter
        below = keeper.descendants(child.pid)
        above = keeper.descendants(os.getpid())
        held = keeper.resident_kb([child.pid, *below]), keeper.resident_kb(below)
        for pid in (*below, child.pid):
            os.kill(pid, signal.SIGKILL)
        assert len(below) == 1
        assert child.pid in above
        assert held[0] > held[1] > 1000
    end = time.monotonic() + 10
    while keeper.resident_kb(below) and time.monotonic() < end:
        time.sleep(0.01)  # it was told to go, and goes
    assert keeper.resident_kb(below) == 0, "a process that is gone holds nothing"
    assert keeper.descendants(child.pid) == []
