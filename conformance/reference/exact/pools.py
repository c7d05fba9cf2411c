"""Pools: maxima of values below zero, where padding with 0 shows, and means over windows of a power of two of elements."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conformance.reference.exact.building import FLOATS, Drawn, distinct, each, find_version, integers, of, probe
from conformance.reference.exact.windows import Window, slide

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.reference.recipes import Recipe
    from conformance.tensors import Array

LOWEST = -(2**62)
SHAPES: dict[str, tuple[tuple[int, ...], Window]] = {
    "1d": ((2, 3, 17), Window.of((3,), (2,))),
    "2d": ((1, 3, 8, 8), Window.of((2, 2), (2, 2))),
    "2d-pads": ((2, 2, 7, 6), Window.of((3, 3), (2, 2), pads=(1, 1, 1, 1))),
    "2d-pads-uneven": ((1, 2, 6, 7), Window.of((3, 4), (1, 2), pads=(0, 2, 1, 1))),
    "2d-dilation": ((1, 2, 9, 8), Window.of((2, 3), dilations=(3, 2))),
    "3d": ((1, 2, 4, 5, 6), Window.of((2, 2, 3), (1, 2, 1))),
}
MEANS: dict[str, tuple[tuple[int, ...], Window, int]] = {
    "1d": ((2, 3, 16), Window.of((4,), (2,)), 0),
    "2d": ((1, 3, 8, 8), Window.of((2, 2), (2, 2)), 0),
    "2d-pads": ((2, 2, 7, 6), Window.of((2, 2), (1, 1), pads=(1, 1, 1, 1)), 0),
    "2d-pads-counted": ((2, 2, 7, 6), Window.of((2, 4), (2, 1), pads=(1, 0, 0, 2)), 1),
    "3d": ((1, 2, 4, 5, 6), Window.of((2, 2, 2), (2, 1, 1)), 0),
}


def recipes() -> Iterator[Recipe]:
    """Yield the probes."""
    for opset, kind in each("MaxPool", (*FLOATS, "int8", "uint8")):
        yield from _maxima(opset, kind)
    for opset, kind in each("AveragePool", FLOATS):
        yield from _averages(opset, kind)
    for op in ("GlobalAveragePool", "GlobalMaxPool"):
        for opset, kind in each(op, FLOATS):
            yield from _global(op, opset, kind)


def _maxima(opset: int, kind: str) -> Iterator[Recipe]:
    for name, (shape, window) in SHAPES.items():

        def draw(rng: np.random.Generator, shape: tuple[int, ...] = shape, window: Window = window) -> Drawn:
            x = _below_zero(rng, kind, shape)
            windows = slide(x, window, LOWEST)
            return Drawn([of(kind, x)], [of(kind, windows.reshape(*windows.shape[: len(shape)], -1).max(axis=-1))])

        yield probe("MaxPool", opset, kind, name, draw, attributes=window.attributes)
    for lower in (False, True):
        shape, window = (1, 2, 7, 6), Window.of((3, 4), (2, 2))
        auto_pad = "SAME_LOWER" if lower else "SAME_UPPER"

        def same(
            rng: np.random.Generator, shape: tuple[int, ...] = shape, lower: bool = lower, window: Window = window
        ) -> Drawn:
            x = _below_zero(rng, kind, shape)
            windows = slide(x, window.padded_for(shape[2:], lower=lower), LOWEST)
            return Drawn([of(kind, x)], [of(kind, windows.reshape(*windows.shape[:4], -1).max(axis=-1))])

        attributes = {name: value for name, value in window.attributes.items() if name != "pads"}
        yield probe("MaxPool", opset, kind, f"2d-{auto_pad.lower().replace('_', '-')}", same,
                    attributes=attributes | {"auto_pad": auto_pad})  # fmt: skip
    yield probe("MaxPool", opset, kind, "2d-indices", lambda rng: _indices(rng, kind), types=("int64",),
                attributes=Window.of((2, 3), (2, 3)).attributes)  # fmt: skip


def _below_zero(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> Array:
    """Return int64 values, negative where the type has a sign; 8 bits, so ties are likely and harmless."""
    x = rng.integers(1, 129, size=shape)
    return x if kind.startswith("u") else -x


def _indices(rng: np.random.Generator, kind: str) -> Drawn:
    x = distinct(rng, "uint8" if kind.startswith("u") else "int8", (2, 2, 6, 9)).astype(np.int64)
    where = np.arange(x.size, dtype=np.int64).reshape(x.shape)
    window = Window.of((2, 3), (2, 3))
    values, places = (slide(one, window, LOWEST).reshape(2, 2, 3, 3, 6) for one in (x, where))
    best = values.argmax(axis=-1)[..., None]
    found = [np.take_along_axis(one, best, axis=-1)[..., 0] for one in (values, places)]
    return Drawn([of(kind, x)], [of(kind, found[0]), found[1]])


def _averages(opset: int, kind: str) -> Iterator[Recipe]:
    for name, (shape, window, counted) in MEANS.items():
        attributes = window.attributes | {"count_include_pad": counted}
        if find_version("AveragePool", opset) < 19:
            attributes.pop("dilations")

        def draw(
            rng: np.random.Generator, shape: tuple[int, ...] = shape, window: Window = window, counted: int = counted
        ) -> Drawn:
            x = integers(rng, shape, 16)
            windows = slide(x, window, 0)
            windows = windows.reshape(*windows.shape[: len(shape)], -1)
            counts: Array = slide(np.ones(shape, np.int64), window, counted).reshape(windows.shape).sum(axis=-1)
            return Drawn([of(kind, x)], [of(kind, windows.sum(axis=-1) / counts)])

        yield probe("AveragePool", opset, kind, name, draw, attributes=attributes)


def _global(op: str, opset: int, kind: str) -> Iterator[Recipe]:
    for name, shape in {"1d": (2, 3, 16), "2d": (2, 3, 8, 8), "3d": (1, 2, 4, 2, 4)}.items():

        def draw(rng: np.random.Generator, shape: tuple[int, ...] = shape) -> Drawn:
            x = integers(rng, shape, 2)
            flat = x.reshape(*shape[:2], -1)
            found = flat.sum(axis=-1) / flat.shape[-1] if op == "GlobalAveragePool" else flat.max(axis=-1)
            return Drawn([of(kind, x)], [of(kind, found.reshape(*shape[:2], *(1,) * (len(shape) - 2)))])

        yield probe(op, opset, kind, name, draw)
