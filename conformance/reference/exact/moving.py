"""Operators that move elements and compute nothing: every element must arrive, bit for bit, in its place.

Elements differ from each other, and shapes with equal sides are among them, so that swapped axes show. int64 values lie beyond
2**53 and int32 values beyond 2**24, where a detour through a floating-point type is seen.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from conformance.reference.exact.building import Drawn, axes, distinct, each, find_version, of, probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from conformance.reference.entries import Attribute
    from conformance.reference.recipes import Recipe
    from conformance.tensors import Array

KINDS = ("float32", "float16", "bfloat16", "int8", "uint8", "int32", "int64", "bool")


def recipes() -> Iterator[Recipe]:
    """Yield the probes."""
    for make in (
        _transpose,
        _concat,
        _split,
        _slice,
        _tile,
        _expand,
        _space,
        _trilu,
        _where,
        _compress,
        _reverse,
        _pad,
    ):
        yield from make()


def _moved(
    op: str,
    name: str,
    shape: Sequence[int],
    move: Callable[[Array], Array | list[Array]],
    *,
    attributes: dict[str, Attribute] | None = None,
    inputs: Sequence[Array] = (),
) -> Iterator[Recipe]:
    """Yield one probe per version and type of an operator that moves elements of its first input; `inputs` are constants."""
    for opset, kind in each(op, KINDS):

        def draw(rng: np.random.Generator, kind: str = kind) -> Drawn:
            x = distinct(rng, kind, shape)
            moved = move(x)
            return Drawn([x, *inputs], moved if isinstance(moved, list) else [moved])

        types = tuple({"int64" for _ in inputs})
        yield probe(op, opset, kind, name, draw, types=types, attributes=attributes, held=range(1, 1 + len(inputs)))


def _transpose() -> Iterator[Recipe]:
    orders = {
        "square": ((7, 7), (1, 0)),
        "cube": ((5, 5, 5), (2, 0, 1)),
        "cube-swapped": ((4, 4, 4), (0, 2, 1)),
        "four-axes": ((2, 3, 4, 5), (0, 3, 1, 2)),
        "four-axes-back": ((2, 4, 5, 3), (0, 2, 3, 1)),
        "five-axes": ((2, 3, 2, 3, 2), (4, 2, 0, 3, 1)),
        "heads": ((2, 6, 4, 4), (0, 2, 1, 3)),
    }
    for name, (shape, order) in orders.items():
        move = partial(np.transpose, axes=order)
        yield from _moved("Transpose", name, shape, move, attributes={"perm": list(order)})
    yield from _moved("Transpose", "no-order", (3, 3, 3), lambda x: x.T)


def _concat() -> Iterator[Recipe]:
    for name, axis in (("first-axis", 0), ("last-axis", -1), ("middle-axis", 1)):
        for opset, kind in each("Concat", KINDS):

            def draw(rng: np.random.Generator, kind: str = kind, axis: int = axis) -> Drawn:
                whole = distinct(rng, kind, (6, 6, 6))
                parts = np.split(whole, [1, 3], axis=axis)
                return Drawn(parts, [whole])

            yield probe("Concat", opset, kind, name, draw, attributes={"axis": axis})


def _split() -> Iterator[Recipe]:
    for opset, kind in each("Split", KINDS):

        def uneven(rng: np.random.Generator, kind: str = kind) -> Drawn:
            x = distinct(rng, kind, (5, 6, 5))
            return Drawn([x, axes(1, 3, 2)], list(np.split(x, [1, 4], axis=1)))

        yield probe("Split", opset, kind, "uneven", uneven, types=("int64",), attributes={"axis": -2}, held=(1,))
        if find_version("Split", opset) >= 18:

            def counted(rng: np.random.Generator, kind: str = kind) -> Drawn:
                x = distinct(rng, kind, (7, 3))
                return Drawn([x], [x[:3], x[3:6], x[6:]])

            yield probe("Split", opset, kind, "last-smaller", counted, attributes={"axis": 0, "num_outputs": 3})


def _slice() -> Iterator[Recipe]:
    far = 2**62
    cuts: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[slice, ...]]] = {
        "backwards": ((-1,), (-far,), (0,), (-1,), (slice(None, None, -1),)),
        "backwards-by-two": ((5, 4), (0, -far), (0, 1), (-2, -1), (slice(5, 0, -2), slice(4, None, -1))),
        "from-the-end": ((-4, -3), (-1, far), (-1, 0), (1, 1), (slice(-3, None), slice(None), slice(-4, -1))),
        "by-two": ((1, 0), (6, far), (2, 0), (2, 3), (slice(0, None, 3), slice(None), slice(1, 6, 2))),
    }
    for name, (starts, ends, over, steps, where) in cuts.items():
        constants = [axes(*one) for one in (starts, ends, over, steps)]
        yield from _moved("Slice", name, (6, 6, 6), lambda x, where=where: x[where], inputs=constants)  # type: ignore[misc]


def _tile() -> Iterator[Recipe]:
    yield from _moved("Tile", "three-axes", (3, 2, 3), lambda x: np.tile(x, (2, 1, 3)), inputs=[axes(2, 1, 3)])


def _expand() -> Iterator[Recipe]:
    yield from _moved("Expand", "new-axes", (3, 1), lambda x: np.broadcast_to(x, (2, 3, 4)), inputs=[axes(2, 1, 4)])
    yield from _moved("Expand", "one-element", (1,), lambda x: np.broadcast_to(x, (3, 3)), inputs=[axes(3, 3)])


def _space() -> Iterator[Recipe]:
    def deep(x: Array, order: tuple[int, ...], split: tuple[int, ...]) -> Array:
        return np.transpose(x.reshape(split), order).reshape(1, 2, 6, 8)

    dcr: dict[str, Attribute] = {"blocksize": 2, "mode": "DCR"}
    crd: dict[str, Attribute] = {"blocksize": 2, "mode": "CRD"}
    yield from _moved(
        "DepthToSpace",
        "depth-first",
        (1, 8, 3, 4),
        lambda x: deep(x, (0, 3, 4, 1, 5, 2), (1, 2, 2, 2, 3, 4)),
        attributes=dcr,
    )
    yield from _moved(
        "DepthToSpace",
        "column-first",
        (1, 8, 3, 4),
        lambda x: deep(x, (0, 1, 4, 2, 5, 3), (1, 2, 2, 2, 3, 4)),
        attributes=crd,
    )
    yield from _moved("SpaceToDepth", "blocks-of-two", (1, 2, 6, 8),
                      lambda x: np.transpose(x.reshape(1, 2, 3, 2, 4, 2), (0, 3, 5, 1, 2, 4)).reshape(1, 8, 3, 4),
                      attributes={"blocksize": 2})  # fmt: skip


def _trilu() -> Iterator[Recipe]:
    for upper in (0, 1):
        for shift in (-2, 0, 1):
            name = f"{'upper' if upper else 'lower'}-{'minus-2' if shift < 0 else shift}"

            def cut(x: Array, upper: int = upper, shift: int = shift) -> Array:
                rows, columns = np.indices(x.shape[-2:])
                is_kept = columns >= rows + shift if upper else columns <= rows + shift
                return np.where(is_kept, x, x.dtype.type(0))

            yield from _moved(
                "Trilu", name, (2, 5, 5), cut, attributes={"upper": upper}, inputs=[np.array(shift, np.int64)]
            )


def _where() -> Iterator[Recipe]:
    for opset, kind in each("Where", KINDS, 1):

        def draw(rng: np.random.Generator, kind: str = kind) -> Drawn:
            where = rng.integers(0, 2, size=(5, 1, 5)).astype(np.bool_)
            x, y = distinct(rng, kind, (5, 5)), distinct(rng, kind, (5, 1, 1))
            return Drawn([where, x, y], [np.where(where, x, y)])

        yield probe("Where", opset, kind, "broadcast", draw, types=("bool",))


def _compress() -> Iterator[Recipe]:
    for opset, kind in each("Compress", KINDS):
        for axis in (1, -1, None):

            def draw(rng: np.random.Generator, kind: str = kind, axis: int | None = axis) -> Drawn:
                x = distinct(rng, kind, (5, 5, 5))
                chosen = np.array([True, False, True, True])  # shorter than the axis: the rest is left out
                flat = x.reshape(-1) if axis is None else x
                return Drawn([x, chosen], [np.compress(chosen, flat, axis=0 if axis is None else axis)])

            name = "flattened" if axis is None else f"axis-{'last' if axis < 0 else axis}"
            yield probe(
                "Compress", opset, kind, name, draw, types=("bool",), attributes={} if axis is None else {"axis": axis}
            )


def _reverse() -> Iterator[Recipe]:
    for opset, kind in each("ReverseSequence", KINDS):
        for time in (0, 1):

            def draw(rng: np.random.Generator, kind: str = kind, time: int = time) -> Drawn:
                x = distinct(rng, kind, (4, 4, 3))
                lengths = rng.permutation(4) + 1
                y = x.copy()
                for at, length in enumerate(lengths):
                    if time:
                        y[at, :length] = x[at, :length][::-1]
                    else:
                        y[:length, at] = x[:length, at][::-1]
                return Drawn([x, axes(*lengths)], [y])

            attributes: dict[str, Attribute] = {"time_axis": time, "batch_axis": 1 - time}
            yield probe(
                "ReverseSequence", opset, kind, f"time-axis-{time}", draw, types=("int64",), attributes=attributes
            )


def _pad() -> Iterator[Recipe]:
    widths = axes(1, 0, 2, 2, 1, 0)
    pairs = [(1, 2), (0, 1), (2, 0)]
    for opset, kind in each("Pad", KINDS):
        version = find_version("Pad", opset)
        for mode in ("constant", "reflect", "edge", *(("wrap",) if version >= 19 else ())):

            def draw(rng: np.random.Generator, kind: str = kind, mode: str = mode) -> Drawn:
                x = distinct(rng, kind, (4, 4, 4))
                if mode == "constant":
                    fill = of(kind, 1)
                    return Drawn([x, widths, fill], [np.pad(x, pairs, constant_values=fill)])
                return Drawn([x, widths], [x[_places(x.shape, pairs, mode)]])

            held = (1, 2) if mode == "constant" else (1,)
            yield probe("Pad", opset, kind, mode, draw, types=("int64",), attributes={"mode": mode}, held=held)

        def cropped(rng: np.random.Generator, kind: str = kind) -> Drawn:
            x = distinct(rng, kind, (5, 5))
            return Drawn([x, axes(-1, 1, 0, -2)], [np.pad(x[1:, :-2], [(0, 0), (1, 0)])])

        yield probe("Pad", opset, kind, "negative", cropped, types=("int64",), held=(1,))


def _places(shape: tuple[int, ...], pairs: list[tuple[int, int]], mode: str) -> tuple[Array, ...]:
    """Return which element stands where after padding: mirrored without the edge, the edge again, or around a torus."""
    found = []
    for size, (begin, end) in zip(shape, pairs, strict=True):
        at = np.arange(-begin, size + end)
        if mode == "reflect":
            at = np.abs(at)
            at = np.where(at >= size, 2 * (size - 1) - at, at)
        found.append(at % size if mode == "wrap" else at.clip(0, size - 1))
    return np.ix_(*found)
