"""Which precision or fault the errors of a refused output look like: a hint for whoever looks for the cause, no judgement."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from conformance.tensors import Array

MEDIAN = 0.6745
"""The median of |z| for z ~ N(0, 1)."""
LIKES: dict[str, dict[str, str]] = {
    "TF32 operands": {"input": "tf32"},
    "bfloat16 operands": {"input": "bfloat16"},
    "bfloat16": {"input": "bfloat16", "output": "bfloat16"},
    "float16": {"input": "float16", "output": "float16"},
    "sums in float16": {"accumulate": "float16"},
    "sums in bfloat16": {"accumulate": "bfloat16"},
}
"""Precisions that a device is most likely to compute in instead, by how they differ from the declared one."""
_ALIKE = 1.0
"""By how many bits at most the errors may miss those of a precision that was tried."""
_KNOWN = (("bfloat16", 8), ("float16 or TF32", 11), ("float32", 24))
_REACH = 2.0
"""By how many bits the errors may miss those of a precision and still look like it."""


def resemblance(spread: Any, x: Array, r: Array) -> str:
    """Return what the errors look like: a narrower format, a few wrong elements, or nothing that a precision explains."""
    finite = np.isfinite(x)
    values, errors = x[finite], np.abs(r[finite])
    if values.size < 8:
        return ""
    declared = spread.mode.results.bits
    held = _held_bits(values, declared)
    if held:
        name = {8: "one that bfloat16 holds", 11: "one that TF32 holds"}.get(held, f"one of {held} significant bits")
        return f"every value is {name}: the output was rounded or cut to it"
    far = int(np.count_nonzero(errors > 8.0))
    typical = float(np.median(errors)) / MEDIAN
    level = max(float(spread.level[0]), 0.1)
    if far and typical <= 2 * level:
        return f"{far} of {errors.size} elements are wrong, the others are as they should be"
    found = _like(spread.likes, typical)
    if found:
        return f"errors of this size come from {found}"
    size = max(typical, float(np.sqrt(np.square(errors).mean())) if typical == 0 else 0.0)
    bits = min(spread.mode.operands.bits, declared) - math.log2(max(size / level, 2.0**-60))
    name, nearest = min(_KNOWN, key=lambda one: abs(one[1] - bits))
    if abs(nearest - bits) <= _REACH and nearest < declared:
        return f"errors of this size come from {name}"
    if bits >= declared - 1:
        return "the errors are of the declared size, and lean"
    return (
        "no precision explains errors of this size"
        if bits < _KNOWN[0][1] - _REACH
        else f"errors of about {bits:.0f} bits"
    )


def _held_bits(values: Array, declared: int) -> int:
    """Return in how many significant bits all values fit, where that is fewer than declared and no chance; else 0."""
    significands = np.frexp(values[values != 0])[0]
    if significands.size < 8 or np.array_equal(values, np.rint(values)):
        return 0
    for bits in range(2, declared - 3):
        scaled = np.ldexp(significands, bits)
        if np.array_equal(scaled, np.rint(scaled)):
            return max(bits, 8) if bits <= 8 else max(bits, 11)
    return 0


def _like(likes: Array, typical: float) -> str:
    """Return the precisions whose errors were as large when they were tried, the nearest first; '' where none was near."""
    if typical <= 0 or not likes.size:
        return ""
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.abs(np.log2(likes / typical))
    near = [name for _, name in sorted((one, name) for one, name in zip(apart, LIKES, strict=True) if one <= _ALIKE)]
    return " or ".join(near[:2])
