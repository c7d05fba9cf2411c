"""Tier 2: one output of one operator, judged by a bound from the operator's own arithmetic.

The error of an element is measured in units, e = (y − reference)/unit. The unit says how finely the arithmetic can be
expected to work there (a unit in the last place of the result, the roundoff of a dot product), the limit how many units a
correct device may be off, and the slack what is allowed beyond them in absolute terms: subnormals flushed, operands stored
more narrowly than they were given. Dot products with many outputs are also judged by the sum of the squares of e and by
whether e leans to one side; both limits follow from how roundings add up.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from conformance.errors import HarnessError
from conformance.numerics.formats import FORMATS, Format, round_to
from conformance.numerics.judged import Judged, Statistic
from conformance.numerics.looks import looks_like

if TYPE_CHECKING:
    from conformance.tensors import Array

FEWEST = 1000
"""Fewest outputs for the statistics of a dot product: below, chance decides."""
SQUARES = 1.6
BIAS = 4.0
OWN = 2.0**-20
"""The reference's own rounding, as a share of a limit: float64 against float32 has 29 bits to spare."""


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """What one output is judged by. Arrays are float64 of the output's shape, or of a shape that broadcasts to it."""

    name: str
    kind: str
    """The tensor type of the output, as `float32`."""
    stored: str = ""
    """The format that the output is stored in where that is declared coarser than its type; '' where it is its type's."""
    law: str
    """What the limit comes from, in words: `dot product, K = 64`."""
    reference: Any
    """The operator in float64 on the inputs as stored."""
    unit: Any
    """One e, in the output's own units; 0 where the output must equal the reference exactly."""
    limit: Any = 1.0
    """Most |e|: a number, or one per element."""
    slack: Any = 0.0
    """What |y − reference| may be beyond limit · unit."""
    exempt: Any = None
    """True where nothing is asked, since the arithmetic may overflow on the way; None: nowhere."""
    terms: float = 0.0
    """ksb of a dot product, which the statistics need; 0: the largest error alone is judged."""
    products: int = 0
    """K of a dot product."""
    drift: Any = None
    """h per output, where the accumulator is declared to round toward zero."""
    is_leaning_tested: bool = True
    """False where narrowed operands are shared by many outputs, whose errors then lean together."""
    is_flushed: bool = False

    @property
    def form(self) -> Format:
        """The format that the output is stored in."""
        return FORMATS[self.stored] if self.stored else format_of(self.kind)


ARRAYS = ("reference", "unit", "limit", "slack", "exempt", "drift")


def format_of(kind: str) -> Format:
    """Return the format of a tensor type."""
    return FORMATS[kind.removesuffix("fnuz").removesuffix("fn")]


def judge_bound(bound: Bound, actual: Array) -> Judged:
    """Return the judgement of an output; its NaN and infinities must be where the reference has them."""
    reference = bound.reference
    if actual.shape != reference.shape:
        return Judged("bound", f"{bound.name}: shape {list(actual.shape)}, want {list(reference.shape)}")
    if actual.dtype.kind not in "fV" and actual.dtype.name not in _FLOATS:
        return Judged("bound", f"{bound.name}: type {actual.dtype}, want {bound.kind}")
    if not reference.size:
        return Judged("bound")
    with np.errstate(all="ignore"):
        return _judge(bound, np.asarray(actual, dtype=np.float64))


_FLOATS = frozenset(
    {"bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"}
    | {"float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn"}
)


def _judge(bound: Bound, actual: Array) -> Judged:
    reference = bound.reference
    allowed = np.broadcast_to(bound.limit * bound.unit * (1 + OWN) + bound.slack, reference.shape)
    # Most outputs are finite and far from overflow: nothing is exempt, nothing can be strange.
    is_plain = bound.exempt is None and bool(np.max(np.abs(reference) + allowed) < bound.form.largest)
    free = np.zeros(reference.shape, dtype=bool) if is_plain else _exempt(bound, allowed)
    if not is_plain or not np.isfinite(actual).all():
        strange = _strange(bound, actual, allowed, free)
        if strange:
            return Judged("bound", strange)
    counted = np.isfinite(reference) & np.isfinite(actual) & ~free
    if bound.exempt is not None and np.isfinite(reference).any() and np.all(bound.exempt):
        raise HarnessError(f"nothing of '{bound.name}' can be judged: its case judges nobody")
    error = np.where(counted, actual - np.where(counted, reference, 0.0), 0.0)
    size = np.abs(error)
    beyond = size > allowed
    unit = np.broadcast_to(np.asarray(bound.unit, dtype=np.float64), reference.shape)
    over = np.maximum(size - bound.slack, 0.0)
    e = np.where(unit > 0, over / np.where(unit > 0, unit, 1.0), np.where(over > 0, np.inf, 0.0))
    limit = np.broadcast_to(np.asarray(bound.limit, dtype=np.float64), reference.shape)
    # The element nearest to its own limit, not the one with the largest e: limits may differ.
    share = np.where(beyond, np.maximum(size / np.where(allowed > 0, allowed, 1e-300), 1.0), 0.0)
    share = np.where(beyond, share, np.where(limit > 0, e / np.where(limit > 0, limit, 1.0), 0.0))
    at = np.unravel_index(int(np.argmax(share)), share.shape) if share.shape else ()
    found = [Statistic("max |e|", float(e[at]), float(limit[at]), bound.law)]
    reason = ""
    if beyond.any():
        text = f"e = {e[at]:.3g} > {limit[at]:.3g}"
        more = int(beyond.sum())
        others = f"; {more} of {size.size} elements are beyond their limits" if more > 1 else ""
        reason = (
            f"{_place(bound.name, at)} = {_number(actual[at])}, want {_number(reference[at])} ± {allowed[at]:.3g} "
            f"({bound.law}, {text}{others})"
        )
    if bound.terms and counted.sum() >= FEWEST:
        signed = np.where(unit > 0, error / np.where(unit > 0, unit, 1.0), 0.0)
        more_found, why = _whole(bound, signed, unit, counted)
        found += more_found
        reason = reason or why
    likeness = looks_like(actual, reference, unit, bound.form, bound.products, counted) if reason else ""
    return Judged("bound", reason, tuple(found), likeness)


def _exempt(bound: Bound, allowed: Array) -> Array:
    """Return where nothing is asked: as declared, and where a correct result may fall on either side of overflow."""
    reference = bound.reference
    largest = bound.form.largest
    edge = largest * (1 + bound.form.roundoff)
    free = np.isfinite(reference) & (np.abs(reference) - allowed < edge) & (np.abs(reference) + allowed >= edge)
    free |= ~np.isfinite(allowed)
    return np.asarray(free if bound.exempt is None else free | np.broadcast_to(bound.exempt, reference.shape))


def _strange(bound: Bound, actual: Array, allowed: Array, free: Array) -> str:
    """Return where NaN or infinities are not what the reference has once it is rounded to the output type; '' where they are."""
    wanted = round_to(bound.reference, bound.form)
    if bound.form.overflow != "infinity":  # whether such a type saturates is an attribute's or the device's affair
        free = free | (np.abs(bound.reference) + allowed >= bound.form.largest)
    differs = (np.isnan(wanted) != np.isnan(actual)) | (np.isinf(wanted) != np.isinf(actual))
    differs |= np.isinf(wanted) & np.isinf(actual) & (np.sign(wanted) != np.sign(actual))
    differs &= ~free
    if not differs.any():
        return ""
    at = np.unravel_index(int(np.argmax(differs)), differs.shape) if differs.shape else ()
    return (
        f"{_place(bound.name, at)} = {_number(actual[at])}, want {_number(wanted[at])} "
        f"({int(differs.sum())} of {differs.size} elements are NaN or infinite where they must not be, or are not where they must)"
    )


def _whole(bound: Bound, e: Array, unit: Array, counted: Array) -> tuple[list[Statistic], str]:
    """Return the statistics of a whole dot-product output and what is wrong with them, '' where nothing is."""
    count, terms, reference = int(counted.sum()), bound.terms, bound.reference
    allowed_bias = BIAS * math.sqrt(terms * count)
    drift = None if bound.drift is None else np.where(counted, np.broadcast_to(bound.drift, e.shape), 0.0)
    squares = SQUARES * terms * count + (0.0 if drift is None else float(np.sum(drift * drift)) / 4)
    found = [Statistic("Σe²", float(np.sum(e * e)), squares, bound.law)]
    if bound.is_leaning_tested:
        signs = np.sign(np.where(counted, reference, 0.0))
        lean = abs(float(np.sum(signs * e)))
        more = 0.0 if drift is None else float(np.sum(drift)) / 2
        total, own, own_lean = abs(float(np.sum(e))), 0.0, 0.0
        if max(lean - more, total) > allowed_bias:
            # Few distinct values round all alike (ties of 1 + 2^-10 go one way): what the reference itself leans is no fault.
            gone = np.where(counted & (unit > 0), round_to(reference, bound.form) - reference, 0.0)
            rounding = gone / np.where(unit > 0, unit, 1.0)
            own, own_lean = abs(float(np.sum(rounding))), abs(float(np.sum(signs * rounding)))
        more += own_lean
        found.append(Statistic("|Σ sign(reference)·e|", lean, allowed_bias + more, bound.law))
        if drift is None and _is_zero_mean(reference[counted]):
            found.append(Statistic("|Σe|", total, allowed_bias + own, bound.law))
    for one in found:
        if one.value > one.limit:
            text = "are too large together" if one.name == "Σe²" else "lean to one side"
            return found, (
                f"{bound.name}: the errors of {count} elements {text}: {one.name} = {one.value:.4g} > {one.limit:.4g} ({bound.law})"
            )
    return found, ""


def _is_zero_mean(values: Array) -> bool:
    """Whether the mean of a sample is within four standard errors of zero."""
    return bool(abs(values.sum()) <= BIAS * math.sqrt(float(np.sum(values * values))))


def _place(name: str, at: tuple[Any, ...]) -> str:
    return f"{name}[{','.join(str(int(one)) for one in at)}]" if at else name


def _number(value: Any) -> str:
    return f"{float(value):.9g}"


def to_arrays(bound: Bound) -> dict[str, Array]:
    """Return a bound as named arrays, for a file of arrays; `from_arrays` gives it back."""
    plain = {name: getattr(bound, name) for name in bound.__struct_fields__ if name not in ARRAYS}
    found = {name: np.asarray(getattr(bound, name)) for name in ARRAYS if getattr(bound, name) is not None}
    return {**found, "plain": np.frombuffer(msgspec.json.encode(plain), dtype=np.uint8)}


def from_arrays(arrays: dict[str, Array]) -> Bound:
    """Return the bound that `to_arrays` took apart."""
    fields: dict[str, Any] = msgspec.json.decode(arrays["plain"].tobytes())
    return Bound(**fields | {name: arrays[name] for name in ARRAYS if name in arrays})
