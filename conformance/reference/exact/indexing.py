"""Operators that choose elements by index, or give indices: negative indices, ties, which of equal elements is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conformance.reference.exact.building import (
    FLOATS,
    UNSIGNED,
    Drawn,
    axes,
    distinct,
    each,
    find_version,
    integers,
    of,
    probe,
)
from conformance.reference.exact.moving import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.reference.entries import Attribute
    from conformance.reference.recipes import Recipe
    from conformance.tensors import Array

ORDERED = ("float32", "float16", "bfloat16", "float64", "int8", "uint8", "int32", "int64")
REDUCTIONS: dict[str, tuple[int, Callable[[Array, Array], Array]]] = {
    "add": (16, lambda old, new: old + new),
    "mul": (16, lambda old, new: old * new),
    "max": (18, np.maximum),
    "min": (18, np.minimum),
}
"""How scattered elements join what is there, with the version from which the operators do it."""


def recipes() -> Iterator[Recipe]:
    """Yield the probes."""
    few = ("float32", "float16", "bfloat16", "int8", "uint8", "int32")
    for op, kinds, make in (
        ("Gather", KINDS, _gather),
        ("GatherElements", KINDS, _gather_elements),
        ("GatherND", KINDS, _gather_nd),
        ("ScatterElements", KINDS, _scatter_elements),
        ("ScatterND", KINDS, _scatter_nd),
        ("TopK", ORDERED, _top),
        ("NonZero", KINDS, _nonzero),
        ("Unique", ("float32", "int8", "int64"), _unique),
        ("OneHot", ("int64", "int32"), _one_hot),
        ("Resize", few, _resize),
    ):
        for opset, kind in each(op, kinds):
            yield from make(opset, kind)
    for op in ("ArgMax", "ArgMin"):
        for opset, kind in each(op, ORDERED):
            yield from _extreme_index(op, opset, kind)


def _places(rng: np.random.Generator, size: int, shape: tuple[int, ...]) -> Array:
    """Return indices into an axis, both ends and negative ones among them."""
    found = rng.integers(-size, size, size=shape)
    found.reshape(-1)[:3] = -1, -size, size - 1
    return found


def _gather(opset: int, kind: str) -> Iterator[Recipe]:
    for axis in (0, 1, -1):
        for index in ("int64", "int32"):

            def draw(rng: np.random.Generator, axis: int = axis, index: str = index) -> Drawn:
                x, at = distinct(rng, kind, (5, 5, 5)), _places(rng, 5, (2, 3))
                return Drawn([x, of(index, at)], [np.take(x, at, axis=axis)])

            name = f"axis-{'last' if axis < 0 else axis}-{index}"
            yield probe("Gather", opset, kind, name, draw, types=(index,), attributes={"axis": axis})


def _gather_elements(opset: int, kind: str) -> Iterator[Recipe]:
    for axis in (0, -1):

        def draw(rng: np.random.Generator, axis: int = axis) -> Drawn:
            x, at = distinct(rng, kind, (5, 5)), _places(rng, 5, (5, 5))
            return Drawn([x, at], [np.take_along_axis(x, at % 5, axis=axis)])

        name = f"axis-{'last' if axis < 0 else axis}"
        yield probe("GatherElements", opset, kind, name, draw, types=("int64",), attributes={"axis": axis})


def _gather_nd(opset: int, kind: str) -> Iterator[Recipe]:
    def plain(rng: np.random.Generator) -> Drawn:
        x, at = distinct(rng, kind, (4, 4, 4)), _places(rng, 4, (3, 2))
        return Drawn([x, at], [x[at[:, 0], at[:, 1]]])

    def batches(rng: np.random.Generator) -> Drawn:
        x, at = distinct(rng, kind, (3, 4, 4)), _places(rng, 4, (3, 2, 1))
        return Drawn([x, at], [np.stack([x[b][at[b, :, 0]] for b in range(3)])])

    yield probe("GatherND", opset, kind, "negative", plain, types=("int64",))
    yield probe("GatherND", opset, kind, "batches", batches, types=("int64",), attributes={"batch_dims": 1})


def _joinable(
    rng: np.random.Generator, kind: str, reduction: str, shape: tuple[int, ...], more: tuple[int, ...]
) -> tuple[Array, Array]:
    """Return what is there and what joins it: small enough for 8 bits, however often one place is met."""
    is_positive = kind in UNSIGNED
    most = 1 if reduction == "mul" and not is_positive else 2
    return integers(rng, shape, 2, positive=is_positive), integers(rng, more, most, positive=is_positive)


def _scatter_elements(opset: int, kind: str) -> Iterator[Recipe]:
    for axis in (0, -1):

        def draw(rng: np.random.Generator, axis: int = axis) -> Drawn:
            x, new = distinct(rng, kind, (5, 5)), distinct(rng, kind, (5, 5))
            new = new[:3] if axis == 0 else new[:, :3]
            at = np.argsort(rng.random((5, 5)), axis=axis) - 5  # no place twice, all counted from the end
            at = at[:3] if axis == 0 else at[:, :3]
            y = x.copy()
            np.put_along_axis(y, at % 5, new, axis=axis)
            return Drawn([x, at, new], [y])

        name = f"axis-{'last' if axis < 0 else axis}"
        yield probe("ScatterElements", opset, kind, name, draw, types=("int64",), attributes={"axis": axis})
    if kind == "bool":
        return
    for reduction, (since, join) in REDUCTIONS.items():
        if find_version("ScatterElements", opset) < since:
            continue

        def joined(
            rng: np.random.Generator, join: Callable[[Array, Array], Array] = join, reduction: str = reduction
        ) -> Drawn:
            x, new = _joinable(rng, kind, reduction, (4, 5), (6, 5))
            at = rng.integers(0, 4, size=(6, 5))  # places twice and more: their order must not matter
            y = x.copy()
            for row in range(6):
                for column in range(5):
                    y[at[row, column], column] = join(y[at[row, column], column], new[row, column])
            return Drawn([of(kind, x), at, of(kind, new)], [of(kind, y)])

        attributes: dict[str, Attribute] = {"axis": 0, "reduction": reduction}
        yield probe(
            "ScatterElements", opset, kind, f"repeated-{reduction}", joined, types=("int64",), attributes=attributes
        )


def _scatter_nd(opset: int, kind: str) -> Iterator[Recipe]:
    def rows(rng: np.random.Generator) -> Drawn:
        x, new = distinct(rng, kind, (6, 4)), distinct(rng, kind, (3, 4))
        at = rng.permutation(6)[:3].reshape(3, 1)
        y = x.copy()
        y[at[:, 0]] = new
        return Drawn([x, at - 6, new], [y])

    yield probe("ScatterND", opset, kind, "rows-from-the-end", rows, types=("int64",))
    if kind == "bool":
        return
    for reduction, (since, join) in REDUCTIONS.items():
        if find_version("ScatterND", opset) < since:
            continue

        def joined(
            rng: np.random.Generator, join: Callable[[Array, Array], Array] = join, reduction: str = reduction
        ) -> Drawn:
            x, new = _joinable(rng, kind, reduction, (4, 4), (7,))
            at = rng.integers(0, 4, size=(7, 2))
            y = x.copy()
            for row, (i, j) in enumerate(at):
                y[i, j] = join(y[i, j], new[row])
            return Drawn([of(kind, x), at, of(kind, new)], [of(kind, y)])

        yield probe(
            "ScatterND",
            opset,
            kind,
            f"repeated-{reduction}",
            joined,
            types=("int64",),
            attributes={"reduction": reduction},
        )


def _extreme_index(op: str, opset: int, kind: str) -> Iterator[Recipe]:
    for last in (0, 1):
        for axis, keep in ((0, 1), (-1, 0)):

            def draw(rng: np.random.Generator, last: int = last, axis: int = axis, keep: int = keep) -> Drawn:
                x = rng.integers(0 if kind in UNSIGNED else -2, 3, size=(9, 9))  # few values: ties in every row
                sign = 1 if op == "ArgMax" else -1
                ranked = np.flip(sign * x, axis=axis) if last else sign * x
                at = ranked.argmax(axis=axis)
                at = x.shape[axis] - 1 - at if last else at
                return Drawn([of(kind, x)], [np.expand_dims(at, axis) if keep else at])

            name = f"ties-{'last' if last else 'first'}-axis-{'last' if axis < 0 else axis}"
            yield probe(op, opset, kind, name, draw, types=("int64",),
                        attributes={"axis": axis, "keepdims": keep, "select_last_index": last})  # fmt: skip


def _top(opset: int, kind: str) -> Iterator[Recipe]:
    """Yield the largest and smallest, sorted; of equal ones the lower index comes first, as the text says."""
    for largest in (1, 0):

        def draw(rng: np.random.Generator, largest: int = largest) -> Drawn:
            x = rng.integers(0 if kind in UNSIGNED else -4, 5, size=(4, 13))
            order = np.argsort(-x if largest else x, axis=1, kind="stable")[:, :7]
            return Drawn([of(kind, x), axes(7)], [of(kind, np.take_along_axis(x, order, axis=1)), order])

        yield probe("TopK", opset, kind, f"ties-{'largest' if largest else 'smallest'}", draw, types=("int64",),
                    attributes={"axis": -1, "largest": largest, "sorted": 1}, held=(1,))  # fmt: skip


def _nonzero(opset: int, kind: str) -> Iterator[Recipe]:
    def draw(rng: np.random.Generator) -> Drawn:
        x = rng.integers(0, 3, size=(5, 5, 3))
        found = [(i, j, k) for i in range(5) for j in range(5) for k in range(3) if x[i, j, k]]
        values = of(kind, x > 0) if kind == "bool" else of(kind, x)
        if kind in FLOATS:
            values = np.where(x == 0, of(kind, -0.0), values)
        return Drawn([values], [np.array(found, np.int64).T])

    yield probe("NonZero", opset, kind, "row-major", draw, types=("int64",))


def _unique(opset: int, kind: str) -> Iterator[Recipe]:
    for in_order in (0, 1):

        def draw(rng: np.random.Generator, in_order: int = in_order) -> Drawn:
            x = [int(one) for one in rng.integers(-4, 5, size=31)]
            values = list(dict.fromkeys(x)) if in_order else sorted(set(x))
            inverse = [values.index(one) for one in x]
            found = [[x.index(one) for one in values], inverse, [x.count(one) for one in values]]
            return Drawn([of(kind, x)], [of(kind, values), *(axes(*one) for one in found)])

        # Where they are not sorted they come as they first occur.
        name = "as-they-come" if in_order else "sorted"
        yield probe("Unique", opset, kind, name, draw, types=("int64",), attributes={"sorted": 1 - in_order})


def _one_hot(opset: int, kind: str) -> Iterator[Recipe]:
    for axis in (-1, 0, 1):
        for values in ("float32", "int64") if kind == "int64" else ("float32",):

            def draw(rng: np.random.Generator, axis: int = axis, values: str = values) -> Drawn:
                at = rng.integers(-5, 5, size=(4, 4))
                at[0, 0], at[0, 1] = 5, -6  # outside the depth: nothing is on
                is_on = np.arange(5) == np.where((at < -5) | (at > 4), -1, at % 5)[..., None]
                y = np.moveaxis(np.where(is_on, 3, 1), -1, axis)
                return Drawn([of(kind, at), of(kind, 5), of(values, [1, 3])], [of(values, y)])

            yield probe("OneHot", opset, kind, f"{values}-axis-{'last' if axis < 0 else axis}", draw,
                        types=(values,), attributes={"axis": axis}, held=(1, 2))  # fmt: skip


def _resize(opset: int, kind: str) -> Iterator[Recipe]:
    """Yield nearest neighbours: coordinates are halves and quarters, exact in any arithmetic."""
    ways = {
        "floor-up": ("asymmetric", "floor", 2.0, lambda at: np.floor(at / 2)),
        "floor-down": ("asymmetric", "floor", 0.5, lambda at: np.floor(at * 2)),
        "ceil-up": ("asymmetric", "ceil", 4.0, lambda at: np.ceil(at / 4)),
        "half-pixel-up": ("half_pixel", "round_prefer_floor", 2.0, lambda at: np.ceil((at + 0.5) / 2 - 0.5 - 0.5)),
        "half-pixel-down": ("half_pixel", "round_prefer_ceil", 0.5, lambda at: np.floor((at + 0.5) * 2 - 0.5 + 0.5)),
    }
    for name, (transform, mode, scale, where) in ways.items():

        def draw(rng: np.random.Generator, scale: float = scale, where: Callable[[Array], Array] = where) -> Drawn:
            x = distinct(rng, kind, (1, 2, 6, 6))
            at = where(np.arange(int(6 * scale), dtype=np.float64)).astype(np.int64).clip(0, 5)
            scales = np.array([1, 1, scale, scale], np.float32)
            return Drawn([x, None, scales], [x[:, :, at][:, :, :, at]])

        attributes: dict[str, Attribute] = {
            "mode": "nearest",
            "coordinate_transformation_mode": transform,
            "nearest_mode": mode,
        }
        yield probe("Resize", opset, kind, name, draw, types=("float32",), attributes=attributes, held=(2,))
