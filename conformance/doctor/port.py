"""The port of an examination: what it is given of the host and of the files, and what it returns.

An examination is one module of `conformance/doctor/` with two members:

    TITLE: str                                              how its part of the output is headed
    def examine(host: Host, subject: Subject) -> Iterable[Finding]

It looks and touches nothing: it opens no device, writes no file, loads no vendor library into this process, and says
nothing about what does not concern the device under test.
"""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from conformance.paths import read_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from conformance.doctor.support.subject import Subject

EVERY = "*"
"""Stands in `Finding.needed_by` for the areas of all requirements: no run does without."""


class State(enum.StrEnum):
    """What was found of one thing. The order is that of their weight."""

    OK = "ok"
    LIMITS = "limits"
    """A run goes on with it, and can show less or shows it less surely."""
    MISSING = "missing"
    """It is not there: what needs it cannot be measured."""
    WRONG = "wrong"
    """It is there and leads astray: what needs it would be measured falsely."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one look found."""

    name: str
    """What was looked at: `RAPL`, `CPU governor`."""
    state: State
    found: str
    """What is there, in a few words with figures."""
    means: str = ""
    """What follows of it for a run; empty where all is well."""
    remedy: str = ""
    """One command or one sentence that mends it."""
    needed_by: tuple[str, ...] = ()
    """Areas or checks of requirements that it concerns, `EVERY` for all; empty where no requirement rests on it."""


@dataclass(frozen=True, slots=True)
class Host:
    """The host, as examinations see it. Everything below `root`, so that a tree of files can stand for one."""

    root: Path = Path("/")
    folder: Path = field(default_factory=Path.cwd)
    """Where a run would make its folder."""
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def path(self, name: str) -> Path:
        """Return the path of `sys/class/…` or `/usr/lib/…` below the root."""
        return self.root / name.lstrip("/")

    def paths(self, pattern: str) -> list[Path]:
        """Return what a pattern below the root matches, sorted; nothing where a folder may not be read."""
        try:
            return sorted(self.root.glob(pattern.lstrip("/")))
        except OSError:
            return []

    def read(self, name: str | Path) -> tuple[str, str]:
        """Return the text of a file without the white space around it, and why there is none; one of them is empty."""
        path = name if isinstance(name, Path) else self.path(name)
        try:
            return read_file(path).decode(errors="replace").strip(), ""
        except OSError as error:
            return "", (error.strerror or "it cannot be read").lower()

    def text(self, name: str | Path) -> str:
        """Return the text of a file, empty where there is none or it cannot be read."""
        return self.read(name)[0]


class Examination(Protocol):
    """What a module of this room offers."""

    TITLE: str

    def examine(self, host: Host, subject: Subject) -> Iterable[Finding]:
        """Look, and return what was found."""
