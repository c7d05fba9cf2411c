"""References of ours for operators outside ONNX that exports of language models use (`com.microsoft`).

Written from the operators' published descriptions; each as a body of ONNX's own operators (`body.py`, `lowering.py`), which is
evaluated in float64, perturbed inside by Monte Carlo arithmetic, or bounded (`judging.py`). The `*_cases.py` hold cases at the
layer shapes of published models, `listing.py` makes recipes of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.reference.recipes import Recipe


def recipes() -> Iterator[Recipe]:
    """Yield every recipe of this family; see `listing`."""
    from conformance.reference.contrib import listing

    yield from listing.recipes()
