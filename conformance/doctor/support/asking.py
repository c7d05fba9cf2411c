"""Asking another interpreter: what is installed there, and which providers its onnxruntime has. Never longer than a deadline.

Whatever runs there is a process group of its own and is killed as one. It writes no compiled files.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from conformance.doctor.support import environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEADLINE_S = 10.0
PROVIDERS = (
    "import json, onnxruntime as o\n"
    f"print({environment.MARK!r} + json.dumps([o.__version__, o.get_available_providers(), o.__file__]))"
)


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """One distribution."""

    version: str
    when: float
    """When it was installed, in seconds since the epoch; 0 where that is unknown."""
    files: int = 0
    absent: int = 0
    """Files of the runtimes asked about that its RECORD lists and that are not there."""
    tops: tuple[str, ...] = ()
    """Folders that it brings."""


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """Distributions that overwrite each other's files."""

    owners: tuple[str, ...]
    package: str
    files: int
    example: str
    winner: str


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """What is installed where an interpreter looks for modules."""

    python: str = ""
    executable: str = ""
    distributions: dict[str, Installed] = {}
    twice: tuple[str, ...] = ()
    shared: tuple[Shared, ...] = ()
    modules: dict[str, bool] = {}
    places: dict[str, str] = {}
    """The folder of each module asked about that is there."""
    problem: str = ""
    """Why nothing is known, empty where it is."""

    def pip(self, words: str) -> str:
        """Return the command that has this environment's installer do something."""
        if self.distributions and "pip" not in self.distributions:
            verb, _, rest = words.replace(" -y", "").partition(" ")
            return f"uv pip {verb} --python {shlex.quote(self.executable)} {rest}"
        return f"{shlex.quote(self.executable)} -m pip {words}"


def survey_of(python: str, modules: Sequence[str], environ: Mapping[str, str] | None = None) -> Environment:
    """Return what is installed for an interpreter: looked up here where `environ` is None, else asked of it."""
    if environ is None:
        return msgspec.convert(environment.survey(list(modules)), Environment)
    source = Path(environment.__file__).read_text(encoding="utf-8")
    answer, problem = ask(python, source, [json.dumps(list(modules))], environ)
    if problem:
        return Environment(executable=python, problem=problem)
    try:
        return msgspec.convert(answer, Environment)
    except msgspec.ValidationError as error:
        return Environment(executable=python, problem=f"it answered strangely: {error}")


def providers_of(python: str, environ: Mapping[str, str]) -> tuple[list[str], str]:
    """Return the execution providers that onnxruntime has in an environment, and why they are unknown; one is empty.

    It is imported there, in a process of its own; no session is made and no device is opened.
    """
    answer, problem = ask(python, PROVIDERS, [], environ)
    if problem:
        return [], problem
    try:
        return [str(name) for name in answer[1]], ""
    except (TypeError, IndexError, KeyError):
        return [], "it answered strangely"


def ask(
    python: str, source: str, arguments: Sequence[str], environ: Mapping[str, str], deadline_s: float = DEADLINE_S
) -> tuple[Any, str]:
    """Run a script by another interpreter; return what it printed behind the mark, and why there is nothing."""
    quiet = {"PYTHONDONTWRITEBYTECODE": "1"}
    try:
        process = subprocess.Popen(
            [python, "-c", source, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environ) | quiet,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        return None, f"it cannot be started: {(error.strerror or 'unknown').lower()}"
    try:
        output, errors = process.communicate(timeout=deadline_s)
    except subprocess.TimeoutExpired:
        return None, f"it gave no answer within {deadline_s:g} s"
    finally:
        _end(process)
    for line in output.decode(errors="replace").splitlines():
        if line.startswith(environment.MARK):
            try:
                return json.loads(line.removeprefix(environment.MARK)), ""
            except ValueError:
                break
    last = errors.decode(errors="replace").strip().splitlines()[-1:] or [f"it ended with {process.returncode}"]
    return None, last[0]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process with everything that it started in its session."""
    with suppress(ProcessLookupError, PermissionError):  # all of the group has ended
        os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    process.wait()
