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
from conformance.numerics.tallying import Tally, sample, sum_own_rounding, tally

if TYPE_CHECKING:
    from conformance.tensors import Array

FEWEST = 1000
"""Fewest outputs for the statistics of a dot product: below, chance decides."""
SQUARES = 1.6
BIAS = 4.0


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
    return _judge(bound, actual)


_FLOATS = frozenset(
    {"bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"}
    | {"float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn"}
)


def _judge(bound: Bound, actual: Array) -> Judged:
    reference = bound.reference
    found = tally(bound, actual)
    if found.strange:
        at = np.unravel_index(found.first_strange, reference.shape) if reference.shape else ()
        return Judged(
            "bound",
            f"{_place(bound.name, at)} = {_number(actual[at])}, want {_number(round_to(reference[at], bound.form))} "
            f"({found.strange} of {reference.size} elements are NaN or infinite where they must not be, or are not where they must)",
        )
    if bound.exempt is not None and found.finite and np.all(bound.exempt):
        raise HarnessError(f"nothing of '{bound.name}' can be judged: its case judges nobody")
    statistics = [Statistic("max |e|", found.e, found.limit, bound.law)]
    reason = ""
    if found.beyond:
        at = np.unravel_index(found.at, reference.shape) if reference.shape else ()
        text = f"e = {found.e:.3g} > {found.limit:.3g}"
        others = f"; {found.beyond} of {reference.size} elements are beyond their limits" if found.beyond > 1 else ""
        reason = (
            f"{_place(bound.name, at)} = {_number(actual[at])}, want {_number(reference[at])} ± {found.allowed:.3g} "
            f"({bound.law}, {text}{others})"
        )
    if bound.terms and found.counted >= FEWEST:
        more_found, why = _whole(bound, actual, found)
        statistics += more_found
        reason = reason or why
    likeness = ""
    if reason:
        x, y, unit, counted = sample(bound, actual)
        with np.errstate(all="ignore"):
            likeness = looks_like(x, y, unit, bound.form, bound.products, counted)
    return Judged("bound", reason, tuple(statistics), likeness)


def _whole(bound: Bound, actual: Array, tallied: Tally) -> tuple[list[Statistic], str]:
    """Return the statistics of a whole dot-product output and what is wrong with them, '' where nothing is."""
    count, terms = tallied.counted, bound.terms
    allowed_bias = BIAS * math.sqrt(terms * count)
    squares = SQUARES * terms * count + tallied.drift_squares / 4
    found = [Statistic("Σe²", tallied.squares, squares, bound.law)]
    if bound.is_leaning_tested:
        lean, total = abs(tallied.lean), abs(tallied.total)
        more = tallied.drift / 2
        own = own_lean = 0.0
        if max(lean - more, total) > allowed_bias:
            # Few distinct values round all alike (ties of 1 + 2^-10 go one way): what the reference itself leans is no fault.
            own, own_lean = sum_own_rounding(bound, actual)
        more += own_lean
        found.append(Statistic("|Σ sign(reference)·e|", lean, allowed_bias + more, bound.law))
        # Of zero mean is a sample whose mean is within four standard errors of zero.
        if bound.drift is None and abs(tallied.values) <= BIAS * math.sqrt(tallied.values_squares):
            found.append(Statistic("|Σe|", total, allowed_bias + own, bound.law))
    for one in found:
        if one.value > one.limit:
            text = "are too large together" if one.name == "Σe²" else "lean to one side"
            return found, (
                f"{bound.name}: the errors of {count} elements {text}: {one.name} = {one.value:.4g} > {one.limit:.4g} ({bound.law})"
            )
    return found, ""


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
