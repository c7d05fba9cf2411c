"""The interface check: for each probe a device that passes it, and one that must fail it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from conformance.adapters.runtime.port import Mode, PlaceOutput, RuntimeFault, RuntimeSession
from conformance.checks import interface
from conformance.checks.support.port import Requested, Target
from conformance.observation import Observation, Seen
from conformance.records import Judgement, Outcome, Witness
from conformance.tensors import Value, from_ref

ON_DEVICE = (Witness(source="assignment", nodes={"P": 1}),)


class Context:
    """What the plan looks at."""

    def __init__(self, *, types: tuple[str, ...] = ("float32",), zero_size: bool = True) -> None:
        self._types = types
        self.target = Target(
            provider="P", on_host_cpu=True, is_host_cpu_allowed=True, takes_zero_size=zero_size, hardware="cpu",
            driver="", binding={},
        )  # fmt: skip

    def claims_type(self, name: str) -> bool:
        return name in self._types

    def probe_opset(self) -> int:
        return 13

    def why_unclaimed(self, operators: Sequence[str]) -> str:
        return ""


class Honest(RuntimeSession):
    """Computes relu(a·b), each time into an array of its own."""

    number = 0

    def __init__(self) -> None:
        type(self).number += 1
        self.index, self.runs = type(self).number, 0

    def _infer(self, feeds: dict[str, Value], place: PlaceOutput | None) -> list[tuple[str, Value]]:
        self.runs += 1
        y = np.maximum(feeds["a"] @ feeds["b"], np.float32(0))  # type: ignore[operator]
        return [("y", self.change(y))]

    def change(self, y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return y

    def _witnesses(self) -> tuple[Witness, ...]:
        return ON_DEVICE


class Aliasing(Honest):
    held: np.ndarray[Any, Any] | None = None

    def change(self, y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if self.held is None or self.held.shape != y.shape:
            self.held = y
        self.held[...] = y
        return self.held


class WrongOnThreads(Honest):
    def change(self, y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return y if threading.current_thread() is threading.main_thread() else y + 1


class RefusesThreads(Honest):
    def change(self, y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("one thread only")
        return y


class SharedState(Honest):
    """The newest session's weights serve all sessions."""

    def change(self, y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return y if self.index == type(self).number else y + 1


class Tiring(Honest):
    def change(self, y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return y if self.runs < 20 else y + np.float32(1)


class WrongAtThree(Honest):
    def change(self, y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return y + 1 if y.shape[0] == 3 else y


class KeepsTheLargest(Honest):
    """Answers a smaller batch in the shape of the one before."""

    largest = 0

    def change(self, y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        self.largest = max(self.largest, y.shape[0])
        return np.resize(y, (self.largest, 8)) if y.size else y


class RefusesZero(Honest):
    def change(self, y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if not y.size:
            raise RuntimeError("empty tensor")
        return y


PROBES = [
    ("sessions", "two-sessions", SharedState, "want"),
    ("sessions", "threads", WrongOnThreads, "want"),
    ("sessions", "threads", RefusesThreads, "rejected at run: RuntimeError: one thread only"),
    ("sessions", "outputs-not-aliased", Aliasing, "want"),
    ("sessions", "repeats", Tiring, "want"),
    ("shapes", "growing-batch", WrongAtThree, "want"),
    ("shapes", "shrinking-batch", KeepsTheLargest, "shape [8, 8], want [3, 8]"),
    ("shapes", "zero-size", RefusesZero, "rejected at run: RuntimeError: empty tensor"),
]


def walk(desk: Any, scope: str, probe: str, session: Any) -> Judgement:
    """Plan, measure and judge one probe on a device without a process."""
    planned = {one.case.params["probe"]: one for one in _plan(scope)}[probe]
    seen = interface.measure(planned.case, desk({Mode.STRICT: session}))
    seen = msgspec.msgpack.decode(msgspec.msgpack.encode(seen), type=Observation)
    values = [[[(o.name, from_ref(o.value)) for o in i.outputs] for i in s.inferences] for s in seen.sessions]
    assert planned.expected is not None
    return interface.judge(planned.case, Seen(seen, values), planned.expected())


def _plan(scope: str, context: Context | None = None) -> list[Any]:
    requested = Requested("IF-010", "MUST", {"scope": scope}, "always")
    return list(interface.plan(requested, context or Context()))  # type: ignore[arg-type]


@pytest.mark.parametrize(("scope", "probe"), sorted({(scope, probe) for scope, probe, *_ in PROBES}))
def test_an_honest_device_passes(desk: Any, scope: str, probe: str) -> None:
    judged = walk(desk, scope, probe, Honest)

    assert judged.outcome is Outcome.PASS, judged


@pytest.mark.parametrize(("scope", "probe", "session", "words"), PROBES)
def test_the_device_that_it_is_meant_for_fails(
    desk: Any, scope: str, probe: str, session: type[Honest], words: str
) -> None:
    judged = walk(desk, scope, probe, session)

    assert (judged.outcome, words in judged.reason) == (Outcome.FAIL, True), judged


def test_many_sessions_are_made_and_weighed(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interface, "MANY", 10)
    device = desk({Mode.STRICT: Honest})
    planned = next(one for one in _plan("sessions") if one.case.params["probe"] == "many-sessions")
    seen = interface.measure(planned.case, device)

    assert len(device.compiled) == 11
    assert seen.facts["sessions"] == 10
    assert [set(one) for one in seen.facts["held"]] == [{"resident_kb", "descriptors", "threads"}] * 2
    assert all(count > 0 for one in seen.facts["held"] for count in one.values())


def test_many_sessions_of_a_device_that_leaves_nothing_pass(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interface, "MANY", 200)

    judged = walk(desk, "sessions", "many-sessions", Honest)
    assert (judged.outcome, len(judged.measurements)) == (Outcome.PASS, 3), judged


def test_a_session_that_fails_among_many_is_told(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interface, "MANY", 10)

    class Fragile(Honest):
        def __init__(self) -> None:
            super().__init__()
            if self.index % 7 == 0:
                raise RuntimeFault("compile", "Fail", "no more handles")

    judged = walk(desk, "sessions", "many-sessions", Fragile)
    assert (judged.outcome, judged.reason) == (Outcome.FAIL, "rejected at compile: Fail: no more handles")


def test_a_device_that_takes_no_model_at_all_fails(desk: Any) -> None:
    judged = walk(desk, "sessions", "threads", RuntimeFault("compile", "Fail", "no kernel"))

    assert (judged.outcome, judged.reason) == (Outcome.FAIL, "rejected at compile: Fail: no kernel")


def test_what_is_not_declared_is_not_asked() -> None:
    assert {one.case.params["probe"] for one in _plan("shapes", Context(zero_size=False))} == {
        "growing-batch",
        "shrinking-batch",
        "large-batch",
        "kv-cache-growing",
    }
    for planned in _plan("sessions", Context(types=("int8",))):
        assert planned.case.unsupported == "profile does not declare float32, which the probes use"
