"""Quantised operators: ties to even, saturation at both ends, zero points, scales per axis and per block, extremes.

Scales are powers of two, so that a quotient is exact and only the rounding that the text asks for is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conformance.numerics.formats import FORMATS
from conformance.reference.exact.building import (
    Drawn,
    bits_of,
    each,
    find_version,
    gives,
    integers,
    of,
    opsets,
    probe,
    takes,
)
from conformance.reference.exact.windows import Window, convolve
from conformance.reference.recipes import Needs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.reference.recipes import Recipe
    from conformance.tensors import Array

RANGES: dict[str, tuple[int, int]] = {
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-32768, 32767),
    "uint16": (0, 65535),
    "int4": (-8, 7),
    "uint4": (0, 15),
    "int2": (-2, 1),
    "uint2": (0, 3),
}
BYTES = ("uint8", "int8")
HIGH = ("float32", "float16", "bfloat16")


def recipes() -> Iterator[Recipe]:
    """Yield the probes."""
    for opset, kind in each("QuantizeLinear", HIGH):
        for target in RANGES:
            if gives("QuantizeLinear", opset, target):
                yield from _quantise(opset, kind, target)
    for opset in opsets("DequantizeLinear"):
        for source in RANGES:
            for kind in HIGH:
                if takes("DequantizeLinear", opset, source) and takes("DequantizeLinear", opset, kind, 1):
                    yield from _dequantise(opset, source, kind)
    for opset in opsets("DynamicQuantizeLinear"):
        yield from _dynamic(opset)
    for opset, left in each("MatMulInteger", BYTES):
        for right in BYTES:
            yield from _matmul_integer(opset, left, right)
    yield from (_conv_integer(opset, left, right) for opset, left in each("ConvInteger", BYTES) for right in BYTES)
    for opset, kind in each("QLinearMatMul", BYTES):
        yield from _qlinear_matmul(opset, kind)
    yield from (_qlinear_conv(opset, kind) for opset, kind in each("QLinearConv", BYTES))


def _saturate(values: Array, kind: str) -> Array:
    return of(kind, np.clip(values, *RANGES[kind]))


def _ints(kind: str, values: Array | list[int] | int) -> Array:
    return of(kind, np.asarray(values))


def _quantise(opset: int, kind: str, target: str) -> Iterator[Recipe]:
    low, high = RANGES[target]
    middle = (low + high + 1) // 2
    fine = bits_of(kind)
    most = min(high - low, 2 ** (fine - 2) - 1)  # quotients have one bit behind the point, and all of them fit the type
    needs = Needs(operand_bits=fine, result_bits=fine, largest=float(2**18))

    def ties(rng: np.random.Generator) -> Drawn:
        halves = rng.integers(-2 * most // 3, 2 * most // 3 + 1, size=65) | 1  # odd: every quotient is a tie
        x = of(kind, halves * 0.25)  # the scale is 1/2, so that quotients are halves
        y = np.rint(halves / 2).astype(np.int64) + middle
        return Drawn([x, of(kind, 0.5), _ints(target, middle)], [_saturate(y, target)])

    def saturation(rng: np.random.Generator) -> Drawn:
        x = np.concatenate(
            [rng.permutation(np.array([low - 1, low - 300, high + 1, high + 400, low, high])), [0, 1, -1]]
        )
        x = of("bfloat16", x).astype(np.float64)  # eight bits suffice beyond the ends
        # The quotient is made in the type of the scale, and must not overflow there.
        x = of(kind, x[np.abs(x) <= FORMATS[kind].largest] / 2)
        y = (x.astype(np.float64) * 2).astype(np.int64)
        return Drawn([x, of(kind, 0.5), _ints(target, 0)], [_saturate(y, target)])

    def per_axis(rng: np.random.Generator) -> Drawn:
        scales = np.array([0.5, 2.0, 0.25])
        zeros = np.array([middle, middle + 1, max(middle - 1, low)])
        quotients = rng.integers(-most, most + 1, size=(4, 3, 5)) / 2
        x = of(kind, quotients * scales[:, None])
        y = np.rint(quotients).astype(np.int64) + zeros[:, None]
        return Drawn([x, of(kind, scales), _ints(target, zeros)], [_saturate(y, target)])

    def blocks(rng: np.random.Generator) -> Drawn:
        scales = 2.0 ** rng.integers(-2, 3, size=(3, 2))
        quotients = rng.integers(-most, most + 1, size=(3, 8)) / 2
        x = of(kind, quotients * np.repeat(scales, 4, axis=1))
        y = np.rint(quotients).astype(np.int64) + middle
        return Drawn([x, of(kind, scales), _ints(target, np.full((3, 2), middle))], [_saturate(y, target)])

    named = {"ties": (ties, {}), "saturation": (saturation, {}), "per-axis": (per_axis, {"axis": 1})}
    if find_version("QuantizeLinear", opset) >= 21:
        named["blocks"] = (blocks, {"axis": 1, "block_size": 4})
    for name, (draw, attributes) in named.items():
        yield probe("QuantizeLinear", opset, kind, f"to-{target}-{name}", draw, types=(target,),
                    attributes=dict(attributes), held=(1, 2), needs=needs)  # fmt: skip


def _dequantise(opset: int, source: str, kind: str) -> Iterator[Recipe]:
    low, high = RANGES[source]
    middle = (low + high + 1) // 2
    # The difference from the zero point has to be exact in the type of the result.
    reach = min(high - middle, 2 ** (bits_of(kind) - 1))
    bits = min(bits_of(kind), 17)
    needs = Needs(operand_bits=bits, result_bits=bits, largest=float(2**18))

    def draw(rng: np.random.Generator, scales: Array, shape: tuple[int, ...]) -> Drawn:
        x = rng.integers(max(middle - reach, low), middle + reach + 1, size=shape)
        x.reshape(-1)[:2] = max(middle - reach, low), middle + reach
        zeros = np.full(scales.shape, middle)
        along = scales[:, None] if scales.ndim == 1 else scales if scales.ndim == 0 else np.repeat(scales, 4, axis=1)
        return Drawn([_ints(source, x), of(kind, scales), _ints(source, zeros)], [of(kind, (x - middle) * along)])

    yield probe("DequantizeLinear", opset, source, f"to-{kind}-range", lambda rng: draw(rng, np.array(0.5), (5, 9)),
                types=(kind,), held=(1, 2), needs=needs)  # fmt: skip
    yield probe("DequantizeLinear", opset, source, f"to-{kind}-per-axis",
                lambda rng: draw(rng, np.array([0.5, 2.0, 0.25]), (4, 3, 5)),
                types=(kind,), attributes={"axis": 1}, held=(1, 2), needs=needs)  # fmt: skip
    if find_version("DequantizeLinear", opset) >= 21:
        yield probe("DequantizeLinear", opset, source, f"to-{kind}-blocks",
                    lambda rng: draw(rng, 2.0 ** rng.integers(-2, 3, size=(3, 2)), (3, 8)), types=(kind,),
                    attributes={"axis": 1, "block_size": 4}, held=(1, 2), needs=needs)  # fmt: skip


def _dynamic(opset: int) -> Iterator[Recipe]:
    """Yield data whose range is 255 steps of a power of two: scale and zero point are exact, ties go to even."""
    for name, low, power in (("two-sided", -128, -3), ("positive", 0, -1), ("negative", -255, 0), ("uneven", -37, 2)):

        def draw(rng: np.random.Generator, low: int = low, power: int = power) -> Drawn:
            steps = rng.integers(2 * low, 2 * (low + 255) + 1, size=(5, 13)) / 2
            steps.reshape(-1)[:4] = low, low + 255, low + 0.5, low + 1.5
            scale = np.float32(2.0**power)
            y = np.clip(np.rint(steps) - low, 0, 255)
            return Drawn([(steps * scale).astype(np.float32)],
                         [y.astype(np.uint8), np.array(scale, np.float32), np.array(-low, np.uint8)])  # fmt: skip

        needs = Needs(operand_bits=10, sum_bits=24, result_bits=24, largest=2.0**11)
        yield probe("DynamicQuantizeLinear", opset, "float32", name, draw, types=("uint8",), needs=needs)


def _matmul_integer(opset: int, left: str, right: str) -> Iterator[Recipe]:
    types = (right, "int32")
    lows, highs = (RANGES[one][0] for one in (left, right)), (RANGES[one][1] for one in (left, right))
    (low_a, low_b), (high_a, high_b) = lows, highs

    def extremes(rng: np.random.Generator) -> Drawn:
        # All at the ends, zero points at the other end: pairs of products that 16 bits do not hold.
        a = rng.choice(np.array([low_a, high_a]), size=(6, 257))
        b = rng.choice(np.array([low_b, high_b]), size=(257, 5))
        a[0], b[:, 0] = high_a, high_b
        a[1], b[:, 1] = low_a, low_b
        zeros = (low_a, high_b)
        return Drawn([_ints(left, a), _ints(right, b), _ints(left, zeros[0]), _ints(right, zeros[1])],
                     [_ints("int32", (a - zeros[0]) @ (b - zeros[1]))])  # fmt: skip

    def plain(rng: np.random.Generator) -> Drawn:
        a = rng.choice(np.array([low_a, high_a, high_a]), size=(2, 5, 65))
        b = rng.choice(np.array([low_b, high_b, high_b]), size=(65, 7))
        return Drawn([_ints(left, a), _ints(right, b)], [_ints("int32", a @ b)])

    def per_row(rng: np.random.Generator) -> Drawn:
        a, b = (
            rng.integers(low, high + 1, size=size)
            for low, high, size in ((low_a, high_a, (4, 33)), (low_b, high_b, (33, 6)))
        )
        zero = rng.integers(low_b, high_b + 1, size=6)
        return Drawn([_ints(left, a), _ints(right, b), _ints(left, 3), _ints(right, zero)],
                     [_ints("int32", (a - 3) @ (b - zero))])  # fmt: skip

    name = f"by-{right}"
    yield probe("MatMulInteger", opset, left, f"{name}-extremes-k257", extremes, types=types, held=(1, 2, 3))
    yield probe("MatMulInteger", opset, left, f"{name}-no-zero-points-k65", plain, types=types, held=(1,))
    yield probe("MatMulInteger", opset, left, f"{name}-zero-point-per-column", per_row, types=types, held=(1, 2, 3))


def _conv_integer(opset: int, left: str, right: str) -> Recipe:
    window = Window.of((3, 3), pads=(1, 0, 1, 0))

    def draw(rng: np.random.Generator) -> Drawn:
        x = rng.choice(np.array(RANGES[left]), size=(1, 5, 6, 7))
        weights = rng.choice(np.array(RANGES[right]), size=(4, 5, 3, 3))
        zeros = (RANGES[left][1] // 2, RANGES[right][1] // 2)
        # Padding lies at the zero point, and adds nothing.
        result = convolve(x - zeros[0], weights - zeros[1], window, 1)
        return Drawn(
            [_ints(left, x), _ints(right, weights), _ints(left, zeros[0]), _ints(right, zeros[1])],
            [_ints("int32", result)],
        )

    return probe("ConvInteger", opset, left, f"by-{right}-extremes", draw, types=(right, "int32"),
                 attributes=window.attributes, held=(1, 2, 3))  # fmt: skip


def _qlinear_matmul(opset: int, kind: str) -> Iterator[Recipe]:
    low, high = RANGES[kind]
    middle = (low + high + 1) // 2
    scale = np.array(0.5, np.float32)

    def outputs(total: Array, power: int) -> Array:
        return _saturate(np.rint(np.ldexp(total.astype(np.float64), power)).astype(np.int64) + middle, kind)

    def ties(rng: np.random.Generator) -> Drawn:
        a, b = integers(rng, (9, 17), 2) + middle, integers(rng, (17, 8), 3) + middle
        total = (a - middle) @ (b - middle)
        fed = [_ints(kind, a), scale, _ints(kind, middle), _ints(kind, b), scale, _ints(kind, middle)]
        return Drawn([*fed, scale, _ints(kind, middle)], [outputs(total, -1)])  # 1/2 · 1/2 over 1/2: halves

    def saturation(rng: np.random.Generator) -> Drawn:
        a, b = (rng.choice(np.array([low, high]), size=size) for size in ((6, 65), (65, 7)))
        total = (a - middle) @ (b - middle)
        fed = [_ints(kind, a), scale, _ints(kind, middle), _ints(kind, b), scale, _ints(kind, middle)]
        return Drawn([*fed, np.array(256.0, np.float32), _ints(kind, middle)], [outputs(total, -10)])

    for name, draw in (("ties", ties), ("saturation", saturation)):
        yield probe("QLinearMatMul", opset, kind, name, draw, types=("float32",), held=(1, 2, 4, 5, 6, 7))


def _qlinear_conv(opset: int, kind: str) -> Recipe:
    window = Window.of((3, 3), (2, 1), pads=(1, 1, 1, 1))
    low, high = RANGES[kind]
    middle = (low + high + 1) // 2

    def draw(rng: np.random.Generator) -> Drawn:
        x, weights = integers(rng, (1, 3, 7, 6), 9) + middle, integers(rng, (4, 3, 3, 3), 9) + middle
        bias = integers(rng, (4,), 99)
        total = convolve(x - middle, weights - middle, window, 1) + bias[:, None, None]
        half, point = np.array(0.5, np.float32), _ints(kind, middle)
        y = _saturate(np.rint(total / 2).astype(np.int64) + middle, kind)
        return Drawn(
            [_ints(kind, x), half, point, _ints(kind, weights), half, point, half, point, _ints("int32", bias)], [y]
        )

    return probe("QLinearConv", opset, kind, "ties-and-ends", draw, types=("float32", "int32"),
                 attributes=window.attributes, held=(1, 2, 3, 4, 5, 6, 7, 8))  # fmt: skip
