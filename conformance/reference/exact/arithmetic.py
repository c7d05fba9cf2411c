"""Arithmetic element by element on integers, of every integer type: beyond 2**53, at the ends of the range, with both signs.

What an unsigned type does beyond its end is modular arithmetic, in C as in numpy. For signed types C leaves it undefined and
ONNX's texts say nothing: there the probe is advisory.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.reference.exact.building import (
    FLOATS,
    SIGNED,
    UNSIGNED,
    Drawn,
    distinct,
    each,
    integers,
    of,
    probe,
)
from conformance.tensors import DTYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.reference.recipes import Recipe
    from conformance.tensors import Array

INTEGERS = SIGNED + UNSIGNED
SILENT = "the text does not say what happens beyond the range of a signed type; two's complement wraps around"


def _truncating(a: int, b: int) -> int:
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Div": _truncating,
}
COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "Equal": operator.eq,
    "Greater": operator.gt,
    "Less": operator.lt,
    "GreaterOrEqual": operator.ge,
    "LessOrEqual": operator.le,
}
BITWISE: dict[str, Callable[[int, int], int]] = {
    "BitwiseAnd": operator.and_,
    "BitwiseOr": operator.or_,
    "BitwiseXor": operator.xor,
}
EXTREMES: dict[str, Callable[[int, int], int]] = {"Max": max, "Min": min}
LOGIC: dict[str, Callable[[Any, Any], Any]] = {"And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor}


def recipes() -> Iterator[Recipe]:
    """Yield the probes."""
    for op, answer in ARITHMETIC.items():
        for opset, kind in each(op, INTEGERS):
            yield from _arithmetic(op, opset, kind, answer)
        for opset, kind in each(op, FLOATS):
            yield _floats(op, opset, kind)
    for op, compare in COMPARISONS.items():
        for opset, kind in each(op, (*INTEGERS, *FLOATS)):
            yield _comparison(op, opset, kind, compare)
    for op, logic in LOGIC.items():
        for opset, kind in each(op, ("bool",)):
            yield _comparison(op, opset, kind, logic)
    for op, pair in (BITWISE | EXTREMES).items():
        for opset, kind in each(op, INTEGERS):
            yield _pairs(op, opset, kind, "range", pair, _any(kind))
    yield from _singles()
    yield from _shifts()
    yield from _remainders()
    yield from _sums_so_far()
    yield from (_clip(opset, kind) for opset, kind in each("Clip", INTEGERS))


def _singles() -> Iterator[Recipe]:
    for op, kinds, answer in (
        ("Neg", SIGNED, operator.neg),
        ("Abs", INTEGERS, abs),
        ("Sign", INTEGERS, lambda x: (x > 0) - (x < 0)),
        ("BitwiseNot", INTEGERS, operator.invert),
    ):
        for opset, kind in each(op, kinds):
            # The lowest value of a signed type has no counterpart, and the texts do not say what becomes of it.
            values = _any(kind, without_lowest=op in ("Neg", "Abs"))
            yield _single(op, opset, kind, "range", answer, values)


def _limits(kind: str) -> tuple[int, int]:
    info = np.iinfo(DTYPES[kind])
    return int(info.min), int(info.max)


def _any(kind: str, *, without_lowest: bool = False) -> Callable[[np.random.Generator, int], list[int]]:
    """Return what draws Python integers over the whole range of a type, its ends, 0, 1 and -1 among them."""
    low, high = _limits(kind)
    low += without_lowest
    first = [low, high, low + 1, high - 1, 0, 1, *((-1,) if low < 0 else ())]

    def draw(rng: np.random.Generator, count: int) -> list[int]:
        drawn = rng.integers(low, high, size=count, dtype=DTYPES[kind], endpoint=True)
        return [*first, *(int(one) for one in drawn[len(first) :])]

    return draw


def _single(
    op: str,
    opset: int,
    kind: str,
    name: str,
    answer: Callable[[int], int],
    values: Callable[[np.random.Generator, int], list[int]],
) -> Recipe:
    def draw(rng: np.random.Generator) -> Drawn:
        x = values(rng, 33)
        return Drawn([_whole(kind, x)], [_whole(kind, [answer(one) for one in x])])

    return probe(op, opset, kind, name, draw)


def _whole(kind: str, values: list[int]) -> Array:
    return of(kind, np.array(values, dtype=object))


def _pairs(
    op: str,
    opset: int,
    kind: str,
    name: str,
    answer: Callable[[int, int], int],
    values: Callable[[np.random.Generator, int], list[int]],
    *,
    advisory: str = "",
) -> Recipe:
    def draw(rng: np.random.Generator) -> Drawn:
        a, b = values(rng, 33), values(rng, 33)
        b = [b[at] for at in rng.permutation(33)]
        return Drawn(
            [_whole(kind, a), _whole(kind, b)], [_whole(kind, [answer(*pair) for pair in zip(a, b, strict=True)])]
        )

    return probe(op, opset, kind, name, draw, advisory=advisory)


def _arithmetic(op: str, opset: int, kind: str, answer: Callable[[int, int], int]) -> Iterator[Recipe]:
    low, high = _limits(kind)

    def within(rng: np.random.Generator) -> Drawn:
        # Numbers of the largest magnitude whose result is still in the range, broadcast over two axes.
        bound = {"Add": high // 2, "Sub": high // 2, "Mul": int(high**0.5), "Div": high}[op]
        least = max(low, -bound) if low < 0 else 0
        a = rng.integers(least, bound, size=(5, 1, 7), endpoint=True, dtype=DTYPES[kind])
        b = rng.integers(least, bound, size=(4, 1), endpoint=True, dtype=DTYPES[kind])
        a.reshape(-1)[:2] = bound, least
        if op == "Sub" and low == 0:
            a, b = np.maximum(a, a.dtype.type(bound // 2)), np.minimum(b, b.dtype.type(bound // 2))
        if op == "Div":
            small = rng.integers(1, 12, size=b.shape)
            b = of(kind, small if low == 0 else small * rng.choice(np.array([-1, 1]), size=b.shape))
        results = [answer(int(one), int(two)) for one, two in np.broadcast(a, b)]
        return Drawn([a, b], [_whole(kind, results).reshape(5, 4, 7)])

    yield probe(op, opset, kind, "range", within)
    if op == "Div":
        return
    yield _pairs(op, opset, kind, "wraps-around", answer, _any(kind), advisory=SILENT if low < 0 else "")


def _floats(op: str, opset: int, kind: str) -> Recipe:
    """Return exact results on floating-point data: integers and, for Div, divisors that are powers of two."""

    def draw(rng: np.random.Generator) -> Drawn:
        a, b = integers(rng, (4, 1, 5), 15), integers(rng, (3, 1), 15)
        if op == "Div":
            b = np.sign(b) * 2 ** (np.abs(b) % 5)
        return Drawn(
            [of(kind, a), of(kind, b)], [of(kind, {"Add": a + b, "Sub": a - b, "Mul": a * b, "Div": a / b}[op])]
        )

    return probe(op, opset, kind, "integers", draw)


def _comparison(op: str, opset: int, kind: str, compare: Callable[[Any, Any], Any]) -> Recipe:
    """Return neighbours compared: values that differ in the last place, and equal ones; types beyond 2**53 among them."""

    def draw(rng: np.random.Generator) -> Drawn:
        a = distinct(rng, kind, (3, 11))
        if kind == "bool":
            b = rng.integers(0, 2, size=11).astype(np.bool_)
        elif kind in FLOATS:
            b = a[1].copy()
        else:
            b = a[1] + rng.integers(-1, 2, size=11).clip(0 if kind in UNSIGNED else -1).astype(a.dtype)
        return Drawn([a, b], [np.asarray(compare(a, b), np.bool_)])

    return probe(op, opset, kind, "neighbours", draw, types=("bool",))


def _shifts() -> Iterator[Recipe]:
    for opset, kind in each("BitShift", UNSIGNED):
        width = 8 * DTYPES[kind].itemsize
        for direction in ("LEFT", "RIGHT"):

            def draw(
                rng: np.random.Generator, kind: str = kind, width: int = width, direction: str = direction
            ) -> Drawn:
                x = _any(kind)(rng, 3 * width)
                by = [int(one) for one in rng.permutation(3 * width) % width]
                moved = [a << b if direction == "LEFT" else a >> b for a, b in zip(x, by, strict=True)]
                return Drawn([_whole(kind, x), _whole(kind, by)], [_whole(kind, moved)])

            yield probe("BitShift", opset, kind, direction.lower(), draw, attributes={"direction": direction})


def _remainders() -> Iterator[Recipe]:
    for opset, kind in each("Mod", INTEGERS):

        def draw(rng: np.random.Generator, kind: str = kind) -> Drawn:
            a, b = _any(kind)(rng, 41), [int(one) for one in integers(rng, (41,), 100, positive=kind in UNSIGNED)]
            return Drawn([_whole(kind, a), _whole(kind, b)], [_whole(kind, [x % y for x, y in zip(a, b, strict=True)])])

        yield probe("Mod", opset, kind, "sign-of-divisor", draw)
    for opset, kind in each("Mod", FLOATS):

        def fmod(rng: np.random.Generator, kind: str = kind) -> Drawn:
            a, b = integers(rng, (41,), 255), integers(rng, (41,), 9)
            left = np.sign(a) * (np.abs(a) % np.abs(b))
            is_zero = left == 0  # C gives a zero the sign of the dividend; the judge does not tell zeros apart here
            return Drawn([of(kind, a), of(kind, b)], [of(kind, np.where(is_zero, 0, left))])

        yield probe("Mod", opset, kind, "sign-of-dividend", fmod, attributes={"fmod": 1})


def _sums_so_far() -> Iterator[Recipe]:
    for opset, kind in each("CumSum", ("float32", "float16", "float64", "bfloat16", "int32", "int64")):
        for exclusive in (0, 1):
            for reverse in (0, 1):

                def draw(
                    rng: np.random.Generator, kind: str = kind, exclusive: int = exclusive, reverse: int = reverse
                ) -> Drawn:
                    x = integers(rng, (3, 17, 2), 8)
                    turned = x[:, ::-1] if reverse else x
                    sums = np.cumsum(turned, axis=1) - (turned if exclusive else 0)
                    sums = sums[:, ::-1] if reverse else sums
                    return Drawn([of(kind, x), np.array(1, np.int64)], [of(kind, sums)])

                name = f"{'exclusive' if exclusive else 'inclusive'}-{'reverse' if reverse else 'forward'}"
                yield probe("CumSum", opset, kind, name, draw, types=("int64",), held=(1,),
                            attributes={"exclusive": exclusive, "reverse": reverse})  # fmt: skip


def _clip(opset: int, kind: str) -> Recipe:
    low, high = _limits(kind)

    def draw(rng: np.random.Generator) -> Drawn:
        x = _any(kind)(rng, 33)
        least, most = low // 2 + 1, high // 2 + 2
        ends = [_whole(kind, [one]).reshape(()) for one in (least, most)]
        return Drawn([_whole(kind, x), *ends], [_whole(kind, [min(max(one, least), most) for one in x])])

    return probe("Clip", opset, kind, "range", draw, held=(1, 2))
