"""Judging an output that is known exactly: every bit, and what a difference looks like. Pure.

A NaN is a NaN whatever its payload. Zeros of either sign are equal unless the probe is about the sign. What a difference looks
like is a guess for whoever has to mend it, made from the values alone; the verdict does not depend on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from conformance.checks.support.compare import compare
from conformance.numerics.formats import FORMATS, round_to
from conformance.numerics.judged import Judged, Statistic
from conformance.numerics.limits import find_differing
from conformance.tensors import type_name

if TYPE_CHECKING:
    from conformance.numerics.formats import Rounding
    from conformance.tensors import Array, Value

FLOATS = frozenset(name for name in FORMATS if name != "tf32") | {"float8e4m3fn", "float8e4m3fnuz", "float8e5m2fnuz"}
NARROW = ("float32", "tf32", "float16", "bfloat16")
"""Formats that a wider one may have been narrowed to, the least narrowing first."""
ROUNDINGS: tuple[Rounding, ...] = ("nearest", "toward-zero")
HINTS = {
    "cancelling-sums": "sums held in fewer bits than declared, or a term dropped or counted twice",
    "wide-sums": "sums held in fewer bits than declared, or a term dropped or counted twice",
    "wide-operands": "operands narrowed to fewer bits than declared",
    "range": "a range narrower than the type's, as float16 has in place of TF32 or bfloat16",
    "integers": "a product dropped, counted twice or taken from a wrong place",
    "positive": "a product dropped, counted twice or taken from a wrong place",
    "rows": "a term dropped, counted twice or taken from a wrong place",
    "columns": "a term dropped, counted twice or taken from a wrong place",
}
"""What the data of a probe are made to show, by how its name begins: told where the values themselves say no more."""


def judge_exactly(want: Value, got: Value, name: str, probe: str, *, keeps_zero_sign: bool = False) -> Judged:
    """Return the judgement of one output; `probe` is the last part of the case id, for what a difference looks like."""
    if not isinstance(want, np.ndarray) or not isinstance(got, np.ndarray) or not _is_alike(want, got):
        found = compare(want, got, rtol=0.0, atol=0.0, name=name)
        return Judged("exact", found.mismatch if not found.ok else "")
    wrong = find_differing(want, got, is_zero_signed=keeps_zero_sign)
    count = int(np.count_nonzero(wrong))
    told = (Statistic("differing elements", float(count), 0.0, f"of {want.size}"),)
    if not count:
        return Judged("exact", statistics=told)
    likeness = looks_like(want, got, wrong, probe)
    if got.dtype == np.bool_:  # a byte that is neither 0 nor 1 is shown as what it is
        want, got = np.ascontiguousarray(want).view(np.uint8), np.ascontiguousarray(got).view(np.uint8)
    at = np.unravel_index(int(wrong.reshape(-1).argmax()), want.shape) if want.shape else ()
    place = f"[{','.join(str(int(one)) for one in at)}]" if want.shape else ""
    reason = (
        f"{name}{place} = {_show(got[at])}, want exactly {_show(want[at])} ({count} of {want.size} elements differ)"
    )
    return Judged("exact", reason, told, likeness)


def _is_alike(want: Array, got: Array) -> bool:
    return want.dtype == got.dtype and want.shape == got.shape and want.dtype.kind not in "OUST"


def looks_like(want: Array, got: Array, wrong: Array, probe: str) -> str:
    """Return what the differing elements have in common, in words; empty where nothing is known."""
    kind = type_name(want)
    if kind in FLOATS:
        told = _of_floats(want.astype(np.float64), got.astype(np.float64), wrong, kind)
    elif kind == "bool":
        told = ""
    else:
        told = _of_integers(want, got, wrong, probe)
    if not told and want.size > 3 and np.array_equal(_sorted(want), _sorted(got)):
        told = "all values are there, in other places: axes swapped, or shifted"
    if told:
        return told
    return next((hint for start, hint in HINTS.items() if probe.startswith(start)), "")


def _of_floats(wide: Array, seen: Array, wrong: Array, kind: str) -> str:
    want, got = wide[wrong], seen[wrong]
    if np.isnan(want).all() and not np.isnan(got).any():
        return "NaN lost"
    if np.isfinite(want).all() and not np.isfinite(got).any() and np.abs(want).max() > FORMATS["float16"].largest:
        return "no finite value where the type holds one: a narrower range on the way"
    if np.isnan(got).all():
        return "NaN where there is a number"
    form = FORMATS.get(kind)
    if form is not None and (np.abs(want) < form.nmin).all() and (got == 0).all():
        return "sign of zero lost" if (want == 0).all() else "subnormals flushed to zero"
    if np.isinf(want).all() and np.isfinite(got).all():
        return "largest finite value, or a wrap, where infinity is the result"
    for name in NARROW:
        if form is not None and FORMATS[name].bits < form.bits:
            for rounding in ROUNDINGS:
                if np.array_equal(round_to(want, FORMATS[name], rounding), got):
                    return f"the right values, rounded to {name}"
    if form is not None and _is_truncated(want, got, form.bits):
        return "one unit in the last place toward zero: truncated where it is rounded"
    return ""


def _is_truncated(want: Array, got: Array, bits: int) -> bool:
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.abs(got - want) / np.abs(want)
    return bool(np.all((np.abs(got) < np.abs(want)) & (share <= 2.0 ** (1 - bits))))


def _of_integers(want: Array, got: Array, wrong: Array, probe: str) -> str:
    wide, seen = ([int(x) for x in one[wrong].reshape(-1)] for one in (want, got))
    kind = type_name(want)
    for bits in (32, 16, 8):
        if want.dtype.itemsize * 8 > bits and kind.startswith(("int", "uint")):
            half = 1 << (bits - 1)
            if all(b in ((a + half) % (2 * half) - half, a % (2 * half)) for a, b in zip(wide, seen, strict=True)):
                return f"the right values, narrowed to {bits} bits"
            if all(
                b in (max(-half, min(a, half - 1)), max(0, min(a, 2 * half - 1)))
                for a, b in zip(wide, seen, strict=True)
            ):
                return f"saturated to {bits} bits"
    for name, bits in (("float64", 53), ("float32", 24), ("float16", 11)):
        if all(_rounded(a, bits) == b for a, b in zip(wide, seen, strict=True)):
            return f"computed in {name}: more bits are lost than the type has"
    low, high = _ends(want)
    if all(b in (low, high) for b in seen) and not any(a in (low, high) for a in wide):
        return "saturated where the result wraps around"
    if all(a in (low, high) for a in wide):
        return "wrapped around, or another end of the range, where the result saturates"
    if "ties" in probe and all(abs(a - b) == 1 for a, b in zip(wide, seen, strict=True)):
        return "ties not rounded to even"
    if all(abs(a - b) == 1 for a, b in zip(wide, seen, strict=True)):
        return "off by one: another rounding, or another sign convention"
    return ""


def _rounded(value: int, bits: int) -> int:
    excess = max(0, abs(value).bit_length() - bits)
    quotient, rest = divmod(abs(value), 1 << excess)
    half = (1 << excess) // 2
    quotient += bool(excess) and (rest > half or (rest == half and quotient % 2 == 1))
    return (quotient << excess) * (1 if value >= 0 else -1)


def _ends(array: Array) -> tuple[int, int]:
    try:
        info: Any = np.iinfo(array.dtype)
    except ValueError:  # the types of ml_dtypes
        info = ml_dtypes.iinfo(array.dtype)  # type: ignore[no-untyped-call]
    return int(info.min), int(info.max)


def _sorted(array: Array) -> Array:
    wide = array.astype(np.float64) if type_name(array) in FLOATS else array.astype(np.int64)
    return np.sort(wide.reshape(-1))


def _show(item: Any) -> str:
    if isinstance(item, np.integer):
        return str(item)
    if "int" in str(item.dtype):
        return str(int(item))
    return f"{float(item):.17g}" if item.dtype == np.float64 else f"{float(item):.9g}"
