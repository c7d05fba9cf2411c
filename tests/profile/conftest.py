"""Profiles as texts, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conformance.errors import ProfileError
from conformance.profile.loader import LoadedProfile, load_device

if TYPE_CHECKING:
    from collections.abc import Callable

MINIMAL = """\
conformance: 1
device: {vendor: Acme, model: A1, category: host-reference}
runtime: {adapter: onnxruntime, provider: AcmeExecutionProvider}
declares:
  opsets: {ai.onnx: [13, 21]}
  types: [float32]
"""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Read the cases of a test from `cases/NAME.txt`, where the test's module says `CASES = {test: NAME}`.

    A case is three lines: `- ` what stands in the file, `+ ` what replaces it, `= ` the line that must be reported.
    """
    name = getattr(metafunc.module, "CASES", {}).get(metafunc.function.__name__)
    if name is None:
        return
    text = (Path(__file__).parent / "cases" / f"{name}.txt").read_text(encoding="utf-8")
    cases: list[list[str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line[:2] in {"- ", "+ ", "= "}:
            part = "" if line[2:] == "(nothing)" else line[2:].replace("\\n", "\n").replace("\\\\", "\\")
            if line[0] == "-":
                cases.append([])
            assert len(cases[-1]) == "-+=".index(line[0]), f"{name}.txt:{number}: out of order"
            cases[-1].append(part)
        else:
            assert not line or line.startswith("#"), f"{name}.txt:{number}: {line}"
    assert cases
    metafunc.parametrize(("old", "new", "line"), cases, ids=[case[2][:60] for case in cases])


@pytest.fixture
def minimal() -> str:
    """The least that a device profile needs; `declares` stands last and in block style, so tests append to it."""
    return MINIMAL


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Write a file into the working folder and return the name by which it is reached."""
    monkeypatch.chdir(tmp_path)

    def _write(text: str | bytes, name: str = "p.yaml") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return name

    return _write


@pytest.fixture
def load(write: Callable[..., str]) -> Callable[[str | bytes], LoadedProfile]:
    """Load a device profile from its text."""
    return lambda text: load_device(write(text))


@pytest.fixture
def defects(write: Callable[..., str]) -> Callable[..., list[str]]:
    """Return the defects of a device profile, each without the file's name; an empty list where it loads."""

    def _defects(text: str | bytes) -> list[str]:
        name = write(text)
        try:
            load_device(name)
        except ProfileError as error:
            assert all("\n" not in line for line in error.defects)
            return [line.removeprefix(f"{name}:") for line in error.defects]
        return []

    return _defects
