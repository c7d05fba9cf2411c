"""docs/numerics.md, executed: its examples hold as they stand, one after another."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parent.parent / "docs" / "numerics.md"


def test_the_worked_examples_hold() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    told: dict[str, Any] = {}
    for block in blocks:
        exec(block, told)  # noqa: S102 - our own page
