"""Observations built by hand, for judges that are pure, and a device without a process, for what is measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from conformance.adapters.runtime.port import Mode, RuntimeAdapter, RuntimeSession
from conformance.observation import InferenceSeen, Observation, Seen, SessionSeen
from conformance.records import Identity
from conformance.tensors import Value, ValueRef, from_ref, to_ref
from conformance.workload import ModelRef, NamedValue

Outputs = Sequence[tuple[str, Value]]
SeeSession = Callable[..., tuple[SessionSeen, list[Outputs]]]
See = Callable[..., Seen]


@pytest.fixture
def session() -> SeeSession:
    """Build one session with the outputs of its inferences."""

    def build(*runs: Outputs, mode: str = "strict", changed: Sequence[str] = (), **given: Any) -> Any:
        inferences = [
            InferenceSeen(
                outputs=[NamedValue(name, to_ref(value)) for name, value in run], inputs_changed=list(changed)
            )
            for run in runs
        ]
        return SessionSeen(**({"mode": mode, "inferences": inferences} | given)), list(runs)

    return build


@pytest.fixture
def see() -> See:
    """Build what `judge` gets from sessions, or from an identity alone."""

    def build(*sessions: tuple[SessionSeen, list[Outputs]], has_witness: bool = True, **given: Any) -> Seen:
        observation = Observation(sessions=[one for one, _ in sessions], has_witness=has_witness, **given)
        observation = msgspec.msgpack.decode(msgspec.msgpack.encode(observation), type=Observation)
        return Seen(observation, [[list(run) for run in runs] for _, runs in sessions])

    return build


class Options(msgspec.Struct):
    """No options."""


class Desk:
    """The `Device` that a check measures on, in this process: scripted sessions, no stores."""

    def __init__(
        self, sessions: dict[Mode, Any], modes: tuple[Mode, ...] = (Mode.STRICT,), witness: bool = True
    ) -> None:
        self.identity = Identity(runtime="r", runtime_version="1", provider="P")
        self.entered: list[str] = []
        self.compiled: list[Mode] = []
        self.restored: list[ValueRef] = []
        self._modes = modes
        desk = self

        class Adapter(RuntimeAdapter):
            has_witness = witness

            def _open(self) -> Identity:
                return desk.identity

            def _compile(self, model: bytes, mode: Mode) -> RuntimeSession:
                desk.compiled.append(mode)
                made = sessions[mode]
                if isinstance(made, Exception):
                    raise made
                session: RuntimeSession = made()
                return session

        Adapter.Options = Options

        self.adapter: RuntimeAdapter = Adapter(Options(), Path())

    def enter(self, phase: str) -> None:
        self.entered.append(phase)

    def modes(self) -> tuple[Mode, ...]:
        return self._modes

    def model(self, ref: ModelRef) -> bytes:
        return ref.data or b""

    def pristine(self, ref: ValueRef) -> Value:
        return from_ref(ref)

    def fresh(self, ref: ValueRef) -> Value:
        value = from_ref(ref)
        return value.copy() if isinstance(value, np.ndarray) else value

    def restore(self, ref: ValueRef) -> None:
        self.restored.append(ref)

    def place_output(self, name: str, shape: tuple[int, ...]) -> None:
        return None

    def send(self, value: Value) -> ValueRef:
        return to_ref(value)

    def missing(self, needs: list[str]) -> str:
        return "; ".join(needs)


@pytest.fixture
def desk() -> type[Desk]:
    """The class of devices without a process."""
    return Desk


class OpenDesk:
    """The `Device` of one child, on an adapter that is opened in this process."""

    def __init__(self, adapter: RuntimeAdapter) -> None:
        self.adapter, self._desk = adapter, Desk({})
        self.identity = adapter.open()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._desk, name)

    def modes(self) -> tuple[Mode, ...]:
        return self.adapter.modes()


@pytest.fixture
def misbehave(tmp_path: Path) -> Callable[..., OpenDesk]:
    """Open the device that misbehaves, in this process."""
    from conformance.adapters.runtime import misbehaving

    def build(behaviour: str, **runtime: Any) -> OpenDesk:
        folder = tmp_path / "child"
        folder.mkdir(exist_ok=True)
        given = misbehaving.Adapter.read_options({"options": {"behaviour": behaviour}, **runtime})
        return OpenDesk(misbehaving.Adapter(given, folder))

    return build
