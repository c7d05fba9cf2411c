"""Which precision the errors of an output look like: a hint for whoever has to find the fault, never a verdict.

Three signs are read, the surest first: every value of the output is also one of a coarser format; the errors lean toward
zero; the size of the errors is that of operands rounded to a coarser format, or of sums kept in one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from conformance.numerics.formats import FORMATS, Format, round_to

if TYPE_CHECKING:
    from conformance.tensors import Array

COARSER = ("float8e5m2", "float8e4m3", "bfloat16", "float16", "tf32")
FEWEST = 16
LEAN = -0.6
"""Share of the errors that points toward zero: 0 where rounding is to nearest, −1 where all are truncated."""
SUMS = 0.3
"""Typical error of a long sum kept in one format, in its roundoffs, relative to the sum of the magnitudes."""
OWN_SUMS = 0.5
"""A sum in float32 rounded once to a narrow type is off less than this, typically, and one kept in that type more."""
OPERAND = 0.5
"""rms of the error of one product whose two operands were rounded, in roundoffs: √2 · ∫ of a uniform error over a binade."""


def looks_like(
    actual: Array, reference: Array, unit: Array, form: Format, products: int, counted: Array | None = None
) -> str:
    """Return what the errors look like, in a few words, or nothing where it cannot be told.

    `unit` is one e per element, a unit in the last place or the roundoff of a dot product of `products` terms.
    """
    counted = np.isfinite(actual) & np.isfinite(reference) if counted is None else counted
    x, y, scale = actual[counted], reference[counted], np.broadcast_to(unit, actual.shape)[counted]
    if x.size < FEWEST:
        return ""
    rounded = _rounded_to(x, y, form)
    if rounded:
        return f"results rounded to {rounded}"
    error = x - y
    usable = (scale > 0) & (y != 0)
    if usable.sum() < FEWEST:
        return ""
    e = error[usable] / scale[usable]
    # By the median: one wrong element among right ones is no precision.
    typical = 1.48 * float(np.median(np.abs(e)))
    if typical <= 0 or not math.isfinite(typical):
        return ""
    lean = float(np.sum(np.sign(y[usable]) * e)) / max(float(np.sum(np.abs(e))), 1e-300)
    if lean < LEAN and typical <= 8 * max(1, products):
        return f"sums in {form.name} truncated toward zero" if products else f"{form.name} truncated toward zero"
    return _by_size(x, typical, products, form)


def _rounded_to(x: Array, y: Array, form: Format) -> str:
    """Return the coarsest format that holds every value of an output whose reference it does not hold."""
    for name in COARSER:
        one = FORMATS[name]
        if one.bits >= form.bits:
            continue
        if np.array_equal(round_to(x, one), x) and not np.array_equal(round_to(y, one), y):
            return one.name if one.bits < 11 else _eleven_bits(x)
    return ""


def _by_size(x: Array, typical: float, products: int, form: Format) -> str:
    """Return the format whose roundoff explains errors of a typical size, in units of the output's own roundoff."""
    size = typical * form.roundoff
    operands = _nearest(size * math.sqrt(max(products, 1)) / OPERAND, x, form)
    if products < 32:
        sums = form.name if products >= 8 and form.bits < 24 and typical > OWN_SUMS else ""
    else:
        sums = _nearest(size / SUMS, x, form) or (form.name if form.bits < 24 and typical > OWN_SUMS else "")
    said = [f"operands rounded to {operands}"] if operands else []
    if sums and sums != operands:
        said.append(f"sums kept in {sums}")
    return ", or ".join(said)


def _nearest(roundoff: float, x: Array, form: Format) -> str:
    """Return the format whose roundoff is nearest, at most a factor of three away; '' where it is finer than the output's."""
    best = min(COARSER[2:], key=lambda name: abs(math.log2(FORMATS[name].roundoff / roundoff)))
    one = FORMATS[best]
    if one.bits >= form.bits or abs(math.log2(one.roundoff / roundoff)) > 1.6:
        return ""
    return _eleven_bits(x) if one.bits == 11 else one.name


def _eleven_bits(x: Array) -> str:
    """Tell float16 from TF32, which have the same roundoff, by what only the wider range can hold."""
    sizes = np.abs(x[x != 0])
    if sizes.size and (sizes.max() > FORMATS["float16"].largest or sizes.min() < FORMATS["float16"].step):
        return "TF32"
    return "float16 or TF32"
