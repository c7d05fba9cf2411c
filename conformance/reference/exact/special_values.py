"""Special values of each type, and probes whose values are fixed and only their order is drawn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.numerics.formats import FORMATS
from conformance.reference.exact.building import Drawn, probe
from conformance.reference.recipes import Needs

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.reference.recipes import Recipe
    from conformance.tensors import Array

Pairs = tuple[list["Array"], "Array"]
"""The inputs of one node, scalars or as long as its output, and the output."""
NAN, INF = math.nan, math.inf


def largest_of(kind: str) -> float:
    """Return the largest finite value of a type, as a float64."""
    form = FORMATS[kind]
    return form.largest if math.isfinite(form.largest) else float(np.finfo(np.float64).max)


def whole_type(kind: str, *, subnormals: bool = False) -> Needs:
    """Return that the type is held as it is, its range included."""
    bits = FORMATS[kind].bits
    return Needs(
        operand_bits=bits, sum_bits=min(bits, 24), result_bits=bits, largest=largest_of(kind), subnormals=subnormals
    )


def finite_of(kind: str) -> list[float]:
    """Return zeros, small numbers, the smallest normal and the largest finite values of a type, each of both signs."""
    least, most = FORMATS[kind].nmin, largest_of(kind)
    return [0.0, -0.0, 1.0, -1.0, 1.5, -2.5, 3.0, least, -least, most, -most]


def subnormals_of(kind: str) -> list[float]:
    """Return the smallest, a small and the largest subnormal value of a type, of both signs."""
    form = FORMATS[kind]
    return [form.step, -form.step, 3 * form.step, form.nmin - form.step, -(form.nmin - form.step)]


def fixed(op: str, opset: int, kind: str, name: str, values: Callable[[], Pairs], **given: Any) -> Recipe:
    """Return the recipe of a node whose inputs and output `values` gives; only their order is drawn."""

    def draw(rng: np.random.Generator) -> Drawn:
        inputs, output = values()
        # The same values in another order each time: which lane of a vector unit one falls into is chance.
        order = rng.permutation(len(output))
        return Drawn([one[order] if one.ndim else one for one in inputs], [output[order]])

    return probe(op, opset, kind, name, draw, **given)
