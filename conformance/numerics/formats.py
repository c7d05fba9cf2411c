"""Floating-point formats, and rounding float64 values to them.

A format has p significant bits (its unit roundoff is 2**-p), a smallest normal `nmin`, a smallest subnormal `step` and a
largest finite value. float64 holds every value of every format here, so that rounding is exact arithmetic and happens once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from conformance.tensors import Array

Rounding = Literal["nearest", "toward-zero"]


class Format(NamedTuple):
    """A binary floating-point format."""

    name: str
    bits: int
    """Significant bits p, the hidden one included."""
    min_exponent: int
    """The smallest normal value is 2**min_exponent."""
    largest: float
    """The largest finite value; infinite for float64 itself."""
    overflow: Literal["infinity", "nan", "largest"] = "infinity"
    """What becomes of a value beyond the largest: formats without infinities have NaN there, or nothing but numbers."""

    @property
    def roundoff(self) -> float:
        """Return u = 2**-p."""
        return 2.0**-self.bits

    @property
    def nmin(self) -> float:
        """Return the smallest normal value."""
        return 2.0**self.min_exponent

    @property
    def step(self) -> float:
        """Return the smallest subnormal value."""
        return 2.0 ** (self.min_exponent - self.bits + 1)


FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        Format("float4e2m1", 2, 0, 6.0, "largest"),
        Format("float6e3m2", 3, -2, 28.0, "largest"),
        Format("float8e5m2", 3, -14, 57344.0),
        Format("float6e2m3", 4, 0, 7.5, "largest"),
        Format("float8e4m3", 4, -6, 448.0, "nan"),
        Format("bfloat16", 8, -126, (2 - 2.0**-7) * 2.0**127),
        Format("float16", 11, -14, 65504.0),
        Format("tf32", 11, -126, (2 - 2.0**-10) * 2.0**127),
        Format("float32", 24, -126, (2 - 2.0**-23) * 2.0**127),
        Format("float64", 53, -1022, np.inf),
    )
}
"""By the names of `profile.vocabulary.ROUNDOFF_BITS`, coarsest first."""


def quantum(values: Array, form: Format) -> Array:
    """Return the distance between neighbours of the format at each value: 2**(⌊log2|v|⌋ − p + 1), at least its step."""
    exponents = np.where(values == 0, form.min_exponent, np.frexp(values)[1] - 1)  # frexp gives 0 the exponent 0
    steps: Array = np.ldexp(1.0, np.maximum(exponents, form.min_exponent) - form.bits + 1)
    return steps


def round_to(values: Array, form: Format, rounding: Rounding = "nearest", *, flush: bool = False) -> Array:
    """Return float64 values rounded to a format, ties to even; beyond its range what the format has for that.

    `flush` makes results below the smallest normal zero, their sign kept. NaN and infinities stay.
    """
    wide = np.asarray(values, dtype=np.float64)
    if form.bits >= 53:
        return wide.copy()
    with np.errstate(over="ignore", invalid="ignore"):
        unit = quantum(wide, form)
        scaled = wide / unit
        result: Any = (np.rint(scaled) if rounding == "nearest" else np.trunc(scaled)) * unit
        result = np.where(np.isfinite(wide), result, wide)
        beyond = np.abs(result) > form.largest
        if beyond.any():
            most = {"infinity": np.inf, "nan": np.nan, "largest": form.largest}[form.overflow]
            excess = np.copysign(most, wide)
            if rounding == "toward-zero":
                excess = np.where(np.isfinite(wide), np.copysign(form.largest, wide), excess)
            result = np.where(beyond, excess, result)
        if flush:
            result = np.where(np.abs(result) < form.nmin, np.copysign(0.0, result), result)
    return np.asarray(result, dtype=np.float64)
