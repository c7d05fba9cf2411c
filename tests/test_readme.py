"""The documents keep their word: every command in README.md and docs/ is executed, links lead somewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
PAGES = [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# (\S+\.yaml)\n")
EXPECTED = re.compile(r"\s+# exit (\d+)$")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
NEEDS_MORE = CHECKOUT / "docs" / "findings"
"""Findings are about devices that this environment does not hold; `nox -s peers` runs those."""


class Command(NamedTuple):
    """One line of a page, and the exit code that the page promises."""

    line: str
    code: int


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of a page in one language."""
    return [body for found, body in FENCE.findall(page.read_text(encoding="utf-8")) if found == language]


def commands(page: Path) -> list[Command]:
    """Return the `conformance …` lines of a page; `# exit N` behind one says how it ends, 0 if nothing."""
    found = []
    for line in "".join(blocks(page, "sh")).splitlines():
        if line.startswith("conformance "):
            expected = EXPECTED.search(line)
            found.append(Command(EXPECTED.sub("", line), int(expected[1]) if expected else 0))
    return found


def is_runnable_here(page: Path) -> bool:
    """Return whether the page's commands need no device beyond the reference."""
    return NEEDS_MORE not in page.parents and bool(commands(page))


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """An environment in which `conformance` is the one under test."""
    folder = tmp_path / ".bin"
    folder.mkdir()
    script = folder / "conformance"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m conformance "$@"\n')
    script.chmod(0o755)
    return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_the_readme_shows_commands() -> None:
    assert len(commands(CHECKOUT / "README.md")) >= 10
    assert {one.code for one in commands(CHECKOUT / "README.md")} == {0, 2, 20, 30}


@pytest.mark.parametrize("page", list(filter(is_runnable_here, PAGES)), ids=lambda page: page.name)
def test_every_command_of_a_page_does_what_the_page_says(page: Path, tmp_path: Path, shell: dict[str, str]) -> None:
    """In order, in one folder that starts out with the YAML files that the page shows."""
    for body in blocks(page, "yaml"):
        named = FILE_NAME.match(body)
        if named:
            (tmp_path / named[1]).write_text(body, encoding="utf-8")
    for line, code in commands(page):
        done = subprocess.run(
            line, shell=True, cwd=tmp_path, env=shell, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == code, f"{line}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_inside_the_repository_leads_somewhere(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_table_of_devices_is_the_folder_of_devices() -> None:
    section = (CHECKOUT / "README.md").read_text(encoding="utf-8").partition("## Devices")[2].partition("\n## ")[0]
    named = [
        name for row in re.findall(r"^\| (`.+?`) \|", section, re.MULTILINE) for name in re.findall("`(.+?)`", row)
    ]
    assert sorted(named) == sorted(path.stem for path in (CHECKOUT / "profiles" / "devices").glob("*.yaml"))


def test_continuous_integration_runs_the_readmes_test_command_word_for_word() -> None:
    first, second = blocks(CHECKOUT / "README.md", "sh")[:2]
    assert first.rstrip().endswith(".venv/bin/conformance run --level smoke")
    script = (CHECKOUT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert second.strip() in script
    assert "\n" not in second.strip()
    assert os.access(CHECKOUT / ".ci" / "run", os.X_OK)


@pytest.mark.setup
def test_the_first_command_sets_up_and_runs_the_main_job(tmp_path: Path) -> None:
    """On a copy of what git tracks, with a home of its own, as a new user would."""
    copy = tmp_path / "checkout"
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    tracked = subprocess.run(listed, cwd=CHECKOUT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, tracked):
        if (CHECKOUT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, copy / name)
    dropped = ("CONFORMANCE_", "PYTEST_", "COV", "VIRTUAL_ENV", "PYTHON")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    environment |= {"HOME": str(tmp_path / "home"), "PATH": "/usr/local/bin:/usr/bin:/bin"}
    (tmp_path / "home").mkdir()
    done = subprocess.run(
        blocks(CHECKOUT / "README.md", "sh")[0],
        shell=True,
        cwd=copy,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "CLEAN-PARTIAL against host-reference" in done.stdout
    (run,) = (copy / "conformance-runs").iterdir()
    assert {"junit.xml", "run.json", "cases.jsonl"} <= {path.name for path in run.iterdir()}
