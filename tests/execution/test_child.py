"""The child, in this process: how it opens a device, keeps time, and speaks."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from execution.desk import PATIENT, Desk

from conformance.adapters.runtime import misbehaving
from conformance.adapters.runtime.port import Mode, Unavailable
from conformance.checks import session as session_check
from conformance.execution import child, protocol, stores
from conformance.observation import Seen
from conformance.records import Case, Outcome
from conformance.tensors import from_ref


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


def test_what_an_adapter_cannot_open_at_all_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: misbehaving.Adapter) -> None:
        raise Unavailable("this adapter needs a display")

    monkeypatch.setattr(misbehaving.Adapter, "_open", refuse)
    refused = child.open_device(desk.message(), desk.write_fd)

    assert refused == protocol.Refused(kind="rejected", message="this adapter needs a display")


def test_a_case_is_measured_and_judged(desk: Desk, make_case: Callable[..., Case]) -> None:
    device, case = desk.open(), make_case()
    observed = child.measure(protocol.Measure(seq=5, case=case, deadlines=PATIENT), device)

    assert isinstance(observed, protocol.Observed)
    assert (observed.seq, observed.overtime) == (5, "")
    assert observed.peak_rss_kb > 1000
    told = [protocol.Phase(seq=5, phase=phase) for phase in ("compile", "run", "done")]
    assert desk.said() == told, "compile is entered by the case itself"
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
        "compile", "run", "done", "compile", "run", "compile", "run", "done"
    ]  # fmt: skip


def test_a_phase_is_told_in_shared_memory_where_there_is_some(desk: Desk) -> None:
    desk.fds["clock"] = desk.clock
    device, clock = desk.open(), stores.Clock(desk.clock)
    device.begin(3, PATIENT)
    assert clock.read(3) == ("", 0.0), "that a case has begun is the parent's to know"
    device.enter("compile")
    device.enter("run")
    assert clock.read(3)[0] == "run"
    device.enter("compile")
    assert clock.read(3)[0] == "compile"
    device.end()

    assert desk.said() == [], "a message would cost two wake-ups"


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
    assert kinds == ["Hello", "Failed", "Refused", "Opened", "Phase", "Phase", "Phase", "Observed"], (
        "nothing after Close is answered"
    )
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
