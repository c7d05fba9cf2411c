"""Runs on the device that misbehaves, each in a process of its own, marked so that whatever it leaves can be found."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from conformance.execution import journal
from conformance.records import Outcome, Record, RunResult

HERE = Path(__file__).parent
DRIVE = HERE / "drive.py"
BACKENDS = HERE.parent / "backends"
MARK = "MISBEHAVING_RUN_MARK"
PATIENCE_S = 60.0
"""By far longer than any of these runs: a bound, not a measure."""
DEADLINES = {"open_s": 15, "compile_s": 15, "run_s": 1}
PROBES = "interface/session/* placement/model/* placement/control/*"
"""Selects `interface/…` and `placement/…`, no operator, and not the host CPU's share, which needs an idle host."""
TRIGGER = "Transpose"
"""Of the probe models, only that of `VICTIM` has this operator."""
VICTIM = "interface/session/output-contract"


class Run(NamedTuple):
    """A run that has ended."""

    code: int
    stderr: str
    folder: Path
    left: list[str]
    """Command lines of processes that outlived it."""

    @property
    def result(self) -> RunResult:
        """What the run returned."""
        assert (self.folder / "result.json").is_file(), f"no result, exit {self.code}: {self.stderr}"
        return msgspec.json.decode((self.folder / "result.json").read_bytes(), type=RunResult)

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """Outcome by case id."""
        return {record.case: record.outcome for record in self.result.records}

    def record(self, case: str) -> Record:
        """Return the record of a case."""
        return next(record for record in self.result.records if record.case == case)

    @property
    def lines(self) -> list[Any]:
        """The journal as plain data."""
        text = (self.folder / journal.FILE_NAME).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]


def write_profile(folder: Path, **changes: Any) -> Path:
    """Write a device profile and return its path; `changes` replace or add keys, `section__key` inside a section."""
    tree: dict[str, Any] = {
        "conformance": 1,
        "device": {"vendor": "Lab", "model": "Misbehaving", "category": "host-reference", "hardware": "cpu"},
        "runtime": {"adapter": "misbehaving", "provider": "CPUExecutionProvider", "deadlines": dict(DEADLINES)},
        "declares": {
            "opsets": {"ai.onnx": [7, 26]},
            "types": ["float32", "float64", "float16", "int8", "uint8", "int32", "int64", "bool"],
            "operators": "all",
        },
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name and value is None:
            tree[section].pop(name, None)
        elif name:
            tree[section][name] = value
        else:
            tree[section] = value
    path = folder / "device.yaml"
    path.write_text(json.dumps(tree), encoding="utf-8")  # JSON is YAML
    return path


def write_category(folder: Path, memory_mb: int) -> Path:
    """Write a category that allows a child less memory than `host-reference` does, and return its path."""
    tree = {
        "conformance": 1,
        "extends": "builtin:host-reference",
        "category": {"name": "host-with-little-memory", "version": "1.0"},
        "caps": {"host_memory_mb": memory_mb},
    }
    path = folder / "category.yaml"
    path.write_text(json.dumps(tree), encoding="utf-8")
    return path


class Started(NamedTuple):
    """A run that goes on."""

    process: subprocess.Popen[str]
    mark: str
    folder: Path

    def finish(self, limit_s: float = PATIENCE_S) -> Run:
        """Wait for its end; an AssertionError, and nothing left of it, where it does not come."""
        try:
            _, stderr = self.process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise AssertionError(f"the run did not end within {limit_s} s") from None
        return Run(self.process.returncode, stderr, self.folder, wait_gone(self.mark))


def start(profile: Path, *, out: Path | None = None, env: dict[str, str] | None = None, **request: Any) -> Started:
    """Start a run; `request` as `conduct.Request` has it, and `pause_s` for a display that is slow."""
    folder = out or profile.parent / "run"
    mark = secrets.token_hex(8)
    asked = profile.parent / f"request-{mark}.json"
    asked.write_text(json.dumps({"profile": str(profile), "out": str(folder), **request}), encoding="utf-8")
    environment = os.environ | {MARK: mark, "PYTHONPATH": str(BACKENDS)} | (env or {})
    process = subprocess.Popen(
        [sys.executable, str(DRIVE), str(asked)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    return Started(process, mark, folder)


def run(profile: Path, **request: Any) -> Run:
    """Run to the end."""
    return start(profile, **request).finish()


def marked(mark: str) -> list[str]:
    """Return the command lines of all living processes that carry a mark in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


def wait_gone(mark: str, limit_s: float = 5.0) -> list[str]:
    """Return what is still there of a run when nothing more goes away."""
    end = time.monotonic() + limit_s
    while (left := marked(mark)) and time.monotonic() < end:
        time.sleep(0.02)
    return left


def check_books(finished: Run) -> None:
    """Every planned case has exactly one record, none was left behind, and each that was started was started first."""
    assert finished.left == []
    result = finished.result
    ids = [record.case for record in result.records]
    assert len(ids) == len(set(ids)) == result.info.planned
    seen: set[str] = set()
    recorded: list[str] = []
    for line in finished.lines:
        if line["type"] == "started":
            seen.add(line["case"])
        elif line["type"] == "record":
            recorded.append(line["record"]["case"])
    assert len(recorded) == len(set(recorded))
    started = {record.case for record in result.records if record.started}
    assert started <= seen
    assert not list(finished.folder.glob("scratch*"))
