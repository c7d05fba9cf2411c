"""What inputs are filled with: seeded values in float64, by name, before they are narrowed to the type of the tensor.

`wide` and `subnormal` depend on the range of the type; the others do not. Values stay where operators are defined and results
do not overflow, unless a draw says otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conformance.errors import HarnessError
from conformance.numerics.formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.tensors import Array

Draw = "Callable[[np.random.Generator, tuple[int, ...], str, Array | None], Array]"


def draw(name: str, rng: np.random.Generator, shape: tuple[int, ...], kind: str, before: Array | None) -> Array:
    """Return values of a shape; `before` is the input drawn just before, which `cancelling` answers to."""
    try:
        make = DRAWS[name]
    except KeyError:
        raise HarnessError(f"no data is called '{name}'") from None
    return np.asarray(make(rng, shape, kind, before), dtype=np.float64).reshape(shape)


def _normal(rng: np.random.Generator, shape: tuple[int, ...], _kind: str, _before: Array | None) -> Array:
    return rng.standard_normal(shape)


def _uniform(low: float, high: float) -> Callable[..., Array]:
    def make(rng: np.random.Generator, shape: tuple[int, ...], _kind: str, _before: Array | None) -> Array:
        return rng.uniform(low, high, shape)

    return make


def _scaled(by: float, limit: float) -> Callable[..., Array]:
    def make(rng: np.random.Generator, shape: tuple[int, ...], _kind: str, _before: Array | None) -> Array:
        return np.clip(rng.standard_normal(shape) * by, -limit, limit)

    return make


def _wide(rng: np.random.Generator, shape: tuple[int, ...], kind: str, _before: Array | None) -> Array:
    """Return values whose exponents spread far, yet not so far that a product or a sum of many overflows."""
    reach = 4 if kind == "float16" else 20
    return _signs(rng, shape) * np.exp2(rng.uniform(-reach, reach, shape))


def _cancelling(rng: np.random.Generator, shape: tuple[int, ...], _kind: str, before: Array | None) -> Array:
    """Return what nearly cancels: against the input before where shapes agree, else within the tensor, pair by pair."""
    if before is not None and before.shape == shape and before.dtype == np.float64:
        return -before * (1 + rng.uniform(-1, 1, shape) * 2.0**-6)
    values = rng.standard_normal(shape)
    flat = values.reshape(-1)
    half = flat.size // 2
    flat[half : 2 * half] = -flat[:half] * (1 + rng.uniform(-1, 1, half) * 2.0**-6)
    return np.asarray(flat.reshape(shape))


def _nonzero(rng: np.random.Generator, shape: tuple[int, ...], _kind: str, _before: Array | None) -> Array:
    return _signs(rng, shape) * np.exp2(rng.uniform(-2, 2, shape))


def _ties(rng: np.random.Generator, shape: tuple[int, ...], _kind: str, _before: Array | None) -> Array:
    return rng.integers(-6, 7, shape) / 2


def _subnormal(rng: np.random.Generator, shape: tuple[int, ...], kind: str, _before: Array | None) -> Array:
    """Return multiples of the smallest subnormal, some of them normal."""
    form = FORMATS[kind]
    return _signs(rng, shape) * rng.integers(1, 1 << (form.bits + 1), shape) * form.step


def _distinct(rng: np.random.Generator, shape: tuple[int, ...], _kind: str, _before: Array | None) -> Array:
    """Return different numbers in random order: multiples of 1/8, exact in every type up to 250 of them."""
    count = int(np.prod(shape, dtype=np.int64))
    return (rng.permutation(count) - count // 2).reshape(shape) / 8


def _signs(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.integers(0, 2, shape) * 2.0 - 1


def _below(count: int) -> Callable[..., Array]:
    def make(rng: np.random.Generator, shape: tuple[int, ...], _kind: str, _before: Array | None) -> Array:
        return rng.integers(0, count, shape)

    return make


DRAWS: dict[str, Callable[..., Array]] = {
    "normal": _normal,
    "positive": _uniform(0.05, 2.0),
    "wide": _wide,
    "cancelling": _cancelling,
    "broad": _scaled(2.5, 8.0),
    "small": _scaled(2.0**-6, 1.0),
    "ties": _ties,
    "subnormal": _subnormal,
    "distinct": _distinct,
    "nonzero": _nonzero,
    "unit": _uniform(-0.95, 0.95),
    "whole-unit": _uniform(-1.0, 1.0),
    "above-one": _uniform(1.05, 9.0),
    "near-one": _uniform(0.8, 1.25),
    "probability": _uniform(0.02, 0.98),
    "angle": _uniform(-7.0, 7.0),
    "slope": _uniform(-1.3, 1.3),
    "weight": _scaled(0.4, 1.2),
    "variance": _uniform(0.3, 2.5),
    "bits": _below(2),
    "three": _below(3),
    "five": _below(5),
    "byte": _below(255),
    "sbyte": lambda rng, shape, _kind, _before: rng.integers(-127, 128, shape),
    "nibble": _below(15),
    "snibble": lambda rng, shape, _kind, _before: rng.integers(-7, 8, shape),
    "exponent": lambda rng, shape, _kind, _before: rng.integers(-3, 4, shape),
}
