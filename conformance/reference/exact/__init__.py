"""Tier 1: exact probes. What must be exact in any order of summation, in any correct implementation, is asked bit for bit.

Each module yields recipes of one kind, with the expected outputs from integer arithmetic or from IEEE 754's rules written
out: no runtime and no evaluator has a part in them.

- `contractions`: MatMul, Gemm, Einsum on integers, around the widths of units; wide sums, wide operands, the range
- `convolutions`, `pools`, `reductions`: the same for windows and axes
- `arithmetic`: every integer type to the ends of its range, shifts, remainders, comparisons, running sums
- `casting`, `quantising`: ties to even, saturation, what is discarded and what is cut off
- `moving`, `indexing`: where each element goes, which index is meant
- `specials`, `choices`: NaN, infinities, signed zeros, subnormals, the largest finite number
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conformance.reference.recipes import Recipe


@cache
def recipes() -> tuple[Recipe, ...]:
    """Return every exact probe, in a fixed order; onnx is loaded for the versions of the operators."""
    from conformance.reference.exact import (
        arithmetic,
        casting,
        choices,
        contractions,
        convolutions,
        indexing,
        moving,
        pools,
        quantising,
        reductions,
        specials,
    )

    kinds = (
        contractions, convolutions, pools, reductions, arithmetic, casting, quantising, moving, indexing, specials, choices,
    )  # fmt: skip
    return tuple(recipe for kind in kinds for recipe in kind.recipes())
