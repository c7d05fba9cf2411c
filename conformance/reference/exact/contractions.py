"""Contractions: MatMul, Gemm and Einsum on integers, where every order of summation gives the same bits.

Lengths lie around the widths at which units split a sum. Three kinds of data: sums below 2**8, which any declared precision
holds; sums beyond 2**11, which a float16 accumulator does not; operands of more bits than bfloat16 and TF32 have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conformance.reference.exact.building import (
    FLOATS,
    MOST,
    NARROWEST,
    Drawn,
    each,
    integers,
    of,
    probe,
)
from conformance.reference.recipes import Needs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from conformance.reference.recipes import Recipe
    from conformance.tensors import Array

LENGTHS = (1, 2, 7, 63, 64, 65, 127, 129, 255, 257, 1023, 1025)
WIDE_LENGTHS = (129, 257, 1025, 4097)
COUNTED = 64
"""Products of magnitude up to 4 that one output sums."""
CANCELLING_BITS = 18
"""Bits that hold every partial sum of a cancelling sum. Its half is long enough for many lanes to pass 2**11 each."""


def recipes() -> Iterator[Recipe]:
    """Yield the probes."""
    for opset, kind in each("MatMul", FLOATS):
        yield from _lengths(opset, kind)
        yield from _shapes(opset, kind)
        yield from _wide(opset, kind)
    for opset, kind in each("MatMul", ("int32", "uint32", "int64", "uint64")):
        yield from _whole(opset, kind)
    for opset, kind in each("Gemm", FLOATS):
        yield from _gemm(opset, kind)
    for opset, kind in each("Einsum", ("float32", "float16", "bfloat16", "float64", "int32", "int64")):
        yield from _einsum(opset, kind)


def striped(rng: np.random.Generator, rows: int, length: int, *, positive: bool = False) -> Array:
    """Return int64 [rows, length], at most 64 of a row not 0 and these of magnitude 1 or 2; every column counts in a row.

    With operands of magnitude up to 2 on the other side, the magnitudes of an output's products sum to 2**8 at most.
    """
    step = -(-length // COUNTED)
    if rows < step:
        raise ValueError(f"{rows} rows of {COUNTED} do not reach {length} columns")
    is_counted = np.arange(length) % step == np.arange(rows)[:, None] % step
    return np.where(is_counted, integers(rng, (rows, length), 2, positive=positive), 0)


def cancelling(rng: np.random.Generator, rows: int, length: int) -> Array:
    """Return int64 [rows, length] whose second half takes back what the first sums to, but for 1 to 8.

    Each half has an odd sum far beyond 2**11, the longer ones in each of 32 lanes: a float16 accumulator loses bits of both, one
    after another, in lanes, by blocks or by halves (there in about one row of four).
    """
    half = length // 2
    each_side = integers(rng, (rows, half), min(MOST - 1, 2**CANCELLING_BITS // half - 1), positive=True)
    each_side[:, 0] += 1 - each_side.sum(axis=1) % 2  # odd sums
    other = np.zeros((rows, length - half), np.int64)
    other[:, :half] = -rng.permuted(each_side, axis=1)
    other[:, -1] += rng.integers(1, 9, size=rows)
    return np.concatenate([each_side, other], axis=1)


def _product(kind: str, a: Array, b: Array) -> Drawn:
    return Drawn([of(kind, a), of(kind, b)], [of(kind, np.matmul(a, b))])


def _lengths(opset: int, kind: str) -> Iterator[Recipe]:
    for length in LENGTHS:
        for positive in (False, True):
            if positive and length not in (65, 257, 1025):
                continue
            rows = max(5, -(-length // COUNTED))

            def draw(
                rng: np.random.Generator, length: int = length, rows: int = rows, positive: bool = positive
            ) -> Drawn:
                a = striped(rng, rows, length, positive=positive)
                return _product(kind, a, integers(rng, (length, 6), 2, positive=positive))

            name = f"{'positive' if positive else 'integers'}-k{length}"
            yield probe("MatMul", opset, kind, name, draw)


def _shapes(opset: int, kind: str) -> Iterator[Recipe]:
    shapes: dict[str, tuple[Sequence[int], Sequence[int]]] = {
        "batches": ((2, 3, 5, 16), (2, 3, 16, 7)),
        "batches-broadcast": ((3, 1, 4, 16), (2, 16, 5)),
        "matrix-for-all": ((4, 3, 16), (16, 5)),
        "vector-matrix": ((16,), (16, 9)),
        "matrix-vector": ((9, 16), (16,)),
        "batches-vector": ((2, 9, 16), (16,)),
        "square": ((8, 8), (8, 8)),
        "one-row": ((1, 33), (33, 17)),
        "one-column": ((17, 33), (33, 1)),
    }
    for name, (left, right) in shapes.items():

        def draw(rng: np.random.Generator, left: Sequence[int] = left, right: Sequence[int] = right) -> Drawn:
            return _product(kind, integers(rng, left, 2), integers(rng, right, 3))

        yield probe("MatMul", opset, kind, name, draw)


def _wide(opset: int, kind: str) -> Iterator[Recipe]:
    if kind in ("float32", "float64"):
        for length in WIDE_LENGTHS:

            def draw(rng: np.random.Generator, length: int = length) -> Drawn:
                return _product(
                    kind, integers(rng, (4, length), 8, positive=True), integers(rng, (length, 5), 8, positive=True)
                )

            needs = Needs(operand_bits=NARROWEST, sum_bits=19, result_bits=19, largest=2.0**19)
            yield probe("MatMul", opset, kind, f"wide-sums-k{length}", draw, needs=needs)
        yield from _wide_operands(opset, kind)
    for length in WIDE_LENGTHS:

        def cancel(rng: np.random.Generator, length: int = length) -> Drawn:
            signs = rng.choice(np.array([-1, 1]), size=(1, 5))
            return _product(kind, cancelling(rng, 16, length), np.ones((length, 1), np.int64) * signs)

        needs = Needs(
            operand_bits=NARROWEST, sum_bits=CANCELLING_BITS, result_bits=NARROWEST, largest=2.0**CANCELLING_BITS
        )
        yield probe("MatMul", opset, kind, f"cancelling-sums-k{length}", cancel, needs=needs)
    if kind != "float16":
        for power in (17, 60):
            yield _range(opset, kind, power)


def _wide_operands(opset: int, kind: str) -> Iterator[Recipe]:
    for bits in (9, 12, 13, 24) if kind == "float32" else (13, 25, 53):
        for side in ("left", "right"):

            def draw(rng: np.random.Generator, bits: int = bits, side: str = side) -> Drawn:
                # One operand has all its bits, the other picks one of them for each output: no sum is longer than a value.
                values = rng.integers(2 ** (bits - 1), 2**bits, size=(6, 40)) | 1
                picks = np.zeros((40, 7), np.int64)
                picks[rng.permutation(40)[:7], np.arange(7)] = rng.choice(np.array([-1, 1]), size=7)
                return _product(kind, values, picks) if side == "left" else _product(kind, picks.T, values.T)

            needs = Needs(operand_bits=bits, sum_bits=bits, result_bits=bits, largest=2.0**bits)
            yield probe("MatMul", opset, kind, f"wide-operands-{bits}-bits-{side}", draw, needs=needs)


def _range(opset: int, kind: str, power: int) -> Recipe:
    def draw(rng: np.random.Generator) -> Drawn:
        a, b = integers(rng, (5, 16), 2), integers(rng, (16, 6), 3)
        scaled = [of(kind, np.ldexp(one.astype(np.float64), power)) for one in (a, np.matmul(a, b))]
        return Drawn([scaled[0], of(kind, b)], [scaled[1]])

    bits = NARROWEST
    needs = Needs(operand_bits=bits, sum_bits=bits, result_bits=bits, largest=2.0 ** (power + bits))
    return probe("MatMul", opset, kind, f"range-2e{power}", draw, needs=needs)


def _whole(opset: int, kind: str) -> Iterator[Recipe]:
    def small(rng: np.random.Generator) -> Drawn:
        positive = kind.startswith("u")
        a, b = integers(rng, (5, 65), 8, positive=positive), integers(rng, (65, 7), 8, positive=positive)
        return _product(kind, a, b)

    def large(rng: np.random.Generator) -> Drawn:
        power = 26 if kind.endswith("32") else 57
        a = integers(rng, (4, 6), 3, positive=True) * 2**power + integers(rng, (4, 6), 9, positive=True)
        picks = np.eye(6, dtype=np.int64)[rng.permutation(6)]
        return _product(kind, a, picks)

    yield probe("MatMul", opset, kind, "integers-k65", small)
    yield probe("MatMul", opset, kind, "wide-operands", large)


def _gemm(opset: int, kind: str) -> Iterator[Recipe]:
    settings: dict[str, tuple[int, int, float, float, tuple[int, ...] | None]] = {
        "plain": (0, 0, 1.0, 1.0, (5, 6)),
        "no-bias": (0, 0, 1.0, 1.0, None),
        "left-transposed": (1, 0, 1.0, 1.0, (6,)),
        "right-transposed": (0, 1, 1.0, 1.0, (1, 6)),
        "both-transposed": (1, 1, 1.0, 1.0, (5, 1)),
        "scaled": (0, 0, 2.0, 0.5, (5, 6)),
        "scaled-transposed": (1, 1, 0.5, 2.0, (6,)),
        "scalar-bias": (0, 1, 0.25, 1.0, ()),
        "beta-zero": (0, 0, 1.0, 0.0, (5, 6)),
    }
    for name, (left, right, alpha, beta, bias) in settings.items():
        for length in (6, 65) if name in ("plain", "scaled-transposed") else (33,):

            def draw(
                rng: np.random.Generator,
                length: int = length,
                left: int = left,
                right: int = right,
                alpha: float = alpha,
                beta: float = beta,
                bias: tuple[int, ...] | None = bias,
            ) -> Drawn:
                a = striped(rng, 5, length)
                b = integers(rng, (length, 6), 1)
                c = None if bias is None else 4 * integers(rng, bias, 8)
                # In quarters throughout, so that every factor is a whole number.
                quarters = int(4 * alpha) * np.matmul(a, b) + (0 if c is None else int(4 * beta) * c)
                fed = [of(kind, a.T if left else a), of(kind, b.T if right else b)]
                result = of(kind, np.broadcast_to(quarters, (5, 6)) / 4)
                return Drawn([*fed, *([] if c is None else [of(kind, c)])], [result])

            yield probe(
                "Gemm",
                opset,
                kind,
                f"{name}-k{length}",
                draw,
                attributes={"transA": left, "transB": right, "alpha": alpha, "beta": beta},
            )


def _einsum(opset: int, kind: str) -> Iterator[Recipe]:
    equations: dict[str, tuple[str, Callable[..., Array], tuple[tuple[int, ...], ...]]] = {
        "matrix-product": ("ij,jk->ik", lambda a, b: a @ b, ((5, 33), (33, 6))),
        "batches": ("bij,bjk->bik", lambda a, b: a @ b, ((3, 4, 17), (3, 17, 5))),
        "attention": ("bhqd,bhkd->bhqk", lambda a, b: a @ b.transpose(0, 1, 3, 2), ((2, 2, 3, 16), (2, 2, 5, 16))),
        "outer": ("i,j->ij", lambda a, b: a[:, None] * b, ((7,), (5,))),
        "turned-square": ("ij->ji", lambda a: a.T, ((6, 6),)),
        "inner": ("ij,ij->", lambda a, b: (a * b).sum(), ((5, 9), (5, 9))),
        "columns": ("ij->j", lambda a: a.sum(axis=0), ((17, 4),)),
    }
    for name, (equation, answer, shapes) in equations.items():

        def draw(
            rng: np.random.Generator,
            answer: Callable[..., Array] = answer,
            shapes: tuple[tuple[int, ...], ...] = shapes,
        ) -> Drawn:
            fed = [integers(rng, shape, 2) for shape in shapes]
            return Drawn([of(kind, one) for one in fed], [of(kind, answer(*fed))])

        yield probe("Einsum", opset, kind, name, draw, attributes={"equation": equation})
