"""Dot products: the sum of the magnitudes, the number of products, and the law that both give.

With u = 2^(−1−nf), an error is measured in units of bnd·u where bnd is the operator on |inputs|: the sum of the magnitudes
of all products of an output. Rounding the result costs at most one unit; adding K terms in an accumulator with nf_acc bits
costs a random walk of K steps of 2^(nf_out − nf_acc) each, so that |e| ≤ 2·ksb with ksb = ⌈K / 2^((nf_acc − nf_out)/2)⌉
holds with room to spare, and for equal formats is the worst case K·u itself. Narrowed operands count as the unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable  # noqa: TC003 - the table of counts is annotated at run time
from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.reference.operator_bounds.call import Call, Local, Underived, accumulator

if TYPE_CHECKING:
    from conformance.reference.interpreter import Values
    from conformance.tensors import Array


def _absolute(values: Values) -> Values:
    return [np.abs(one) if isinstance(one, np.ndarray) and one.dtype.kind == "f" else one for one in values]


def plain(call: Call, values: Values) -> Array:
    """Return the operator on the magnitudes of its inputs: right wherever it only multiplies and adds."""
    return np.asarray(call.compute(_absolute(values))[0])


def gemm(call: Call, values: Values) -> Array:
    """Gemm: |α|·|A|·|B| + |β|·|C|."""
    a, b = np.abs(values[0]), np.abs(values[1])
    a = a.T if call.attribute("transA", 0) else a
    b = b.T if call.attribute("transB", 0) else b
    found = abs(call.attribute("alpha", 1.0)) * (a @ b)
    if len(values) > 2 and values[2] is not None:
        found = found + abs(call.attribute("beta", 1.0)) * np.abs(values[2])
    return np.asarray(found)


def range_of(call: Call, values: Values) -> Array:
    """Range: |start| + i·|delta|."""
    start, _, delta = values
    return np.asarray(np.abs(start) + np.arange(call.outputs[0].size) * np.abs(delta)).reshape(call.outputs[0].shape)


def fourier(call: Call, values: Values) -> Array:
    """DFT and STFT: every output is a sum over the transformed axis with factors of magnitude one."""
    x = np.abs(values[0])
    if call.node.op == "STFT":
        window = 1.0 if len(values) < 3 or values[2] is None else float(np.max(np.abs(values[2]), initial=0.0))
        total = x.sum(axis=(1, 2), keepdims=True) * window
        return np.asarray(np.broadcast_to(total[..., None], call.outputs[0].shape))
    axis = _dft_axis(call, values)
    total = x.sum(axis=(axis, -1), keepdims=True)
    if call.attribute("inverse", 0):
        total = total / call.outputs[0].shape[axis]
    return np.asarray(np.broadcast_to(total, call.outputs[0].shape))


def linear_model(call: Call, values: Values) -> Array:
    """LinearRegressor: |x|·|coefficients| + |intercepts|."""
    targets = call.attribute("targets", 1)
    weights = np.abs(np.asarray(call.attribute("coefficients"), dtype=np.float64)).reshape(targets, -1)
    found = np.abs(values[0]).reshape(-1, weights.shape[1]) @ weights.T
    more = call.attribute("intercepts")
    return np.asarray(found + (0 if more is None else np.abs(np.asarray(more, dtype=np.float64))))


def count_products(call: Call) -> int:
    """Return K: the most products, or terms, that one output is the sum of; one more with a bias."""
    values = call.inputs
    counted = _COUNTS.get(call.node.op)
    if counted is None:
        return max(1, -(-int(values[0].size) // max(1, int(call.outputs[0].size))))
    bias = len(values) > 2 and values[2] is not None and call.node.op in ("Gemm", "Conv", "ConvTranspose")
    return int(counted(call)) + int(bias)


def _windowed(call: Call) -> int:
    return math.prod(int(one) for one in call.attribute("kernel_shape") or call.inputs[2])


def _stft_terms(call: Call) -> int:
    values = call.inputs
    if len(values) > 3 and values[3] is not None:
        return 2 * int(values[3])
    return 2 * int(values[2].size)


def _dft_axis(call: Call, values: Values) -> int:
    x = values[0]
    if len(values) > 2 and values[2] is not None:
        return int(values[2]) % int(x.ndim)
    default = 1 if call.version < 20 else -2
    return int(call.attribute("axis", default)) % int(x.ndim)


def _einsum_products(call: Call) -> int:
    text = call.attribute("equation").replace(" ", "")
    left, _, right = text.partition("->")
    sizes: dict[str, int] = {}
    for labels, value in zip(left.split(","), call.inputs, strict=True):
        before, dots, after = labels.partition("...")
        sizes |= dict(zip(before, value.shape, strict=False))
        if after:
            sizes |= dict(zip(after, value.shape[-len(after) :], strict=True))
        if not dots and len(before) != value.ndim:
            raise Underived(f"the equation {text} does not fit its operands")
    kept = set(right) if "->" in text else {one for one in sizes if left.count(one) == 1}
    summed = [int(size) for label, size in sizes.items() if label not in kept]
    return max(1, math.prod(summed)) + max(0, len(call.inputs) - 2)


_COUNTS: dict[str, Callable[[Call], int]] = {
    "MatMul": lambda call: int(call.inputs[0].shape[-1]),
    "Gemm": lambda call: int(call.inputs[0].shape[0 if call.attribute("transA", 0) else 1]),
    "Conv": lambda call: int(math.prod(call.inputs[1].shape[1:])),
    "ConvTranspose": lambda call: (
        call.inputs[1].shape[0] // call.attribute("group", 1) * math.prod(call.inputs[1].shape[2:])
    ),
    "AveragePool": _windowed,
    "Col2Im": _windowed,
    "Sum": lambda call: len(call.inputs),
    "Mean": lambda call: len(call.inputs),
    "Range": lambda call: max(1, call.outputs[0].size),
    "Einsum": _einsum_products,
    "CumSum": lambda call: int(call.inputs[0].shape[int(call.inputs[1])]) if call.inputs[0].ndim else 1,
    "ScatterElements": lambda call: np.asarray(call.inputs[1]).size + 1,
    "ScatterND": lambda call: np.asarray(call.inputs[1]).size + 1,
    "LinearRegressor": lambda call: call.inputs[0].shape[-1] + 1,
    "STFT": _stft_terms,
    "DFT": lambda call: 2 * call.inputs[0].shape[_dft_axis(call, call.inputs)],
}


def transform(call: Call) -> Local:
    """DFT and STFT: as a dot product, and 3 · 2π·n for the factors: angles 2π·j·k/n reach 2π·n, and are rounded three times.

    No statistics: every row meets the same factors, so that the errors of rows are not independent. A transform by way of
    convolutions (Bluestein's) is worse than plain sums for lengths that are no powers of two, by about as much.
    """
    plain_law = dot(fourier)(call)
    limit = plain_law.limit + 3 * 2 * math.pi * plain_law.products / 2
    return plain_law._replace(terms=0.0, limit=limit, law=f"discrete Fourier transform, n = {plain_law.products // 2}")


def dot(weigh: Any = plain) -> Callable[[Call], Local]:
    """Return the law of a dot product whose magnitudes `weigh` adds up."""

    def law(call: Call) -> Local:
        if call.node.op in ("Conv", "ConvTranspose") and call.mode.transforms:
            raise Underived(f"{', '.join(call.mode.transforms)} mixes the products of neighbouring outputs")
        form = call.form()
        mode = call.mode_of(call.output_kinds[0])
        narrow = min(form.bits, call.operand_bits)
        nf, nf_sums = narrow - 1, max(accumulator(mode).bits, 1) - 1
        products = max(1, count_products(call))
        terms = float(max(1, math.ceil(products / 2.0 ** ((nf_sums - nf) / 2))))
        with np.errstate(all="ignore"):
            sums = weigh(call, call.inputs)
            unit = np.where(sums == 0, 0.0, np.maximum(sums * 2.0 ** (-1 - nf), form.nmin))
            exempt = np.isfinite(sums) & (sums * (1 + 2 * terms * 2.0 ** (-1 - nf)) > form.largest)
            drift = None
            if mode.rounding == "toward-zero":
                drift = products * 2.0 ** (nf - nf_sums) * np.abs(call.outputs[0]) / np.where(sums == 0, 1.0, sums)
        unit = np.where(np.isfinite(unit), unit, 0.0)
        exempt = exempt if np.any(exempt) else None
        is_own = call.operand_bits >= min(form.bits, *(_own_bits(call) or [form.bits]))
        return Local(unit, 2 * terms, f"dot product, K = {products}", terms, products, drift, exempt, is_own)

    return law


def _own_bits(call: Call) -> list[int]:
    from conformance.numerics.bounded import format_of
    from conformance.reference.operator_bounds.call import FLOATS

    return [format_of(one).bits for one in call.input_kinds if one in FLOATS]
