"""Reductions on integers: sums, sums of squares and magnitudes, maxima, and means over counts that are powers of two."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from conformance.reference.exact.building import (
    FLOATS,
    MOST,
    NARROWEST,
    Drawn,
    axes,
    distinct,
    each,
    find_version,
    integers,
    of,
    opsets,
    probe,
    takes,
)
from conformance.reference.exact.contractions import CANCELLING_BITS, WIDE_LENGTHS, cancelling
from conformance.reference.recipes import Needs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.reference.entries import Attribute
    from conformance.reference.recipes import Recipe
    from conformance.tensors import Array

LENGTHS = (1, 2, 7, 63, 64, 65, 127, 129, 255, 257, 1025)
SUMS: dict[str, Callable[[Array, tuple[int, ...], bool], Array]] = {
    "ReduceSum": lambda x, over, keep: x.sum(axis=over, keepdims=keep),
    "ReduceSumSquare": lambda x, over, keep: (x * x).sum(axis=over, keepdims=keep),
    "ReduceL1": lambda x, over, keep: np.abs(x).sum(axis=over, keepdims=keep),
}
EXTREMES: dict[str, Callable[[Array, tuple[int, ...], bool], Array]] = {
    "ReduceMax": lambda x, over, keep: x.max(axis=over, keepdims=keep),
    "ReduceMin": lambda x, over, keep: x.min(axis=over, keepdims=keep),
}


class Over(NamedTuple):
    """One way to reduce: shape, axes as given (None: not given), whether they stay, whether none given means none reduced."""

    shape: tuple[int, ...]
    given: tuple[int, ...] | None
    keep: bool = True
    none_is_none: bool = False

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes that are reduced."""
        if self.given is not None:
            return self.given
        return () if self.none_is_none else tuple(range(len(self.shape)))


WAYS: dict[str, Over] = {
    "middle-axis": Over((3, 5, 2), (1,)),
    "axes-dropped": Over((3, 4, 5), (0, 2), keep=False),
    "negative-axis": Over((4, 3, 5), (-2,)),
    "all-axes": Over((2, 3, 4), None),
    "all-axes-dropped": Over((3, 7), None, keep=False),
    "no-axes": Over((3, 4), None, none_is_none=True),
    "square": Over((6, 6), (0,), keep=False),
    "one-element": Over((1,), (0,), keep=False),
}


def recipes() -> Iterator[Recipe]:
    """Yield the probes."""
    whole = ("int32", "int64")
    for op, answer in SUMS.items():
        for opset, kind in each(op, FLOATS + whole):
            yield from _ways(op, opset, kind, answer)
            if kind not in whole:
                yield from _lengths(op, opset, kind, answer)
    for opset, kind in each("ReduceSum", FLOATS):
        yield from _wide(opset, kind)
    for op, answer in EXTREMES.items():
        for opset, kind in each(op, (*FLOATS, "int8", "uint8", *whole, "bool")):
            yield from _extremes(op, opset, kind, answer)
    for opset in opsets("ReduceMean"):
        for kind in FLOATS:
            if takes("ReduceMean", opset, kind):
                yield from _means(opset, kind)


def reduction(
    op: str, opset: int, kind: str, name: str, over: Over, draw: Callable[..., Drawn], **given: object
) -> Recipe:
    """Return the recipe of a reduction: its axes are an input from the version on that has them there."""
    attributes: dict[str, Attribute] = {"keepdims": int(over.keep)}
    takes_input = find_version(op, opset) >= (13 if op == "ReduceSum" else 18)
    types: tuple[str, ...] = ()
    if takes_input:
        attributes["noop_with_empty_axes"] = int(over.none_is_none)
        types = ("int64",) if over.given is not None else ()
    elif over.given is not None:
        attributes["axes"] = list(over.given)

    def drawn(rng: np.random.Generator) -> Drawn:
        found = draw(rng)
        if takes_input and over.given is not None:
            return found._replace(inputs=[*found.inputs, axes(*over.given)])
        return found

    held = (1,) if types else ()
    return probe(op, opset, kind, name, drawn, types=types, attributes=attributes, held=held, **given)  # type: ignore[arg-type]


def _is_known(op: str, opset: int, over: Over) -> bool:
    return not over.none_is_none or find_version(op, opset) >= (13 if op == "ReduceSum" else 18)


def _ways(op: str, opset: int, kind: str, answer: Callable[..., Array]) -> Iterator[Recipe]:
    for name, over in WAYS.items():
        # Without a reduction, whether the function before the sum is still applied is not what older texts say clearly.
        if not _is_known(op, opset, over) or (over.none_is_none and op != "ReduceSum"):
            continue

        def draw(rng: np.random.Generator, over: Over = over) -> Drawn:
            x = integers(rng, over.shape, 2)
            return Drawn([of(kind, x)], [of(kind, answer(x, over.axes, over.keep))])

        yield reduction(op, opset, kind, name, over, draw)


def _lengths(op: str, opset: int, kind: str, answer: Callable[..., Array]) -> Iterator[Recipe]:
    for length in LENGTHS:
        rows = -(-length // (MOST // 4))
        for axis in (0, 1):
            over = Over((rows, length) if axis else (length, rows), (axis,), keep=bool(axis))

            def draw(rng: np.random.Generator, over: Over = over, rows: int = rows, axis: int = axis) -> Drawn:
                length = over.shape[axis]
                is_counted = np.arange(length) % rows == np.arange(rows)[:, None]
                x = integers(rng, (rows, length), 2) * is_counted  # 64 of a row, magnitude 2: squares sum to 2**8
                x = x if axis else x.T
                return Drawn([of(kind, x)], [of(kind, answer(x, over.axes, over.keep))])

            yield reduction(op, opset, kind, f"{'rows' if axis else 'columns'}-k{length}", over, draw)


def _wide(opset: int, kind: str) -> Iterator[Recipe]:
    for length in WIDE_LENGTHS:
        over = Over((16, length), (1,))

        def cancel(rng: np.random.Generator, length: int = length) -> Drawn:
            x = cancelling(rng, 16, length)
            return Drawn([of(kind, x)], [of(kind, x.sum(axis=1, keepdims=True))])

        needs = Needs(
            operand_bits=NARROWEST, sum_bits=CANCELLING_BITS, result_bits=NARROWEST, largest=2.0**CANCELLING_BITS
        )
        yield reduction("ReduceSum", opset, kind, f"cancelling-sums-k{length}", over, cancel, needs=needs)
        if kind in ("float32", "float64"):

            def large(rng: np.random.Generator, length: int = length) -> Drawn:
                x = integers(rng, (16, length), 255, positive=True)
                return Drawn([of(kind, x)], [of(kind, x.sum(axis=1, keepdims=True))])

            needs = Needs(operand_bits=NARROWEST, sum_bits=21, result_bits=21, largest=2.0**21)
            yield reduction("ReduceSum", opset, kind, f"wide-sums-k{length}", over, large, needs=needs)


def _extremes(op: str, opset: int, kind: str, answer: Callable[..., Array]) -> Iterator[Recipe]:
    for name, over in WAYS.items():
        if not _is_known(op, opset, over):
            continue

        def draw(rng: np.random.Generator, over: Over = over) -> Drawn:
            x = distinct(rng, kind, over.shape)
            if kind in FLOATS:  # below zero throughout, so that a start at 0 shows
                x = of(kind, -1.0 - np.abs(x.astype(np.float64)))
            found = answer(x.astype(object) if kind == "bfloat16" else x, over.axes, over.keep)
            return Drawn([x], [of(kind, found)])

        yield reduction(op, opset, kind, name, over, draw)


def _means(opset: int, kind: str) -> Iterator[Recipe]:
    ways = {
        "middle-axis": Over((3, 8, 2), (1,)),
        "axes-dropped": Over((4, 3, 8), (0, 2), keep=False),
        "all-axes": Over((4, 8), None),
        "long": Over((3, 128), (-1,), keep=False),
    }
    for name, over in ways.items():

        def draw(rng: np.random.Generator, over: Over = over) -> Drawn:
            x = integers(rng, over.shape, 2)
            total = x.sum(axis=over.axes, keepdims=over.keep)
            return Drawn([of(kind, x)], [of(kind, total / (x.size // total.size))])

        yield reduction("ReduceMean", opset, kind, name, over, draw)
