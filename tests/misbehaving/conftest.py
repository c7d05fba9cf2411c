"""Lets the modules of this folder find `misbehaving.harness`, under every import mode of pytest."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = str(Path(__file__).resolve().parent.parent)
if TESTS not in sys.path:
    sys.path.append(TESTS)
