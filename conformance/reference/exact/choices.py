"""Special values through operators that choose among values, hand them on, or sum them.

What maxima, minima and clips make of a NaN neither ONNX's texts nor IEEE 754 say (its edition of 2019 knows both `maximum`, which
hands it on, and `maximumNumber`, which drops it): these probes are advisory, with the NaN handed on as numpy does it.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.numerics.formats import FORMATS
from conformance.reference.exact.building import FLOATS, Drawn, each, of, probe
from conformance.reference.exact.reductions import Over, reduction
from conformance.reference.exact.special_values import INF, NAN, Pairs, finite_of, fixed, subnormals_of, whole_type
from conformance.reference.exact.windows import Window
from conformance.reference.recipes import Needs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.reference.recipes import Recipe

ZEROS = "the text speaks of elements, and -0 equals +0 as a value; a copy in the sense of IEEE 754 keeps the sign"
SILENT = "the text does not say what becomes of a NaN; numpy hands it on"


def recipes() -> Iterator[Recipe]:
    """Yield the probes."""
    for op in ("Max", "Min", "Relu", "Clip", "Sign", "ReduceMax", "ReduceMin", "MaxPool"):
        for opset, kind in each(op, FLOATS):
            yield from _chosen(op, opset, kind)
    for opset, kind in each("Where", FLOATS, 1):
        yield from _where(opset, kind)
    yield from (_sums(opset, kind) for opset, kind in each("ReduceSum", FLOATS))
    yield from (_products(opset, kind) for opset, kind in each("MatMul", FLOATS))


def _chosen(op: str, opset: int, kind: str) -> Iterator[Recipe]:
    """Yield an operator that chooses among values: infinities and ends of the range asked, NaN advisory, subnormals apart."""
    plain = [*(one for one in finite_of(kind) if one or math.copysign(1, one) > 0), 2.0, -4.0, INF, -INF]
    small = [*subnormals_of(kind), FORMATS[kind].nmin, 1.0, -1.0]
    for name, values, advisory in (
        ("special", plain, ""),
        ("subnormal", small, ""),
        ("nan", [*plain, NAN, NAN], SILENT),
        # One infinity throughout: a start at the largest finite value shows.
        ("nothing-else", plain, ""),
    ):
        is_pooled = op in ("ReduceMax", "ReduceMin", "MaxPool")
        if name == ("nothing-else" if not is_pooled else "subnormal") or (op == "Sign" and name == "subnormal"):
            continue
        yield _choice(op, opset, kind, name, values, advisory)


def _larger(a: float, b: float) -> float:
    return NAN if math.isnan(a) or math.isnan(b) else max(a, b)


def _smaller(a: float, b: float) -> float:
    return NAN if math.isnan(a) or math.isnan(b) else min(a, b)


def _choice(op: str, opset: int, kind: str, name: str, values: list[float], advisory: str) -> Recipe:
    needs = whole_type(kind, subnormals=name == "subnormal")
    given: dict[str, Any] = {"needs": needs, "advisory": advisory}
    if op in ("ReduceMax", "ReduceMin", "MaxPool"):
        return _pooled(op, opset, kind, name, values, given)
    if op in ("Max", "Min"):
        pick = _larger if op == "Max" else _smaller

        def pairs() -> Pairs:
            found = [(a, b) for a in values for b in values]
            columns = [of(kind, [one[at] for one in found]) for at in range(2)]
            return columns, of(kind, [pick(*one) for one in found])

        return fixed(op, opset, kind, name, pairs, **given)
    ends = [of(kind, -2.0), of(kind, 3.0)] if op == "Clip" else []
    held = (1, 2) if op == "Clip" else ()
    return fixed(op, opset, kind, name,
                  lambda: ([of(kind, values), *ends], of(kind, [CHOICES[op](one) for one in values])),
                  held=held, **given)  # fmt: skip


def _sign(x: float) -> float:
    return NAN if math.isnan(x) else float((x > 0) - (x < 0))


CHOICES: dict[str, Callable[[float], float]] = {
    "Relu": lambda x: _larger(x, 0.0),
    "Sign": _sign,
    "Clip": lambda x: _smaller(_larger(x, -2.0), 3.0),
}


def _pooled(op: str, opset: int, kind: str, name: str, values: list[float], given: dict[str, Any]) -> Recipe:
    pick = _smaller if op == "ReduceMin" else _larger

    def draw(rng: np.random.Generator) -> Drawn:
        rows = np.array([rng.permutation(values)[:6] for _ in range(12)])
        least = INF if op == "ReduceMin" else -INF
        rows[0] = [-least, *[least] * 5]
        if name == "nothing-else":
            rows[:] = least
        found = []
        for row in rows:
            best = float(row[0])
            for one in row[1:]:
                best = pick(best, float(one))
            found.append(best)
        if op == "MaxPool":
            return Drawn([of(kind, rows.reshape(1, 12, 6))], [of(kind, np.array(found).reshape(1, 12, 1))])
        return Drawn([of(kind, rows)], [of(kind, found)])

    if op == "MaxPool":
        return probe(op, opset, kind, name, draw, attributes=Window.of((6,)).attributes, **given)
    return reduction(op, opset, kind, name, Over((12, 6), (1,), keep=False), draw, **given)


def _where(opset: int, kind: str) -> Iterator[Recipe]:
    def draw(rng: np.random.Generator, values: tuple[float, ...]) -> Drawn:
        # Every value is taken once from either side, beside every kind of other.
        x = of(kind, values)
        x, y = np.concatenate([x, rng.permutation(x)]), np.concatenate([rng.permutation(x), x])
        where = np.arange(len(x)) < len(values)
        order = rng.permutation(len(x))
        return Drawn([where[order], x[order], y[order]], [np.where(where, x, y)[order]])

    every = (*finite_of(kind), INF, -INF, NAN, NAN)
    yield probe("Where", opset, kind, "special", partial(draw, values=every), types=("bool",), needs=whole_type(kind))
    yield probe("Where", opset, kind, "zero-signs", partial(draw, values=(0.0, -0.0, 1.0, -1.0)), types=("bool",),
                needs=whole_type(kind), keeps_zero_sign=True, advisory=ZEROS)  # fmt: skip


def _sums(opset: int, kind: str) -> Recipe:
    rows = np.array(
        [
            [1, INF, -2, 3],
            [1, -INF, -2, 3],
            [INF, -INF, 1, 2],
            [NAN, 1, 2, 3],
            [NAN, INF, 1, 1],
            [0, 0, 0, 0],
            [1, 2, 3, -6],
        ]
    )

    def draw(rng: np.random.Generator) -> Drawn:
        x = rng.permuted(rows, axis=1)
        return Drawn([of(kind, x)], [of(kind, [INF, -INF, NAN, NAN, NAN, 0, 0])])

    needs = Needs(operand_bits=8, sum_bits=8, result_bits=8)
    return reduction("ReduceSum", opset, kind, "special", Over((7, 4), (1,), keep=False), draw, needs=needs)


def _products(opset: int, kind: str) -> Recipe:
    """Return rows with one NaN or infinity each, by columns without zeros: what is not finite has to show, and only in its row."""

    def draw(rng: np.random.Generator) -> Drawn:
        a, b = rng.integers(1, 3, size=(8, 33)).astype(np.float64), rng.integers(1, 3, size=(33, 5))
        b = b * rng.choice(np.array([-1, 1]), size=(1, 5))
        y = a @ b
        for row, value in ((1, NAN), (3, INF), (6, -INF)):
            a[row, rng.integers(33)] = value
            y[row] = value * np.sign(b[0])
        a[4, 0], a[4, 32] = INF, -INF
        y[4] = NAN
        return Drawn([of(kind, a), of(kind, b)], [of(kind, y)])

    return probe("MatMul", opset, kind, "special", draw)
