"""What the device that misbehaves does around one inference: before it, to its outputs, after a refusal.

Each table maps the name of a behaviour to what it does. `misdeeds_of_sessions` has those that need more than one inference.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

if TYPE_CHECKING:
    from conformance.tensors import Value

Outputs = list[tuple[str, "Value"]]
SHOUT_BYTES = 100 * 1024 * 1024
ALLOCATE_BYTES = 4 * 1024 * 1024 * 1024


def segv() -> None:
    """Read address 0."""
    import ctypes

    ctypes.string_at(0)


def _hang() -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(3600)


def spin() -> NoReturn:
    """Loop for ever."""
    while True:
        pass


def _shout() -> None:
    line = b"driver: something went wrong, and this line says so at great length " * 16 + b"\n"
    for _ in range(SHOUT_BYTES // len(line)):
        os.write(2, line)


def _allocate() -> None:
    held = [np.ones(64 * 1024 * 1024, dtype=np.uint8) for _ in range(ALLOCATE_BYTES // (64 * 1024 * 1024))]
    time.sleep(0.5)
    del held


def _spawn_grandchildren() -> None:
    """Leave processes behind: one in its own session, one orphaned, one that ignores SIGTERM."""
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3600)"
    subprocess.Popen([sys.executable, "-S", "-c", script], start_new_session=True)
    orphaner = (
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', {script!r}], start_new_session=True)"
    )
    subprocess.run([sys.executable, "-S", "-c", orphaner], check=True)


def _babble() -> None:
    """Write what is no message on every descriptor that could be the protocol's."""
    for fd in range(3, 64):
        try:
            if not os.path.islink(f"/proc/self/fd/{fd}") or "pipe" not in os.readlink(f"/proc/self/fd/{fd}"):  # noqa: PTH114, PTH115
                continue
            os.write(fd, b"\x00\x00\x00\x05hello")
        except OSError:
            continue


BEFORE_RUN: dict[str, Any] = {
    "segv": segv,
    "abort": os.abort,
    "exit0": lambda: os._exit(0),
    "hang": _hang,
    "spin": spin,
    "shout": _shout,
    "allocate": _allocate,
    "grandchildren": _spawn_grandchildren,
    "babble": _babble,
    "print": lambda: os.write(1, b"a vendor library prints on standard output\n"),
    "raise": lambda: (_ for _ in ()).throw(RuntimeError("the device refuses")),
}
"""What happens before an inference."""


def _mutate_inputs(feeds: dict[str, Value], outputs: Outputs, past: list[Outputs]) -> Outputs:  # noqa: ARG001
    for value in feeds.values():
        if isinstance(value, np.ndarray) and value.size and value.dtype.kind not in "OUST":
            value.reshape(-1).view(np.uint8)[0] ^= 1
    return outputs


def _swap_outputs(feeds: dict[str, Value], outputs: Outputs, past: list[Outputs]) -> Outputs:  # noqa: ARG001
    values = [value for _, value in outputs]
    if len(values) > 1:
        values[0], values[1] = values[1], values[0]
    return [(name, value) for (name, _), value in zip(outputs, values, strict=True)]


def _wrong_type(feeds: dict[str, Value], outputs: Outputs, past: list[Outputs]) -> Outputs:  # noqa: ARG001
    return [(n, v.astype(np.float64) if isinstance(v, np.ndarray) and v.dtype == np.float32 else v) for n, v in outputs]


def _stale_outputs(feeds: dict[str, Value], outputs: Outputs, past: list[Outputs]) -> Outputs:  # noqa: ARG001
    """Give back the newest earlier outputs of the same names and shapes, as a result cache with a wrong key would."""
    for earlier in reversed(past[:-1]):
        if [(n, getattr(v, "shape", None)) for n, v in earlier] == [(n, getattr(v, "shape", None)) for n, v in outputs]:
            return earlier
    return outputs


def _wrong_value(feeds: dict[str, Value], outputs: Outputs, past: list[Outputs]) -> Outputs:  # noqa: ARG001
    """Change one element a little: the last one of every floating output, by 1 % and 0.01."""
    changed: Outputs = []
    for name, value in outputs:
        if isinstance(value, np.ndarray) and value.size and value.dtype.kind == "f":
            value = value.copy()  # noqa: PLW2901
            value.reshape(-1)[-1] = value.reshape(-1)[-1] * 1.01 + 0.01
        changed.append((name, value))
    return changed


def _wrong_shape(feeds: dict[str, Value], outputs: Outputs, past: list[Outputs]) -> Outputs:  # noqa: ARG001
    return [(n, v.reshape(1, *v.shape) if isinstance(v, np.ndarray) else v) for n, v in outputs]


def _extra_output(feeds: dict[str, Value], outputs: Outputs, past: list[Outputs]) -> Outputs:  # noqa: ARG001
    return [*outputs, ("scratch", np.zeros(1, np.float32))]


def _scalar_output(feeds: dict[str, Value], outputs: Outputs, past: list[Outputs]) -> Outputs:  # noqa: ARG001
    """Give every tensor of one element as a scalar."""
    return [(n, v.reshape(()) if isinstance(v, np.ndarray) and v.size == 1 else v) for n, v in outputs]


def _nan_large_batch(feeds: dict[str, Value], outputs: Outputs, past: list[Outputs]) -> Outputs:  # noqa: ARG001
    is_large = [isinstance(v, np.ndarray) and v.shape[:1] >= (LARGE_BATCH,) and v.dtype.kind == "f" for _, v in outputs]
    return [(n, np.full_like(v, np.nan) if hit else v) for (n, v), hit in zip(outputs, is_large, strict=True)]


def _garbage_empty(feeds: dict[str, Value], outputs: Outputs, past: list[Outputs]) -> Outputs:  # noqa: ARG001
    """Give a row of whatever lay there in place of a tensor without elements."""
    return [
        (n, np.full((1, *v.shape[1:]), 7, v.dtype) if isinstance(v, np.ndarray) and not v.size else v)
        for n, v in outputs
    ]


def _odd_bool(feeds: dict[str, Value], outputs: Outputs, past: list[Outputs]) -> Outputs:  # noqa: ARG001
    """Give true as the byte 2: C code that tests for not 0 takes it, and code that compares with true does not."""
    return [
        (n, (v.view(np.uint8) * np.uint8(2)).view(np.bool_) if isinstance(v, np.ndarray) and v.dtype.kind == "b" else v)
        for n, v in outputs
    ]


def _drop_output(feeds: dict[str, Value], outputs: Outputs, past: list[Outputs]) -> Outputs:  # noqa: ARG001
    return outputs[:-1]


AFTER_RUN: dict[str, Any] = {
    "mutate-inputs": _mutate_inputs,
    "swap-outputs": _swap_outputs,
    "wrong-type": _wrong_type,
    "stale-outputs": _stale_outputs,
    "wrong-value": _wrong_value,
    "wrong-shape": _wrong_shape,
    "drop-output": _drop_output,
    "extra-output": _extra_output,
    "scalar-output": _scalar_output,
    "nan-large-batch": _nan_large_batch,
    "garbage-empty": _garbage_empty,
    "odd-bool": _odd_bool,
}
"""What happens to the outputs of an inference."""
LARGE_BATCH = 256


def _die(outputs: Outputs) -> Outputs:
    segv()
    return outputs


def off_by_one(outputs: Outputs) -> Outputs:
    """Add 1 to every number."""
    return [(n, v + 1 if isinstance(v, np.ndarray) and v.dtype.kind in "fiu" else v) for n, v in outputs]


AFTER_REJECT: dict[str, Any] = {"die-after-reject": _die, "wrong-after-reject": off_by_one}
"""What happens to the first good answer after a model or an inference was refused."""

ON_REJECT = {*AFTER_REJECT, "accept-malformed"}
"""Behaviours that need a refusal first; the last answers in its stead."""
