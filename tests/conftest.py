"""What every test shares: a cache of its own for the session, the checkout, and the harness as a user starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
MADE_ONCE = ("onnx-suite", "made", "suite-limits", "references")
"""Folders of the cache that hold what takes seconds to make and is the same for all: every writer replaces whole files."""
Conformance = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session", autouse=True)
def suite_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache folder for the session: the operator suite is made once, and the user's own cache stays as it is.

    Workers of pytest-xdist share what is made, through links, and keep their device locks apart: two workers may have the
    same device in use at the same time.
    """
    folder = tmp_path_factory.mktemp("cache")
    if os.environ.get("PYTEST_XDIST_WORKER"):
        for name in MADE_ONCE:
            shared = tmp_path_factory.getbasetemp().parent / "shared-cache" / name
            shared.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(shared)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONFORMANCE_CACHE", str(folder))
        patch.delenv(
            "PYTHONDONTWRITEBYTECODE", raising=False
        )  # else each of a thousand children compiles the package anew
        patch.delenv("COLUMNS", raising=False)  # workers of pytest-xdist have 80, and what is printed is compared
        yield folder


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The folder that holds pyproject.toml."""
    return CHECKOUT


@pytest.fixture
def conformance(tmp_path: Path) -> Conformance:
    """Run the command line in a process of its own, in an empty folder: `conformance("run", "--level", "smoke")`."""

    def call(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        given: dict[str, object] = {"cwd": tmp_path, "timeout": 300, "env": dict(os.environ)} | options
        command = [sys.executable, "-m", "conformance", *arguments]
        return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, **given)  # type: ignore[call-overload,no-any-return]

    return call
