"""What the device that misbehaves does to last bits: its answers are as good as before, and not the same from time to time.

Each table entry maps the name of a behaviour to what it does, given the session (`misbehaving._Session`) and its outputs.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from conformance.adapters.runtime.support.misdeeds import Outputs
    from conformance.tensors import Array, Value

NOISY_EVERY = 3


def _noisy_bits(session: Any, outputs: Outputs) -> Outputs:
    """Flip the last bit of one element in every third run, as additions do that race."""
    return outputs if session.runs % NOISY_EVERY else _flip(outputs, session.runs)


def _session_seeded(session: Any, outputs: Outputs) -> Outputs:
    """Flip a bit that the session's number chooses, as a kernel does that is tuned anew whenever a session is made."""
    return _flip(outputs, session.number)


def _process_seeded(session: Any, outputs: Outputs) -> Outputs:  # noqa: ARG001
    """Flip a bit that the process chooses, as a sum does that runs in the order of a hash."""
    return _flip(outputs, os.getpid())


def _batch_variant(session: Any, outputs: Outputs) -> Outputs:  # noqa: ARG001
    """Flip the last bit of every row's first element where there is more than one row, as another kernel for batches does."""
    return [(name, _flip_rows(value) if isinstance(value, np.ndarray) else value) for name, value in outputs]


def _flip_rows(value: Array) -> Value:
    is_batch = value.ndim > 0 and value.shape[0] > 1 and value.size > 0
    return _flipped(value, slice(0, None, value[0].size)) if is_batch else value


def _flip(outputs: Outputs, seed: int) -> Outputs:
    return [
        (name, _flipped(value, seed % value.size) if isinstance(value, np.ndarray) and value.size else value)
        for name, value in outputs
    ]


def _flipped(value: Array, which: int | slice) -> Array:
    """Return a floating-point tensor with the last bit of some elements flipped; any other as it is."""
    if value.dtype.kind not in "fV":
        return value
    made = np.ascontiguousarray(value).copy()
    made.reshape(-1).view(np.uint8).reshape(made.size, -1)[which, 0] ^= (
        1  # the low byte is the first, on a little-endian host
    )
    return made


OF_BITS: dict[str, Any] = {
    "noisy-bits": _noisy_bits,
    "session-seeded": _session_seeded,
    "process-seeded": _process_seeded,
    "batch-variant": _batch_variant,
}
"""What happens to the last bits of an inference."""
