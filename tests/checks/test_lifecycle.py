"""Letting the device go and binding it again: what is compared, and what a fresh process tells or does not come back from."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from conformance.adapters.runtime.port import Mode
from conformance.checks import lifecycle
from conformance.checks.support import elsewhere
from conformance.checks.support.port import Requested
from conformance.checks.support.using import FIRST, name_values
from conformance.observation import InferenceSeen, Seen
from conformance.records import Case, DeviceFault, Identity, Judgement, Outcome, TensorInfo
from conformance.reference import probes
from conformance.tensors import from_ref

SETS = [probes.four_outputs(salt) for salt in (141, 143)]
EXPECTED: list[Any] = [list(outputs) for _, outputs in SETS]
NAMES = lifecycle.OUTPUTS
RIGHT = [list(zip(NAMES, outputs, strict=True)) for outputs in EXPECTED]
DECLARED = tuple(
    TensorInfo(name=name, type=kind, shape=tuple(shape)) for name, kind, shape in lifecycle._OUTPUTS_DECLARED
)
IDENTITY = Identity(runtime="r", runtime_version="1", provider="P", details={"at": "noon"})


def case(probe: str) -> Case:
    return Case(
        id=f"interface/lifecycle/{probe}", check="lifecycle", requirements=("R",), why="", params={"probe": probe}
    )


def judge(see: Any, sessions: list[Any], *identities: Identity | None, probe: str = "reopen") -> Judgement:
    facts = {"identities": msgspec.to_builtins([IDENTITY, *identities])}
    return lifecycle.judge(case(probe), see(*sessions, facts=facts), EXPECTED)


def test_the_same_three_times_passes(see: Any, session: Any) -> None:
    sessions = [session(*RIGHT, outputs=DECLARED) for _ in range(3)]
    later = msgspec.structs.replace(IDENTITY, details={"at": "one"})

    assert judge(see, sessions, later, later).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (msgspec.structs.replace(IDENTITY, unit="2"), "unit was '', now '2'"),
        (None, "runtime was 'r', now 'None'"),
    ],
)
def test_another_identity_is_named(see: Any, session: Any, changed: Identity | None, told: str) -> None:
    judged = judge(see, [session(*RIGHT) for _ in range(3)], IDENTITY, changed)

    assert judged.outcome is Outcome.FAIL
    assert judged.reason == f"the device is another one when it is bound again: {told}"


def test_another_interface_is_named_with_where(see: Any, session: Any) -> None:
    other = (msgspec.structs.replace(DECLARED[0], shape=(4, 5)), *DECLARED[1:])
    judged = judge(see, [session(*RIGHT, outputs=DECLARED), session(*RIGHT, outputs=other)], IDENTITY)
    assert judged.outcome is Outcome.FAIL
    assert judged.reason == (
        "the session declares other outputs than the one before, after the device was let go and bound again, 1 of 2"
    )
    assert judged.actual.startswith("sum tensor(float32)[4, 5]; ")
    assert judged.expected.startswith("sum tensor(float32)[4, 6]; ")

    judged = judge(see, [session(*RIGHT, outputs=other)] * 3, IDENTITY, IDENTITY)
    assert judged.reason == "the session declares other outputs than the model, in the first session"
    assert (judged.actual[:25], judged.expected[:25]) == ("sum tensor(float32)[4, 5]", "sum tensor(float32)[4, 6]")


@pytest.mark.parametrize(
    ("given", "outcome", "told"),
    [
        ({"type": "tensor(float)"}, Outcome.PASS, ""),
        ({"type": "float32"}, Outcome.PASS, ""),
        ({"shape": None}, Outcome.PASS, ""),
        ({"shape": (None, "n")}, Outcome.PASS, ""),
        ({"shape": (4, None)}, Outcome.PASS, ""),
        ({"type": "tensor(double)"}, Outcome.FAIL, "sum tensor(double)[4, 6]; "),
        ({"type": "tensor(double)", "shape": None}, Outcome.FAIL, "sum tensor(double), shape not told; "),
        ({"shape": (None, 5)}, Outcome.FAIL, "sum tensor(float32)[?, 5]; "),
        ({"shape": (4, 6, 1)}, Outcome.FAIL, "sum tensor(float32)[4, 6, 1]; "),
        ({"shape": ()}, Outcome.FAIL, "sum tensor(float32)[]; "),
        ({"name": "total"}, Outcome.FAIL, "total tensor(float32)[4, 6]; "),
    ],
)
def test_what_is_not_told_of_a_tensor_is_not_held_against_it(
    see: Any, session: Any, given: dict[str, Any], outcome: Outcome, told: str
) -> None:
    declared = (msgspec.structs.replace(DECLARED[0], **given), *DECLARED[1:])
    judged = judge(see, [session(*RIGHT, outputs=declared)] * 3, IDENTITY, IDENTITY)

    assert (judged.outcome, judged.actual.startswith(told)) == (outcome, True)


def test_the_order_of_the_outputs_and_their_number_count(see: Any, session: Any) -> None:
    for other in (DECLARED[::-1], DECLARED[:-1], DECLARED + DECLARED[:1]):
        judged = judge(see, [session(*RIGHT, outputs=other)] * 3, IDENTITY, IDENTITY)
        assert judged.reason == "the session declares other outputs than the model, in the first session"


def test_the_first_run_of_all_is_judged_too(see: Any, session: Any) -> None:
    facts = {"identities": msgspec.to_builtins([IDENTITY] * 3), FIRST: True}
    rest = [session(*RIGHT) for _ in range(3)]
    for first, reason in (
        (session(RIGHT[1]), "sum[0,0] = "),
        (session(RIGHT[0], changed=["a"]), "the device changed its inputs: a"),
    ):
        judged = lifecycle.judge(case("reopen"), see(first, *rest, facts=facts), EXPECTED)
        assert (judged.outcome, judged.reason.startswith(reason)) == (Outcome.FAIL, True), judged
        assert judged.context.startswith("the first run of all, before what the case is about")
    assert lifecycle.judge(case("reopen"), see(session(RIGHT[0]), *rest, facts=facts), EXPECTED).outcome is Outcome.PASS


def test_after_a_restart_the_device_is_asked_once_more_and_is_the_same(
    misbehave: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = {one.case.params["probe"]: one for one in lifecycle.plan(Requested("R", "MUST", {}, ""), Claims())}  # type: ignore[arg-type]
    device = misbehave("none")
    seen = lifecycle.measure(planned["restart"].case, device)
    assert [len(one.inferences) for one in seen.sessions] == [1, 2, 2, 2], "the first finds the mode"
    assert len(seen.facts["identities"]) == 3

    opened = device.adapter._open
    monkeypatch.setattr(device.adapter, "_open", lambda: msgspec.structs.replace(opened(), unit="another"))
    seen = lifecycle.measure(planned["restart"].case, device)
    values = [[[(o.name, from_ref(o.value)) for o in i.outputs] for i in s.inferences] for s in seen.sessions]
    judged = lifecycle.judge(planned["restart"].case, Seen(seen, values), EXPECTED)
    assert judged.reason == "the device is another one when it is bound again: unit was '', now 'another'"


def test_a_device_that_does_not_bind_again_after_a_restart_is_told(
    misbehave: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = {one.case.params["probe"]: one for one in lifecycle.plan(Requested("R", "MUST", {}, ""), Claims())}  # type: ignore[arg-type]
    device = misbehave("none")
    monkeypatch.setattr(device.adapter, "_open", lambda: 1 / 0)
    fault = lifecycle.measure(planned["restart"].case, device).sessions[-1].fault
    assert fault is not None
    assert (fault.phase, fault.kind) == ("open", "ZeroDivisionError")


def test_wrong_answers_and_faults_say_after_what(see: Any, session: Any) -> None:
    judged = judge(see, [session(*RIGHT), session(RIGHT[1], RIGHT[0])], IDENTITY)
    assert (judged.outcome, judged.context.split(";")[0]) == (
        Outcome.FAIL, "after the device was let go and bound again, 1 of 2",
    )  # fmt: skip

    gone = DeviceFault(phase="open", kind="DeviceNotFound", message="gone")
    judged = judge(see, [session(*RIGHT), session(fault=gone)], probe="restart")
    assert judged.reason == "rejected at open: DeviceNotFound: gone"
    assert judged.context.startswith("in a fresh process; ")


def test_sessions_that_lack_are_no_pass(see: Any, session: Any) -> None:
    assert judge(see, [session(*RIGHT)]).outcome is Outcome.ERROR
    assert judge(see, []).outcome is Outcome.ERROR


def test_a_device_that_takes_no_model_is_not_let_go(desk: Any) -> None:
    planned = {one.case.params["probe"]: one for one in lifecycle.plan(Requested("R", "MUST", {}, ""), Claims())}  # type: ignore[arg-type]
    device = desk({Mode.STRICT: RuntimeError("no kernel")})
    seen = lifecycle.measure(planned["reopen"].case, device)

    assert seen.sessions[-1].fault is not None
    assert "open" not in device.entered


class Claims:
    """Claims float32 or not."""

    def __init__(self, *, has_float: bool = True) -> None:
        self._has_float = has_float

    def claims_type(self, name: str) -> bool:
        return self._has_float

    def probe_opset(self) -> int:
        return 13

    def why_unclaimed(self, operators: Sequence[str]) -> str:
        return ""


def test_without_float32_nothing_is_asked() -> None:
    planned = list(lifecycle.plan(Requested("R", "MUST", {}, ""), Claims(has_float=False)))  # type: ignore[arg-type]

    assert {one.case.unsupported for one in planned} == {"profile does not declare float32, which the probes use"}


def test_a_device_that_cannot_be_let_go_is_told(misbehave: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = {one.case.params["probe"]: one for one in lifecycle.plan(Requested("R", "MUST", {}, ""), Claims())}  # type: ignore[arg-type]
    for probe in ("reopen", "restart"):
        device = misbehave("none")
        monkeypatch.setattr(type(device.adapter), "_release", lambda _: 1 / 0)
        fault = lifecycle.measure(planned[probe].case, device).sessions[-1].fault
        assert fault is not None
        assert (fault.phase, fault.kind) == ("open", "ZeroDivisionError")


DATA = [name_values(inputs) for inputs, _ in SETS]
MODEL = probes.probe_model("four_outputs")


def test_a_fresh_process_tells_who_the_device_is_and_what_it_computes(misbehave: Any) -> None:
    device = misbehave("none")
    told = elsewhere.ask(device.adapter, MODEL, Mode.STRICT, DATA)

    assert told.identity == device.identity
    assert told.session.outputs == DECLARED
    got = [[(one.name, from_ref(one.value)) for one in run.outputs] for run in told.session.inferences]
    assert all(
        (a[1] == b[1]).all() for run, right in zip(got, RIGHT, strict=True) for a, b in zip(run, right, strict=True)
    )


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [("segv", "ended by signal 11"), ("exit0", "ended by exit code 0"), ("open-crash", "ended by signal 11")],
)
def test_a_process_that_does_not_come_back_is_a_fault(misbehave: Any, behaviour: str, message: str) -> None:
    from conformance.adapters.runtime import misbehaving

    given = misbehaving.Adapter.read_options({"options": {"behaviour": behaviour}})
    adapter = misbehaving.Adapter(given, misbehave("none").adapter.scratch)
    told = elsewhere.ask(adapter, MODEL, Mode.STRICT, DATA)

    assert told.identity is None
    assert told.session.fault is not None
    assert (told.session.fault.kind, message in told.session.fault.message) == ("ProcessEnded", True)


def asked(folder: Path, **options: Any) -> elsewhere.Asked:
    module = "conformance.adapters.runtime.misbehaving"
    return elsewhere.Asked(
        module=module, options={"options": options}, scratch=str(folder), model=MODEL, mode="strict", datasets=DATA
    )


@pytest.mark.parametrize(
    ("behaviour", "phase", "kind"),
    [("open-refuse", "open", "RuntimeError"), ("raise", "run", "RuntimeError"), ("none", "", "")],
)
def test_what_is_refused_there_is_told(tmp_path: Path, behaviour: str, phase: str, kind: str) -> None:
    told = elsewhere.tell(asked(tmp_path, behaviour=behaviour))

    assert (told.identity is None) == (phase == "open")
    fault = told.session.fault
    assert (("", "") if fault is None else (fault.phase, fault.kind)) == (phase, kind)
    assert [type(one) for one in told.session.inferences] == ([] if phase else [InferenceSeen] * 2)


def test_a_device_that_is_not_there_is_told(tmp_path: Path) -> None:
    absent = msgspec.structs.replace(asked(tmp_path), options={"provider": "NobodyExecutionProvider"})
    fault = elsewhere.tell(absent).session.fault

    assert fault is not None
    assert (fault.phase, fault.kind) == ("open", "DeviceNotFound")


def test_the_process_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = tmp_path / "told"

    class Stdin:
        class buffer:  # noqa: N801
            @staticmethod
            def read() -> bytes:
                return msgspec.msgpack.encode(asked(tmp_path))

    monkeypatch.setattr(sys, "stdin", Stdin)
    monkeypatch.setattr(sys, "argv", ["elsewhere", str(answer)])
    assert elsewhere.main() == 0
    assert msgspec.msgpack.decode(answer.read_bytes(), type=elsewhere.Told).session.outputs == DECLARED
