"""Profiles as texts, and what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conformance.errors import ProfileError
from conformance.profile.loader import LoadedProfile, load_device

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MINIMAL = """\
conformance: 1
device: {vendor: Acme, model: A1, category: host-reference}
runtime: {adapter: onnxruntime, provider: AcmeExecutionProvider}
declares:
  opsets: {ai.onnx: [13, 21]}
  types: [float32]
"""


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
