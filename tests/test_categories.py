"""Each category: a device that is right meets every MUST that has a check by now, and what has none stays open."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conformance.paths import data_folder
from conformance.profile.loader import load_category

HOST_CPU_ALLOWED = ("inference-server", "intelligent-sensor", "inspection-terminal", "host-reference")
"""Of an accelerator card the host's CPU is no example: there its placement must fail, and everything else be met."""


def _verdict(category: str, tmp_path: Path) -> dict[str, Any]:
    text = (data_folder("profiles") / "devices" / "reference-cpu.yaml").read_text(encoding="utf-8")
    profile = tmp_path / "device.yaml"
    profile.write_text(text.replace("category: host-reference", f"category: {category}"), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "conformance",
        "run",
        str(profile),
        "--level",
        "smoke",
        "--out",
        str(tmp_path / "run"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (tmp_path / "run" / "run.json").is_file(), done.stderr
    found: dict[str, Any] = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["verdict"]
    assert found["exit_code"] == done.returncode
    return found


@pytest.mark.parametrize("category", [*HOST_CPU_ALLOWED, "accelerator-card"])
def test_a_right_device_meets_what_has_a_check(category: str, tmp_path: Path, suite_cache: Path) -> None:
    verdict = _verdict(category, tmp_path)

    checked = {one.id: one.check for one in load_category(category).requirements if one.level == "MUST"}
    results = {one["id"]: one["result"] for one in verdict["requirements"] if one["applies"] and one["level"] == "MUST"}
    with_check = {name for name in results if checked[name] is not None}
    not_met = {name for name in with_check if results[name] != "met"}
    expected = set() if category in HOST_CPU_ALLOWED else {"PL-001", "IF-001"}
    assert not_met <= expected, {name: results[name] for name in not_met}
    assert (not_met == set()) == (category in HOST_CPU_ALLOWED)
    assert {results[name] for name in results if checked[name] is None} <= {"open"}
    assert len(with_check) >= 5
