"""Lets the modules of this folder find `misbehaving.harness`, under every import mode of pytest, and warms the cache of its runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

TESTS = str(Path(__file__).resolve().parent.parent)
if TESTS not in sys.path:
    sys.path.append(TESTS)


@pytest.fixture(scope="session", autouse=True)
def warm_cache(suite_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Make the operator cases and their limits before any run: each has a time limit, which is not for making those."""
    from misbehaving.harness import write_profile

    from conformance.prepare import make_plan, prepare

    loaded, _ = prepare(str(write_profile(tmp_path_factory.mktemp("warm"))))
    _, context = make_plan(loaded, selection="operators/ai.onnx.Abs-*")
    context.suite().hold()
