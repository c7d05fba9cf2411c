"""Labelled synthetic data, one module per task: `SAMPLES`, `draw(count, salt)` and `is_right(outputs, labels)`."""

from __future__ import annotations

import importlib
import re
from typing import Any

from conformance.errors import HarnessError


def find_task(name: str) -> Any:
    """Return the module of a task; HarnessError where there is none."""
    if re.fullmatch(r"[a-z][a-z0-9_]*", name):
        try:
            return importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError:
            pass
    raise HarnessError(f"there is no task '{name}'")
