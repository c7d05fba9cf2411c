"""The CPU provider, bound; and a way to find `adapters.models`, under every import mode of pytest."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conformance.adapters.runtime.onnxruntime import Adapter

TESTS = str(Path(__file__).resolve().parent.parent)
if TESTS not in sys.path:
    sys.path.append(TESTS)


@pytest.fixture
def cpu(tmp_path: Path) -> Adapter:
    """The CPU provider, bound."""
    from adapters.models import opened

    return opened(tmp_path)
