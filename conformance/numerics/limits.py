"""Whatever one output of an operator may be judged by, and the judge of each.

`Bound` (bounded.py) is the rule for floating-point results. Results that are exactly determined are `Exact`; choices
between elements are `Discrete`; quantised results are a `Rate`; where no bound is derived there is `Unbounded`, with why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np

from conformance.errors import HarnessError
from conformance.numerics.bounded import Bound, judge_bound
from conformance.numerics.intervals import lower_bound
from conformance.numerics.judged import Judged, Statistic
from conformance.numerics.streaming import BLOCK, read_blocks
from conformance.tensors import type_name

if TYPE_CHECKING:
    from conformance.tensors import Array, Value

RATE = 0.002


class Exact(msgspec.Struct, frozen=True, kw_only=True):
    """An output that is determined to the bit, whatever NaN carries; +0 and −0 are equal unless asked."""

    name: str
    expected: Any
    """The value in the output's type: a tensor, a sequence of tensors, or None."""
    is_zero_signed: bool = False
    exempt: Any = None
    """True where the operator's text leaves the result open; None: nowhere."""
    law: str = "determined exactly"


class Discrete(msgspec.Struct, frozen=True, kw_only=True):
    """Indices or choices: agreement is asked where the reference is decided, a swap inside the margin is no fault."""

    name: str
    expected: Any
    is_decided: Any = True
    """One truth value, or one per element."""
    law: str = "a choice with margin"


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """A quantised output: at most one step off anywhere, and seldom."""

    name: str
    expected: Any
    steps: int = 1
    rate: float = RATE
    law: str = "quantised"


class Unbounded(msgspec.Struct, frozen=True, kw_only=True):
    """An output that has no bound in tier 2: tier 3 judges it, or nobody can."""

    name: str
    reason: str


Limit: TypeAlias = Bound | Exact | Discrete | Rate | Unbounded


def judge(limit: Limit, actual: Value) -> Judged:
    """Return the judgement of an output by whatever it is judged by; HarnessError for an `Unbounded` one."""
    if isinstance(limit, Exact):
        return judge_exact(limit, actual)
    if isinstance(limit, Unbounded):
        raise HarnessError(f"'{limit.name}' has no bound: {limit.reason}")
    if not isinstance(actual, np.ndarray):
        return Judged("bound", f"{limit.name} is no tensor")
    if isinstance(limit, Bound):
        return judge_bound(limit, actual)
    return judge_discrete(limit, actual) if isinstance(limit, Discrete) else judge_rate(limit, actual)


def judge_exact(limit: Exact, actual: Value) -> Judged:
    """Return whether an output is what it must be, element by element."""
    return Judged("exact", _unequal(limit.name, limit.expected, actual, limit))


def judge_discrete(limit: Discrete, actual: Array) -> Judged:
    """Return whether choices agree wherever the reference is decided."""
    wrong = _misfit(limit.name, limit.expected, actual)
    if wrong:
        return Judged("discrete", wrong)
    decided = np.broadcast_to(np.asarray(limit.is_decided, dtype=bool), limit.expected.shape)
    if decided.size and not decided.any():
        raise HarnessError(f"nothing of '{limit.name}' is decided: its case judges nobody")
    differs = find_differing(limit.expected, actual, is_zero_signed=False) & decided
    found = (Statistic("undecided", float((~decided).sum()), float(decided.size), "elements"),)
    if not differs.any():
        return Judged("discrete", "", found)
    return Judged("discrete", _tell(limit.name, limit.expected, actual, differs, limit.law), found)


def judge_rate(limit: Rate, actual: Array) -> Judged:
    """Return whether a quantised output is at most one step off, and differs no more often than the rate allows."""
    wrong = _misfit(limit.name, limit.expected, actual)
    if wrong:
        return Judged("rate", wrong)
    if not limit.expected.size:
        return Judged("rate")
    distance = np.abs(_counted(limit.expected) - _counted(actual))
    far = distance > limit.steps
    differing = int((distance > 0).sum())
    least = lower_bound(differing, distance.size)
    found = (
        Statistic("most steps", float(distance.max()), float(limit.steps), "LSB"),
        Statistic("differing", least, limit.rate, "share, 99 % lower bound"),
    )
    if far.any():
        return Judged("rate", _tell(limit.name, limit.expected, actual, far, f"more than {limit.steps} LSB"), found)
    if least > limit.rate:
        text = (
            f"{limit.name}: {differing} of {distance.size} elements are one step off, surely more than {limit.rate:.1%}"
        )
        return Judged("rate", text, found)
    return Judged("rate", "", found)


def _counted(values: Array) -> Array:
    """Return quantised values as numbers whose difference counts steps: the ordinal of a float8, else the integer."""
    if values.dtype.kind in "iub" or values.dtype.name in ("int4", "uint4", "int2", "uint2"):
        return values.astype(np.int64)
    if values.dtype.itemsize == 1:
        bits = values.view(np.uint8).astype(np.int64)
        return np.where(bits >= 128, 128 - bits, bits) if "e8m0" not in values.dtype.name else bits
    bits = values.astype(np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _misfit(name: str, expected: Array, actual: Array) -> str:
    if expected.shape != actual.shape:
        return f"{name}: shape {list(actual.shape)}, want {list(expected.shape)}"
    if expected.dtype != actual.dtype and not expected.dtype.kind == actual.dtype.kind == "O":
        return f"{name}: type {actual.dtype}, want {expected.dtype}"
    return ""


def _unequal(name: str, expected: Value, actual: Value, limit: Exact) -> str:
    if expected is None or actual is None:
        return "" if expected is actual else f"{name}: {'nothing' if actual is None else 'a value'} is there"
    if isinstance(expected, list) or isinstance(actual, list):
        if not isinstance(expected, list) or not isinstance(actual, list):
            return f"{name}: a sequence in place of a tensor, or a tensor in place of a sequence"
        if len(expected) != len(actual):
            return f"{name}: {len(actual)} elements in the sequence, want {len(expected)}"
        pairs = zip(expected, actual, strict=True)
        return next(filter(None, (_unequal(f"{name}({at})", a, b, limit) for at, (a, b) in enumerate(pairs))), "")
    wrong = _misfit(name, expected, actual)
    if wrong or not expected.size:
        return wrong
    differs = find_differing(expected, actual, is_zero_signed=limit.is_zero_signed)
    if limit.exempt is not None:
        differs &= ~np.broadcast_to(limit.exempt, differs.shape)
    return _tell(name, expected, actual, differs, limit.law) if differs.any() else ""


def find_differing(expected: Array, actual: Array, *, is_zero_signed: bool) -> Array:
    """Return where two arrays of one type and shape differ: NaN equals NaN whatever it carries, a bool is its byte."""
    if type_name(expected) == "bool":  # a bool is the byte 0 or 1, and no other is either
        return np.asarray(np.asarray(expected).view(np.uint8) != np.ascontiguousarray(actual).view(np.uint8))
    if type_name(expected) == "string" or expected.dtype.kind in "iu":
        return np.asarray(expected != actual)
    differs = np.empty(expected.shape, dtype=bool)
    flat, want, got = differs.reshape(-1), read_blocks(expected), read_blocks(actual)
    with np.errstate(all="ignore"):
        for start in range(0, flat.size, BLOCK):
            stop = min(start + BLOCK, flat.size)
            flat[start:stop] = _differ(want(start, stop), got(start, stop), is_zero_signed=is_zero_signed)
    return differs


def _differ(expected: Array, actual: Array, *, is_zero_signed: bool) -> Array:
    if expected.dtype.kind == "c":
        return np.asarray((expected != actual) & ~(np.isnan(expected) & np.isnan(actual)))
    a, b = expected.astype(np.float64), actual.astype(np.float64)
    differs: Array = (a != b) & ~(np.isnan(a) & np.isnan(b))
    if is_zero_signed:
        differs |= (a == 0) & (b == 0) & (np.signbit(a) != np.signbit(b))
    return differs


def _tell(name: str, expected: Array, actual: Array, differs: Array, law: str) -> str:
    at = np.unravel_index(int(np.argmax(differs)), differs.shape) if differs.shape else ()
    place = f"{name}[{','.join(str(int(one)) for one in at)}]" if at else name
    count = int(differs.sum())
    if expected.dtype == np.bool_ == actual.dtype:  # by their bytes: 2 is shown as what it is
        expected, actual = np.ascontiguousarray(expected).view(np.uint8), np.ascontiguousarray(actual).view(np.uint8)
    return f"{place} = {actual[at]}, want {expected[at]} ({law}; {count} of {differs.size} elements differ)"
