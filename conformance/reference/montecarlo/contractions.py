"""Operators that sum products: how many products each output sums, and the sums of their squares.

For C = A·B the error of accumulation scatters by u_acc·√((K/6)·(A∘A)(B∘B) + (K/9)·C∘C), K products per output and one more for
a bias. (A∘A)(B∘B) is the same operator on squared operands; it is worked out once from the unperturbed run, since the
perturbed operands differ from those by parts in thousands at most.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.reference.interpreter import Node, Values
    from conformance.reference.montecarlo.noise import Noise
    from conformance.tensors import Array

OPERANDS = {"MatMul": 2, "Gemm": 2, "Conv": 2, "ConvTranspose": 2, "Einsum": None, "DeformConv": 2}
"""Contractions with how many of their inputs are multiplied (None: all): the next one, if any, is added."""


def length_of(node: Node, inputs: Values) -> float:
    """Return K: products per output, and one more where a bias is added."""
    first, second = inputs[0], inputs[1] if len(inputs) > 1 else inputs[0]
    more = 1 if node.op != "Einsum" and len(inputs) > 2 and inputs[-1] is not None else 0
    if node.op == "MatMul":
        return float(first.shape[-1])
    if node.op == "Gemm":
        return float(first.shape[0 if node.attribute("transA", 0) else 1] + more)
    if node.op in ("Conv", "DeformConv"):
        return float(math.prod(second.shape[1:]) + more)
    if node.op == "ConvTranspose":
        strides = node.attribute("strides") or [1] * (first.ndim - 2)
        taps = math.prod(-(-size // step) for size, step in zip(second.shape[2:], strides, strict=True))
        return float(first.shape[1] // node.attribute("group", 1) * taps + more)
    return float(_einsum_length(str(node.attribute("equation", "")), inputs))


def squares_of(node: Node, inputs: Values, compute: Callable[[Values], Values]) -> Array:
    """Return (A∘A)(B∘B), and the square of a bias, in the shape of the output."""
    squared: list[Any] = [None if one is None else np.square(one) if one.dtype.kind == "f" else one for one in inputs]
    if node.op == "Gemm":
        alpha, beta = float(node.attribute("alpha", 1.0)), float(node.attribute("beta", 1.0))
        left = squared[0].T if node.attribute("transA", 0) else squared[0]
        right = squared[1].T if node.attribute("transB", 0) else squared[1]
        total = alpha**2 * (left @ right)
        return np.asarray(total + beta**2 * squared[2] if len(squared) > 2 and squared[2] is not None else total)
    if node.op == "DeformConv":  # offsets and masks say where and how much, and are no sums of squares
        squared[2] = inputs[2]
    result: Array = np.abs(np.asarray(compute(squared)[0]))
    return result


def contract(
    noise: Noise, node: Node, inputs: Values, compute: Callable[[Values], Values], squares: Array | None
) -> Values:
    """Return the perturbed output of a contraction."""
    count = OPERANDS[node.op]
    given: Any = [noise.operand(one) if count is None or at < count else one for at, one in enumerate(inputs)]
    value = np.asarray(compute(given)[0])
    if value.dtype.kind != "f":
        return [value]
    if squares is None or squares.shape != value.shape:
        squares = squares_of(node, inputs, compute)
    lagged = mean_partial_sums(noise, node, given, compute) if noise.mode.rounding == "toward-zero" else None
    return [noise.output(noise.product(value, squares, length_of(node, inputs), lagged))]


def mean_partial_sums(noise: Noise, node: Node, inputs: Values, compute: Callable[[Values], Values]) -> Array | None:
    """Return the mean of the partial sums of each output, in an order drawn for the run; None where it is not known.

    The k-th of K products is in K − k + 1 of the partial sums: the same operator on weights multiplied by these shares. A bias is
    there from the first addition, or comes last.
    """
    weights, axes = inputs[1], summed_axes(node, inputs)
    if axes is None or weights is None or weights.dtype.kind != "f":
        return None
    shape = tuple(size if axis in axes else 1 for axis, size in enumerate(weights.shape))
    lags = noise.lags(tuple(weights.shape[axis] for axis in axes)).reshape(shape)
    bias = OPERANDS[node.op] if len(inputs) > 2 and node.op in ("Conv", "ConvTranspose", "Gemm") else None
    is_first = noise.once() < 0.5
    given = [
        one * lags if at == 1 else one * is_first if at == bias and one is not None else one
        for at, one in enumerate(inputs)
    ]
    return np.asarray(compute(given)[0])


def summed_axes(node: Node, inputs: Values) -> tuple[int, ...] | None:
    """Return the axes of the second operand that the products of one output run over, ascending; None where it is not known."""
    rank = inputs[1].ndim if len(inputs) > 1 and inputs[1] is not None else 0
    if node.op == "MatMul":
        return (max(rank - 2, 0),)
    if node.op == "Gemm":
        return (1 if node.attribute("transB", 0) else 0,)
    if node.op in ("Conv", "DeformConv"):
        return tuple(range(1, rank))
    return (0, *range(2, rank)) if node.op == "ConvTranspose" else None


def _einsum_length(equation: str, inputs: Values) -> int:
    terms, _, kept = equation.replace(" ", "").partition("->")
    sizes: dict[str, int] = {}
    for term, value in zip(terms.split(","), inputs, strict=True):
        before, dots, after = term.partition("...")
        sizes.update(zip(before, value.shape, strict=False))
        sizes.update(zip(reversed(after), reversed(value.shape), strict=False))
        if not dots and len(before) != value.ndim:
            return 1
    if "->" not in equation:  # implicit form: what occurs once is kept
        kept = "".join(one for one in sizes if terms.count(one) == 1)
    return math.prod(size for letter, size in sizes.items() if letter not in kept)
