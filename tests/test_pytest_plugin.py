"""`pytest my-device.yaml`: the same cases as items, and never greener than `conformance run`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import pytest

from conformance import pytest_plugin
from conformance.reference.probes import OPERATORS

VICTIM = "interface/session/output-contract"
PROBES = sorted({name for names in OPERATORS.values() for name in names})
"""What the probes of the interface are made of: a device that claims less is not asked, and its MUSTs stay open."""


class Ran(NamedTuple):
    """A pytest session that has ended."""

    code: int
    out: str
    folder: Path

    @property
    def run(self) -> dict[str, Any]:
        """The run folder's run.json."""
        found: dict[str, Any] = json.loads((self.folder / "out" / "run.json").read_text(encoding="utf-8"))
        return found


@pytest.fixture
def session(tmp_path: Path) -> Callable[..., Ran]:
    """Write a device profile and run pytest on it in a process of its own."""

    def run(*arguments: str, options: dict[str, Any] | None = None, text: str | None = None, **sections: Any) -> Ran:
        tree: dict[str, Any] = {
            "conformance": 1,
            "device": {"vendor": "Lab", "model": "M", "category": "host-reference", "hardware": "cpu"},
            "runtime": {"adapter": "misbehaving", "provider": "CPUExecutionProvider", "options": options or {}},
            "declares": {"opsets": {"ai.onnx": [7, 26]}, "types": ["float32", "int64"], "operators": [*PROBES, "Abs"]},
        }
        for section, keys in sections.items():
            tree[section] |= keys
        profile = tmp_path / "device.yaml"
        profile.write_text(text if text is not None else json.dumps(tree), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", "/dev/null", f"--rootdir={tmp_path}"]
        command += ["--conformance-out", str(tmp_path / "out"), str(profile), *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        return Ran(done.returncode, done.stdout + done.stderr, tmp_path)

    return run


ENOUGH = sorted({*PROBES, "Add", "BatchNormalization", "Conv", "Flatten", "Gemm", "GlobalAveragePool", "Relu"})
"""What one reference model needs besides, for NUM-001 asks for at least one."""
GATE = ("-m", "interface or placement")


def test_a_good_device_passes_item_by_item_and_leaves_the_reports(session: Callable[..., Ran]) -> None:
    ran = session("-q", "-k", "interface or Relu or verdict")

    assert ran.code == 0, ran.out
    assert "CLEAN-PARTIAL (exit code 0)" in ran.out
    assert ran.run["info"]["selection"] == "chosen by pytest"
    assert ran.run["info"]["not_selected"] > 1000
    assert {one["id"] for one in ran.run["verdict"]["requirements"] if one["result"] == "met"} >= {"IF-001"}
    assert (ran.folder / "out" / "junit.xml").is_file()


def test_the_smoke_level_of_a_profile_gives_the_verdict_of_a_run(session: Callable[..., Ran]) -> None:
    ran = session("-q", "--conformance-level=smoke", declares={"operators": ENOUGH})

    assert ran.code == 0, ran.out
    assert "CLEAN-PARTIAL (exit code 0)" in ran.out
    assert (ran.run["info"]["level"], ran.run["info"]["selection"]) == ("smoke", "")
    asked = [one for one in ran.run["verdict"]["requirements"] if one["level"] == "MUST" and one["applies"]]
    assert {one["result"] for one in asked} == {"met"}
    command = [sys.executable, "-m", "conformance", "run", str(ran.folder / "device.yaml"), "--level", "smoke"]
    done = subprocess.run([*command, "--out", str(ran.folder / "again")], capture_output=True, timeout=300, check=False)
    told = json.loads((ran.folder / "again" / "run.json").read_text(encoding="utf-8"))
    assert done.returncode == ran.code
    assert told["verdict"] == ran.run["verdict"]


@pytest.mark.peer
def test_the_whole_profile_gives_the_verdict_of_a_run(session: Callable[..., Ran]) -> None:
    """Thousands of cases, so `nox -s peers` runs it."""
    ran = session("-q", declares={"operators": ENOUGH})

    assert ran.code == 0, ran.out
    assert "CONFORMANT (exit code 0)" in ran.out
    assert ran.run["info"]["not_selected"] == 0
    assert not ran.run["verdict"]["partial"]


def test_collecting_touches_no_device(session: Callable[..., Ran]) -> None:
    ran = session("--collect-only", "-q", *GATE)

    assert ran.code == 0, ran.out
    assert f"device.yaml::{VICTIM}" in ran.out
    assert not (ran.folder / "out").exists()


@pytest.mark.parametrize(
    ("behaviour", "outcome", "words"),
    [
        ("wrong-value", "failed", "FAIL: difference["),
        ("segv", "failed", "CRASH: the child died of SIGSEGV"),
        ("no-witness", "error", "UNMEASURED: placement not shown"),
    ],
)
def test_a_bad_device_fails_where_it_is_bad(
    session: Callable[..., Ran], behaviour: str, outcome: str, words: str
) -> None:
    ran = session(
        "-q", *GATE, options={"behaviour": behaviour, "trigger": "" if behaviour == "no-witness" else "Transpose"}
    )

    assert ran.code == 1, ran.out
    assert outcome in ran.out
    assert words in ran.out
    assert "again: conformance run" in ran.out
    assert ran.run["verdict"]["exit_code"] in (20, 30)


def test_the_session_fails_although_every_item_that_was_left_is_green(session: Callable[..., Ran]) -> None:
    """Under accelerator-card, MUSTs without a check stay open; here they and the verdict are deselected."""
    device = {"category": "accelerator-card", "hardware": "npu"}
    ran = session("-q", "-k", "registration", device=device)
    assert (ran.code, ran.run["verdict"]["name"]) == (0, "CLEAN-PARTIAL"), ran.out

    whole = session("-q", "-m", "not operators", "--conformance-level=smoke", device=device)
    assert whole.code == 1
    assert "open: no check yet" in whole.out


def test_nothing_chosen_is_nothing_shown(session: Callable[..., Ran]) -> None:
    ran = session("-q", "-k", "verdict", options={"behaviour": "wrong-value"})

    assert ran.code == 1
    assert "no case of the profile was chosen, so nothing was shown" in ran.out


def test_a_waived_fault_is_skipped_and_the_session_fails_all_the_same(
    session: Callable[..., Ran], tmp_path: Path
) -> None:
    waiver = {"case": "interface/*", "reason": "known", "owner": "lab", "issued": "2026-11-01", "expires": "2999-12-31"}
    bench = tmp_path / "bench.yaml"
    bench.write_text(json.dumps({"conformance": 1, "bench": {"lab": "L"}, "waivers": [waiver]}), encoding="utf-8")
    bad = {"behaviour": "wrong-value", "trigger": "Transpose"}
    ran = session("-q", "-m", "interface", "--conformance-bench", str(bench), options=bad)

    assert ran.run["verdict"]["name"] == "CONDITIONAL"
    assert ran.code == 1, "conformance run would exit 10"
    assert " skipped" in ran.out


def test_the_first_failure_stops_the_session_with_valid_reports(session: Callable[..., Ran]) -> None:
    ran = session("-q", "-x", *GATE, options={"behaviour": "wrong-value", "trigger": "Relu"})

    assert ran.code == 1, ran.out
    assert "stopping after 1 failures" in ran.out
    assert "NOT_RUN" in ran.run["verdict"]["counts"]
    lines = (ran.folder / "out" / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == ran.run["info"]["planned"]


def test_junit_of_pytest_carries_the_device_in_the_class_name(session: Callable[..., Ran], tmp_path: Path) -> None:
    session("-q", "-k", "output-contract", f"--junitxml={tmp_path / 'j.xml'}")
    (case,) = ET.parse(tmp_path / "j.xml").getroot().iter("testcase")

    assert (case.get("classname"), case.get("name")) == ("Lab/M.interface.session", "output-contract")


def test_a_profile_that_is_wrong_is_told_with_line_and_column(session: Callable[..., Ran]) -> None:
    ran = session("-q", text="conformance: 1\ndevice: {vendor: A, model: B, category: host-reference}\nruntme: {}\n")

    assert ran.code == 2
    assert "device.yaml:3:1: " in ran.out
    assert "did you mean 'runtime'" in ran.out


def test_a_device_in_use_is_an_error_of_every_item_and_told_once_each(
    session: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from conformance.execution.lock import DeviceLock
    from conformance.paths import cache_folder

    with DeviceLock(cache_folder(), "misbehaving:CPUExecutionProvider::"):
        ran = session("-q", "-k", "registration or output-contract")
    assert ran.code == 1
    assert "2 errors" in ran.out
    assert "is in use by process" in ran.out


@pytest.mark.parametrize(
    ("text", "is_claimed"),
    [
        ("conformance: 1\ndevice: {vendor: A}\n", True),
        ('{"conformance": 1, "device": {}}', True),
        ("# a comment\nconformance: 1\n\ndevice:\n  vendor: A\n", True),
        ("\ufeffconformance: 1\ndevice: {vendor: A}\n", True),
        ("services:\n  web: {image: x}\n", False),
        ("conformance: 1\nbench: {lab: L}\n", False),
        ("device: {vendor: A}\n", False),
        ("# conformance: 1\n# device: x\n", False),
        ("", False),
    ],
)
def test_only_device_profiles_are_claimed(text: str, is_claimed: bool) -> None:
    assert pytest_plugin.is_claimed(text.encode()) == is_claimed


def test_a_foreign_session_loads_nothing_of_ours_but_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("def test_a(): pass\n", encoding="utf-8")
    (tmp_path / "other.yaml").write_text("a: 1\n", encoding="utf-8")
    script = (
        "import sys, pytest\n"
        "code = pytest.main(['-q', '-p', 'no:cacheprovider', '-c', '/dev/null', '.'])\n"
        "ours = sorted(name for name in sys.modules if name.split('.')[0] in ('conformance', 'numpy', 'onnx', 'pydantic'))\n"
        "print(ours); sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "['conformance', 'conformance.pytest_plugin']"


def test_a_worker_of_xdist_is_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("def pytest_configure(config): config.workerinput = {}\n", encoding="utf-8")
    profile = tmp_path / "d.yaml"
    profile.write_text("conformance: 1\ndevice: {vendor: A, model: B, category: host-reference}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", str(profile)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "run without -n (the harness has workers of its own" in done.stdout


def test_the_door_knows_the_levels_without_loading_them() -> None:
    from conformance import levels, pytest_plugin

    assert pytest_plugin.LEVELS == levels.LEVELS
    assert pytest_plugin.LEVELS[1] == levels.FULL
