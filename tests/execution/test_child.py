"""The child, in this process: how it opens a device, keeps time, hands out inputs and takes outputs."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.adapters.runtime import misbehaving
from conformance.adapters.runtime.port import Mode, PlaceOutput, RuntimeSession
from conformance.checks import session as session_check
from conformance.checks.support.running import run_session
from conformance.errors import HarnessError
from conformance.execution import child, protocol, stores
from conformance.observation import Seen
from conformance.records import Case, Outcome
from conformance.tensors import EmptyRef, SequenceRef, TensorRef, from_ref, to_ref
from conformance.workload import ModelRef, NamedValue

PATIENT = protocol.Deadlines(open_s=60, compile_s=60, run_s=60)
CPU = {"provider": "CPUExecutionProvider"}


class Desk:
    """What a parent would hold: the stores, and the pipe that the child writes to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.read_fd, self.write_fd = os.pipe()
        self.inbox, self.outbox = stores.region("inbox"), stores.region("outbox")
        self.fds = {"inbox": self.inbox, "outbox": self.outbox}
        self.inputs = stores.Writer(self.inbox, "inbox")

    def message(
        self, adapter: str = "misbehaving", version: int = protocol.PROTOCOL_VERSION, **runtime: Any
    ) -> protocol.Open:
        return protocol.Open(
            protocol=version,
            adapter=adapter,
            runtime=CPU | runtime if adapter != "onnx-backend" else runtime,
            scratch=str(self.folder / "child"),
            stores=self.fds,
            deadlines=PATIENT,
        )

    def open(self, adapter: str = "misbehaving", **runtime: Any) -> child.ChildDevice:
        (self.folder / "child").mkdir(exist_ok=True)
        device = child.open_device(self.message(adapter, **runtime), self.write_fd)
        assert isinstance(device, child.ChildDevice), device
        return device

    def said(self) -> list[protocol.ToParent]:
        """Return the messages written since the last time."""
        os.set_blocking(self.read_fd, False)
        try:
            data = os.read(self.read_fd, 1 << 20)
        except BlockingIOError:
            return []
        return [protocol.TO_PARENT.decode(frame) for frame in protocol.FrameBuffer().feed(data)]

    def received(self, ref: Any) -> Any:
        """Return an output as the parent would read it."""
        needed = ref.offset + ref.nbytes
        return from_ref(ref, {"outbox": stores.Reader(self.outbox).view(needed)})


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk; alarms are silent, since in this process nobody has made them dump the stack."""
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    made = Desk(tmp_path)
    yield made
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    for fd in (made.read_fd, made.write_fd, made.inbox, made.outbox):
        os.close(fd)


@pytest.mark.parametrize(
    ("message", "kind", "text"),
    [
        ({"version": 99}, "harness", "the parent speaks protocol 99, this child 1: install the same version in both"),
        ({"adapter": "onnxrutime"}, "usage", "did you mean 'onnxruntime'?"),
        ({"no_such_key": 1}, "usage", "runtime: "),
        ({"options": {"behaviour": "sing"}}, "usage", "there is no 'sing'"),
        ({"adapter": "onnxruntime", "provider": "CUDAExecutionProvider"}, "not-found", "has no CUDAExecutionProvider"),
        ({"options": {"behaviour": "open-refuse"}}, "rejected", "RuntimeError: the driver refuses to load"),
        ({"adapter": "onnx-backend", "module": "no_such_module"}, "not-found", "'no_such_module' is not installed"),
        ({"adapter": "onnx-backend", "module": "json"}, "usage", "has neither prepare() nor a class Backend"),
    ],
)
def test_each_way_of_not_opening_has_its_kind(desk: Desk, message: dict[str, Any], kind: str, text: str) -> None:
    refused = child.open_device(desk.message(**message), desk.write_fd)

    assert isinstance(refused, protocol.Refused)
    assert (refused.kind, text in refused.message) == (kind, True), refused


def test_a_case_is_measured_and_judged(desk: Desk, make_case: Callable[..., Case]) -> None:
    device, case = desk.open(), make_case()
    observed = child.measure(protocol.Measure(seq=5, case=case, deadlines=PATIENT), device)

    assert isinstance(observed, protocol.Observed)
    assert (observed.seq, observed.overtime) == (5, "")
    assert observed.peak_rss_kb > 1000
    assert desk.said() == [protocol.Phase(seq=5, phase="run")], "compile is entered by the case itself"
    values = [
        [[(o.name, from_ref(o.value)) for o in i.outputs] for i in s.inferences] for s in observed.observation.sessions
    ]
    from conformance.reference import probes

    judged = session_check.judge(case, Seen(observed.observation, values), [list(probes.four_outputs(3)[1])])
    assert judged.outcome is Outcome.PASS


def test_a_fault_of_the_harness_s_own_code_is_told_as_such(desk: Desk, make_case: Callable[..., Case]) -> None:
    import msgspec

    case = msgspec.structs.replace(make_case(), params={})
    failed = child.measure(protocol.Measure(seq=6, case=case, deadlines=PATIENT), desk.open())

    assert isinstance(failed, protocol.Failed)
    assert failed.message.rstrip().endswith("KeyError: 'probe'")


def test_a_phase_that_comes_back_late_is_told(desk: Desk) -> None:
    device = desk.open()
    device.begin(1, protocol.Deadlines(open_s=9, compile_s=0.01, run_s=9))
    time.sleep(0.02)
    device.enter("run")
    device.end()
    assert device.overtime == "compile"

    device.begin(2, protocol.Deadlines(open_s=9, compile_s=9, run_s=0.01))
    assert device.overtime == "", "a new case has a new clock"
    device.enter("run")
    time.sleep(0.02)
    device.enter("compile")
    device.enter("run")
    device.end()
    assert device.overtime == "run", "the first phase that was late"
    assert [message.phase for message in desk.said() if isinstance(message, protocol.Phase)] == [
        "run", "run", "compile", "run"
    ]  # fmt: skip


def test_the_clock_rings_while_a_phase_is_over_its_time(desk: Desk) -> None:
    rung: list[float] = []
    signal.signal(signal.SIGALRM, lambda *_: rung.append(time.monotonic()))
    device = desk.open()
    device.begin(1, protocol.Deadlines(open_s=9, compile_s=9, run_s=0.02))
    device.enter("run")
    time.sleep(0.05)
    device.end()
    time.sleep(0.03)

    assert len(rung) == 1


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


def test_what_the_host_lacks_is_named_with_its_remedy(desk: Desk) -> None:
    device = desk.open()

    assert device.missing([]) == ""
    assert device.missing(["locale:C"]) == ""
    assert device.missing(["locale:tlh_KX.UTF-8"]).startswith("the host lacks the locale tlh_KX.UTF-8: install it")
    assert (
        device.missing(["moon:full"]) == "the host precondition 'moon:full' is unknown to this version of the harness"
    )


def test_modes_are_those_of_the_adapter(desk: Desk) -> None:
    assert desk.open().modes() == (Mode.STRICT,)


class Stdio:
    """The child's `main` in this process, on descriptors of our own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.to_child = os.pipe()
        self.from_child = os.pipe()
        monkeypatch.setattr(child, "take_over_stdio", lambda: (self.to_child[0], self.from_child[1]))
        monkeypatch.setattr(child.faulthandler, "enable", lambda: None)
        monkeypatch.setattr(child.faulthandler, "register", lambda *_, **__: None)

    def converse(self, *messages: protocol.ToChild, end: bool = True) -> tuple[int, list[protocol.ToParent]]:
        for message in messages:
            os.write(self.to_child[1], protocol.encode(message))
        if end:
            os.close(self.to_child[1])
        code = child.main()
        os.close(self.from_child[1])
        frames = iter(lambda: protocol.read_frame(self.from_child[0]), None)
        return code, [protocol.TO_PARENT.decode(frame) for frame in frames]


def test_a_conversation_from_hello_to_close(
    desk: Desk, make_case: Callable[..., Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    (desk.folder / "child").mkdir()
    case = make_case()
    measure = protocol.Measure(seq=1, case=case, deadlines=PATIENT)
    code, said = Stdio(monkeypatch).converse(
        measure, desk.message(adapter="onnxrutime"), desk.message(), measure, protocol.Close(), measure
    )

    assert code == protocol.EXIT_CLOSED
    kinds = [type(message).__name__ for message in said]
    assert kinds == ["Hello", "Failed", "Refused", "Opened", "Phase", "Observed"], "nothing after Close is answered"
    hello, early, _, opened = said[:4]
    assert isinstance(hello, protocol.Hello)
    assert hello.versions["python"] == sys.version.split()[0]
    assert "onnxruntime" in hello.versions
    assert isinstance(early, protocol.Failed)
    assert early.message == "a case came before the device was opened"
    assert isinstance(opened, protocol.Opened)
    assert (opened.runs_on_host_cpu, opened.has_witness) == (True, True)


@pytest.mark.parametrize("messages", [[], [protocol.Close()]])
def test_a_parent_that_is_gone_or_says_so_ends_the_child(
    monkeypatch: pytest.MonkeyPatch, messages: list[protocol.ToChild]
) -> None:
    code, said = Stdio(monkeypatch).converse(*messages)

    assert code == 0
    assert [type(message) for message in said] == [protocol.Hello]


def test_the_protocol_is_moved_away_from_where_vendors_print(capfd: pytest.CaptureFixture[str]) -> None:
    saved = [os.dup(fd) for fd in (0, 1)]
    stdout = sys.stdout
    try:
        incoming, outgoing = child.take_over_stdio()
        os.write(1, b"a vendor prints\n")
        assert os.read(0, 1) == b"", "a vendor who reads standard input finds it empty"
        assert not os.get_inheritable(outgoing)
        for fd in (incoming, outgoing):
            os.close(fd)
    finally:
        sys.stdout = stdout
        for target, fd in enumerate(saved):
            os.dup2(fd, target)
            os.close(fd)
    seen = capfd.readouterr()
    assert "a vendor prints" in seen.err
    assert "a vendor prints" not in seen.out


def test_behaviours_have_names_of_their_own() -> None:
    groups = [set(misbehaving.BEFORE_RUN), set(misbehaving.AFTER_RUN), misbehaving.ELSEWHERE]

    assert sum(map(len, groups)) == len(set.union(*groups))
