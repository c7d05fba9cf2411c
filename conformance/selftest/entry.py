"""`conformance selftest` from its options to its exit code."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from conformance.errors import EXIT_CONFORMANT, EXIT_INCOMPLETE, EXIT_NON_CONFORMANT, UsageError
from conformance.selftest import plotting, running, telling
from conformance.selftest.judging import TIERS

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.selftest.matrix import Matrix


class Files(NamedTuple):
    """Where to write what, beside the console."""

    json: Path | None = None
    markdown: Path | None = None
    plot: Path | None = None


def main(files: Files, *, is_quick: bool, seed: int, workers: int) -> int:
    """Run the self-test, print and write what it says, and return the exit code."""
    for path in files:
        if path is not None and not path.parent.is_dir():
            raise UsageError(f"there is no folder {path.parent} to write {path.name} into")
    if files.plot is not None:
        plotting.check_path(files.plot)
    matrix = _run(is_quick=is_quick, seed=seed, workers=workers)
    telling.render(matrix, sys.stdout)
    if files.json is not None:
        files.json.write_bytes(msgspec.json.format(msgspec.json.encode(matrix), indent=1) + b"\n")
    if files.markdown is not None:
        files.markdown.write_text(telling.markdown(matrix), encoding="utf-8")
    if files.plot is not None:
        plotting.plot(matrix, files.plot)
    return exit_code(matrix)


def exit_code(matrix: Matrix) -> int:
    """Return what the process ends with: refusing a correct device is the one thing that must not happen."""
    if any(one.runs.hits for one in matrix.alarms if one.column in TIERS):
        return EXIT_NON_CONFORMANT
    return EXIT_CONFORMANT if matrix.is_complete else EXIT_INCOMPLETE


def _run(*, is_quick: bool, seed: int, workers: int) -> Matrix:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("choosing subjects", total=None)
        units = running.plan(seed, is_quick=is_quick)

        def progress(title: str, done: int, total: int) -> None:
            bar.update(task, description=title, completed=done, total=total)

        return running.run(units, seed=seed, is_quick=is_quick, workers=workers, progress=progress)
