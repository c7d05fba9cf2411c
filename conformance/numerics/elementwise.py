"""Whether each element is within a tolerance of its reference, in float64: the arithmetic that `closeness` rests on.

Each function takes flat tensors of one size and type, at least one element, and small enough for float64 copies; it raises the
running maxima in `worst`, and returns the mask of what is wrong. The caller silences floating-point warnings.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from conformance.tensors import Array


class Worst:
    """A tolerance, and the greatest errors seen so far in terms of it, as `closeness.Closeness` explains them."""

    def __init__(self, rtol: float, atol: float) -> None:
        self.rtol, self.atol = rtol, atol
        self.max_abs = self.max_rel = self.margin = 0.0


def examine_values(actual: Array, reference: Array, worst: Worst) -> Array | None:
    """Return where values differ, -0 being 0 and any NaN any other; None where nowhere. A difference has no margin."""
    if reference.dtype.kind not in "biufc" and "int" not in reference.dtype.name:
        # Every value of ml_dtypes' floats is a float32; e8m0 has no zero and no sign, its 0xFF is NaN.
        actual, reference = actual.astype(np.float32), reference.astype(np.float32)
    wrong: Array = np.not_equal(actual, reference)
    if reference.dtype.kind in "fc":
        wrong &= ~(np.isnan(actual) & np.isnan(reference))
    if not wrong.any():
        return None
    worst.margin = math.inf
    return wrong


def examine_real(actual: Array, reference: Array, worst: Worst) -> Array | None:
    """Return where real numbers are not within the tolerance; None where nowhere."""
    wide, seen = reference.astype(np.float64), actual.astype(np.float64)
    error = seen - wide
    np.abs(error, out=error)
    largest = float(np.maximum.reduce(error))
    if math.isfinite(largest):  # a NaN or an infinity would show in the maximum
        size = np.abs(wide)
        least = float(np.minimum.reduce(size))
        if worst.atol + worst.rtol * least > 0:
            return _examine_finite(error, largest, size, least, worst)
    return _examine_errors(error, np.abs(wide), find_special(wide, seen), worst)


def _examine_finite(error: Array, largest: float, size: Array, least: float, worst: Worst) -> Array | None:
    """Judge the common case, all finite and every limit above 0, without masks."""
    worst.max_abs = max(worst.max_abs, largest)
    relative = error / size if least > 0 else np.divide(error, size, out=np.zeros_like(error), where=size > 0)
    worst.max_rel = max(worst.max_rel, float(np.maximum.reduce(relative)))
    size *= worst.rtol
    size += worst.atol
    wrong: Array = error > size
    error /= size
    worst.margin = max(worst.margin, float(np.maximum.reduce(error)))
    return wrong if wrong.any() else None


def examine_complex(actual: Array, reference: Array, worst: Worst) -> Array | None:
    """Return where complex numbers are not within the tolerance by magnitude; None where nowhere."""
    wide, seen = reference.astype(np.complex128), actual.astype(np.complex128)
    # By part where a part is not finite: inf + 1j equals inf + 1j, and nothing else.
    finite, alike = find_special(wide.real, seen.real), find_special(wide.imag, seen.imag)
    parts = ((wide.real, seen.real), (wide.imag, seen.imag))
    both = [(a == b) | (np.isnan(a) & np.isnan(b)) for a, b in parts]
    return _examine_errors(np.abs(seen - wide), np.abs(wide), (finite[0] & alike[0], both[0] & both[1]), worst)


def find_special(wide: Array, seen: Array) -> tuple[Array, Array]:
    """Return where both are finite, and where both are the same non-finite value."""
    finite = np.isfinite(wide) & np.isfinite(seen)
    return finite, ~finite & ((wide == seen) | (np.isnan(wide) & np.isnan(seen)))


def _examine_errors(error: Array, size: Array, special: tuple[Array, Array], worst: Worst) -> Array | None:
    finite, alike = special
    limit = worst.atol + worst.rtol * size
    wrong: Array = ~np.where(finite, error <= limit, alike)
    error = np.where(finite, error, 0.0)
    worst.max_abs = max(worst.max_abs, float(error.max(initial=0.0)))
    relative = np.divide(error, size, out=np.zeros_like(error), where=finite & (size > 0))
    worst.max_rel = max(worst.max_rel, float(relative.max(initial=0.0)))
    margins = np.divide(error, limit, out=np.where(error > 0, np.inf, 0.0), where=finite & (limit > 0))
    if (wrong & ~finite).any():
        worst.margin = math.inf
    worst.margin = max(worst.margin, float(margins.max(initial=0.0)))
    return wrong if wrong.any() else None
