"""The errors of one output against its bound, tallied block by block: one pass, and no second copy of any tensor.

What is added up here is what `bounded` judges by. Sums are taken block after block in the order of the tensor, so an output of
at most one block is summed as a whole. A second pass over the blocks is made only for what a failure has to be told about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from conformance.numerics.formats import round_to
from conformance.numerics.streaming import read_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.numerics.bounded import Bound
    from conformance.tensors import Array

BLOCK = 1 << 16
"""Elements to a block: a dozen float64 arrays of half a megabyte."""
OWN = 2.0**-20
"""The reference's own rounding, as a share of a limit: float64 against float32 has 29 bits to spare."""
LOOKED_AT = 1 << 19
"""Most elements that a failure is described by; of a larger output these are taken at even distances."""


class Block(NamedTuple):
    """A flat range of the output and of all that belongs to it. What is one number for all elements has no dimension."""

    start: int
    actual: Array
    reference: Array
    unit: Array
    limit: Array
    slack: Array
    drift: Array | None
    allowed: Array
    """What |actual − reference| may be."""
    free: Array | None
    """Where nothing is asked; None: nowhere, and no result is near overflow."""
    counted: Array | None
    """Where both are finite and something is asked; None: everywhere."""


class Tally(NamedTuple):
    """What was found. Indices are row-major; sums are over counted elements, e = (actual − reference)/unit."""

    counted: int = 0
    finite: int = 0
    """Finite elements of the reference."""
    strange: int = 0
    """NaN or infinities that are not what the reference has once it is rounded to the output type."""
    first_strange: int = -1
    beyond: int = 0
    """Elements beyond their limits."""
    share: float = 0.0
    """The largest error as a share of its own limit, at least 1 where it is beyond; of which element, with its e and its limits:"""
    at: int = 0
    e: float = 0.0
    limit: float = 0.0
    allowed: float = 0.0
    squares: float = 0.0
    """Σe²; this sum and those below only where the bound has `terms`."""
    lean: float = 0.0
    """Σ sign(reference)·e"""
    total: float = 0.0
    """Σe"""
    drift: float = 0.0
    """Σh"""
    drift_squares: float = 0.0
    """Σh²"""
    values: float = 0.0
    """Σ reference"""
    values_squares: float = 0.0
    """Σ reference²"""


SUMS = ("counted", "finite", "strange", "beyond", "squares", "lean", "total", "drift", "drift_squares", "values")


def tally(bound: Bound, actual: Array) -> Tally:
    """Return the tally of an output that has at least one element, the reference's shape and a floating-point type."""
    with np.errstate(all="ignore"):
        found = [_tally_block(bound, block) for block in read_bound(bound, actual)]
    if len(found) == 1:
        return found[0]
    # As argmax does over all: the first of the largest, or the first NaN.
    worst = found[int(np.argmax([one.share for one in found]))]
    sums: dict[str, Any] = {name: sum(getattr(one, name) for one in found) for name in (*SUMS, "values_squares")}
    strange = next((one.first_strange for one in found if one.strange), -1)
    return worst._replace(first_strange=strange, **sums)


def read_bound(bound: Bound, actual: Array) -> Iterator[Block]:
    """Yield the blocks of an output in order. The caller silences floating-point warnings."""
    shape, largest = bound.reference.shape, bound.form.largest
    got, want = read_blocks(actual), read_blocks(bound.reference)
    unit, limit, slack = (_reader(one, shape) for one in (bound.unit, bound.limit, bound.slack))
    drift = None if bound.drift is None else _reader(bound.drift, shape)
    exempt = None if bound.exempt is None else _reader(bound.exempt, shape)
    for start in range(0, bound.reference.size, BLOCK):
        stop = min(start + BLOCK, bound.reference.size)
        x, y = np.asarray(got(start, stop), dtype=np.float64), want(start, stop)
        per, most, more = (one(start, stop) for one in (unit, limit, slack))
        allowed = np.asarray(most * per * (1 + OWN) + more)
        # Most outputs are finite and far from overflow: nothing is exempt, nothing can be strange.
        is_plain = exempt is None and bool(np.max(np.abs(y) + allowed) < largest)
        free = None if is_plain else _exempt(bound, y, allowed, None if exempt is None else exempt(start, stop))
        counted = np.isfinite(x)
        if free is not None:
            counted &= np.isfinite(y) & ~free
        yield Block(
            start=start,
            actual=x,
            reference=y,
            unit=per,
            limit=most,
            slack=more,
            drift=None if drift is None else drift(start, stop),
            allowed=allowed,
            free=free,
            counted=None if counted.all() else counted,
        )


def _reader(value: Any, shape: tuple[int, ...]) -> Callable[[int, int], Array]:
    array = np.asarray(value)
    if array.size == 1:
        one = array.reshape(())
        return lambda _start, _stop: one
    return read_blocks(np.broadcast_to(array, shape))


def _exempt(bound: Bound, reference: Array, allowed: Array, declared: Array | None) -> Array:
    """Return where nothing is asked: as declared, and where a correct result may fall on either side of overflow."""
    edge = bound.form.largest * (1 + bound.form.roundoff)
    free = np.isfinite(reference) & (np.abs(reference) - allowed < edge) & (np.abs(reference) + allowed >= edge)
    free |= ~np.isfinite(allowed)
    if declared is not None:
        free |= declared
    return np.asarray(free)


def _tally_block(bound: Bound, block: Block) -> Tally:
    x, y, unit, limit, allowed = block.actual, block.reference, block.unit, block.limit, block.allowed
    strange = None
    if block.free is not None or not np.isfinite(x).all():
        strange = _strange(bound, block)
    counted = block.counted
    error = x - y if counted is None else np.subtract(x, y, out=np.zeros(y.shape), where=counted)
    size = np.abs(error)
    beyond = size > allowed
    over = np.maximum(size - block.slack, 0.0)
    is_exact = not np.all(unit > 0)
    units = np.where(unit > 0, unit, 1.0) if is_exact else unit
    e = np.where(unit > 0, over / units, np.where(over > 0, np.inf, 0.0)) if is_exact else over / units
    # The element nearest to its own limit, not the one with the largest e: limits may differ.
    share = np.where(limit > 0, e / np.where(limit > 0, limit, 1.0), 0.0)
    if beyond.any():
        share = np.where(beyond, np.maximum(size / np.where(allowed > 0, allowed, 1e-300), 1.0), share)
    at = int(np.argmax(share))
    found = Tally(
        counted=y.size if counted is None else int(np.count_nonzero(counted)),
        finite=y.size if block.free is None else int(np.count_nonzero(np.isfinite(y))),
        strange=0 if strange is None else int(np.count_nonzero(strange)),
        first_strange=block.start + int(np.argmax(strange)) if strange is not None and strange.any() else -1,
        beyond=int(np.count_nonzero(beyond)),
        share=float(share[at]),
        at=block.start + at,
        e=float(e[at]),
        limit=_element(limit, at),
        allowed=_element(allowed, at),
    )
    if not bound.terms:
        return found
    return _with_sums(found, block, np.where(unit > 0, error / units, 0.0) if is_exact else error / units)


def _with_sums(found: Tally, block: Block, e: Array) -> Tally:
    y, counted = block.reference, block.counted
    kept = y if counted is None else y[counted]
    signs = np.sign(y if counted is None else np.where(counted, y, 0.0))
    found = found._replace(
        squares=float(np.sum(e * e)),
        lean=float(np.sum(signs * e)),
        total=float(np.sum(e)),
        values=float(np.sum(kept)),
        values_squares=float(np.sum(kept * kept)),
    )
    if block.drift is None:
        return found
    drift = np.where(True if counted is None else counted, np.broadcast_to(block.drift, y.shape), 0.0)
    return found._replace(drift=float(np.sum(drift)), drift_squares=float(np.sum(drift * drift)))


def _strange(bound: Bound, block: Block) -> Array:
    """Return where NaN or infinities are not what the reference has once it is rounded to the output type."""
    wanted, actual = round_to(block.reference, bound.form), block.actual
    differs: Array = (np.isnan(wanted) != np.isnan(actual)) | (np.isinf(wanted) != np.isinf(actual))
    differs |= np.isinf(wanted) & np.isinf(actual) & (np.sign(wanted) != np.sign(actual))
    if block.free is not None:
        differs &= ~block.free
    if bound.form.overflow != "infinity":  # whether such a type saturates is an attribute's or the device's affair
        differs &= ~(np.abs(block.reference) + block.allowed >= bound.form.largest)
    return differs


def sum_own_rounding(bound: Bound, actual: Array) -> tuple[float, float]:
    """Return |Σ| and |Σ sign(reference)·| of what rounding the reference itself to the output's format adds, in units of e."""
    total = lean = 0.0
    with np.errstate(all="ignore"):
        for block in read_bound(bound, actual):
            is_used = (block.unit > 0) & (True if block.counted is None else block.counted)
            gone = np.where(is_used, round_to(block.reference, bound.form) - block.reference, 0.0)
            rounding = gone / np.where(block.unit > 0, block.unit, 1.0)
            signs = np.sign(block.reference if block.counted is None else np.where(block.counted, block.reference, 0.0))
            total += float(np.sum(rounding))
            lean += float(np.sum(signs * rounding))
    return abs(total), abs(lean)


def sample(bound: Bound, actual: Array) -> tuple[Array, Array, Array, Array]:
    """Return actual, reference, unit and where they are counted, flat: all of an output, or `LOOKED_AT` elements of it at most."""
    step = -(-bound.reference.size // LOOKED_AT)
    parts: list[tuple[Array, ...]] = []
    with np.errstate(all="ignore"):
        for block in read_bound(bound, actual):
            counted = np.ones(block.actual.shape, bool) if block.counted is None else block.counted
            unit = np.broadcast_to(block.unit, block.actual.shape)
            first = -block.start % step
            parts.append(tuple(one[first::step].copy() for one in (block.actual, block.reference, unit, counted)))
    x, y, unit, counted = (np.concatenate(one) for one in zip(*parts, strict=True))
    return x, y, unit, counted


def _element(values: Array, at: int) -> float:
    return float(values[at] if values.ndim else values)
