"""docs/extending.md, executed: its files are taken from the page, installed as it says, and give the verdict that it promises."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conformance.checks.support.witnessing import judge_placement
from conformance.records import Outcome, Witness

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
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=590, check=False
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

    done = _conformance(project, "run", "abacus.yaml", "--level", "smoke", "--out", "out")

    assert done.returncode == int(code), done.stdout[-3000:]
    verdict = json.loads((project / "out" / "run.json").read_text())["verdict"]
    results = {one["id"]: one["result"] for one in verdict["requirements"]}
    assert verdict["name"] == name
    assert results == {
        "IF-001": "met",
        "PL-001": "open",  # the Abacus has no witness
        "OP-001": "met",
        "OP-003": "met",
        "SES-001": "met",
        "SES-002": "met",
        "SES-003": "met",
        "SHP-001": "met",
        "NUM-001": "open",
        "NUM-003": "open",
        "DET-001": "open",  # as NUM-001: no reference model is claimed
        "NUM-004": "met",
        "NUM-005": "open",  # a SHOULD, of which the smoke level has no case
        "LAT-001": "not applicable",  # nothing is declared
        "PWR-001": "not applicable",
        "THM-001": "not applicable",
        "MR-001": "not met",
    }


def test_the_witnesses_of_the_page_show_a_device_in_place() -> None:
    (source,) = re.findall(
        r"^```python\n( *def _witnesses.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    told: dict[str, Any] = {"Witness": Witness}
    exec(textwrap.dedent(source), told)  # noqa: S102 - our own page

    def place(host: int, operators: tuple[str, ...]) -> Outcome:
        counts = {"Abacus": 7, "host": host}
        program = SimpleNamespace(nodes_by_device=lambda: counts, host_operators=lambda: operators)
        witnesses = told["_witnesses"](SimpleNamespace(_program=program))
        return judge_placement(witnesses, "Abacus", allowed_host_ops=["Shape"]).outcome

    assert place(0, ()) is Outcome.PASS
    assert place(1, ("MatMul",)) is Outcome.FAIL


def test_an_adapter_that_is_wrong_is_told_what_the_page_says(project: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    shutil.copytree(project / "site", site)
    right = (site / "abacus.py").read_text()
    environment = os.environ | {"PYTHONPATH": str(site)}
    select = ["--case", "interface/session/output-contract"]
    returns = "return list(zip(self._program.output_names, results, strict=True))"
    for number, (old, new, code, words) in enumerate(
        [
            (returns, "return dict(zip(self._program.output_names, results))", 20, "pairs, returned a dict"),
            (
                "results = self._program.run(None, feeds)",
                "results = feeds['?']",
                20,
                r"KeyError: '\?' \(abacus.py:\d+ in _infer\)",
            ),
            ('hardware="cpu")', "hardware=7)", 20, "Identity.hardware must be a text, is a int"),
            ("    Options = Options\n", "", 2, r"runtime 'abacus' has no Options \(a msgspec.Struct\)"),
        ]
    ):
        assert right.count(old) == 1
        (site / "abacus.py").write_text(right.replace(old, new))
        command = [sys.executable, "-B", "-m", "conformance", "run", str(project / "abacus.yaml"), *select]
        command += ["--out", str(tmp_path / f"out{number}")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        said = " ".join((done.stdout + done.stderr).split())
        assert (done.returncode, bool(re.search(words, said))) == (code, True), said[-3000:]
