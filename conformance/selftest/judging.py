"""The columns of the matrix: the tiers that decide, and the usual measures beside them, which decide nothing.

ONNX's own tolerance is that of its backend tests, cosine and SQNR what people use for want of better. SQNR's limits depend on the
declared format: 90 dB for 24 significant bits, 44 for 11, 20 for 8, which are the best that let every correct device through that
was seen when the design was made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from conformance.numerics.spread import Spread, judge_spread

if TYPE_CHECKING:
    from conformance.numerics.judged import Judged
    from conformance.tensors import Array

TIERS = ("exact", "bound", "spread", "task")
BESIDE = ("onnx", "cosine", "sqnr")
COLUMNS = (*TIERS, *BESIDE)
RTOL, ATOL = 1e-3, 1e-7
COSINE = 0.9999
SQNR_DB = ((24, 90.0), (11, 44.0), (0, 20.0))


class Told(NamedTuple):
    """What the columns say about one run: the columns that refuse it, how far it went, and why."""

    refused: frozenset[str]
    share: float
    """The largest statistic of the deciding judge as a share of its limit."""
    reason: str


def judge_run(limits: dict[str, Any], outputs: dict[str, Any], bits: int) -> tuple[Told, frozenset[str]]:
    """Return what the columns say about a run's outputs, and which deciding columns were asked.

    `bits`: significant bits that results are declared to have.
    """
    from conformance.numerics.limits import judge

    refused, asked, share, reason = set(), set(), 0.0, ""
    for name, limit in limits.items():
        actual = outputs[name]
        is_spread = isinstance(limit, Spread)
        judged: Judged = judge_spread(limit, actual, name) if is_spread else judge(limit, actual)
        column = "spread" if is_spread else "bound"
        asked.add(column)
        if not judged.ok:
            refused.add(column)
            reason = reason or judged.reason
        share = max([share, *(one.share for one in judged.statistics if np.isfinite(one.share))])
        reference = limit.reference if hasattr(limit, "reference") else limit.expected
        if isinstance(reference, np.ndarray) and isinstance(actual, np.ndarray):
            refused |= usual(reference, actual, bits)
    return Told(frozenset(refused), share, reason), frozenset(asked)


def usual(reference: Array, actual: Array, bits: int) -> set[str]:
    """Return which of the usual measures refuse an output."""
    if reference.shape != actual.shape:
        return set(BESIDE)
    try:
        wanted, found = reference.astype(np.float64).reshape(-1), actual.astype(np.float64).reshape(-1)
    except (TypeError, ValueError):  # strings: equal or not
        return set() if np.array_equal(reference, actual) else set(BESIDE)
    refused = set()
    with np.errstate(all="ignore"):
        if not np.allclose(found, wanted, rtol=RTOL, atol=ATOL, equal_nan=True):
            refused.add("onnx")
        finite = np.isfinite(wanted)
        if not np.isfinite(found[finite]).all():
            return refused | {"cosine", "sqnr"}
        one, other = wanted[finite], found[finite]
        size = float(np.sqrt((one @ one) * (other @ other)))
        if size > 0 and float(one @ other) / size < COSINE:
            refused.add("cosine")
        signal, noise = float(one @ one), float((one - other) @ (one - other))
        least = next(limit for from_bits, limit in SQNR_DB if bits >= from_bits)
        if noise > 0 and (signal == 0 or 10 * np.log10(signal / noise) < least):
            refused.add("sqnr")
    return refused
