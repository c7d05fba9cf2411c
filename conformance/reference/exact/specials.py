"""Special values through arithmetic and comparisons: NaN, infinities, signed zeros, subnormals, the largest finite numbers.

Asked is what the operator's text or IEEE 754 requires.
"""

from __future__ import annotations

import math
import operator
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from conformance.numerics.formats import FORMATS
from conformance.reference.exact.building import FLOATS, each, of
from conformance.reference.exact.special_values import (
    INF,
    NAN,
    Pairs,
    finite_of,
    fixed,
    largest_of,
    subnormals_of,
    whole_type,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.reference.recipes import Recipe
    from conformance.tensors import Array


def recipes() -> Iterator[Recipe]:
    """Yield the probes."""
    for op, answer in UNARY.items():
        for opset, kind in each(op, FLOATS):
            yield from _unary(op, opset, kind, answer)
    for op, binary in BINARY.items():
        for opset, kind in each(op, FLOATS):
            yield from _binary(op, opset, kind, binary)
    for op, compare in COMPARED.items():
        for opset, kind in each(op, FLOATS):
            yield _compared(op, opset, kind, compare)
    for op in ("IsNaN", "IsInf"):
        for opset, kind in each(op, FLOATS):
            yield from _told(op, opset, kind)


def _round_even(x: float) -> float:
    return x if not math.isfinite(x) else math.copysign(float(round(Fraction(x))), x)


def _toward(x: float, whole: Callable[[float], int]) -> float:
    return x if not math.isfinite(x) else math.copysign(float(whole(x)), x)


def _root(x: float) -> float:
    if math.isnan(x) or x < 0:
        return NAN
    return x if x in (0.0, INF) else math.sqrt(x)


UNARY: dict[str, Callable[[float], float]] = {
    "Abs": abs,
    "Neg": operator.neg,
    "Floor": lambda x: _toward(x, math.floor),
    "Ceil": lambda x: _toward(x, math.ceil),
    "Round": _round_even,
    "Sqrt": _root,
}


def _unary(op: str, opset: int, kind: str, answer: Callable[[float], float]) -> Iterator[Recipe]:
    values = {
        "Sqrt": [0.0, -0.0, 1.0, 4.0, 2.25, 256.0, 2.0**-8, -1.0],
        "Floor": [*finite_of(kind), 0.5, -0.5, 1.25, -1.25, 99.5, -99.5],
        "Ceil": [*finite_of(kind), 0.5, -0.5, 1.25, -1.25, 99.5, -99.5],
        "Round": [*finite_of(kind), 0.5, -0.5, 1.5, 2.5, -3.5, 4.5, 1.25, -1.75, 99.5, 100.5, -100.5],
    }.get(op, finite_of(kind))
    x = of(kind, [*values, INF, -INF, NAN])
    y = of(kind, [answer(float(one)) for one in x])
    yield fixed(op, opset, kind, "special", lambda: ([x], y), needs=whole_type(kind), keeps_zero_sign=True)
    if op in ("Abs", "Neg"):
        small = of(kind, subnormals_of(kind))
        z = of(kind, [answer(float(one)) for one in small])
        yield fixed(op, opset, kind, "subnormal", lambda: ([small], z), needs=whole_type(kind, subnormals=True))


def _added(a: float, b: float) -> Fraction | float:
    if math.isfinite(a) and math.isfinite(b):
        return Fraction(a) + Fraction(b)
    return a + b


def _multiplied(a: float, b: float) -> Fraction | float:
    if math.isfinite(a) and math.isfinite(b):
        return Fraction(a) * Fraction(b)
    return a * b


def _divided(a: float, b: float) -> Fraction | float:
    if math.isfinite(a) and math.isfinite(b) and b:
        return Fraction(a) / Fraction(b)
    if b == 0:
        return NAN if a == 0 or math.isnan(a) else math.copysign(INF, a) * math.copysign(1.0, b)
    return a / b


BINARY: dict[str, Callable[[float, float], Fraction | float]] = {
    "Add": _added,
    "Sub": lambda a, b: _added(a, -b),
    "Mul": _multiplied,
    "Div": _divided,
}


def _binary(op: str, opset: int, kind: str, answer: Callable[[float, float], Fraction | float]) -> Iterator[Recipe]:
    values = [*finite_of(kind), 2.0, INF, -INF, NAN]
    for name, small in (("special", False), ("subnormal", True)):
        left = [*subnormals_of(kind), FORMATS[kind].nmin, 1.5 * FORMATS[kind].nmin] if small else values
        right = [1.0, 2.0, -1.0] if small and op in ("Mul", "Div") else left

        def pairs(left: list[float] = left, right: list[float] = right, small: bool = small) -> Pairs:
            found = []
            for a in left:
                for b in right:
                    result = _settle(op, a, b, answer(a, b), kind)
                    is_small = result is not None and abs(result) < FORMATS[kind].nmin and result != 0
                    if result is not None and (small or not is_small):
                        found.append((a, b, result))
            columns = [of(kind, [one[at] for one in found]) for at in range(3)]
            return columns[:2], columns[2]

        yield fixed(op, opset, kind, name, pairs, needs=whole_type(kind, subnormals=small), keeps_zero_sign=True)


def _settle(op: str, a: float, b: float, exact: Fraction | float, kind: str) -> float | None:
    """Return the result in a type where no rounding is in doubt: exact, infinite at twice the largest and beyond, else None."""
    if isinstance(exact, float):
        return exact
    if exact == 0:
        if op in ("Mul", "Div"):
            return math.copysign(0.0, math.copysign(1.0, a) * math.copysign(1.0, b))
        # A sum of zeros of one sign keeps it; any other exact zero is +0 where results are rounded to nearest.
        minuend_is_negative = math.copysign(1.0, a) < 0
        other = -b if op == "Sub" else b
        return -0.0 if a == 0 and minuend_is_negative and math.copysign(1.0, other) < 0 else 0.0
    if abs(exact) >= 2 * Fraction(largest_of(kind)):
        return INF if exact > 0 else -INF
    if abs(exact) > Fraction(largest_of(kind)):
        return None
    form = FORMATS[kind]
    step = Fraction(2) ** max(math.frexp(float(exact))[1] - form.bits, form.min_exponent - form.bits + 1)
    return float(exact) if exact % step == 0 else None


COMPARED: dict[str, Callable[[float, float], bool]] = {
    "Equal": operator.eq,
    "Greater": operator.gt,
    "Less": operator.lt,
    "GreaterOrEqual": operator.ge,
    "LessOrEqual": operator.le,
}


def _compared(op: str, opset: int, kind: str, compare: Callable[[float, float], bool]) -> Recipe:
    def pairs() -> Pairs:
        values = [*finite_of(kind), INF, -INF, NAN]
        found = [(a, b) for a in values for b in values]
        columns = [of(kind, [one[at] for one in found]) for at in range(2)]
        return columns, np.array([compare(*one) for one in found], np.bool_)

    return fixed(op, opset, kind, "special", pairs, types=("bool",), needs=whole_type(kind))


def _told(op: str, opset: int, kind: str) -> Iterator[Recipe]:
    x = of(kind, [*finite_of(kind), INF, -INF, NAN, INF, -INF, NAN])
    told = [float(one) for one in x]
    if op == "IsNaN":
        nans = np.array([math.isnan(one) for one in told])
        yield fixed(op, opset, kind, "special", lambda: ([x], nans), types=("bool",), needs=whole_type(kind))
        return
    for positive, negative in ((1, 1), (1, 0), (0, 1)):
        y = np.array([(one == INF and positive) or (one == -INF and negative) for one in told], np.bool_)
        yield fixed(op, opset, kind, f"positive-{positive}-negative-{negative}", partial(_pair, x, y),
                     types=("bool",), needs=whole_type(kind),
                     attributes={"detect_positive": positive, "detect_negative": negative})  # fmt: skip


def _pair(x: Array, y: Array) -> Pairs:
    return [x], y
