"""What the benchmarks share: whole processes timed in alternation, and figures printed beside their limits. No benchmark itself."""

from __future__ import annotations

import argparse
import os
import platform
import select
import statistics
import subprocess
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PAIRS = 7
POLL_MS = 50
"""How often the peak memory of a process is read. The kernel keeps the peak; only growth in its last 50 ms can be missed."""


class Command(NamedTuple):
    """A process to time. `accepted` are the exit codes with which it did its work; any other makes the figure void."""

    name: str
    argv: Sequence[str]
    folder: Path
    env: dict[str, str] = {}  # noqa: RUF012 - only ever read
    accepted: frozenset[int] = frozenset({0})


class Timed(NamedTuple):
    """What one process took: wall seconds from before its start to its end, and peak resident memory without its children."""

    wall_s: float
    peak_mb: float
    exit_code: int
    last_line: str


class Pair(NamedTuple):
    """Two processes that ran one after the other."""

    first: Timed
    second: Timed

    @property
    def ratio(self) -> float:
        """Wall of the first over wall of the second."""
        return self.first.wall_s / self.second.wall_s


class Figure(NamedTuple):
    """A requirement with what was measured for it. `limit` is the most that is allowed, or the least where `at_least`."""

    name: str
    measured: float
    limit: float
    unit: str
    at_least: bool = False

    @property
    def used(self) -> float:
        """How much of the limit is used up: 1 is at the limit, more is beyond it."""
        return self.limit / self.measured if self.at_least else self.measured / self.limit


def run_process(command: Command) -> Timed:
    """Run a process to its end. RuntimeError with the end of its output where it did not do its work."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        peak_kb = 0
        begin = time.monotonic()
        process = subprocess.Popen(
            command.argv,
            cwd=command.folder,
            env={**_usual_environment(), **command.env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        ended = os.pidfd_open(process.pid)
        try:
            while not select.select([ended], [], [], POLL_MS / 1000)[0]:
                peak_kb = max(peak_kb, _peak_kb(process.pid))
            wall = time.monotonic() - begin
        except BaseException:
            process.kill()
            raise
        finally:
            os.close(ended)
            code = process.wait()
        output.seek(0)
        lines = [line.strip() for line in output if line.strip()]
    if code not in command.accepted:
        raise RuntimeError("\n".join([f"{command.name} ended with {code}; the end of what it said:", *lines[-20:]]))
    return Timed(wall, peak_kb / 1024, code, lines[-1] if lines else "")


def _usual_environment() -> dict[str, str]:
    """Return the environment, with Python's bytecode cached as it is after any installation: some hosts forbid it."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def _peak_kb(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    found = [line.split()[1] for line in text.splitlines() if line.startswith("VmHWM:")]
    return int(found[0]) if found else 0  # a process that has just ended has no memory any more


def alternate(first: Callable[[], Command], second: Callable[[], Command], pairs: int) -> list[Pair]:
    """Run two commands A B A B …, after one of each that does not count, and print every pair."""
    for make in (first, second):
        command = make()
        print(f"  {command.name}: {run_process(command).last_line}", flush=True)
    found = []
    for at in range(pairs):
        pair = Pair(run_process(first()), run_process(second()))
        found.append(pair)
        walls = f"{pair.first.wall_s:.2f} s against {pair.second.wall_s:.2f} s"
        print(f"  pair {at + 1}: {walls}, ratio {pair.ratio:.3f}", flush=True)
    return found


def spread(values: Sequence[float], unit: str, digits: int = 3) -> str:
    """Return `0.812 (0.790 to 0.840, 7 values) ×`: median, least, greatest."""
    return (
        f"{statistics.median(values):.{digits}f} "
        f"({min(values):.{digits}f} to {max(values):.{digits}f}, {len(values)} values) {unit}"
    )


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser whose `--help` shows a module's docstring as it stands, examples included."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pairs", type=_positive, default=PAIRS, metavar="N", help="pairs in alternation (default: %(default)s)"
    )
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def print_machine(*more: str) -> None:
    """Print what the figures depend on, the versions of `more` packages among it; what is not installed is left out."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    print(f"machine: {len(os.sched_getaffinity(0))} × {model}, Linux {platform.release()}, {_load()}")
    print(
        f"python {platform.python_version()}{''.join(map(_version, ('onnxruntime', 'onnx', 'numpy', *more)))}",
        flush=True,
    )


def _version(package: str) -> str:
    try:
        return f", {package} {version(package)}"
    except PackageNotFoundError:
        return ""


def _load() -> str:
    return "load " + " ".join(f"{value:.2f}" for value in os.getloadavg())


def print_figures(figures: Sequence[Figure]) -> None:
    """Print one line per requirement: name, measured, limit, how much of the limit is used, met or not."""
    width = max(len(figure.name) for figure in figures)
    print(f"\n{'requirement':{width}}  {'measured':>12}  {'limit':>12}  {'of limit':>8}  result    ({_load()})")
    for figure in figures:
        sign = "≥" if figure.at_least else "≤"
        measured, limit = f"{figure.measured:.3f} {figure.unit}", f"{sign} {figure.limit:g} {figure.unit}"
        result = "met" if figure.used <= 1 else "NOT met"
        print(f"{figure.name:{width}}  {measured:>12}  {limit:>12}  {figure.used:>8.0%}  {result}")
