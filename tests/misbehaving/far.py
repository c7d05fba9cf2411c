"""A host far away that is this one: an `ssh` on PATH that hands the remote command to `sh`, as sshd does."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

TO_COMMAND = 'while [ "$1" != -- ]; do shift; done; shift; HOST=$1; shift\n'
ORDINARY = 'exec sh -c "$*"'


class Far:
    """A bench file for the other host, and what its `ssh` does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bench = folder / "bench.yaml"
        self._programs = folder / "programs"
        self._programs.mkdir()
        self.answer(ORDINARY)
        self.say()

    def answer(self, script: str) -> None:
        """Let `ssh` be a shell script; `$*` is the remote command and `$HOST` the host, `$HERE` this folder."""
        program = self._programs / "ssh"
        head = f"#!/bin/sh\nHERE={self.folder}\nprintf '%s\\n' \"$@\" > $HERE/asked.txt\n"
        program.write_text(head + TO_COMMAND + script + "\n", encoding="utf-8")
        program.chmod(0o755)

    def say(self, **changes: Any) -> None:
        """Write the bench file."""
        given = {"transport": "ssh", "ssh": {"host": "lab-host"}, "python": sys.executable, "workdir": str(self.folder)}
        self.bench.write_text(json.dumps({"conformance": 1, "bench": given | changes}), encoding="utf-8")

    @property
    def request(self) -> dict[str, Any]:
        """What `harness.start` needs beside the profile."""
        path = f"{self._programs}{os.pathsep}{os.environ['PATH']}"
        return {"bench": str(self.bench), "env": {"PATH": path}}

    @property
    def asked(self) -> list[str]:
        """The words with which `ssh` was called last."""
        return (self.folder / "asked.txt").read_text(encoding="utf-8").splitlines()
