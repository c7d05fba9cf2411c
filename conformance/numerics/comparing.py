"""The errors of one output against its reference, each in units of its own scale, as the sums that the tiers judge.

r = (actual - reference) / scale for every element, in float64, in one pass and without a second copy of any tensor. The scale
is what an error of size 1 means: a bound's unit per element (tier 2), a standard deviation per element (tier 3), or one
number for all. What is within a tolerance by rtol and atol is for `closeness`.

Sums are taken by rows of 4,096, and the rows' sums by numpy's pairwise summation in the order of the tensor: the same on any
number of threads, with a relative error of some 100 * 2**-53 of the sum of magnitudes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from conformance.numerics.elementwise import find_special
from conformance.numerics.streaming import BLOCK, read_blocks, share_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.tensors import Array

ROW = 1 << 12
"""Elements that BLAS sums at a time: too few for it to start threads of its own."""
SMALLEST = 5e-324
"""The smallest float64 above 0."""
ONES = np.ones(ROW)
ONES.flags.writeable = False


class Errors(NamedTuple):
    """What was found of the errors r. Sums and maxima are over the `finite` pairs, both of whose elements are finite."""

    total: int = 0
    """Elements compared."""
    finite: int = 0
    """Pairs of finite elements."""
    largest: float = 0.0
    """Greatest |r|; inf where the scale is 0 and the elements differ."""
    largest_at: int = -1
    """Its row-major index, the first of equals; -1 where no pair is finite."""
    sum: float = 0.0
    """Σ r."""
    sum_squares: float = 0.0
    """Σ r²."""
    sum_signed: float = 0.0
    """Σ sign(reference)·r, where |reference| is at least the given floor and else counts as 0: positive where results are too large."""
    sum_magnitudes: float = 0.0
    """Σ |r|."""
    special_mismatches: int = 0
    """Elements that are NaN or infinite in one tensor and not the same in the other."""
    first_special: int = -1
    """Row-major index of the first of them; -1 where there is none."""
    exceeding: int = 0
    """Elements with |r| beyond the limit."""
    first_exceeding: int = -1

    @property
    def rms(self) -> float:
        """Return the quadratic mean of r; 0 where there is nothing to average."""
        return float((self.sum_squares / self.finite) ** 0.5) if self.finite else 0.0

    @property
    def mean(self) -> float:
        """Return the mean of r."""
        return self.sum / self.finite if self.finite else 0.0

    @property
    def mean_signed(self) -> float:
        """Return the mean of sign(reference)·r over all finite pairs."""
        return self.sum_signed / self.finite if self.finite else 0.0


def measure_errors(
    actual: Array,
    reference: Array,
    scale: float | Array = 1.0,
    *,
    limit: float = np.inf,
    floor: float = SMALLEST,
) -> Errors:
    """Return the errors of real tensors of one shape, of whatever types; those beyond `limit` are counted.

    `scale` is a number or has the reference's shape, and is not negative; where it is 0, the elements must be equal: r is 0, or
    infinite. Signs of references below `floor` (positive) count as 0. Integers beyond 2**53 lose their last bits.
    ValueError where shapes differ or a type is complex or no number.
    """
    scales = None if isinstance(scale, np.ndarray) and scale.ndim else float(scale)
    if actual.shape != reference.shape or (scales is None and np.shape(scale) != reference.shape):
        raise ValueError(f"shapes differ: {actual.shape}, {reference.shape}, scale {np.shape(scale)}")
    if actual.dtype.kind in "cOUSTMm" or reference.dtype.kind in "cOUSTMm":
        raise ValueError(f"no real numbers: {actual.dtype}, {reference.dtype}")
    total = reference.size
    got, want = read_blocks(actual), read_blocks(reference)
    per: Callable[[int, int], Any] = (lambda _start, _stop: scales) if scales is not None else read_blocks(scale)  # type: ignore[arg-type]
    parts: list[tuple[int, Errors]] = []

    def work(starts: Iterator[int]) -> None:
        room = np.empty((3, min(total, BLOCK)))
        with np.errstate(all="ignore"):  # the setting is each thread's own
            for start in starts:
                stop = min(start + BLOCK, total)
                found = _measure_block(got(start, stop), want(start, stop), per(start, stop), limit, floor, room)
                parts.append((start, found))

    share_blocks(total, work)
    return _join(sorted(parts))


def _measure_block(
    actual: Array, reference: Array, scale: float | Array, limit: float, floor: float, room: Array
) -> Errors:
    size = actual.size
    error, spare, wide = room[0, :size], room[1, :size], room[2, :size]
    np.copyto(error, actual, casting="unsafe")
    if reference.dtype == np.float64:
        wide = reference
    else:
        np.copyto(wide, reference, casting="unsafe")
    np.subtract(error, wide, out=error)
    if not (isinstance(scale, float) and scale == 1.0):
        np.divide(error, scale, out=error)
    magnitude = np.abs(error, out=spare)
    at = int(magnitude.argmax())  # of a NaN, where there is one
    largest = float(magnitude[at])
    count, wrong, first = size, 0, -1
    if not largest < np.inf:
        seen = actual.astype(np.float64)
        finite, same = find_special(wide, seen)
        differs = ~(finite | same)
        count, wrong = int(np.count_nonzero(finite)), int(np.count_nonzero(differs))
        first = int(differs.argmax()) if wrong else -1
        # 0 / 0 is equality where equality is demanded; any other NaN left comes from a scale that is none.
        error[np.isnan(error)] = np.inf
        error[~finite | (seen == wide)] = 0.0
        magnitude = np.abs(error, out=spare)
        at = int(np.where(finite, magnitude, -1.0).argmax()) if count else -1
        largest = float(magnitude[at]) if count else 0.0
    beyond = largest > limit and magnitude > limit
    magnitudes = _sum_products(magnitude, None)
    squares = _sum_products(error, error)
    sums = _sum_products(error, None)
    if floor <= SMALLEST:
        np.sign(wide, out=spare)
    else:
        np.copyto(spare, np.subtract((wide >= floor).view(np.int8), (wide <= -floor).view(np.int8)))
    if count < size:
        spare[np.isnan(spare)] = 0.0
    if largest == np.inf:
        error[spare == 0] = 0.0  # what counts as 0 does so even where it is infinite
    return Errors(
        total=size,
        finite=count,
        largest=largest,
        largest_at=at,
        sum=sums,
        sum_squares=squares,
        sum_signed=_sum_products(error, spare),
        sum_magnitudes=magnitudes,
        special_mismatches=wrong,
        first_special=first,
        exceeding=int(np.count_nonzero(beyond)),
        first_exceeding=int(beyond.argmax()) if isinstance(beyond, np.ndarray) else -1,
    )


def _sum_products(left: Array, right: Array | None) -> float:
    """Return Σ left·right, or Σ left, by rows."""
    if left.size < ROW:
        return float(np.add.reduce(left) if right is None else np.vecdot(left, right))
    whole = left.size // ROW * ROW
    rest = left[whole:]
    tail = float(np.add.reduce(rest) if right is None else np.vecdot(rest, right[whole:])) if rest.size else 0.0
    rows = left[:whole].reshape(-1, ROW)
    sums = np.vecdot(rows, ONES if right is None else right[:whole].reshape(-1, ROW))
    return float(np.add.reduce(sums)) + tail


def _join(parts: list[tuple[int, Errors]]) -> Errors:
    """Fold the blocks of one tensor, in its order; the indices within them become indices of the whole."""
    if len(parts) <= 1:
        return parts[0][1] if parts else Errors()

    def add(name: str) -> Any:
        with np.errstate(invalid="ignore"):  # infinities of both signs
            return np.add.reduce([getattr(part, name) for _, part in parts]).item()

    def find(name: str) -> int:
        return next((start + getattr(part, name) for start, part in parts if getattr(part, name) >= 0), -1)

    # A block without finite pairs has no place for its largest; of equals, max takes the first.
    placed = [(start, part) for start, part in parts if part.largest_at >= 0]
    top_start, top = max(placed, key=lambda one: one[1].largest, default=(0, Errors()))
    return Errors(
        total=add("total"),
        finite=add("finite"),
        largest=top.largest,
        largest_at=top_start + top.largest_at,
        sum=add("sum"),
        sum_squares=add("sum_squares"),
        sum_signed=add("sum_signed"),
        sum_magnitudes=add("sum_magnitudes"),
        special_mismatches=add("special_mismatches"),
        first_special=find("first_special"),
        exceeding=add("exceeding"),
        first_exceeding=find("first_exceeding"),
    )
