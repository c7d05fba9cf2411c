"""How far outputs lie from a float64 reference, as a ratio of signal to noise: what model cases are judged by for now.

Over a tensor, SNR = 10·log10(Σ reference² / Σ (actual − reference)²) in dB, and each slice along the first axis by itself. A
format with p significant bits that rounds once gives 6.02·p + 4.8 dB; a network loses part of it at every layer, and more of
it the coarser the format. The limit is 4.4·p − 15 dB for the coarsest precision that the profile declares: correct devices
were seen 30 dB above it in float32, 20 dB in float16 and 8 dB in bfloat16 (docs/models.md has the figures). It is provisional.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from conformance.errors import HarnessError
from conformance.tensors import type_name

if TYPE_CHECKING:
    from conformance.tensors import Array, Value

DB_PER_BIT, DB_LOST = 4.4, 15.0
QUIET = 1e-3
"""A slice with less than this share of the tensor's mean energy is weighed against that share instead of its own."""


def limit_db(bits: int) -> float:
    """Return the least signal-to-noise ratio for a precision of `bits` significant bits."""
    return max(0.0, round(DB_PER_BIT * bits - DB_LOST, 1))


def bits_for(ratio_db: float) -> float:
    """Return for how many significant bits a ratio is just enough: the inverse of `limit_db`."""
    return (ratio_db + DB_LOST) / DB_PER_BIT


def find_fault(actual: Value, reference: Array, kind: str) -> str:
    """Return what is wrong with an output before its values count: kind, type, shape, values that are no numbers."""
    if not isinstance(actual, np.ndarray):
        return "no tensor"
    try:
        found = type_name(actual)
    except HarnessError as error:
        return str(error)
    if found != kind:
        return f"type {found}, want {kind}"
    if actual.shape != reference.shape:
        return f"shape {list(actual.shape)}, want {list(reference.shape)}"
    if kind == "string" or not np.isfinite(reference).all():
        return ""
    bad = int(np.count_nonzero(~np.isfinite(actual.astype(np.float64))))
    return f"{bad} of {actual.size} elements are NaN or infinite" if bad else ""


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
