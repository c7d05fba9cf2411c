"""A backend that means harm, or is broken in ways that the misbehaving adapter is not; `behaviour` says which.

It answers rightly wherever the model has no Transpose, so a run of the session probes meets it in one case only.
"""

from __future__ import annotations

import atexit
import os
import signal
import time
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import reference_backend

STATE = "HOSTILE_STATE"
"""Names a file by which the device remembers, over restarts, what it did."""


class Lazy:
    """A result that fails when somebody looks at it."""

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise RuntimeError("the result was lost on the way")


def _die_of(number: int) -> None:
    os.kill(os.getpid(), number)


def _kill_keeper() -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(3600)


def _vanish() -> None:
    Path(os.environ[STATE]).touch()
    _die_of(signal.SIGSEGV)


def _run_out_of_memory() -> None:
    raise MemoryError("the device's memory is full")


BEFORE = {
    "real-time-signal": lambda: _die_of(40),
    "kill-keeper": _kill_keeper,
    "vanish": _vanish,
    "memory-error": _run_out_of_memory,
    "crash-at-exit": lambda: atexit.register(os.abort),
}
AFTER = {
    "lazy": lambda value: Lazy(),
    "long-double": lambda value: value.astype(np.longdouble),
    "big-endian": lambda value: value.astype(value.dtype.newbyteorder(">")),
    "surrogates": lambda value: np.array(["\udcff"] * value.size, dtype=object).reshape(value.shape),
    "batch-dropped": lambda value: value.tolist(),
}


class Prepared(reference_backend.Prepared):
    """A prepared model that does what it is told, where the model has a Transpose."""

    def __init__(self, model: Any, behaviour: str) -> None:
        super().__init__(model)
        has_trigger = any(node.op_type == "Transpose" for node in model.graph.node)
        self._behaviour = behaviour if has_trigger else ""

    def run(self, inputs: list[Any], **_: Any) -> tuple[Any, ...]:
        """Return the outputs, unless told otherwise."""
        if self._behaviour in BEFORE:
            BEFORE[self._behaviour]()
        if self._behaviour == "too-many":
            return (*super().run(inputs), inputs[0])
        change = AFTER.get(self._behaviour, lambda value: value)
        return tuple(change(value) for value in super().run(inputs))


def prepare(model: Any, device: str = "CPU", behaviour: str = "", **_: Any) -> Prepared | None:
    """Return a prepared model, or nothing where told."""
    return None if behaviour == "nothing" else Prepared(model, behaviour)


def supports_device(device: str) -> bool:
    """Return whether the device is there: not after it has vanished."""
    return device == "CPU" and not Path(os.environ.get(STATE, "/nonexistent")).exists()
