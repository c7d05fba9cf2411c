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
from conformance.numerics.closeness import compare_close, compare_exact
from conformance.tensors import type_name

if TYPE_CHECKING:
    from conformance.tensors import Array, Value

SMALL = 1 << 12
"""Elements up to which the bytes of both tensors are copied and compared as a whole: quicker than any arithmetic."""
BFLOAT16_RTOL = 2.0**-6
TOLERANT = frozenset({"float16", "bfloat16", "float32", "float64", "complex64", "complex128"})


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
    if total <= SMALL and expected.tobytes() == actual.tobytes():
        return Comparison(ok=True, total=total)
    kind = type_name(expected)
    if kind == "bool" and actual.view(np.uint8).max(initial=0) > 1:
        # numpy takes any byte but 0 for true, C code does not
        expected, actual, kind = expected.view(np.uint8), actual.view(np.uint8), "uint8"
    if kind == "bfloat16":
        rtol = max(rtol, BFLOAT16_RTOL)
    is_tolerant = kind in TOLERANT
    found = compare_close(actual, expected, rtol, atol) if is_tolerant else compare_exact(actual, expected)
    return Comparison(
        ok=not found.mismatched,
        mismatch=_describe(expected, actual, found.first, (rtol, atol) if is_tolerant else None, name)
        if found.mismatched
        else "",
        max_abs=found.max_abs,
        max_rel=found.max_rel,
        margin=found.margin,
        mismatched=found.mismatched,
        total=total,
    )


def _describe(expected: Array, actual: Array, first: int, tolerance: tuple[float, float] | None, name: str) -> str:
    at = np.unravel_index(first, expected.shape)
    text = f"{name}{_place(first, expected.shape)} = {_show(actual[at])}, want {_show(expected[at])}"
    if tolerance is None or not np.isfinite(_wide(expected[at])):
        return text
    rtol, atol = tolerance
    return f"{text} ± {_number(atol + rtol * abs(_wide(expected[at])))}"


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
