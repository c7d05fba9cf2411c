"""Running the command line against a real device, as a user does, and reading what it wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

BACKENDS = Path(__file__).parents[1] / "backends"


class Ran(NamedTuple):
    """One run: exit code, what it printed, run.json and the records by case id."""

    code: int
    text: str
    result: dict[str, Any]
    records: dict[str, dict[str, Any]]

    def outcomes(self, prefix: str) -> dict[str, str]:
        return {case: record["outcome"] for case, record in self.records.items() if case.startswith(prefix)}

    def requirement(self, name: str) -> dict[str, Any]:
        return next(one for one in self.result["verdict"]["requirements"] if one["id"] == name)


@pytest.fixture
def run_device(tmp_path: Path):
    """Return a function that runs `conformance run` in a process of its own."""

    def run(profile: str | Path, *arguments: str, python: str | None = None, env: dict[str, str] | None = None) -> Ran:
        bench = tmp_path / "bench.yaml"
        settings = []
        if python is not None:
            settings.append(f"  python: {json.dumps(python)}")
        if env:
            settings.append(f"  env: {json.dumps(env)}")
        bench.write_text("conformance: 1\nbench:\n  lab: peers\n" + "\n".join(settings) + "\n")
        out = tmp_path / "run"
        command = [sys.executable, "-m", "conformance", "run", str(profile), "--bench", str(bench), "--out", str(out)]
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, timeout=900, check=False, stdin=subprocess.DEVNULL
        )
        assert (out / "run.json").is_file(), done.stderr
        result = json.loads((out / "run.json").read_text())
        lines = (out / "cases.jsonl").read_text().splitlines()
        records = {record["case"]: record for record in map(json.loads, lines)}
        assert len(records) == len(lines) == result["info"]["planned"], "the books do not close"
        assert done.returncode == result["verdict"]["exit_code"], done.stderr
        return Ran(done.returncode, done.stdout, result, records)

    return run


def peer_python(variable: str) -> str:
    """Return the interpreter of a peer's own environment; a missing peer is a failure, never a skip."""
    python = os.environ.get(variable, "")
    if not python or not Path(python).is_file():
        pytest.fail(f"{variable} names no interpreter: run `nox -s peers`, which makes the environment")
    return python
