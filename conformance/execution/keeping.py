"""Starting a process behind its keeper: the pipes, the keeper's configuration, and nothing left open where the host refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from conformance.errors import HarnessError
from conformance.execution.stores import sealed_copy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KEEPER = Path(__file__).with_name("keeper.py")


class Kept(NamedTuple):
    """A keeper with its process, and our ends of the pipes: those that are read do not block."""

    keeper: subprocess.Popen[bytes]
    stdin: int
    stdout: int
    stderr: int
    lifeline: int
    """As long as it is open, the keeper keeps."""
    status: int
    """What the keeper says of how the process ended."""


def start_kept(
    what: str,
    argv: Sequence[str],
    env: Mapping[str, str],
    folder: Path,
    *,
    pass_fds: Sequence[int] = (),
    memory_kb: int = 0,
) -> Kept:
    """Start a process in a folder; `what` is what it is called where the host refuses, which is a HarnessError."""
    pipes = [os.pipe() for _ in range(5)]
    (stdin_r, stdin), (stdout, stdout_w), (stderr, stderr_w), (lifeline_r, lifeline), (status, status_w) = pipes
    theirs = [stdin_r, stdout_w, stderr_w, lifeline_r, status_w]
    config = {
        "argv": list(argv),
        "env": dict(env),
        "cwd": str(folder),
        "pass_fds": list(pass_fds),
        "child_stdin": stdin_r,
        "child_stdout": stdout_w,
        "child_stderr": stderr_w,
        "lifeline": lifeline_r,
        "status": status_w,
        "memory_kb": memory_kb,
    }
    # Not on the command line, which everybody may read and which Linux keeps short: the environment holds secrets.
    config_fd = sealed_copy("keeper", json.dumps(config).encode())
    os.lseek(config_fd, 0, os.SEEK_SET)
    try:
        keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(KEEPER)],
            stdin=config_fd,
            stdout=subprocess.DEVNULL,
            pass_fds=[*theirs, *pass_fds],
            close_fds=True,
        )
    except OSError as error:
        for fd in (stdin, stdout, stderr, lifeline, status):
            os.close(fd)
        raise HarnessError(f"cannot start {what}: {error.strerror}") from error
    finally:
        for fd in (config_fd, *theirs):
            os.close(fd)
    for fd in (stdout, stderr, status):
        os.set_blocking(fd, False)
    return Kept(keeper, stdin, stdout, stderr, lifeline, status)
