"""The perturbations of one run: what rounding in the declared precision might do to a value, drawn from a seed.

ξ is uniform in (−1, 1) and z standard normal, for each element; θ and η are drawn once per tensor and run. A rounding to
nearest moves a value by at most u of its size, u = 2**-p; below the normal range by half a step, and where subnormals are
flushed by the smallest normal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.numerics.formats import FORMATS, Format, round_to

if TYPE_CHECKING:
    from conformance.numerics.modes import PrecisionMode
    from conformance.tensors import Array

FUNCTION_ROUNDOFF = 4 * 2.0**-24
"""What libraries of elementary functions in float32 keep within."""


class Noise:
    """The random numbers of a run and what they are multiplied with."""

    def __init__(self, mode: PrecisionMode, seed: tuple[int, ...], run: int) -> None:
        self.mode = mode
        self.run = run
        self._draw = np.random.Generator(np.random.SFC64(np.random.SeedSequence((*seed, run))))
        self.narrows_operands = mode.operands.bits < mode.results.bits
        """A device that stores more than it multiplies narrows at each contraction; any other once, on entry."""
        self.u_acc = mode.sums.roundoff
        self.u_out = mode.results.roundoff
        self.u_function = max(FUNCTION_ROUNDOFF, self.u_out) if mode.output != "float64" else 4 * self.u_out
        if mode.output == "float32":
            self.u_function = FUNCTION_ROUNDOFF

    def uniform(self, shape: tuple[int, ...]) -> Array:
        """Return ξ."""
        drawn = self._draw.random(shape, dtype=np.float32)
        drawn *= 2
        drawn -= 1
        return drawn

    def normal(self, shape: tuple[int, ...]) -> Array:
        """Return z."""
        return self._draw.standard_normal(shape, dtype=np.float32)

    def once(self) -> float:
        """Return θ ~ U(0, 1), for a whole tensor."""
        return float(self._draw.random())

    def order(self, count: int) -> Array:
        """Return in which order `count` terms are added: as given in run 0, from the end in run 1, any in the others."""
        if self.run == 0:
            return np.arange(count)
        if self.run == 1:
            return np.arange(count)[::-1]
        drawn: Array = self._draw.permutation(count)
        return drawn

    def output(self, value: Array) -> Array:
        """Return what an operator gives, rounded to the declared results."""
        return self._rounded(value, self.u_out, self.tiny(self.mode.results))

    def inner(self, value: Array) -> Array:
        """Return a value inside an operator, kept in the accumulator's precision."""
        return self._rounded(value, self.u_acc, self.tiny(self.mode.sums))

    def operand(self, value: Array) -> Array:
        """Return an operand of a contraction, where the device narrows operands only."""
        if not self.narrows_operands or not is_float(value):
            return value
        return self._rounded(value, self.mode.operands.roundoff, self.tiny(self.mode.operands))

    def narrowed(self, value: Array, mask: Array | None = None) -> Array:
        """Return a graph input or a weight as the device stores it; what the type holds (outside `mask`) is left alone."""
        if mask is None:
            mask = self.unheld(value)
        if mask is None:
            return value
        form = self.mode.operands
        return np.where(mask, self._rounded(value, form.roundoff, self.tiny(form)), value)

    def unheld(self, value: Any) -> Array | None:
        """Return which elements the device's storage does not hold exactly; None where it holds them all."""
        if self.narrows_operands or not is_float(value):
            return None
        mask = round_to(value, self.mode.operands, flush=self.mode.flushes) != value
        mask &= ~np.isnan(value)
        return mask if mask.any() else None

    def function(self, value: Array, extra: float = 0.0) -> Array:
        """Return an elementary function's value: a library errs at random and, over a tensor, to one side.

        `extra`: a further error of that size, absolute: a sigmoid is often worked out as ½ and what is beside it.
        """
        lean = 2 * self.once() - 1
        moved = self._rounded(value, self.u_function, self.tiny(self.mode.results))
        moved += value * (self.u_function * lean)
        if extra:
            moved += extra * self.uniform(value.shape)
        return finite_or(moved, value)

    def sum(self, terms: Array, axes: tuple[int, ...]) -> Array:
        """Return Σ terms over axes, kept as dimensions of one, added one after another in the accumulator's precision.

        Stagnation is a bias, so the additions are carried out; what another order or blocking might do is drawn.
        """
        count = int(np.prod([terms.shape[axis] for axis in axes], dtype=np.int64))
        kept = tuple(1 if at in axes else size for at, size in enumerate(terms.shape))
        if count == 0 or terms.size == 0:
            return np.zeros(kept)
        front = np.moveaxis(terms, axes, range(len(axes))).reshape(count, -1)
        total = self._accumulated(front[self.order(count)])
        squares = np.einsum("ij,ij->j", front, front)
        long = min(count, self.mode.accumulate_chain or count)
        total = total + self.normal(total.shape) * (self.u_acc * np.sqrt(long / 6 * squares + long / 9 * total * total))
        summed: Array = total.reshape(kept)
        return summed

    def mean(self, terms: Array, axes: tuple[int, ...]) -> Array:
        """Return the mean over axes, kept as dimensions of one."""
        count = int(np.prod([terms.shape[axis] for axis in axes], dtype=np.int64))
        return self.inner(self.sum(terms, axes) / max(count, 1))

    def lags(self, sizes: tuple[int, ...]) -> Array:
        """Return for each product of a sum, which runs over axes of these sizes, for what share of the additions it is in the sum.

        Sums are nested loops: the axes in any order, each from either end; as given in run 0, from the end in run 1.
        """
        count = int(np.prod(sizes, dtype=np.int64))
        nested = list(range(len(sizes))) if self.run < 2 else [int(one) for one in self._draw.permutation(len(sizes))]
        turned = [self.run == 1 or (self.run > 1 and self.once() < 0.5) for _ in sizes]
        places = np.arange(count).reshape([sizes[axis] for axis in nested]).transpose(np.argsort(nested))
        places = places[tuple(slice(None, None, -1 if one else 1) for one in turned)]
        shares: Array = 1 - places / max(count, 1)
        return shares

    def product(self, value: Array, squares: Array, length: float, lagged: Array | None = None) -> Array:
        """Return sums of `length` products, given their squares' sums, as an accumulator might give them.

        Cut off at each addition is, on average, a share of the partial sum. `lagged` is the mean of the partial sums in an order that
        the device may take: whatever the products have in common, neighbouring outputs lose alike. Without it, it is drawn: half
        the sum, and what a walk of independent products adds.
        """
        root = np.sqrt(length / 6 * squares + length / 9 * (value * value))
        root *= self.u_acc
        root *= self.normal(value.shape)
        root += value
        if self.mode.rounding == "toward-zero":
            drift = (
                0.75 * value + 0.375 * self.normal(value.shape) * np.sqrt(squares) if lagged is None else 1.5 * lagged
            )
            root -= self.u_acc * length * self.once() * drift
        return finite_or(root, value)

    def tiny(self, form: Format) -> float:
        """Return how far rounding moves what is almost zero."""
        return form.nmin if self.mode.flushes else form.step / 2

    def _rounded(self, value: Array, roundoff: float, tiny: float) -> Array:
        if not is_float(value):
            return value
        moved = np.abs(value)
        if moved.ndim == 0:
            moved = np.asarray(moved)
        moved = np.maximum(moved * roundoff, tiny)
        moved *= self.uniform(moved.shape)
        moved += value
        moved *= value != 0
        return finite_or(moved, value)

    def _accumulated(self, terms: Array) -> Array:
        """Return Σ of terms [n, …] along the first axis, in order; a declared chain is summed in blocks of that length."""
        chain = self.mode.accumulate_chain
        if chain is not None and chain > 1:
            while len(terms) > chain:
                blocks = -(-len(terms) // chain)
                padded = np.zeros((blocks * chain, terms.shape[1]))
                padded[: len(terms)] = terms
                terms = self._in_turn(padded.reshape(blocks, chain, -1).swapaxes(0, 1))
        return self._in_turn(terms)

    def _in_turn(self, terms: Array) -> Array:
        form, rounding = self.mode.sums, self.mode.rounding
        if form.bits >= FORMATS["float64"].bits:
            return np.asarray(terms.sum(axis=0))
        total = np.zeros(terms.shape[1:])
        dtype = {"float32": np.float32, "float16": np.float16}.get(form.name) if rounding == "nearest" else None
        with np.errstate(over="ignore", invalid="ignore"):
            for term in terms:
                total += term
                total = total.astype(dtype).astype(np.float64) if dtype else round_to(total, form, rounding)
        return total


def is_float(value: Any) -> bool:
    """Return whether a value of the graph is a floating-point tensor."""
    return isinstance(value, np.ndarray | np.generic) and value.dtype.kind == "f"


def finite_or(moved: Array, value: Array) -> Array:
    """Return the perturbed values, but infinities and NaN as they were."""
    if np.isfinite(value).all():
        return moved
    return np.where(np.isfinite(value), moved, value)
