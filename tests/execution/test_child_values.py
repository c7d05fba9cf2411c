"""What the child hands out to a device and takes from it, in this process: fresh inputs, outputs where the parent reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from execution.desk import PATIENT, Desk

from conformance.adapters.runtime.port import Mode, PlaceOutput, RuntimeSession
from conformance.checks.support.running import run_session
from conformance.errors import HarnessError
from conformance.execution import protocol
from conformance.tensors import EmptyRef, SequenceRef, TensorRef, to_ref
from conformance.workload import ModelRef, NamedValue


def test_small_inputs_are_fresh_each_time(desk: Desk) -> None:
    device, ref = desk.open(), to_ref(np.arange(4, dtype=np.float32))
    first = device.fresh(ref)
    assert isinstance(first, np.ndarray)
    first[...] = -1

    again, pristine = device.fresh(ref), device.pristine(ref)
    assert isinstance(again, np.ndarray)
    assert isinstance(pristine, np.ndarray)
    assert again.tolist() == pristine.tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="read-only"):
        pristine[0] = 1
    assert device.fresh(EmptyRef()) is None
    nested = device.fresh(SequenceRef([ref, SequenceRef([ref])]))
    assert isinstance(nested, list)
    nested[0][...] = -1  # type: ignore[index]
    assert device.pristine(ref).tolist() == [0, 1, 2, 3]  # type: ignore[union-attr]


def test_large_inputs_are_private_pages_that_can_be_restored(desk: Desk, large: np.ndarray[Any, Any]) -> None:
    device, ref = desk.open(), desk.inputs.put(large)
    fresh = device.fresh(ref)
    assert isinstance(fresh, np.ndarray)
    fresh[...] = -1
    pristine = device.pristine(ref)

    assert np.array_equal(pristine, large)  # type: ignore[arg-type]
    device.restore(ref)
    assert np.array_equal(device.fresh(ref), large)  # type: ignore[arg-type]
    device.restore(EmptyRef())
    device.restore(to_ref(large[:1]))


def test_inputs_of_a_later_case_are_not_those_of_one_that_was_scribbled_on(
    desk: Desk, large: np.ndarray[Any, Any]
) -> None:
    device, ref = desk.open(), desk.inputs.put(large)
    device.begin(1, PATIENT)
    scribbled = device.fresh(ref)
    assert isinstance(scribbled, np.ndarray)
    scribbled[...] = -1
    device.restore(ref)
    device.end()

    desk.inputs.restart()
    ref = desk.inputs.put(large + 1)
    device.begin(2, PATIENT)
    fresh = device.fresh(ref)
    device.end()
    assert np.array_equal(fresh, large + 1)  # type: ignore[arg-type]


class Scribbler(RuntimeSession):
    """Writes into its inputs and fails; the second time it says what it was given."""

    def __init__(self) -> None:
        self.given: list[np.ndarray[Any, Any]] = []

    def _infer(self, feeds: dict[str, Any], place: PlaceOutput | None) -> Any:
        self.given.append(feeds["x"].copy())
        feeds["x"][...] = -1
        raise OSError("the device lost a packet")


def test_inputs_are_restored_after_a_device_that_scribbled_and_failed(
    desk: Desk, large: np.ndarray[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    device, session = desk.open(), Scribbler()
    monkeypatch.setattr(device.adapter, "compile", lambda model, mode: session)
    feeds = [[NamedValue("x", desk.inputs.put(large))], [NamedValue("x", to_ref(large[:1]))]]
    device.begin(1, PATIENT)
    seen = run_session(device, b"m", feeds, Mode.STRICT, repeat=2)
    device.end()

    assert [one.inputs_changed for one in seen.inferences] == [["x"]] * 4
    assert [one.fault.kind for one in seen.inferences if one.fault is not None] == ["OSError"] * 4
    for given, value in zip(session.given, [large, large, large[:1], large[:1]], strict=True):
        assert np.array_equal(given, value)


def test_an_unknown_store_is_the_harness_s_fault(desk: Desk) -> None:
    with pytest.raises(HarnessError, match="there is no store 'outside' in this child"):
        desk.open().pristine(TensorRef("float32", (1,), None, "outside", 0, 4))


def test_models_come_inline_or_from_a_store(desk: Desk) -> None:
    device = desk.open()
    ref = desk.inputs.put(np.frombuffer(b"0123456789", np.uint8))

    assert device.model(ModelRef(data=b"abc")) == b"abc"
    assert device.model(ModelRef(store="inbox", offset=ref.offset + 2, nbytes=3)) == b"234"


def test_large_outputs_are_written_where_the_parent_reads(
    desk: Desk, identity_model: Callable[[tuple[int, ...]], bytes], large: np.ndarray[Any, Any]
) -> None:
    device = desk.open("onnxruntime")
    feeds = [[NamedValue("x", desk.inputs.put(large))]]
    device.begin(1, PATIENT)
    seen = run_session(device, identity_model(large.shape), feeds, Mode.STRICT)
    device.end()

    assert seen.fault is None
    ref = seen.inferences[0].outputs[0].value
    assert isinstance(ref, TensorRef)
    assert (ref.store, ref.data) == ("outbox", None)
    assert np.array_equal(desk.received(ref), large)
    assert seen.inferences[0].inputs_changed == []


def test_outputs_of_middle_size_are_copied_there(desk: Desk) -> None:
    device, value = desk.open(), np.ones(protocol.INLINE_LIMIT, np.uint8)
    assert device.place_output("uint8", value.shape) is None

    inline, stored = device.send(value), device.send(np.ones(protocol.INLINE_LIMIT + 1, np.uint8))
    assert isinstance(inline, TensorRef)
    assert isinstance(stored, TensorRef)
    assert inline.data is not None
    assert (stored.data, stored.store) == (None, "outbox")


def test_an_output_that_was_never_written_is_poison(desk: Desk) -> None:
    device = desk.open()
    for _ in range(2):
        device.begin(1, PATIENT)
        placed = device.place_output("float32", (protocol.LARGE_OUTPUT,))
        assert placed is not None
        assert np.isnan(placed).all()
        placed[...] = 42
        device.end()


def test_a_child_without_shared_memory_sends_everything_inline(desk: Desk) -> None:
    desk.fds = {}
    device, value = desk.open(), np.ones(protocol.LARGE_OUTPUT, np.uint8)
    device.begin(1, PATIENT)
    device.end()

    assert device.place_output("uint8", value.shape) is None
    sent = device.send(value)
    assert isinstance(sent, TensorRef)
    assert sent.data is not None
