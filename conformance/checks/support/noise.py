"""What is wrong with an output before its values are judged, and a coarse measure of the values: signal to noise.

Over a tensor, SNR = 10·log10(Σ reference² / Σ (actual − reference)²) in dB, and each slice along the first axis by itself. A
format with p significant bits that rounds once gives 6.02·p + 4.8 dB. It tells an answer from no answer, in any precision;
which precision it is, tier 3 asks (`numerics.spread`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from conformance.errors import HarnessError
from conformance.tensors import type_name

if TYPE_CHECKING:
    from conformance.tensors import Array, Value

LEAST_DB = 20.0
"""What an answer in bfloat16 keeps at least, after a network or a contraction of thousands of terms."""
QUIET = 1e-3
"""A slice with less than this share of the tensor's mean energy is weighed against that share instead of its own."""


def find_shape_fault(actual: Value, reference: Array, kind: str) -> str:
    """Return what is wrong with an output's kind, type or shape, before its values count."""
    wrong = find_type_fault(actual, kind)
    if wrong or not isinstance(actual, np.ndarray):
        return wrong
    return "" if actual.shape == reference.shape else f"shape {list(actual.shape)}, want {list(reference.shape)}"


def find_fault(actual: Value, reference: Array, kind: str) -> str:
    """Return what is wrong with an output before its values count: kind, type, shape, values that are no numbers."""
    wrong = find_shape_fault(actual, reference, kind)
    if wrong or not isinstance(actual, np.ndarray) or kind == "string":
        return wrong
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
