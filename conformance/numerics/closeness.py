"""Whether tensors agree within a tolerance or exactly: one pass, in blocks, at little more than the speed of reading.

The rule is |actual - reference| <= atol + rtol * |reference| in float64; NaN stands where NaN stands in the reference, and
infinities agree in place and sign. What is reported is what float64 arithmetic over every element would report, to the bit.

How it is fast. Rows of 4,096 elements are *screened* in the type of the data: the largest difference d and the largest
quotient q = difference / reference of each row bound what it can hold, its margin by 1 / (atol / d + rtol / q). Only rows
whose bound, widened by what rounding may have taken off it, reaches the worst seen so far or the limit are *examined* in
float64. After the first rows these are few. Equal blocks need one comparison of bits.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import ml_dtypes
import numpy as np

from conformance.numerics.elementwise import Worst, examine_complex, examine_real, examine_values
from conformance.numerics.streaming import BLOCK, read_blocks, share_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.tensors import Array

    Judge = Callable[[Array, Array, Worst], Array | None]

ROW = 1 << 12
"""Elements that one bound is for: long enough for numpy's reductions, short enough to be examined for one element's sake."""
EXAMINED = 1 << 14
"""Elements examined at a time: a few float64 arrays of 128 KiB. Smaller tensors are examined as a whole."""
SCREENS: dict[np.dtype[Any], tuple[np.dtype[Any], float]] = {
    np.dtype(kind): (np.dtype(work), slack)
    for kind, work, slack in (
        (np.float16, np.float32, 2.0**-21),
        (ml_dtypes.bfloat16, np.float32, 2.0**-21),
        (np.float32, np.float32, 2.0**-21),
        (np.float64, np.float64, 2.0**-49),
    )
}
"""The type that each type is screened in, and its slack: of the bounds' few roundings, each of 2**-24 or 2**-53, several times the sum."""

NONE = np.empty(0, np.intp)
FINE = 2.0**-900
"""An absolute tolerance below which float64 tensors are examined throughout."""


class Closeness(NamedTuple):
    """What a comparison found. Maxima are over pairs of finite elements; 0 where there are none."""

    mismatched: int = 0
    first: int = -1
    """Row-major index of the first mismatch; -1 where there is none."""
    max_abs: float = 0.0
    max_rel: float = 0.0
    """Largest |actual - reference| / |reference| where the reference is not 0."""
    margin: float = 0.0
    """Largest |actual - reference| / (atol + rtol * |reference|): 1 is at the limit; inf where no tolerance applies."""


def compare_close(actual: Array, reference: Array, rtol: float, atol: float) -> Closeness:
    """Compare floating-point or complex tensors of one shape and type within a tolerance; neither is negative."""
    if reference.dtype.kind == "c":
        return _compare_blocks(actual, reference, lambda: _Examiner(rtol, atol, examine_complex))
    # Where a limit itself can be subnormal, no relative slack covers its rounding.
    is_fine = atol < FINE and reference.dtype == np.float64
    if reference.size <= EXAMINED or reference.dtype not in SCREENS or is_fine:
        return _compare_blocks(actual, reference, lambda: _Examiner(rtol, atol, examine_real))
    return _compare_blocks(actual, reference, lambda: _Screener(rtol, atol, reference.dtype))


def compare_exact(actual: Array, reference: Array) -> Closeness:
    """Compare tensors of one shape and type by value: -0 equals 0, and NaN of any payload equals NaN. Maxima are not taken."""
    return _compare_blocks(actual, reference, lambda: _Examiner(0.0, 0.0, examine_values))


def _compare_blocks(actual: Array, reference: Array, make: Callable[[], _Examiner]) -> Closeness:
    total = reference.size
    if total <= EXAMINED:
        one = make()
        if total:
            with np.errstate(all="ignore"):
                one.examine(actual.reshape(-1), reference.reshape(-1), 0)
        return one.found()
    got, want = read_blocks(actual), read_blocks(reference)
    examiners: list[_Examiner] = []

    def work(starts: Iterator[int]) -> None:
        examiner = make()
        examiners.append(examiner)
        with np.errstate(all="ignore"):  # the setting is each thread's own
            for start in starts:
                stop = min(start + BLOCK, total)
                examiner.compare(got(start, stop), want(start, stop), start)

    share_blocks(total, work)
    found = [examiner.found() for examiner in examiners]
    return Closeness(
        mismatched=sum(one.mismatched for one in found),
        first=min((one.first for one in found if one.mismatched), default=-1),
        max_abs=max(one.max_abs for one in found),
        max_rel=max(one.max_rel for one in found),
        margin=max(one.margin for one in found),
    )


class _Examiner(Worst):
    """Running maxima and the first mismatch over the blocks that one thread sees."""

    def __init__(self, rtol: float, atol: float, judge: Judge) -> None:
        super().__init__(rtol, atol)
        self.judge = judge
        self.mismatched, self.first = 0, -1
        self.was_equal = True

    def compare(self, actual: Array, reference: Array, start: int) -> None:
        """Compare one block, flat, that begins at element `start`."""
        if not self._equals(actual, reference):
            self._compare_unequal(actual, reference, start)

    def _equals(self, actual: Array, reference: Array) -> bool:
        """Whether all bits agree, where that is worth a look: it is so long as it was so of the block before."""
        if self.was_equal:
            size = actual.dtype.itemsize
            unit = np.dtype(f"u{size}") if size <= 8 else np.dtype(np.uint64)
            self.was_equal = not np.not_equal(actual.view(unit), reference.view(unit)).any()
        return self.was_equal

    def _compare_unequal(self, actual: Array, reference: Array, start: int) -> None:
        for at in range(0, actual.size, EXAMINED):
            self.examine(actual[at : at + EXAMINED], reference[at : at + EXAMINED], start + at)

    def examine(self, actual: Array, reference: Array, start: int, places: Array | None = None) -> None:
        """Judge every element, and count what is wrong. Element n is at `start + n`, or `start + places[n]`."""
        wrong = self.judge(actual, reference, self)
        if wrong is None:
            return
        self.mismatched += int(np.count_nonzero(wrong))
        at = int(wrong.argmax())
        place = start + (at if places is None else int(places[at]))
        self.first = place if self.first < 0 else min(place, self.first)

    def found(self) -> Closeness:
        """Return what was found so far."""
        return Closeness(self.mismatched, self.first, self.max_abs, self.max_rel, self.margin)


class _Screener(_Examiner):
    """An examiner of real numbers that bounds rows first, and examines those that could matter."""

    def __init__(self, rtol: float, atol: float, kind: np.dtype[Any]) -> None:
        super().__init__(rtol, atol, examine_real)
        self.kind, slack = SCREENS[kind]
        self.widened = 1 + slack
        self.smallest = float(np.finfo(self.kind).tiny)
        self.scratch = np.empty((2, BLOCK // ROW, ROW), self.kind)
        self.wide = None if kind == self.kind else np.empty((2, BLOCK), self.kind)

    def _compare_unequal(self, actual: Array, reference: Array, start: int) -> None:
        rows = actual.size // ROW
        whole = rows * ROW
        if rows:
            got, want = self._widen(actual[:whole], reference[:whole])
            chosen = self._screen(got, want, rows)
            if 4 * chosen.size > rows:
                super()._compare_unequal(got, want, start)
            elif chosen.size:
                self._examine_some(self._sift(chosen), got, want, start)
        if whole < actual.size:
            self.examine(actual[whole:], reference[whole:], start + whole)

    def _widen(self, actual: Array, reference: Array) -> tuple[Array, Array]:
        if self.wide is None:
            return actual, reference
        got, want = self.wide[0, : actual.size], self.wide[1, : actual.size]
        np.copyto(got, actual)
        np.copyto(want, reference)
        return got, want

    def _screen(self, actual: Array, reference: Array, rows: int) -> Array:
        """Return the rows that could hold a mismatch, a special value or a new maximum; take over maxima that are exact."""
        both = self.scratch[:, :rows]
        differences, quotients = both[0].reshape(-1), both[1].reshape(-1)
        np.subtract(actual, reference, out=differences)
        np.divide(differences, reference, out=quotients)
        # First all rows as one: often that settles it. Both ends are quicker to find than magnitudes to write.
        # 0 / 0 is no quotient, and passed over. A row with no other has no difference, or a special value, which shows there.
        difference = max(float(np.maximum.reduce(differences)), -float(np.minimum.reduce(differences)))
        if difference == 0:
            self.was_equal = True
            return NONE
        quotient = max(float(np.fmax.reduce(quotients)), -float(np.fmin.reduce(quotients)))
        if quotient < 0.25 and not self._is_open(difference, quotient):
            self.max_abs = max(self.max_abs, difference)  # exact, see below
            return NONE
        np.abs(both, out=both)
        largest, relative = np.maximum.reduce(both[0], axis=1), np.fmax.reduce(both[1], axis=1)
        return self._choose(largest.tolist(), relative.tolist())

    def _is_open(self, difference: float, quotient: float) -> bool:
        """Whether a mismatch, a greater margin or relative error may be among elements with these as their maxima."""
        quotient = max(quotient, self.smallest)  # relative slack says nothing of a quotient that became subnormal
        is_met = self.widened <= min(self.margin, 1.0) * (self.atol / difference + self.rtol / quotient)
        return not is_met or quotient * self.widened > self.max_rel

    def _choose(self, differences: list[float], quotients: list[float]) -> Array:
        chosen = []
        # Python's numbers: for some tens of rows they are quicker than arrays.
        for row, (difference, quotient) in enumerate(zip(differences, quotients, strict=True)):
            if difference == 0:
                continue
            if not difference < math.inf:
                chosen.append(row)
                continue
            # A difference of numbers within a factor of two is exact (Sterbenz, Floating-Point Computation, 1974, 4.3),
            # and in float64 it is the very number that is reported.
            if quotient < 0.25 or self.kind == np.float64:
                self.max_abs = max(self.max_abs, difference)
                is_larger = False
            else:
                is_larger = difference * self.widened > self.max_abs
            if is_larger or self._is_open(difference, quotient):
                chosen.append(row)
        return np.array(chosen, np.intp)

    def _sift(self, rows: Array) -> Array:
        """Return which elements of the chosen rows matter, by their places in the block."""
        # A margin is at most quotient / rtol. A quotient that is NaN, as special values leave it, matters; that of equal zeros not.
        least = min(self.max_rel, min(self.margin, 1.0) * self.rtol) / self.widened
        if least < self.smallest:
            least = -1.0
        difference, quotient = self.scratch[:, rows]
        matters = ~(quotient <= least) | (difference * self.widened > self.max_abs)
        found = np.flatnonzero(matters & (difference != 0))
        places: Array = rows[found // ROW] * ROW + found % ROW
        return places

    def _examine_some(self, places: Array, actual: Array, reference: Array, start: int) -> None:
        for at in range(0, places.size, EXAMINED):
            some = places[at : at + EXAMINED]
            self.examine(actual[some], reference[some], start, some)
