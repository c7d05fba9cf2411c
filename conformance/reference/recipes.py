"""Recipes: operator cases of our own, told by id and made from a seed when they run.

A recipe says what a case claims (operator version, attributes, types, opset), so that it can be planned by the thousand
without building a model; `make` builds model and inputs from a random generator that depends on the case id, the seed and the
certifier's challenge alone. What the outputs should be is either known exactly (`expected`) or worked out from the model by
the tier that the recipe names.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.reference.entries import OperatorUse
    from conformance.tensors import Array, Value

SEED = 20261124
Tier = Literal["exact", "bound", "spread", "discrete", "rate"]
"""`exact`: every bit; `bound`: the operator's own arithmetic (tier 2); `spread`: Monte Carlo arithmetic (tier 3);
`discrete`: indices, wherever the reference's margin decides; `rate`: quantised, at most one step, and seldom."""


class Made(NamedTuple):
    """A recipe carried out."""

    model: bytes
    datasets: list[dict[str, Array]]
    """Inputs by graph input name, each in the tensor type of the graph."""
    expected: list[dict[str, Value]] | None = None
    """The outputs by name, where they are known exactly; None where the tier works them out."""


class Needs(NamedTuple):
    """What an exact probe asks of the declared precision: a device that declares less is not asked."""

    operand_bits: int = 0
    """Significant bits of the operands of a contraction or sum."""
    sum_bits: int = 0
    """Significant bits that hold every partial sum, in any order."""
    result_bits: int = 0
    """Significant bits of the results, and of whatever passes through unchanged."""
    largest: float = 0.0
    """The largest magnitude that has to be held."""
    subnormals: bool = False
    """Subnormals have to be kept."""
    plain_convolution: bool = False
    """Products have to be summed as they are: Winograd and Fourier transforms change integer results by rounding."""


class Recipe(NamedTuple):
    """One case of ours."""

    case_id: str
    """`operators/ai.onnx.Add-14/float32/made/broadcast-cancelling`, or `exact/…` for tier 1."""
    uses: tuple[OperatorUse, ...]
    """Every operator of the model."""
    types: tuple[str, ...]
    """Every tensor element type of the model, sorted."""
    opset_imports: dict[str, int]
    tier: Tier
    kind: str
    """The floating-point type whose declared precision applies; empty where there is none."""
    make: Callable[[np.random.Generator], Made]
    smoke: bool = False
    """Whether it is run on the smoke level: one per operator and type at most."""
    outputs: tuple[str, ...] = ()
    """Names of the outputs in graph order, where the index of cases has no other way to know them."""
    advisory: str = ""
    """Not empty: the text of the operator is silent here; a difference is told, not judged, and this says why."""
    needs: Needs = Needs()
    """For tier `exact`: what the declared precision has to hold."""
    keeps_zero_sign: bool = False
    """For tier `exact`: -0 is another result than +0."""


def generator(case_id: str, challenge: str = "") -> np.random.Generator:
    """Return the random generator of a case: PCG64 from BLAKE2b over seed, challenge and case id."""
    text = f"{SEED}\0{challenge}\0{case_id}".encode()
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little"))


def carry_out(recipe: Recipe, challenge: str = "") -> Made:
    """Return the model and inputs of a recipe: the same for the same id, seed and challenge."""
    return recipe.make(generator(recipe.case_id, challenge))
