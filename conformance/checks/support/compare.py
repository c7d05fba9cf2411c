"""Whether outputs are the expected ones: exact where the type is exact, ONNX's own tolerance where it is not.

The rule is that of ONNX's backend test runner, |actual - expected| <= atol + rtol * |expected|, evaluated in float64
(bfloat16 with rtol of at least 2**-6, two of its steps, as there), with its lenient edges taken off: shape and type
must agree exactly, a sequence has the expected length, NaN stands where NaN is expected and infinities agree in place
and sign. Integers, strings and the floats of eight bits and fewer are compared exactly, by value: -0 equals 0. A bool is
the byte 0 or 1, and no other is either.

Uses numpy, ml_dtypes and msgspec only: it runs in the child as well as in the parent.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from conformance.errors import HarnessError
from conformance.tensors import type_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.tensors import Array, Value

BLOCK = 1 << 15
"""Elements compared at a time: a few arrays of a quarter of a megabyte, whatever the size of the tensors."""
BFLOAT16_RTOL = 2.0**-6
TOLERANT = frozenset({"float16", "bfloat16", "float32", "float64", "complex64", "complex128"})
NARROW_FLOATS = frozenset(
    {
        "float8e4m3fn",
        "float8e4m3fnuz",
        "float8e5m2",
        "float8e5m2fnuz",
        "float8e8m0",
        "float4e2m1",
        "float6e2m3",
        "float6e3m2",
    }
)


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison found. Maxima are over finite pairs of tolerant types; 0 where there are none."""

    ok: bool
    mismatch: str = ""
    """The first mismatch: `out[3,17] = 0.42, want 0.4 ± 0.01`."""
    max_abs: float = 0.0
    max_rel: float = 0.0
    margin: float = 0.0
    """Largest |actual - expected| / (atol + rtol * |expected|): 1 is at the limit; inf where no tolerance applies."""
    mismatched: int = 0
    total: int = 0
    """Elements compared; a difference of type, shape or length counts as one."""


def compare(expected: Value, actual: Value, rtol: float, atol: float, name: str = "out") -> Comparison:
    """Compare one output with what is expected. Pure; never raises for a wrong `actual`; `name` is for the message."""
    if expected is None:
        return Comparison(ok=True, total=1) if actual is None else _differs(name, _kind(actual), "an empty optional")
    if isinstance(expected, list):
        return _compare_sequence(expected, actual, rtol, atol, name)
    if not isinstance(actual, np.ndarray):
        return _differs(name, _kind(actual), "a tensor")
    return _compare_array(expected, actual, rtol, atol, name)


def _compare_array(expected: Array, actual: Array, rtol: float, atol: float, name: str) -> Comparison:
    strings = expected.dtype.kind in "OUST"
    if expected.dtype != actual.dtype and not (strings and actual.dtype.kind in "OUST"):
        return _differs(name, f"type {_type_text(actual)}", _type_text(expected))
    if expected.shape != actual.shape:
        return _differs(name, f"shape {list(actual.shape)}", str(list(expected.shape)))
    if strings:
        return _compare_strings(expected, actual, name)
    return _compare_numbers(expected, actual, rtol, atol, name)


def _compare_sequence(expected: list[Value], actual: Value, rtol: float, atol: float, name: str) -> Comparison:
    if not isinstance(actual, list):
        return _differs(name, _kind(actual), "a sequence")
    if len(expected) != len(actual):
        return _differs(name, f"a sequence of {len(actual)}", f"{len(expected)} items")
    pairs = zip(expected, actual, strict=True)
    return join([compare(want, got, rtol, atol, f"{name}#{n}") for n, (want, got) in enumerate(pairs)])


def join(parts: list[Comparison]) -> Comparison:
    """Fold the comparisons of several outputs or items into one; the first mismatch speaks for all."""
    return Comparison(
        ok=all(part.ok for part in parts),
        mismatch=next((part.mismatch for part in parts if not part.ok), ""),
        max_abs=max((part.max_abs for part in parts), default=0.0),
        max_rel=max((part.max_rel for part in parts), default=0.0),
        margin=max((part.margin for part in parts), default=0.0),
        mismatched=sum(part.mismatched for part in parts),
        total=sum(part.total for part in parts),
    )


def _differs(name: str, got: str, want: str) -> Comparison:
    return Comparison(ok=False, mismatch=f"{name}: {got}, want {want}", margin=math.inf, mismatched=1, total=1)


def _kind(value: Any) -> str:
    if value is None:
        return "an empty optional"
    if isinstance(value, list):
        return f"a sequence of {len(value)}"
    return "a tensor" if isinstance(value, np.ndarray) else f"a Python {type(value).__name__}"


def _type_text(array: Array) -> str:
    try:
        return type_name(array)
    except HarnessError:
        return f"{array.dtype!s} (numpy)"


def _compare_strings(expected: Array, actual: Array, name: str) -> Comparison:
    want, got = expected.reshape(-1).tolist(), actual.reshape(-1).tolist()
    wrong = [n for n, (a, b) in enumerate(zip(want, got, strict=True)) if a != b]
    if not wrong:
        return Comparison(ok=True, total=len(want))
    first = wrong[0]
    return Comparison(
        ok=False,
        mismatch=f"{name}{_place(first, expected.shape)} = {got[first]!r}, want {want[first]!r}",
        margin=math.inf,
        mismatched=len(wrong),
        total=len(want),
    )


def _compare_numbers(expected: Array, actual: Array, rtol: float, atol: float, name: str) -> Comparison:
    total = expected.size
    if total <= BLOCK and expected.tobytes() == actual.tobytes():
        return Comparison(ok=True, total=total)
    kind = type_name(expected)
    if (
        kind == "bool" and actual.view(np.uint8).max(initial=0) > 1
    ):  # numpy takes any byte but 0 for true, C code does not
        expected, actual, kind = expected.view(np.uint8), actual.view(np.uint8), "uint8"
    if kind == "bfloat16":
        rtol = max(rtol, BFLOAT16_RTOL)
    if kind not in TOLERANT:
        judge: Callable[[Array, Array, _Tally], None] = _judge_narrow if kind in NARROW_FLOATS else _judge_exact
    else:
        judge = _judge_complex if kind.startswith("complex") else _judge_float
    tally = _Tally(rtol, atol)
    want_blocks, got_blocks = _blocks(expected), _blocks(actual)
    with np.errstate(all="ignore"):
        for start in range(0, total, BLOCK):
            want, got = want_blocks(start), got_blocks(start)
            tally.start = start
            # Equal bits need no arithmetic; signed zeros and NaN payloads go the long way.
            if total <= BLOCK or not np.array_equal(want.view(np.uint8), got.view(np.uint8)):
                judge(want, got, tally)
    if not tally.mismatched:
        return tally.result("", total)
    at = np.unravel_index(tally.first, expected.shape)
    limit = f" ± {_number(atol + rtol * abs(_wide(expected[at])))}" if kind in TOLERANT else ""
    text = f"{name}{_place(tally.first, expected.shape)} = {_show(actual[at])}, want {_show(expected[at])}"
    return tally.result(text + (limit if np.isfinite(_wide(expected[at])) else ""), total)


class _Tally:
    """Running maxima and the first mismatch over the blocks of one tensor."""

    def __init__(self, rtol: float, atol: float) -> None:
        self.rtol, self.atol = rtol, atol
        self.start = 0
        self.first = -1
        self.mismatched = 0
        self.max_abs = self.max_rel = self.margin = 0.0

    def count(self, wrong: Array) -> None:
        """Count the true elements of `wrong`, a bool array over the current block."""
        found = int(np.count_nonzero(wrong))
        if found:
            if self.first < 0:
                self.first = self.start + int(wrong.argmax())
            self.mismatched += found

    def result(self, mismatch: str, total: int) -> Comparison:
        """Return the comparison."""
        return Comparison(
            ok=not self.mismatched,
            mismatch=mismatch,
            max_abs=self.max_abs,
            max_rel=self.max_rel,
            margin=self.margin,
            mismatched=self.mismatched,
            total=total,
        )


def _judge_exact(want: Array, got: Array, tally: _Tally) -> None:
    wrong = np.not_equal(want, got)
    tally.count(wrong)
    if wrong.any():
        tally.margin = math.inf


def _judge_narrow(want: Array, got: Array, tally: _Tally) -> None:
    # Every value of these types is a float32; e8m0 has no zero and no sign, its 0xFF is NaN.
    wide, seen = want.astype(np.float32), got.astype(np.float32)
    wrong = (wide != seen) & ~(np.isnan(wide) & np.isnan(seen))
    tally.count(wrong)
    if wrong.any():
        tally.margin = math.inf


def _judge_float(want: Array, got: Array, tally: _Tally) -> None:
    wide, seen = want.astype(np.float64), got.astype(np.float64)
    error = seen - wide
    np.abs(error, out=error)
    largest = float(error.max())
    if math.isfinite(largest) and tally.atol > 0:
        # All is finite (a NaN or an infinity would show in the maximum): the common case, without masks.
        _judge_finite(error, largest, np.abs(wide, out=wide), seen, tally)
    else:
        _judge_errors(error, np.abs(wide), _special(wide, seen), tally)


def _judge_finite(error: Array, largest: float, size: Array, spare: Array, tally: _Tally) -> None:
    tally.max_abs = max(tally.max_abs, largest)
    relative = (
        np.divide(error, size, out=spare)
        if size.min() > 0
        else np.divide(error, size, out=np.zeros_like(error), where=size > 0)
    )
    tally.max_rel = max(tally.max_rel, float(relative.max()))
    size *= tally.rtol
    size += tally.atol
    if (error > size).any():
        tally.count(error > size)
    error /= size
    tally.margin = max(tally.margin, float(error.max()))


def _judge_complex(want: Array, got: Array, tally: _Tally) -> None:
    wide, seen = want.astype(np.complex128), got.astype(np.complex128)
    # By part where a part is not finite: inf + 1j equals inf + 1j, and nothing else.
    finite, alike = _special(wide.real, seen.real), _special(wide.imag, seen.imag)
    special = (finite[0] & alike[0], (finite[0] | finite[1]) & (alike[0] | alike[1]))
    parts = ((wide.real, seen.real), (wide.imag, seen.imag))
    both = [(a == b) | (np.isnan(a) & np.isnan(b)) for a, b in parts]
    _judge_errors(np.abs(seen - wide), np.abs(wide), (special[0], both[0] & both[1]), tally)


def _special(wide: Array, seen: Array) -> tuple[Array, Array]:
    """Return where both are finite, and where both are the same non-finite value."""
    finite = np.isfinite(wide) & np.isfinite(seen)
    return finite, ~finite & ((wide == seen) | (np.isnan(wide) & np.isnan(seen)))


def _judge_errors(error: Array, size: Array, special: tuple[Array, Array], tally: _Tally) -> None:
    finite, alike = special
    limit = tally.atol + tally.rtol * size
    wrong = ~np.where(finite, error <= limit, alike)
    tally.count(wrong)
    error = np.where(finite, error, 0.0)
    tally.max_abs = max(tally.max_abs, float(error.max(initial=0.0)))
    relative = np.divide(error, size, out=np.zeros_like(error), where=finite & (size > 0))
    tally.max_rel = max(tally.max_rel, float(relative.max(initial=0.0)))
    margins = np.divide(error, limit, out=np.where(error > 0, np.inf, 0.0), where=finite & (limit > 0))
    if (wrong & ~finite).any():
        tally.margin = math.inf
    tally.margin = max(tally.margin, float(margins.max(initial=0.0)))


def _blocks(array: Array) -> Callable[[int], Array]:
    """Return a reader of flat row-major blocks; a strided array is copied block by block, never as a whole."""
    if array.flags.c_contiguous:
        flat = array.reshape(-1)
        return lambda start: flat[start : start + BLOCK]
    return lambda start: array.flat[start : start + BLOCK]


def _place(index: int, shape: tuple[int, ...]) -> str:
    if not shape:
        return ""
    return "[" + ",".join(str(int(i)) for i in np.unravel_index(index, shape)) + "]"


def _wide(item: Any) -> complex:
    return complex(item)


def _show(item: Any) -> str:
    if isinstance(item, np.complexfloating):
        return f"{_number(float(item.real))}{float(item.imag):+.9g}j"
    if isinstance(item, np.bool_ | np.integer):
        return str(item)
    return str(int(item)) if "int" in str(item.dtype) else _number(float(item))


def _number(value: float) -> str:
    return f"{value:.9g}"
