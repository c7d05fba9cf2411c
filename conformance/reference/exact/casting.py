"""Casts between all types: ties to even, infinity beyond the range, high bits discarded, fractions cut off.

What the text leaves undefined (a floating-point value beyond the range of an integer) is not asked. How a value between two
neighbours is rounded, the text says for the float8 types alone; for the others IEEE 754 says it: to the nearest, ties to even.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from conformance.numerics.formats import FORMATS, round_to
from conformance.reference.exact.building import (
    FLOATS,
    SIGNED,
    UNSIGNED,
    Drawn,
    find_version,
    gives,
    of,
    opsets,
    probe,
    takes,
)
from conformance.reference.recipes import Needs
from conformance.tensors import DTYPES, ONNX_TYPE_OF

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.reference.recipes import Recipe
    from conformance.tensors import Array

INTEGERS = SIGNED + UNSIGNED
BETWEEN = ("float32",)
"""Versions between the oldest and the newest are asked for casts from and to these alone."""
FLOAT8 = ("float8e4m3fn", "float8e5m2")
LARGEST = {"float8e4m3fn": 448.0, "float8e5m2": 57344.0}
_FORM = {"float8e4m3fn": "float8e4m3"}
DOUBLE = "the text names no rounding; rounding twice, to float32 on the way, is one of those that it does not exclude"


def recipes() -> Iterator[Recipe]:
    """Yield the probes."""
    every = opsets("Cast")
    for opset in every:
        is_between = opset not in (every[0], every[-1])
        kinds = [one for one in (*FLOATS, *INTEGERS, "bool") if takes("Cast", opset, one)]
        for source in kinds:
            for target in kinds:
                if source != target and not (is_between and {source, target}.isdisjoint(BETWEEN)):
                    yield from _cast(opset, source, target)
            for target in FLOAT8:
                if source in ("float32", "float16", "bfloat16") and gives("Cast", opset, target):
                    yield from _to_float8(opset, source, target)
    for opset in opsets("Cast"):
        for source in FLOAT8:
            if takes("Cast", opset, source):
                yield _from_float8(opset, source)


def _cast(opset: int, source: str, target: str) -> Iterator[Recipe]:
    if source in FLOATS and target in FLOATS:
        yield from _between_floats(opset, source, target)
    elif source in FLOATS:
        yield _to_bool(opset, source) if target == "bool" else _truncated(opset, source, target)
    elif target in FLOATS:
        yield from _rounded(opset, source, target)
    else:
        yield _reinterpreted(opset, source, target)


def _one(opset: int, source: str, target: str, name: str, x: Array, y: Array, **given: object) -> Recipe:
    attributes = {"to": ONNX_TYPE_OF[target], **given.pop("attributes", {})}  # type: ignore[dict-item]
    return probe("Cast", opset, source, f"to-{target}-{name}", lambda _: Drawn([x], [y]),
                 types=(target,), attributes=attributes, **given)  # type: ignore[arg-type]  # fmt: skip


def _needs(*kinds: str, largest: float = 0.0) -> Needs:
    """Return that the types of a cast have to be what they say."""
    bits = max(FORMATS[one].bits for one in kinds if one in FORMATS)
    return Needs(operand_bits=bits, sum_bits=min(bits, 24), result_bits=bits, largest=largest)


def _between_floats(opset: int, source: str, target: str) -> Iterator[Recipe]:
    wide, narrow = FORMATS[source], FORMATS[target]
    if wide.bits < narrow.bits and wide.min_exponent >= narrow.min_exponent:
        values = np.array([0.0, -0.0, 1.5, -2.75, 96.0, wide.nmin, np.inf, -np.inf, np.nan])
        x = of(source, values)
        needs = _needs(source, largest=256.0)
        yield _one(
            opset, source, target, "widening", x, of(target, x.astype(np.float64)), needs=needs, keeps_zero_sign=True
        )
        return
    one = narrow.roundoff
    ties = np.array([1 + one, 1 + 3 * one, -(1 + one), -(1 + 3 * one), 1 + 2 * one, 1 - one / 2])
    if wide.bits > narrow.bits + 1:
        ties = np.concatenate([ties, [1 + one * 1.0625, 1 + one * 0.9375, -(1 + 2.9375 * one)]])
    x = of(source, ties)
    ties = x.astype(np.float64)
    yield _one(opset, source, target, "ties", x, of(target, round_to(ties, narrow)), needs=_needs(source, target))
    beyond = [0.0, -0.0, np.inf, -np.inf, np.nan]
    if wide.min_exponent <= narrow.min_exponent and wide.largest > 2 * narrow.largest:
        beyond += [2 * narrow.largest, -4 * narrow.largest]
    elif wide.largest > narrow.largest:
        beyond += [wide.largest]
    x = of(source, beyond)
    expected = of(target, round_to(x.astype(np.float64), narrow))
    most = float(np.max(np.abs(x.astype(np.float64)), where=np.isfinite(x.astype(np.float64)), initial=0.0))
    yield _one(
        opset,
        source,
        target,
        "out-of-range",
        x,
        expected,
        needs=_needs(source, target, largest=most),
        keeps_zero_sign=True,
    )
    if source == "float64" and target in ("float16", "bfloat16"):
        near = np.array([1 + one + 2.0**-40, 1 + 3 * one - 2.0**-40])
        expected = of(target, round_to(near, narrow))
        yield _one(opset, source, target, "rounded-once", near, expected, needs=_needs(source, target), advisory=DOUBLE)
    if narrow.min_exponent > wide.min_exponent:
        small = np.array([1, 2, 3, 5, 1.5, 2.5]) * narrow.step
        needs = _needs(source, target)._replace(subnormals=True)
        yield _one(
            opset, source, target, "subnormal", of(source, small), of(target, round_to(small, narrow)), needs=needs
        )


def _to_bool(opset: int, source: str) -> Recipe:
    values = np.array([0.0, -0.0, 1.0, -1.0, 0.25, -0.5, 2.0**-14, np.inf, -np.inf])
    return _one(opset, source, "bool", "zeros", of(source, values), values != 0)


def _truncated(opset: int, source: str, target: str) -> Recipe:
    info, bits = np.iinfo(DTYPES[target]), FORMATS[source].bits
    values = [0.0, -0.0, 0.5, 0.75, 1.0, 1.5, 2.5, 3.75, 100.0, 126.5 if bits > 8 else 126.0]
    if info.min < 0:
        values += [-one for one in values]
    elif bits > 8:
        values += [254.75 if bits > 10 else 254.0, 255.0]
    # The largest power of two and the largest value of the type that the integer holds: what 32 bits on the way would lose.
    top = int(info.max) + 1
    held = [
        2.0 ** (top.bit_length() - 2),
        float((top - 1) // 2 ** max(0, (top - 1).bit_length() - bits) * 2 ** max(0, (top - 1).bit_length() - bits)),
    ]
    values += [one for one in held if one <= FORMATS[source].largest]
    x = of(source, values)
    whole = [int(Fraction(float(one))) for one in x.astype(np.float64)]
    y = of(target, np.array(whole, dtype=object))
    needs = _needs(source, largest=float(max(abs(one) for one in whole)))
    return _one(opset, source, target, "truncated", x, y, needs=needs)


def _rounded(opset: int, source: str, target: str) -> Iterator[Recipe]:
    narrow = FORMATS[target]
    if source == "bool":
        x = np.array([True, False, True])
        yield _one(opset, source, target, "ones", x, of(target, [1, 0, 1]))
        return
    info = np.iinfo(DTYPES[source])
    exact = [0, 1, 2, 3, 100, 127, *((-1, -128) if info.min < 0 else ())]
    x = of(source, np.array(exact, dtype=object))
    yield _one(opset, source, target, "exact", x, of(target, exact))
    step = 2**narrow.bits
    if 4 * step < info.max and 4 * step < narrow.largest:
        ties = [step + 1, step + 3, 2 * step + 1, 2 * step + 2, 2 * step + 3, 2 * step + 6, step - 1]
        ties += [-one for one in ties] if info.min < 0 else []
        x = of(source, np.array(ties, dtype=object))
        expected = [float(_nearest_even(one, narrow.bits)) for one in ties]
        needs = _needs(target, largest=4.0 * step)
        yield _one(opset, source, target, "ties", x, of(target, expected), needs=needs)


def _nearest_even(value: int, bits: int) -> int:
    """Return an integer rounded to so many significant bits, ties to even, in integer arithmetic alone."""
    size = abs(value)
    excess = max(0, size.bit_length() - bits)
    quotient, rest = divmod(size, 1 << excess)
    half = (1 << excess) / 2
    quotient += rest > half or (rest == half and quotient % 2 == 1)
    return (quotient << excess) * (1 if value >= 0 else -1)


def _reinterpreted(opset: int, source: str, target: str) -> Recipe:
    if source == "bool":
        x = np.array([True, False, True, True])
        return _one(opset, source, target, "ones", x, of(target, np.array([1, 0, 1, 1], dtype=object)))
    low, high = int(np.iinfo(DTYPES[source]).min), int(np.iinfo(DTYPES[source]).max)
    values = [
        low,
        high,
        0,
        1,
        high // 2,
        high // 2 + 1,
        low + 1,
        200 % (high + 1),
        *(2**at for at in range(7)),
        *((-1, -2, -100) if low else ()),
    ]
    values += [2**at + 1 for at in (8, 16, 31, 32, 53) if 2**at + 1 <= high]
    x = of(source, np.array(values, dtype=object))
    if target == "bool":
        return _one(opset, source, target, "nonzero", x, np.array([one != 0 for one in values]))
    return _one(opset, source, target, "high-bits-discarded", x, of(target, np.array(values, dtype=object)))


def _to_float8(opset: int, source: str, target: str) -> Iterator[Recipe]:
    narrow, largest = FORMATS[_FORM.get(target, target)], LARGEST[target]
    one = narrow.roundoff
    ties = np.array([1 + one, 1 + 3 * one, 1 + 2 * one, -(1 + one), 0.0, 4 + 12 * one])
    needs = Needs(operand_bits=8, result_bits=2, largest=1024.0)
    yield _one(opset, source, target, "ties", of(source, ties), of(target, round_to(ties, narrow)), needs=needs)
    has_saturate = find_version("Cast", opset) >= 19
    beyond = np.array([np.inf, -np.inf, np.nan, 4096.0 if target == "float8e4m3fn" else np.inf])
    if has_saturate:
        for saturate in (1, 0):
            excess = largest if saturate else np.nan if target == "float8e4m3fn" else np.inf
            expected = np.where(np.isnan(beyond), np.nan, np.copysign(excess, beyond))
            yield _one(opset, source, target, f"{'saturated' if saturate else 'beyond'}", of(source, beyond), of(target, expected),
                       attributes={"saturate": saturate}, needs=Needs(operand_bits=8, largest=4096.0))  # fmt: skip


def _from_float8(opset: int, source: str) -> Recipe:
    x = np.arange(256, dtype=np.uint8).view(DTYPES[source])
    return _one(opset, source, "float32", "every-value", x, x.astype(np.float32), keeps_zero_sign=True,
                needs=Needs(result_bits=4, largest=LARGEST[source], subnormals=True))  # fmt: skip
