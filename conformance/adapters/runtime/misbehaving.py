"""A device that can be told to do wrong, through the real port: what the harness is tested with, and what anyone may try.

Underneath it is ONNX Runtime's CPU provider, so that everything it is not told to do wrong is right.

    runtime: {adapter: misbehaving, options: {behaviour: segv, trigger: Softmax}}

`trigger` is an operator name: the device misbehaves only on models whose bytes contain it; empty means on every model.
`once: true` limits it to the first time in a run, whatever restarts come between.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import numpy as np

from conformance.adapters.runtime import onnxruntime as honest
from conformance.adapters.runtime.port import Mode, PlaceOutput, RuntimeFault, RuntimeSession
from conformance.errors import UsageError
from conformance.records import TensorInfo, Witness

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.records import Identity
    from conformance.tensors import Value

Outputs = list[tuple[str, "Value"]]
SHOUT_BYTES = 100 * 1024 * 1024
ALLOCATE_BYTES = 4 * 1024 * 1024 * 1024


def _segv() -> None:
    import ctypes

    ctypes.string_at(0)


def _hang() -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(3600)


def _spin() -> NoReturn:
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
    "segv": _segv,
    "abort": os.abort,
    "exit0": lambda: os._exit(0),
    "hang": _hang,
    "spin": _spin,
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
}
"""What happens to the outputs of an inference."""


def _alias(session: _Session, outputs: Outputs) -> Outputs:
    """Give every answer of one shape in the same memory, as a runtime with one output buffer does."""
    given: Outputs = []
    for name, value in outputs:
        if isinstance(value, np.ndarray) and value.dtype.kind not in "OUST":
            held = session.held.setdefault((name, value.shape, value.dtype.str), value)
            held[...] = value
            value = held  # noqa: PLW2901
        given.append((name, value))
    return given


def _shared_state(session: _Session, outputs: Outputs) -> Outputs:
    """The newest session's state serves all sessions, as a cache without a key per session does."""
    return outputs if session.number == session.device.sessions else _off_by_one(outputs)


def _wrong_on_thread(session: _Session, outputs: Outputs) -> Outputs:  # noqa: ARG001
    return outputs if threading.current_thread() is threading.main_thread() else _off_by_one(outputs)


def _tire(session: _Session, outputs: Outputs) -> Outputs:
    return outputs if session.runs < TIRED_AFTER else _off_by_one(outputs)


def _wrong_batch_3(session: _Session, outputs: Outputs) -> Outputs:  # noqa: ARG001
    is_three = any(isinstance(value, np.ndarray) and value.shape[:1] == (3,) for _, value in outputs)
    return _off_by_one(outputs) if is_three else outputs


def _refuse_empty(session: _Session, outputs: Outputs) -> Outputs:  # noqa: ARG001
    if any(isinstance(value, np.ndarray) and not value.size for _, value in outputs):
        raise RuntimeError("tensors without elements are not supported")
    return outputs


def _leak(session: _Session, outputs: Outputs) -> Outputs:
    if session.runs == 1:
        session.device.leaked.append(b"x" * LEAKED_BYTES)
    return outputs


IN_SESSION: dict[str, Any] = {
    "alias-outputs": _alias,
    "shared-state": _shared_state,
    "wrong-on-thread": _wrong_on_thread,
    "tired": _tire,
    "wrong-batch-3": _wrong_batch_3,
    "refuse-empty": _refuse_empty,
    "leak": _leak,
}
"""What happens to the outputs of an inference in the light of its session and of the others."""
TIRED_AFTER = 20
LEAKED_BYTES = 256 * 1024


def _die(outputs: Outputs) -> Outputs:
    _segv()
    return outputs


def _off_by_one(outputs: Outputs) -> Outputs:
    return [(n, v + 1 if isinstance(v, np.ndarray) and v.dtype.kind in "fiu" else v) for n, v in outputs]


AFTER_REJECT: dict[str, Any] = {"die-after-reject": _die, "wrong-after-reject": _off_by_one}
"""What happens to the first good answer after a model or an inference was refused."""

ON_REJECT = {*AFTER_REJECT, "accept-malformed"}
"""Behaviours that need a refusal first; the last answers in its stead."""

ELSEWHERE = {"open-hang", "open-crash", "open-refuse", "elsewhere", "no-witness", "none"}
"""Behaviours that are not about one inference: at open, and lies about placement."""
PROBE_OUTPUTS = (TensorInfo(name="y", type="tensor(float)", shape=(8, 8)),)
"""Of the answers to models that are none."""


class RuntimeOptions(honest.RuntimeOptions, forbid_unknown_fields=True, kw_only=True):
    """`runtime:` of a profile for this adapter; `options` tell what to do wrong."""

    provider: str = honest.HOST_PROVIDER


class _Session(RuntimeSession):
    def __init__(self, device: Adapter, inner: RuntimeSession, *, armed: bool) -> None:
        self.device = self._device = device
        self._inner, self._armed = inner, armed
        device.sessions += 1
        self.number, self.runs = device.sessions, 0
        self.held: dict[tuple[str, tuple[int, ...], str], Any] = {}
        self.inputs, self.outputs = inner.inputs, inner.outputs

    def _infer(self, feeds: dict[str, Value], place: PlaceOutput | None) -> Outputs:
        behaviour = self._device.behaviour
        armed = self._armed and behaviour not in ON_REJECT and self._device.may_misbehave()
        if armed and behaviour in BEFORE_RUN:
            BEFORE_RUN[behaviour]()
        try:
            outputs = self._inner.infer(feeds, None if behaviour in AFTER_RUN or behaviour in IN_SESSION else place)
        except RuntimeFault:
            self._device.has_refused = True
            if behaviour == "accept-malformed" and self._armed and self._device.may_misbehave():
                return _zeros(self.outputs)
            raise
        if behaviour in AFTER_REJECT and self._armed and self._device.has_refused:
            self._device.has_refused = False
            if self._device.may_misbehave():
                outputs = AFTER_REJECT[behaviour](outputs)
        self.runs += 1
        if behaviour in IN_SESSION and armed:
            return IN_SESSION[behaviour](self, outputs)  # type: ignore[no-any-return]
        if behaviour in AFTER_RUN:
            self._device.past.append([(n, v.copy() if isinstance(v, np.ndarray) else v) for n, v in outputs])
            if armed:
                outputs = AFTER_RUN[behaviour](feeds, outputs, self._device.past)
        return outputs

    def _witnesses(self) -> tuple[Witness, ...]:
        seen = self._inner.witnesses()
        if self._device.behaviour == "no-witness" and self._armed:
            return ()
        if self._device.behaviour == "elsewhere" and self._armed:
            return tuple(
                Witness(source=w.source, nodes={"SomewhereElseExecutionProvider": sum(w.nodes.values())}) for w in seen
            )
        return seen

    def _close(self) -> None:
        self._inner.close()


class _Forged(RuntimeSession):
    """A session without a model: it answers all the same."""

    outputs = PROBE_OUTPUTS

    def _infer(self, feeds: dict[str, Value], place: PlaceOutput | None) -> Outputs:  # noqa: ARG002
        return _zeros(self.outputs)


def _zeros(outputs: tuple[TensorInfo, ...]) -> Outputs:
    return [(o.name, np.zeros([d if isinstance(d, int) else 1 for d in o.shape or ()], np.float32)) for o in outputs]


class Adapter(honest.Adapter):
    """The device that misbehaves."""

    Options = RuntimeOptions

    def __init__(self, options: msgspec.Struct, scratch: Path) -> None:
        super().__init__(options, scratch)
        given = dict(self.options.options)
        self.behaviour = str(given.pop("behaviour", "none"))
        self._trigger = str(given.pop("trigger", "")).encode()
        self._once = bool(given.pop("once", False))
        self.options = msgspec.structs.replace(self.options, options=given)
        self.past: list[Outputs] = []
        self.has_refused = False
        self.sessions = 0
        self.leaked: list[bytes] = []
        known = {*BEFORE_RUN, *AFTER_RUN, *IN_SESSION, *ON_REJECT, *ELSEWHERE}
        if self.behaviour not in known:
            raise UsageError(
                f"runtime.options.behaviour: there is no '{self.behaviour}'; known are {', '.join(sorted(known))}"
            )

    def may_misbehave(self) -> bool:
        """Return whether to misbehave now: with `once`, a mark in the run's scratch folder remembers the first time."""
        if not self._once:
            return True
        mark = self.scratch.parent / "misbehaved-once"
        if mark.exists():
            return False
        mark.touch()
        return True

    def _open(self) -> Identity:
        if self.behaviour == "open-hang":
            _spin()
        if self.behaviour == "open-crash":
            _segv()
        if self.behaviour == "open-refuse":
            raise RuntimeError("the driver refuses to load")
        return super()._open()

    def _compile(self, model: bytes, mode: Mode) -> RuntimeSession:
        armed = self._trigger in model
        try:
            inner = super()._compile(model, mode)
        except Exception:
            self.has_refused = True
            if self.behaviour == "accept-malformed" and armed and self.may_misbehave():
                return _Forged()
            raise
        return _Session(self, inner, armed=armed)
