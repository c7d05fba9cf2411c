"""A device that can be told to do wrong, through the real port: what the harness is tested with, and what anyone may try.

Underneath it is ONNX Runtime's CPU provider, so that everything it is not told to do wrong is right.

    runtime: {adapter: misbehaving, options: {behaviour: segv, trigger: Softmax}}

`trigger` is an operator name: the device misbehaves only on models whose bytes contain it; empty means on every model.
`once: true` limits it to the first time in a run, whatever restarts come between. What each behaviour does stands in
`support/misdeeds.py`, `support/misdeeds_of_sessions.py` and `support/misdeeds_of_time.py`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from conformance.adapters.runtime import onnxruntime as honest
from conformance.adapters.runtime.port import Bound, Feature, Mode, PlaceOutput, RuntimeFault, RuntimeSession, Setting
from conformance.adapters.runtime.support import misdeeds_of_sessions as over_time
from conformance.adapters.runtime.support.misdeeds import (
    AFTER_REJECT,
    AFTER_RUN,
    BEFORE_RUN,
    ON_REJECT,
    Outputs,
    segv,
    spin,
)
from conformance.adapters.runtime.support.misdeeds_of_sessions import BOUND, IN_SESSION, OF_COMPILING, OF_LIFE
from conformance.adapters.runtime.support.misdeeds_of_time import IN_TIME
from conformance.errors import DeviceNotFound, UsageError
from conformance.records import TensorInfo, Witness

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.records import Identity
    from conformance.tensors import Array, Value

ELSEWHERE = {"open-hang", "open-crash", "open-refuse", "elsewhere", "no-witness", "none"}
"""Behaviours that are not about one inference: at open, and lies about placement."""
PROBE_OUTPUTS = (TensorInfo(name="y", type="tensor(float)", shape=(8, 8)),)
"""Of the answers to models that are none."""


class RuntimeOptions(honest.RuntimeOptions, forbid_unknown_fields=True, kw_only=True):
    """`runtime:` of a profile for this adapter; `options` tell what to do wrong."""

    provider: str = honest.HOST_PROVIDER


class _Bound(Bound):
    """Computes beside the caller's memory, and brings the results there as the behaviour has it."""

    def __init__(self, session: _Session, inputs: dict[str, Array], outputs: dict[str, Array]) -> None:
        self._session = session
        self._history: list[dict[str, Array]] = []
        self._rebind(inputs, outputs)

    def _rebind(self, inputs: dict[str, Array], outputs: dict[str, Array]) -> None:
        self._inputs = inputs
        self._history.append(outputs)

    def _run(self) -> None:
        made = self._session.infer({name: value.copy() for name, value in self._inputs.items()})
        results = {name: value for name, value in made if isinstance(value, np.ndarray)}
        behaviour = self._session.device.behaviour if self._session.is_armed else "none"
        over_time.write_bound(behaviour, self._inputs, results, self._history)


class _Session(RuntimeSession):
    def __init__(self, device: Adapter, inner: RuntimeSession, *, armed: bool, fixed: int = 0) -> None:
        self.device = device
        self.is_armed, self.fixed = armed, fixed
        self._inner = inner
        device.sessions += 1
        self.number, self.runs = device.sessions, 0
        self.held: dict[tuple[str, tuple[int, ...], str], Any] = {}
        self.given: list[Outputs] = []
        self.inputs, self.outputs = inner.inputs, inner.outputs
        if armed and device.behaviour == "order-changes" and not self.number % 2:
            self.outputs = self.outputs[::-1]
        if armed and device.behaviour == "dimension-pads" and fixed:
            self.inputs = tuple(
                msgspec.structs.replace(one, shape=(fixed, *(one.shape or ())[1:])) if one.name == "a" else one
                for one in self.inputs
            )
        if armed and device.behaviour == "restart-renames" and device.is_elsewhere:
            self.outputs = tuple(msgspec.structs.replace(one, name=f"{one.name}_0") for one in self.outputs)

    def _infer(self, feeds: dict[str, Value], place: PlaceOutput | None) -> Outputs:
        behaviour = self.device.behaviour
        armed = self.is_armed and behaviour not in ON_REJECT and self.device.may_misbehave()
        if armed and behaviour in BEFORE_RUN:
            BEFORE_RUN[behaviour]()
        if armed:
            feeds = over_time.feed(self, feeds)
        try:
            outputs = self._inner.infer(feeds, None if behaviour in AFTER_RUN or behaviour in IN_SESSION else place)
        except RuntimeFault:
            self.device.has_refused = True
            if behaviour == "accept-malformed" and self.is_armed and self.device.may_misbehave():
                return _zeros(self.outputs)
            raise
        if behaviour in AFTER_REJECT and self.is_armed and self.device.has_refused:
            self.device.has_refused = False
            if self.device.may_misbehave():
                outputs = AFTER_REJECT[behaviour](outputs)
        self.runs += 1
        if behaviour in IN_TIME and armed:
            IN_TIME[behaviour](self, feeds)
        if behaviour in IN_SESSION and armed:
            return IN_SESSION[behaviour](self, outputs)  # type: ignore[no-any-return]
        if behaviour in AFTER_RUN:
            self.device.past.append([(n, v.copy() if isinstance(v, np.ndarray) else v) for n, v in outputs])
            if armed:
                outputs = AFTER_RUN[behaviour](feeds, outputs, self.device.past)
        return outputs

    def _bind(self, inputs: dict[str, Array], outputs: dict[str, Array]) -> Bound:
        return _Bound(self, inputs, outputs) if self.device.behaviour in BOUND else self._inner.bind(inputs, outputs)

    def _settings(self) -> tuple[Setting, ...]:
        told = self._inner.settings()
        return over_time.deny_options(told) if self.device.behaviour == "ignored-option" else told

    def _witnesses(self) -> tuple[Witness, ...]:
        seen = self._inner.witnesses()
        if self.device.behaviour == "no-witness" and self.is_armed:
            return ()
        if self.device.behaviour == "elsewhere" and self.is_armed:
            return tuple(
                Witness(source=w.source, nodes={"SomewhereElseExecutionProvider": sum(w.nodes.values())}) for w in seen
            )
        return seen

    def _close(self) -> None:
        over_time.close(self)
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
        self.state: Any = None
        self.known_inputs: set[bytes] = set()
        self.idle_since: float | None = None
        self.has_refused = self.has_closed = False
        self.sessions = self.openings = 0
        self.leaked: list[bytes] = []
        self._models: dict[int, bytes] = {}
        self._compiled: dict[int, bytes] = {}
        self.is_elsewhere = scratch.name.startswith("elsewhere")
        known = {
            *BEFORE_RUN,
            *AFTER_RUN,
            *IN_SESSION,
            *ON_REJECT,
            *ELSEWHERE,
            *BOUND,
            *OF_LIFE,
            *OF_COMPILING,
            *IN_TIME,
        }
        if self.behaviour not in known:
            raise UsageError(
                f"runtime.options.behaviour: there is no '{self.behaviour}'; known are {', '.join(sorted(known))}"
            )

    @classmethod
    def features(cls, options: msgspec.Struct) -> frozenset[Feature]:  # noqa: ARG003
        """All of them: it keeps a cache folder of its own."""
        return frozenset(Feature)

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
            spin()
        if self.behaviour == "open-crash":
            segv()
        if self.behaviour == "open-refuse":
            raise RuntimeError("the driver refuses to load")
        self.openings += 1
        if self.openings > 1 and self.behaviour == "reopen-lost":
            raise DeviceNotFound("the library registered, but offers no device any more")
        identity = super()._open()
        if self.openings > 1 and self.behaviour == "other-identity":
            return msgspec.structs.replace(identity, driver="another one")
        return identity

    def _compile_with(self, model: bytes, mode: Mode, dimensions: dict[str, int], cache: Path | None) -> RuntimeSession:
        armed = self._trigger in model
        if armed and self.behaviour == "stale-model":
            model = self._models.setdefault(len(model), model)
        if cache is not None:
            model = self._from_cache(cache, model)
        if self.behaviour in ("free-dimension-ignored", "dimension-pads"):
            given: dict[str, int] = {}
        else:
            given = dimensions
        try:
            inner = super()._compile_with(model, mode, given, None)
        except Exception:
            self.has_refused = True
            if self.behaviour == "accept-malformed" and armed and self.may_misbehave():
                return _Forged()
            raise
        return _Session(self, inner, armed=armed, fixed=next(iter(dimensions.values()), 0))

    def _from_cache(self, folder: Path, model: bytes) -> bytes:
        """Return what the cache has of a model, and put it there first where it has nothing."""
        key = str(len(model)) if self.behaviour == "stale-cache" else hashlib.blake2b(model, digest_size=16).hexdigest()
        kept = folder / key
        if not kept.exists():
            kept.write_bytes(model)
        return kept.read_bytes()

    def _precompile(self, model: bytes, mode: Mode) -> bytes:
        compiled = super()._precompile(model, mode)
        if self.behaviour == "stale-compiled":
            return self._compiled.setdefault(len(model), compiled)
        return compiled
