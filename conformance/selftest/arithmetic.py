"""Arithmetic of a simulated device: rounding to a format, and sums that round after every addition.

A sum of K terms is taken in one of three orders: `sequential`, `pairwise` (a balanced tree), or `blocked` (runs of 32, then
the runs one after another). Python loops over the K terms; everything else is a vector. Where numpy's float32 is the same
thing as the declared accumulator, it is used; everything else adds in float64 and rounds the sum, which for formats of at most
24 bits is the rounding of the exact sum but for double rounding in one case of about 2**29.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from conformance.numerics.formats import round_to

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.numerics.formats import Format, Rounding
    from conformance.numerics.modes import PrecisionMode
    from conformance.tensors import Array

Order = Literal["sequential", "pairwise", "blocked"]
ORDERS: tuple[Order, ...] = ("sequential", "pairwise", "blocked")
BLOCK = 32
"""Terms of one run of a blocked sum."""
TILE = 1 << 16
"""Elements of a running sum that stay in the processor's cache together."""


def narrow(values: Array, form: Format, rounding: Rounding = "nearest", *, flush: bool = False) -> Array:
    """Return float64 values rounded to a format as `numerics.formats.round_to` does, several times as fast."""
    shape = np.shape(values)
    wide: Array = np.ascontiguousarray(values, dtype=np.float64).reshape(-1)
    if form.bits >= 53:
        return wide.reshape(shape)
    drop = np.uint64(53 - form.bits)
    bits = wide.view(np.uint64)
    mask = ~((np.uint64(1) << drop) - np.uint64(1))
    if rounding == "nearest":
        half = (np.uint64(1) << (drop - np.uint64(1))) - np.uint64(1)
        bits = bits + half + ((bits >> drop) & np.uint64(1))
    result: Array = (bits & mask).view(np.float64)
    size = np.abs(wide)
    is_odd = ((size < form.nmin) & (size > 0)) | ~(size <= form.largest / 2)
    if is_odd.any():
        result[is_odd] = round_to(wide[is_odd], form, rounding, flush=flush)
    return result.reshape(shape)


def _outer(left: Array, right: Array, at: int) -> Array:
    product: Array = left[at] * right[at]
    return product


class Arithmetic:
    """Sums and products as a device with this mode takes them."""

    def __init__(self, mode: PrecisionMode, order: Order = "sequential") -> None:
        self.mode, self.order = mode, order
        self._is_float32 = mode.accumulate == "float32" and mode.rounding == "nearest"
        self._is_float16 = mode.accumulate == "float16" and mode.rounding == "nearest"
        self._dtype: Any = np.float32 if self._is_float32 else np.float64

    def operand(self, values: Array) -> Array:
        """Return what a contraction reads of a tensor."""
        return narrow(values, self.mode.operands, flush=self.mode.flushes)

    def result(self, values: Array) -> Array:
        """Return what is stored of a result."""
        return narrow(values, self.mode.results, flush=self.mode.flushes)

    def inner(self, values: Array) -> Array:
        """Return what an operator that computes in several steps keeps of one of them: in the format of its sums."""
        return narrow(values, self.mode.sums)

    def total(self, terms: Array) -> Array:
        """Return the sums over the last axis of `terms` [..., K], each addition rounded; float64 [...].

        Always to nearest: it is the matrix unit that truncates, where one does, and sums do not go through it.
        """
        if self.mode.rounding != "nearest":
            return Arithmetic(msgspec.structs.replace(self.mode, accumulate_rounding="nearest"), self.order).total(
                terms
            )
        lines = np.ascontiguousarray(np.moveaxis(terms, -1, 0), dtype=self._dtype)
        if not len(lines):
            return np.zeros(terms.shape[:-1])
        return self._fold(lambda at: lines[at], len(lines)).astype(np.float64)

    def product(self, rows: Array, kernels: Array) -> Array:
        """Return rows [..., M, K] @ kernels [..., K, N] with operands narrowed and sums rounded; float64 [..., M, N]."""
        rows, kernels = self.operand(rows), self.operand(kernels)
        count = rows.shape[-1]
        batch = np.broadcast_shapes(rows.shape[:-2], kernels.shape[:-2])
        if not count:
            return np.zeros((*batch, rows.shape[-2], kernels.shape[-1]))
        if rows.shape[-2] > kernels.shape[-1]:  # the long axis last, where numpy's inner loop runs
            return np.swapaxes(self._product(np.swapaxes(kernels, -1, -2), np.swapaxes(rows, -1, -2)), -1, -2)
        return self._product(rows, kernels)

    def _product(self, rows: Array, kernels: Array) -> Array:
        left = np.ascontiguousarray(np.moveaxis(rows, -1, 0), dtype=self._dtype)[..., :, None]
        right = np.ascontiguousarray(np.moveaxis(kernels, -2, 0), dtype=self._dtype)[..., None, :]
        outer = np.broadcast_shapes(left.shape[1:], right.shape[1:])
        result = np.empty(outer)
        width = max(TILE // max(int(np.prod(outer[:-1])), 1), 64)
        for first in range(0, outer[-1], width):
            part = right[..., first : first + width]
            result[..., first : first + width] = self._fold(partial(_outer, left, part), len(left))
        return result

    def _add(self, one: Array, other: Array) -> Array:
        if self._is_float32:
            return one + other
        if self._is_float16:  # products of two float16 are exact in float64, as in a fused multiply-add
            return (one + other).astype(np.float16).astype(np.float64)
        return narrow(one + other, self.mode.sums, self.mode.rounding)

    def _fold(self, term: Callable[[int], Array], count: int) -> Array:
        """Return the sum of term(0) … term(count - 1) in the order of this device."""
        with np.errstate(all="ignore"):
            if self.order == "pairwise":
                return self._fold_pairwise(term, count)
            if self.order == "blocked" and count > BLOCK:
                runs = [self._run(term, at, min(at + BLOCK, count)) for at in range(0, count, BLOCK)]
                return self._run(runs.__getitem__, 0, len(runs))
            return self._run(term, 0, count)

    def _run(self, term: Callable[[int], Array], begin: int, end: int) -> Array:
        total = self._add(np.zeros((), dtype=self._dtype), term(begin))
        for at in range(begin + 1, end):
            total = self._add(total, term(at))
        return total

    def _fold_pairwise(self, term: Callable[[int], Array], count: int) -> Array:
        """Add neighbours, then neighbours of sums: a binary counter of partial sums needs log2(K) of them at a time."""
        waiting: list[tuple[int, Array]] = []
        for at in range(count):
            level, value = 0, self._add(np.zeros((), dtype=self._dtype), term(at))
            while waiting and waiting[-1][0] == level:
                value = self._add(waiting.pop()[1], value)
                level += 1
            waiting.append((level, value))
        total = waiting.pop()[1]
        while waiting:
            total = self._add(waiting.pop()[1], total)
        return total
