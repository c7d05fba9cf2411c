"""Each category: a device that is right meets every MUST that has a check by now, and what has none stays open."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conformance.paths import data_folder
from conformance.profile.loader import load_category

BACKENDS = Path(__file__).resolve().parent / "backends"
HOST_CPU_ALLOWED = ("inference-server", "intelligent-sensor", "inspection-terminal", "host-reference")
"""Of an accelerator card the host's CPU is no example: there its placement must fail, and everything else be met."""


def _reference_profile(category: str) -> str:
    text = (data_folder("profiles") / "devices" / "reference-cpu.yaml").read_text(encoding="utf-8")
    return text.replace("category: host-reference", f"category: {category}")


def _verdict(text: str, tmp_path: Path, **environment: str) -> dict[str, Any]:
    profile = tmp_path / "device.yaml"
    profile.write_text(text, encoding="utf-8")
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
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=os.environ | environment
    )
    assert (tmp_path / "run" / "run.json").is_file(), done.stderr
    found: dict[str, Any] = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["verdict"]
    assert found["exit_code"] == done.returncode
    return found


@pytest.mark.parametrize("category", [*HOST_CPU_ALLOWED, "accelerator-card"])
def test_a_right_device_meets_what_has_a_check(category: str, tmp_path: Path, suite_cache: Path) -> None:
    verdict = _verdict(_reference_profile(category), tmp_path)

    _assert_all_met_but(set() if category in HOST_CPU_ALLOWED else {"PL-001"}, verdict, category)


def test_a_right_accelerator_card_meets_what_has_a_check(tmp_path: Path, suite_cache: Path) -> None:
    """Simulated: it computes in a process of its own, so that the host is idle as beside a card."""
    site = tmp_path / "site"
    about = site / "simulated_card-1.dist-info"
    about.mkdir(parents=True)
    shutil.copy(BACKENDS / "simulated_card.py", site)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: simulated-card\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[conformance.runtimes]\nsimulated-card = simulated_card\n")
    text = _reference_profile("accelerator-card")
    runtime = re.compile(r"^runtime:.*?(?=^declares:)", re.MULTILINE | re.DOTALL)
    card = "runtime:\n  adapter: simulated-card\n  provider: SimulatedCardExecutionProvider\n\n"
    text = runtime.sub(card, text).replace("hardware: cpu", "hardware: npu")

    verdict = _verdict(text, tmp_path, PYTHONPATH=str(site))

    _assert_all_met_but(set(), verdict, "accelerator-card")
    assert verdict["placement_shown"]


def _assert_all_met_but(expected: set[str], verdict: dict[str, Any], category: str) -> None:
    checked = {one.id: one.check for one in load_category(category).requirements if one.level == "MUST"}
    results = {one["id"]: one["result"] for one in verdict["requirements"] if one["applies"] and one["level"] == "MUST"}
    with_check = {name for name in results if checked[name] is not None}
    not_met = {name for name in with_check if results[name] != "met"}
    # No bench file, no meter: power and temperature are measured by nobody, and that is no PASS.
    metered = {name for name in with_check if checked[name] in ("power", "thermal")}
    assert {results[name] for name in metered} <= {"open"}
    # A clock beside other tests may decide nothing; that it says "too slow" of a generous limit is no excuse.
    timed = {name for name in with_check if checked[name] == "latency" and results[name] == "open"}
    assert not_met == expected | metered | timed, {name: results[name] for name in not_met}
    assert {results[name] for name in results if checked[name] is None} <= {"open"}
    assert len(with_check) >= 5
