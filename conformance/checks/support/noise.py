"""How far outputs lie from a float64 reference, as a ratio of signal to noise: what model cases are judged by for now.

Over a tensor, SNR = 10·log10(Σ reference² / Σ (actual − reference)²) in dB, and each slice along the first axis by itself. A
format with p significant bits that rounds once gives 6.02·p + 4.8 dB; a network loses part of it at every layer, and more of
it the coarser the format. The limits lie between what correct and what wrong devices were seen to reach (docs/models.md has
the figures). They are provisional.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from conformance.errors import HarnessError
from conformance.tensors import type_name

if TYPE_CHECKING:
    from conformance.tensors import Array, Value

LIMITS_DB = ((24, 90.0), (11, 44.0), (8, 20.0), (0, 2.0))
"""From so many significant bits on, the least ratio."""
NARROW_SUM_DB = 8.0
"""What sums in no more than 11 bits may cost beyond that."""
QUIET = 1e-3
"""A slice with less than this share of the tensor's mean energy is weighed against that share instead of its own."""


def limit_db(bits: int, accumulator_bits: int = 24) -> float:
    """Return the least signal-to-noise ratio where values have `bits` significant bits and sums `accumulator_bits`."""
    limit = next(limit for least, limit in LIMITS_DB if bits >= least)
    return limit - NARROW_SUM_DB if bits == 11 >= accumulator_bits else limit


def bits_for(ratio_db: float) -> int:
    """Return for how many significant bits a ratio is enough at most."""
    return next((least for least, limit in LIMITS_DB if ratio_db >= limit), 0)


def find_fault(actual: Value, reference: Array, kind: str) -> str:
    """Return what is wrong with an output before its values count: kind, type, shape, values that are no numbers."""
    wrong = find_type_fault(actual, kind)
    if wrong or not isinstance(actual, np.ndarray):
        return wrong
    if actual.shape != reference.shape:
        return f"shape {list(actual.shape)}, want {list(reference.shape)}"
    if kind == "string":
        return ""
    bad = int(np.count_nonzero(~np.isfinite(actual.astype(np.float64))))
    return f"{bad} of {actual.size} elements are NaN or infinite" if bad else ""


def find_type_fault(actual: Value, kind: str) -> str:
    """Return what is wrong with the type of an output; empty where it is `kind`."""
    if not isinstance(actual, np.ndarray):
        return "no tensor"
    try:
        found = type_name(actual)
    except HarnessError as error:
        return str(error)
    return "" if found == kind else f"type {found}, want {kind}"


def signal_to_noise_db(actual: Array, reference: Array) -> float:
    """Return the lowest ratio of the tensor and of its slices along the first axis, in dB; infinite where nothing differs."""
    if reference.size == 0:
        return math.inf
    difference = actual.astype(np.float64) - reference
    rows = reference.shape[0] if reference.ndim > 1 else 1
    signal = np.square(reference).reshape(rows, -1).mean(axis=1)
    noise = np.square(difference).reshape(rows, -1).mean(axis=1)
    floor = max(float(signal.mean()) * QUIET, np.finfo(np.float64).tiny)
    ratios = [float(noise.mean() / max(float(signal.mean()), floor)), *(noise / np.maximum(signal, floor))]
    worst = float(max(ratios))
    return -10 * math.log10(worst) if worst > 0 else math.inf
