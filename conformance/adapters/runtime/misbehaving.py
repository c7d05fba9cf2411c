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
import time
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import numpy as np

from conformance.adapters.runtime import onnxruntime as honest
from conformance.adapters.runtime.port import Mode, PlaceOutput, RuntimeSession
from conformance.errors import UsageError
from conformance.records import Witness

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

ELSEWHERE = {"open-hang", "open-crash", "open-refuse", "elsewhere", "no-witness", "none"}
"""Behaviours that are not about one inference: at open, and lies about placement."""


class RuntimeOptions(honest.RuntimeOptions, forbid_unknown_fields=True, kw_only=True):
    """`runtime:` of a profile for this adapter; `options` tell what to do wrong."""

    provider: str = honest.HOST_PROVIDER


class _Session(RuntimeSession):
    def __init__(self, device: Adapter, inner: RuntimeSession, *, armed: bool) -> None:
        self._device, self._inner, self._armed = device, inner, armed
        self.inputs, self.outputs = inner.inputs, inner.outputs

    def _infer(self, feeds: dict[str, Value], place: PlaceOutput | None) -> Outputs:
        behaviour = self._device.behaviour
        armed = self._armed and self._device.may_misbehave()
        if armed and behaviour in BEFORE_RUN:
            BEFORE_RUN[behaviour]()
        outputs = self._inner.infer(feeds, None if behaviour in AFTER_RUN else place)
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
        known = {*BEFORE_RUN, *AFTER_RUN, *ELSEWHERE}
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
        return _Session(self, super()._compile(model, mode), armed=self._trigger in model)
