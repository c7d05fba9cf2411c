"""What the child writes down while a model runs: modes, faults, changed inputs, witnesses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.adapters.runtime.port import Mode, PlaceOutput, RuntimeFault, RuntimeSession, Unavailable
from conformance.checks.support import running
from conformance.checks.support.running import run_on_device, run_session
from conformance.records import DeviceFault, TensorInfo, Witness
from conformance.tensors import Value, to_ref
from conformance.workload import NamedValue

X = np.array([1.0, 2.0], np.float32)
FEEDS = [[NamedValue("x", to_ref(X))]]
ON_DEVICE = (Witness(source="assignment", nodes={"P": 1}),)
NO_NODE = (Witness(source="assignment", nodes={"P": 0}), Witness(source="profile", nodes={}))
BOTH = (Mode.STRICT, Mode.SHARED)


class Session(RuntimeSession):
    """Doubles its input."""

    inputs = (TensorInfo(name="x", type="tensor(float32)", shape=(2,)),)
    outputs = (TensorInfo(name="y", type="tensor(float32)", shape=(2,)),)

    def __init__(self, witnesses: tuple[Witness, ...] = ON_DEVICE, run: Any = None, close: Any = None) -> None:
        self._told, self._run, self._closing = witnesses, run, close
        self.closed = False

    def _infer(self, feeds: dict[str, Value], place: PlaceOutput | None) -> list[tuple[str, Value]]:
        if self._run is not None:
            self._run(feeds)
        return [("y", feeds["x"] * 2)]  # type: ignore[operator]

    def _witnesses(self) -> tuple[Witness, ...]:
        return self._told

    def _close(self) -> None:
        self.closed = True
        if self._closing is not None:
            raise self._closing


def test_a_run_is_written_down(desk: Any) -> None:
    device = desk({Mode.STRICT: Session})
    (seen,) = run_on_device(device, b"m", FEEDS * 2)

    assert (seen.mode, seen.fault, seen.witnesses) == ("strict", None, ON_DEVICE)
    assert (seen.inputs, seen.outputs) == (Session.inputs, Session.outputs)
    assert seen.compile_ns > 0
    assert len(seen.inferences) == 2
    first = seen.inferences[0]
    assert (first.fault, first.inputs_changed) == (None, [])
    assert first.wall_ns > 0
    assert first.outputs == [NamedValue("y", to_ref(X * 2))]
    assert device.entered == ["compile", "run", "run"], "each inference has the whole deadline"


def test_every_data_set_is_repeated(desk: Any) -> None:
    seen = run_session(desk({Mode.STRICT: Session}), b"m", FEEDS, Mode.STRICT, repeat=4)

    assert len(seen.inferences) == 4


def refuse(mode: str) -> RuntimeFault:
    return RuntimeFault("compile", "Fail", f"{mode} is refused")


@pytest.mark.parametrize(
    ("sessions", "modes"),
    [
        ({Mode.STRICT: Session, Mode.SHARED: Session}, ["strict"]),
        ({Mode.STRICT: refuse("strict"), Mode.SHARED: Session}, ["strict", "shared"]),
        ({Mode.STRICT: refuse("strict"), Mode.SHARED: refuse("shared")}, ["strict", "shared"]),
        ({Mode.STRICT: Unavailable("no such mode"), Mode.SHARED: Session}, ["strict", "shared"]),
        # A run that fails is an answer: it is not tried again in a mode that is easier.
        ({Mode.STRICT: lambda: Session(close=RuntimeFault("run", "E", "x")), Mode.SHARED: Session}, ["strict"]),
    ],
)
def test_modes_are_tried_until_one_compiles_and_all_are_kept(
    desk: Any, sessions: dict[Mode, Any], modes: list[str]
) -> None:
    device = desk(sessions, BOTH)
    seen = run_on_device(device, b"m", FEEDS)

    assert [session.mode for session in seen] == modes
    assert [mode.value for mode in device.compiled] == modes


def test_a_graph_of_which_no_node_is_left_is_run_unfolded(desk: Any) -> None:
    device = desk({Mode.STRICT: lambda: Session(NO_NODE), Mode.UNFOLDED: Session})
    seen = run_on_device(device, b"m", FEEDS)

    assert [session.mode for session in seen] == ["strict", "unfolded"]
    assert seen[-1].witnesses == ON_DEVICE


def test_a_device_without_witness_is_not_run_twice(desk: Any) -> None:
    assert len(run_on_device(desk({Mode.STRICT: lambda: Session(())}), b"m", FEEDS)) == 1


def test_a_rejection_is_kept_with_its_kind_and_words(desk: Any) -> None:
    seen = run_session(desk({Mode.STRICT: ValueError("x" * 5000)}), b"m", FEEDS, Mode.STRICT)

    assert seen.fault is not None
    assert (seen.fault.phase, seen.fault.kind) == ("compile", "ValueError")
    assert seen.fault.message == "x" * 4000 + "… (5000 characters)"
    assert seen.inferences == []


def test_a_failed_inference_does_not_stop_the_next(desk: Any) -> None:
    calls: list[int] = []

    def run(_: dict[str, Value]) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("device lost a packet")

    seen = run_session(desk({Mode.STRICT: lambda: Session(run=run)}), b"m", FEEDS * 2, Mode.STRICT)
    assert seen.inferences[0].fault == DeviceFault(phase="run", kind="OSError", message="device lost a packet")
    assert seen.inferences[1].fault is None


@pytest.mark.parametrize("error", [Unavailable("cannot"), OSError("driver")])
def test_a_session_that_cannot_be_closed_is_a_fault(desk: Any, error: Exception) -> None:
    seen = run_session(desk({Mode.STRICT: lambda: Session(close=error)}), b"m", FEEDS, Mode.STRICT)

    assert seen.fault is not None
    assert (seen.fault.phase, seen.fault.message) == ("run", str(error))
    assert seen.fault.kind == type(error).__name__


def test_a_changed_input_is_told_and_put_right(desk: Any) -> None:
    def scribble(feeds: dict[str, Value]) -> None:
        feeds["x"][0] = -0.0  # type: ignore[index, call-overload]

    device = desk({Mode.STRICT: lambda: Session(run=scribble)})
    seen = run_session(device, b"m", [[NamedValue("x", to_ref(np.zeros(2, np.float32)))]], Mode.STRICT)

    assert seen.inferences[0].inputs_changed == ["x"], "the sign of zero is a change"
    assert len(device.restored) == 1


def swap(feeds: dict[str, Value]) -> None:
    feeds["x"][0] = 5  # type: ignore[index, call-overload]
    feeds["x"] = X.copy()


def remove(feeds: dict[str, Value]) -> None:
    feeds["x"][0] = 5  # type: ignore[index, call-overload]
    kept = feeds.pop("x")
    feeds.clear()
    feeds["z"] = kept
    raise OSError("gone")


@pytest.mark.parametrize("trick", [swap, remove])
def test_a_device_cannot_hide_what_it_did_to_its_inputs(desk: Any, trick: Callable[[dict[str, Value]], None]) -> None:
    seen = run_session(desk({Mode.STRICT: lambda: Session(run=trick)}), b"m", FEEDS, Mode.STRICT)

    assert seen.inferences[0].inputs_changed == ["x"]


def test_a_device_that_fails_after_taking_its_inputs_away_has_failed(desk: Any) -> None:
    seen = run_session(desk({Mode.STRICT: lambda: Session(run=remove)}), b"m", FEEDS, Mode.STRICT)

    assert seen.inferences[0].fault is not None


def test_inputs_are_put_right_even_where_the_device_then_fails(desk: Any) -> None:
    device = desk({Mode.STRICT: lambda: Session(run=remove)})
    seen = run_session(device, b"m", FEEDS * 2, Mode.STRICT)

    assert [one.inputs_changed for one in seen.inferences] == [["x"], ["x"]]
    assert [one.fault.message for one in seen.inferences if one.fault is not None] == ["gone", "gone"]
    assert device.restored == [FEEDS[0][0].value] * 2


@pytest.mark.parametrize(
    ("told", "waited"), [(b"7 1234 1\n", 1234), (b"7 0 1\n", 0), (b"", 0), (b"7", 0), (b"7 many 1", 0)]
)
def test_how_long_the_host_kept_us_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bytes, waited: int
) -> None:
    (tmp_path / "schedstat").write_bytes(told)
    with (tmp_path / "schedstat").open("rb") as stream:
        monkeypatch.setattr(running, "_schedstat", stream.fileno)
        assert running.waited_ns() == waited


def test_a_host_that_does_not_tell_its_waits_tells_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> int:
        raise FileNotFoundError("/proc/self/schedstat")

    monkeypatch.setattr(running, "_schedstat", missing)
    assert running.waited_ns() == 0


def test_a_session_whose_witnesses_fail_is_closed_all_the_same(desk: Any) -> None:
    made: list[Session] = []

    class Silent(Session):
        def _witnesses(self) -> tuple[Witness, ...]:
            raise OSError("no profile")

    def make() -> Session:
        made.append(Silent())
        return made[-1]

    seen = run_session(desk({Mode.STRICT: make}), b"m", FEEDS, Mode.STRICT)
    assert seen.fault is not None
    assert made[0].closed
