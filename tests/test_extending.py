"""docs/extending.md, executed: its files are taken from the page, installed as it says, and give the verdict that it promises."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parent.parent / "docs" / "extending.md"
FILES = re.compile(r"^```\w+\n# (\S+\.(?:py|toml|yaml))\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMISED = re.compile(r"ends (\S+), exit code (\d+)")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's files in a folder, and beside them in `site` what installing them gives."""
    folder = tmp_path_factory.mktemp("abacus")
    for name, content in FILES.findall(PAGE.read_text(encoding="utf-8")):
        (folder / name).write_text(content, encoding="utf-8")
    options = ("--quiet", "--no-build-isolation", "--no-deps", "--target", str(folder / "site"))
    install = [sys.executable, "-m", "pip", "install", *options, str(folder)]
    done = subprocess.run(install, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def _conformance(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(project / "site")}
    command = [sys.executable, "-m", "conformance", *arguments]
    return subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_page_has_the_files_it_speaks_of(project: Path) -> None:
    assert {"abacus.py", "pyproject.toml", "abacus.yaml"} <= {path.name for path in project.iterdir()}


def test_the_profile_is_valid_and_its_options_are_the_adapter_s(project: Path) -> None:
    assert _conformance(project, "check", "abacus.yaml").returncode == 0
    wrong = (project / "abacus.yaml").read_text().replace("beads: 7", "beads: many")
    (project / "wrong.yaml").write_text(wrong)

    done = _conformance(project, "check", "wrong.yaml")

    assert done.returncode == 2
    assert "beads" in done.stderr


def test_the_device_gets_the_verdict_that_the_page_promises(project: Path) -> None:
    name, code = PROMISED.findall(" ".join(PAGE.read_text(encoding="utf-8").split()))[0]

    done = _conformance(project, "run", "abacus.yaml", "--out", "out")

    assert done.returncode == int(code), done.stdout[-3000:]
    verdict = json.loads((project / "out" / "run.json").read_text())["verdict"]
    results = {one["id"]: one["result"] for one in verdict["requirements"]}
    assert verdict["name"] == name
    assert results["OP-001"] == "met"
    assert results["MR-001"] == "not met"
    assert results["NUM-001"] == "open"
