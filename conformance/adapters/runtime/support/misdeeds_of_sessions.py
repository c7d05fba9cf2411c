"""What the device that misbehaves does wrong only from one inference, session or opening to the next.

Each table maps the name of a behaviour to what it does, given the session (`misbehaving._Session`) with its device.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.adapters.runtime.support.misdeeds import Outputs, off_by_one
from conformance.adapters.runtime.support.misdeeds_of_bits import OF_BITS

if TYPE_CHECKING:
    from conformance.adapters.runtime.port import Setting
    from conformance.tensors import Array, Value

LATE_AFTER = 3
SESSIONS_PER_THREAD = 4


def _alias(session: Any, outputs: Outputs) -> Outputs:
    """Give every answer of one shape in the same memory, as a runtime with one output buffer does."""
    given: Outputs = []
    for name, value in outputs:
        if isinstance(value, np.ndarray) and value.dtype.kind not in "OUST":
            held = session.held.setdefault((name, value.shape, value.dtype.str), value)
            held[...] = value
            value = held  # noqa: PLW2901
        given.append((name, value))
    return given


def _shared_state(session: Any, outputs: Outputs) -> Outputs:
    """The newest session's state serves all sessions, as a cache without a key per session does."""
    return outputs if session.number == session.device.sessions else off_by_one(outputs)


def _wrong_on_thread(session: Any, outputs: Outputs) -> Outputs:  # noqa: ARG001
    return outputs if threading.current_thread() is threading.main_thread() else off_by_one(outputs)


def _tire(session: Any, outputs: Outputs) -> Outputs:
    return outputs if session.runs < TIRED_AFTER else off_by_one(outputs)


def _wrong_batch_3(session: Any, outputs: Outputs) -> Outputs:  # noqa: ARG001
    is_three = any(isinstance(value, np.ndarray) and value.shape[:1] == (3,) for _, value in outputs)
    return off_by_one(outputs) if is_three else outputs


def _refuse_empty(session: Any, outputs: Outputs) -> Outputs:  # noqa: ARG001
    if any(isinstance(value, np.ndarray) and not value.size for _, value in outputs):
        raise RuntimeError("tensors without elements are not supported")
    return outputs


def _leak(session: Any, outputs: Outputs) -> Outputs:
    if session.runs == 1:
        session.device.leaked.append(b"x" * LEAKED_BYTES)
    return outputs


def _late_overwrite(session: Any, outputs: Outputs) -> Outputs:
    """Write over an answer when three more have been given, as a ring of output buffers does."""
    given: Outputs = [(name, _own(value)) for name, value in outputs]
    session.given.append(given)
    if len(session.given) > LATE_AFTER:
        for (_, old), (_, new) in zip(session.given.pop(0), given, strict=True):
            _overwrite(old, new)
    return given


def _keep(session: Any, outputs: Outputs) -> Outputs:
    given: Outputs = [(name, _own(value)) for name, value in outputs]
    session.given.append(given)
    return given


def _own(value: Value) -> Value:
    return value.copy() if isinstance(value, np.ndarray) else value


def _overwrite(old: Value, new: Value) -> None:
    if isinstance(old, np.ndarray) and isinstance(new, np.ndarray) and old.shape == new.shape:
        old[...] = new


def _second_run_wrong(session: Any, outputs: Outputs) -> Outputs:
    return off_by_one(outputs) if session.runs == 2 else outputs


def _closed_with_others(session: Any, outputs: Outputs) -> Outputs:
    if session.device.has_closed and session.number < session.device.sessions:
        raise RuntimeError("the context was destroyed")
    return outputs


def _kv_shared(session: Any, outputs: Outputs) -> Outputs:
    """Keep the state by its name alone: what a session wrote last, the next step of any session reads."""
    session.device.state = next((_own(value) for name, value in outputs if name == "present"), None)
    return outputs


def _swap_in_second(session: Any, outputs: Outputs) -> Outputs:
    if session.number % 2 or len(outputs) < 2:
        return outputs
    (first, a), (second, b), *rest = outputs
    return [(first, b), (second, a), *rest]


def _order_changes(session: Any, outputs: Outputs) -> Outputs:
    return outputs if session.number % 2 else outputs[::-1]


def _after_reopening(session: Any, outputs: Outputs) -> Outputs:
    return off_by_one(outputs) if session.device.openings > 1 else outputs


def _leak_descriptors(session: Any, outputs: Outputs) -> Outputs:
    if session.runs == 1:
        os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    return outputs


def _leak_threads(session: Any, outputs: Outputs) -> Outputs:
    if session.runs == 1 and session.number % SESSIONS_PER_THREAD == 0:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    return outputs


def _change_directory(session: Any, outputs: Outputs) -> Outputs:  # noqa: ARG001
    os.chdir("/")
    return outputs


def _set_environment(session: Any, outputs: Outputs) -> Outputs:  # noqa: ARG001
    os.environ["DRIVER_STATE"] = "ready"
    return outputs


def _ignore_children(session: Any, outputs: Outputs) -> Outputs:  # noqa: ARG001
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    return outputs


def _round_upward(session: Any, outputs: Outputs) -> Outputs:  # noqa: ARG001
    ctypes.CDLL(None).fesetround(0x400000 if platform.machine() == "aarch64" else 0x800)
    return outputs


IN_SESSION: dict[str, Any] = {
    "alias-outputs": _alias,
    "shared-state": _shared_state,
    "wrong-on-thread": _wrong_on_thread,
    "tired": _tire,
    "wrong-batch-3": _wrong_batch_3,
    "refuse-empty": _refuse_empty,
    "leak": _leak,
    "late-overwrite": _late_overwrite,
    "overwrite-at-close": _keep,
    "second-run-wrong": _second_run_wrong,
    "close-closes-all": _closed_with_others,
    "kv-shared": _kv_shared,
    "swap-in-second-session": _swap_in_second,
    "order-changes": _order_changes,
    "reopen-wrong": _after_reopening,
    "leak-descriptors": _leak_descriptors,
    "leak-threads": _leak_threads,
    "change-directory": _change_directory,
    "set-environment": _set_environment,
    "ignore-children": _ignore_children,
    "round-upward": _round_upward,
    **OF_BITS,
}
"""What happens to the outputs of an inference in the light of its session and of the others."""
TIRED_AFTER = 20
LEAKED_BYTES = 256 * 1024


def feed(session: Any, feeds: dict[str, Value]) -> dict[str, Value]:
    """Return what the device computes with: its own state for `kv-shared`, a cut or padded batch for `dimension-pads`."""
    if session.device.behaviour == "kv-shared" and session.device.state is not None and "past" in feeds:
        return feeds | {"past": session.device.state}
    if session.device.behaviour == "dimension-pads" and session.fixed:
        return {name: _resized(value, session.fixed) if name == "a" else value for name, value in feeds.items()}
    return feeds


def _resized(value: Value, rows: int) -> Value:
    if not isinstance(value, np.ndarray):
        return value
    made = np.zeros((rows, *value.shape[1:]), value.dtype)
    made[: min(rows, len(value))] = value[:rows]
    return made


def close(session: Any) -> None:
    """Do what a behaviour does when a session ends."""
    session.device.has_closed = True
    if session.device.behaviour == "overwrite-at-close":
        for outputs in session.given:
            for _, value in outputs:
                if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
                    value[...] = 0


BOUND = {"bound-unwritten", "bound-late", "bound-beside", "bound-inputs"}
"""Behaviours about memory that the caller bound."""


def write_bound(
    behaviour: str, inputs: dict[str, Array], made: dict[str, Array], history: list[dict[str, Array]]
) -> None:
    """Bring results into bound outputs (the last of `history`), as a behaviour has it."""
    for name, target in history[-1].items():
        if behaviour != "bound-unwritten":
            target[...] = made[name]
        if behaviour == "bound-beside":
            ctypes.c_byte.from_address(target.ctypes.data - 1).value = 1
        if behaviour == "bound-late":
            for earlier in history:
                earlier[name][...] = made[name]
    if behaviour == "bound-inputs":
        for value in inputs.values():
            value.reshape(-1)[0] += 1


def deny_options(settings: tuple[Setting, ...]) -> tuple[Setting, ...]:
    """Return settings as a runtime tells them that takes every option and keeps to its own."""
    return tuple(one._replace(actual="8") if one.name.endswith("intra_op_num_threads") else one for one in settings)


OF_LIFE = {"other-identity", "reopen-lost", "restart-renames"}
"""Behaviours about being opened again."""
OF_COMPILING = {
    "stale-model",
    "stale-compiled",
    "stale-cache",
    "free-dimension-ignored",
    "dimension-pads",
    "ignored-option",
}
"""Behaviours about compiling: what is kept by too short a key, and what is asked for and not done."""
