"""Must-reject: what counts as a refusal, what as an answer, and what the device still has to do afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from conformance import prepare
from conformance.adapters.runtime import misbehaving, oip, onnx_backend
from conformance.adapters.runtime.port import (
    BAD_ANSWER,
    LOST,
    Mode,
    PlaceOutput,
    RuntimeFault,
    RuntimeSession,
    Unavailable,
)
from conformance.adapters.runtime.support import misdeeds
from conformance.checks import check_module, must_reject
from conformance.checks.support.port import Planned, Requested
from conformance.execution.judging import judge_observation
from conformance.observation import InferenceSeen, SessionSeen
from conformance.records import SHARED, UNAVAILABLE, Basis, Case, DeviceFault, Judgement, Outcome, Witness
from conformance.reference import probes
from conformance.tensors import Value, to_ref
from conformance.workload import NamedValue

RIGHT = probes.matmul_relu(must_reject.SALT)[1]
WRONG = [RIGHT[0] + np.float32(1)]
EXPECTED: list[list[Value]] = [list(RIGHT)]
NO = DeviceFault(phase="compile", kind="InvalidGraph", message="no such operator\nat node 3")
NO_RUN = DeviceFault(phase="run", kind="InvalidArgument", message="no such input")
GONE = DeviceFault(phase="run", kind=LOST, message="RemoteDisconnected: it is gone")
UNABLE = DeviceFault(phase="run", kind=UNAVAILABLE, message="it has no names")
MODEL, REQUEST = "must-reject/model/empty", "must-reject/request/input-missing"


def planned(*, claims: bool = True, opset: int = 13, unsayable: dict[str, str] | None = None) -> dict[str, Planned]:
    context: Any = SimpleNamespace(
        claims_type=lambda name: claims and name == "float32",
        probe_opset=lambda: opset,
        target=SimpleNamespace(unsayable=unsayable or {}),
    )
    made = must_reject.plan(Requested("MR-001", "MUST", {}, "always"), context)
    return {one.case.id: one for one in made}


PLANNED = planned()


def refused(fault: DeviceFault = NO, mode: str = "strict") -> Any:
    """A session that was not compiled, as `see` takes it."""
    return SessionSeen(mode=mode, fault=fault), []


def ran(*answers: Any, fault: DeviceFault | None = None, mode: str = "strict") -> Any:
    """A session with its inferences: outputs, or the fault that came instead."""
    seen, values = [], []
    for answer in answers:
        outputs = [] if isinstance(answer, DeviceFault) else [("y", value) for value in answer]
        named = [NamedValue(name, to_ref(value)) for name, value in outputs]
        seen.append(InferenceSeen(outputs=named, fault=answer if isinstance(answer, DeviceFault) else None))
        values.append(outputs)
    return SessionSeen(mode=mode, fault=fault, inferences=seen), values


def judge(see: Any, case: str, *sessions: Any, bad: int = 1) -> Judgement:
    return must_reject.judge(PLANNED[case].case, see(*sessions, facts={"bad": bad}), EXPECTED)


def test_every_case_is_planned_with_its_reason() -> None:
    assert len(PLANNED) >= 60
    assert check_module("must-reject") is not None
    for name, one in PLANNED.items():
        case = one.case
        workload: Any = case.workload
        assert name.startswith(("must-reject/model/", "must-reject/request/"))
        assert (case.area, case.check, case.requirements, case.basis) == (
            "must-reject",
            "must-reject",
            ("MR-001",),
            Basis.DECLARED,
        )
        assert case.order == SHARED, "what may kill the device waits for what must be shown first"
        assert case.params["breaks"]
        assert ("model" in case.params) == (len(workload.datasets) == 1) == ("/model/" in name)
        assert [feed.name for feed in workload.datasets[-1]] == ["a", "b"], "the last data set is the good one"
        assert one.expected is not None
        assert np.array_equal(one.expected()[0][0], RIGHT[0])


def test_the_smoke_level_has_one_of_each_kind() -> None:
    smoke = {name for name, one in PLANNED.items() if one.case.smoke}
    assert smoke == {f"must-reject/{name}" for name in must_reject.SMOKE}
    assert 8 <= len(smoke) <= 15


def test_without_float32_nothing_is_claimed() -> None:
    for one in planned(claims=False).values():
        assert (one.case.basis, one.case.unsupported) == (Basis.UNCLAIMED, one.case.why)
        assert "float32" in one.case.unsupported


@pytest.mark.parametrize("adapter", [oip, onnx_backend])
def test_what_an_interface_of_ours_cannot_say_is_not_claimed(adapter: Any) -> None:
    unsayable = adapter.Adapter.unsayable
    found = planned(unsayable=unsayable)
    beyond = {name for name, one in found.items() if one.case.unsupported}
    assert beyond == {f"must-reject/{name}" for name in unsayable}
    assert len(beyond) == 3
    for name in beyond:
        case = found[name].case
        assert (case.basis, case.why) == (Basis.UNCLAIMED, case.unsupported)
        assert "has no way to say this" in case.unsupported
    assert not any(one.case.unsupported for one in PLANNED.values())


def test_nobody_else_excuses_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = tmp_path / "p.yaml"
    profile.write_text(
        "conformance: 1\ndevice: {vendor: V, model: M, category: host-reference}\n"
        "runtime: {adapter: onnx-backend, module: m, device: CPU}\n"
        "declares: {opsets: {ai.onnx: [13, 21]}, types: [float32], operators: all}\n"
    )
    loaded, _ = prepare.prepare(str(profile))
    assert prepare.target_of(loaded).unsayable == onnx_backend.Adapter.unsayable
    monkeypatch.setattr(prepare, "builtin_names", lambda _: {"onnxruntime": "…"})  # as if it came from elsewhere
    assert prepare.target_of(loaded).unsayable == {}


def test_cases_travel_and_have_a_stable_plan() -> None:
    for name, one in PLANNED.items():
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(one.case), type=Case) == one.case
        assert msgspec.json.encode(one.case) == msgspec.json.encode(planned()[name].case) if name == MODEL else True


@pytest.mark.parametrize("bad", [refused(), ran(NO_RUN), refused(NO_RUN)])
def test_a_bad_model_that_is_refused_passes_wherever_it_is_refused(see: Any, bad: Any) -> None:
    judged = judge(see, MODEL, bad, ran(RIGHT))

    assert judged.outcome is Outcome.PASS, judged.reason
    assert judged.actual in {"InvalidGraph: no such operator", "InvalidArgument: no such input"}, "kind and first line"
    assert judged.context == PLANNED[MODEL].case.params["breaks"]


def test_a_bad_request_that_is_refused_passes(see: Any) -> None:
    judged = judge(see, REQUEST, ran(NO_RUN, RIGHT), ran(RIGHT))

    assert (judged.outcome, judged.actual) == (Outcome.PASS, "InvalidArgument: no such input")


def test_refusals_in_two_modes_are_one(see: Any) -> None:
    judged = judge(see, MODEL, refused(), refused(NO_RUN, "shared"), refused(), ran(RIGHT, mode="shared"), bad=2)
    assert (judged.outcome, judged.actual) == (Outcome.PASS, "InvalidArgument: no such input")

    judged = judge(see, REQUEST, refused(), ran(NO_RUN, RIGHT, mode="shared"), refused(), ran(RIGHT), bad=2)
    assert judged.outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("case", "sessions", "bad"),
    [
        (MODEL, [ran(RIGHT), ran(RIGHT)], 1),
        (MODEL, [ran([]), ran(RIGHT)], 1),
        (MODEL, [ran(WRONG, fault=NO_RUN), ran(RIGHT)], 1),
        (MODEL, [refused(), ran(WRONG, mode="shared"), ran(RIGHT)], 2),
        (MODEL, [ran(WRONG), ran(NO_RUN, mode="unfolded"), ran(RIGHT)], 2),
        (REQUEST, [ran(WRONG, RIGHT), ran(RIGHT)], 1),
    ],
)
def test_an_answer_to_what_has_none_fails(see: Any, case: str, sessions: list[Any], bad: int) -> None:
    judged = judge(see, case, *sessions, bad=bad)

    assert judged.outcome is Outcome.FAIL
    assert judged.reason == f"accepted: {PLANNED[case].case.params['breaks']}"
    assert judged.actual.startswith("an answer")
    assert judged.expected


@pytest.mark.parametrize(
    ("case", "sessions", "reason"),
    [
        (MODEL, [refused(), ran(WRONG)], "device no longer answers a good one: y[0,0] = "),
        (MODEL, [refused(), ran(NO_RUN)], "device no longer answers a good one: rejected at run: InvalidArgument"),
        (MODEL, [refused(), refused()], "device no longer answers a good one: rejected at compile: InvalidGraph"),
        (MODEL, [refused(), ran(RIGHT, fault=NO_RUN)], "device no longer answers a good one: rejected at run"),
        (REQUEST, [ran(NO_RUN, WRONG), ran(RIGHT)], "answers a good one in the same session: y[0,0] = "),
        (REQUEST, [ran(NO_RUN, NO_RUN), ran(RIGHT)], "in the same session: rejected at run: InvalidArgument"),
        (REQUEST, [ran(NO_RUN, RIGHT, fault=NO_RUN), ran(RIGHT)], "in the same session: rejected at run"),
        (REQUEST, [ran(NO_RUN, RIGHT), ran(WRONG)], "device no longer answers a good one: y[0,0] = "),
    ],
)
def test_the_next_good_request_must_be_answered_right(see: Any, case: str, sessions: list[Any], reason: str) -> None:
    judged = judge(see, case, *sessions)

    assert judged.outcome is Outcome.FAIL
    assert judged.reason.startswith("after the rejected request the device no longer answers a good one")
    assert reason in judged.reason
    assert judged.actual, "what the runtime said to the bad request is kept"


@pytest.mark.parametrize(
    ("case", "bad"),
    [
        (MODEL, refused(GONE)),
        (MODEL, ran(GONE)),
        (REQUEST, ran(GONE, RIGHT)),
    ],
)
def test_a_connection_that_is_lost_is_no_refusal(see: Any, case: str, bad: Any) -> None:
    judged = judge(see, case, bad, ran(RIGHT))

    assert (judged.outcome, judged.reason) == (Outcome.FAIL, "not refused: the connection was lost")
    assert judged.actual == "ConnectionLost: RemoteDisconnected: it is gone"


def test_losing_it_in_one_mode_is_not_made_good_by_another(see: Any) -> None:
    judged = judge(see, MODEL, refused(GONE), refused(NO, "shared"), ran(RIGHT), bad=2)
    assert judged.reason == "not refused: the connection was lost"


@pytest.mark.parametrize("kind", [BAD_ANSWER, "UnknownOutput", "UnknownType", "WrongOutputCount"])
@pytest.mark.parametrize("case", [MODEL, REQUEST])
def test_an_answer_without_sense_is_an_answer(see: Any, case: str, kind: str) -> None:
    fault = DeviceFault(phase="run", kind=kind, message="3 elements came")
    judged = judge(see, case, ran(fault, RIGHT) if case == REQUEST else ran(fault), ran(RIGHT))

    assert judged.outcome is Outcome.FAIL
    assert judged.reason == f"accepted: {PLANNED[case].case.params['breaks']}"
    assert judged.actual == f"{kind}: 3 elements came"


@pytest.mark.parametrize(
    "error", [ConnectionResetError("it is gone"), BrokenPipeError("it is gone"), TimeoutError("it")]
)
def test_any_adapter_that_loses_its_device_says_so(desk: Any, error: Exception) -> None:
    judged = verdict_on(MODEL, desk({Mode.STRICT: error}))
    assert (judged.outcome, judged.reason) == (Outcome.FAIL, "not refused: the connection was lost")
    assert judged.actual.startswith(f"ConnectionLost: {type(error).__name__}: it")


@pytest.mark.parametrize(("case", "bad"), [(MODEL, refused(UNABLE)), (REQUEST, ran(UNABLE, RIGHT))])
def test_what_the_adapter_cannot_ask_is_not_measured(see: Any, case: str, bad: Any) -> None:
    judged = judge(see, case, bad, ran(RIGHT))

    assert (judged.outcome, judged.reason) == (
        Outcome.UNMEASURED,
        "the adapter cannot make this request: it has no names",
    )


def test_one_mode_that_is_not_there_hides_no_refusal(see: Any) -> None:
    assert judge(see, MODEL, refused(), refused(UNABLE, "shared"), ran(RIGHT), bad=2).outcome is Outcome.PASS


def test_running_out_of_memory_is_no_refusal(see: Any) -> None:
    judged = judge(see, MODEL, refused(DeviceFault(phase="compile", kind="MemoryError", message="")), ran(RIGHT))

    assert (judged.outcome, judged.actual) == (Outcome.FAIL, "MemoryError: no message")
    assert judged.reason == "not refused: the runtime ran out of memory on it"


def test_a_good_model_that_is_refused_is_no_refusal_of_its_inputs(see: Any) -> None:
    judged = judge(see, REQUEST, refused(), refused())

    assert judged.outcome is Outcome.FAIL
    assert judged.reason.startswith("rejected at compile: InvalidGraph")


@pytest.mark.parametrize("bad", [0, 2, 3])
def test_sessions_that_do_not_add_up_are_our_fault(see: Any, bad: int) -> None:
    assert judge(see, MODEL, refused(), ran(RIGHT), bad=bad).outcome is Outcome.ERROR


class Picky(RuntimeSession):
    """Answers two float32 matrices called a and b, and nothing else."""

    def _infer(self, feeds: dict[str, Value], place: PlaceOutput | None) -> list[tuple[str, Value]]:
        told = {n: (v.shape, v.dtype.name) for n, v in feeds.items() if isinstance(v, np.ndarray)}
        if told != {"a": ((8, 16), "float32"), "b": ((16, 8), "float32")}:
            raise ValueError("not these inputs")
        return [("y", np.maximum(np.matmul(feeds["a"], feeds["b"]), np.float32(0)))]  # type: ignore[arg-type]

    def _witnesses(self) -> tuple[Witness, ...]:
        return (Witness(source="assignment", nodes={"P": 1}),)


def verdict_on(case: str, device: Any) -> Judgement:
    """Measure and judge in this process, as the child and the parent would."""
    observation = must_reject.measure(PLANNED[case].case, device)
    return judge_observation(PLANNED[case], observation, lambda _: {})


@pytest.mark.parametrize("case", [one for one in PLANNED if "/request/" in one])
def test_wrong_inputs_reach_the_device_as_they_are(desk: Any, case: str) -> None:
    device = desk({Mode.STRICT: Picky})
    judged = verdict_on(case, device)

    assert (judged.outcome, judged.actual) == (Outcome.PASS, "ValueError: not these inputs")
    assert device.compiled == [Mode.STRICT, Mode.STRICT], "the bad request in one session, and a fresh one after it"


def test_a_device_that_takes_any_model_fails(desk: Any) -> None:
    assert verdict_on(MODEL, desk({Mode.STRICT: Picky})).reason.startswith("accepted: ")


def test_a_device_that_takes_no_model_is_found(desk: Any) -> None:
    judged = verdict_on(MODEL, desk({Mode.STRICT: RuntimeError("no")}))
    assert judged.reason.endswith("no longer answers a good one: rejected at compile: RuntimeError: no")


class Told:
    """The `Device` of one child, on an adapter that is opened in this process."""

    def __init__(self, adapter: Any, desk: Any) -> None:
        self.adapter, self._desk = adapter, desk({})
        self.adapter.open()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._desk, name)

    def modes(self) -> Any:
        return self.adapter.modes()


@pytest.fixture
def misbehave(tmp_path: Path, desk: Any) -> Callable[..., Told]:
    """Open the device that misbehaves."""

    def build(behaviour: str, **options: Any) -> Told:
        folder = tmp_path / "child"
        folder.mkdir(exist_ok=True)
        given = misbehaving.Adapter.read_options({"options": {"behaviour": behaviour, **options}})
        return Told(misbehaving.Adapter(given, folder), desk)

    return build


@pytest.mark.parametrize("case", [MODEL, REQUEST])
def test_a_device_that_behaves_passes(misbehave: Any, case: str) -> None:
    assert verdict_on(case, misbehave("none")).outcome is Outcome.PASS


@pytest.mark.parametrize("case", [MODEL, REQUEST, "must-reject/model/random-bytes", "must-reject/request/type-bool"])
def test_answers_to_bad_requests_are_found(misbehave: Any, case: str) -> None:
    judged = verdict_on(case, misbehave("accept-malformed"))
    assert (judged.outcome, judged.reason.split(":")[0]) == (Outcome.FAIL, "accepted")


@pytest.mark.parametrize(
    ("case", "where"), [(MODEL, "good one: y[0,0] = "), (REQUEST, "in the same session: y[0,0] = ")]
)
def test_a_wrong_answer_after_a_refusal_is_found(misbehave: Any, case: str, where: str) -> None:
    judged = verdict_on(case, misbehave("wrong-after-reject"))
    assert judged.outcome is Outcome.FAIL
    assert where in judged.reason


@pytest.mark.parametrize("case", [MODEL, REQUEST])
def test_dying_after_a_refusal_happens_at_the_good_request(
    misbehave: Any, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    died: list[int] = []
    monkeypatch.setattr(misdeeds, "segv", lambda: died.append(1))

    assert verdict_on(case, misbehave("die-after-reject")).outcome is Outcome.PASS, "had it lived"
    assert died == [1]


@pytest.mark.parametrize("behaviour", ["accept-malformed", "wrong-after-reject"])
def test_only_where_triggered(misbehave: Any, behaviour: str) -> None:
    assert verdict_on(MODEL, misbehave(behaviour, trigger="Softmax")).outcome is Outcome.PASS


def test_accepting_once_is_once(misbehave: Any) -> None:
    device = misbehave("accept-malformed", once=True)
    outcomes = [verdict_on(MODEL, device).outcome for _ in range(2)]
    assert outcomes == [Outcome.FAIL, Outcome.PASS]


@pytest.fixture
def by_position(monkeypatch: pytest.MonkeyPatch, desk: Any) -> Told:
    """A module with the ONNX Backend API that takes two matrices by position."""

    def run(inputs: list[Any]) -> list[Any]:
        if [getattr(value, "shape", None) for value in inputs] != [(8, 16), (16, 8)]:
            raise ValueError(f"{len(inputs)} inputs")
        return [np.maximum(np.matmul(*inputs), np.float32(0))]

    def prepare(model: Any, device: str) -> Any:
        if not model.graph.node:
            raise ValueError("no graph")
        return SimpleNamespace(run=run)

    monkeypatch.setitem(__import__("sys").modules, "vendor_backend", SimpleNamespace(prepare=prepare))
    return Told(onnx_backend.Adapter(onnx_backend.Adapter.read_options({"module": "vendor_backend"}), Path()), desk)


@pytest.mark.parametrize(
    ("name", "outcome", "told"),
    [
        ("model/empty", Outcome.PASS, "ValueError: no graph"),
        ("model/random-bytes", Outcome.PASS, "DecodeError: "),
        ("model/truncated-half", Outcome.PASS, "DecodeError: "),
        ("request/input-missing", Outcome.PASS, "ValueError: 1 inputs"),
        ("request/inputs-missing", Outcome.PASS, "ValueError: 0 inputs"),
        ("request/input-extra", Outcome.PASS, "ValueError: 3 inputs"),
        ("request/rank-lower", Outcome.PASS, "ValueError: 2 inputs"),
        ("request/input-unknown", Outcome.UNMEASURED, ""),
        ("request/input-in-capitals", Outcome.UNMEASURED, ""),
        ("model/unknown-operator", Outcome.FAIL, "an answer, y"),
    ],
)
def test_a_backend_is_asked_as_far_as_its_api_can_ask(
    by_position: Told, name: str, outcome: Outcome, told: str
) -> None:
    judged = verdict_on(f"must-reject/{name}", by_position)

    assert (judged.outcome, judged.actual.startswith(told)) == (outcome, True), judged
    if outcome is Outcome.UNMEASURED:
        assert "takes inputs by position" in judged.reason


def test_inputs_that_only_names_tell_apart_are_not_dropped(by_position: Told) -> None:
    session = by_position.adapter.compile(probes.probe_model("matmul_relu"))
    good = probes.matmul_relu(1)[0]

    with pytest.raises(Unavailable):
        session.infer({"b": good["b"]})
    with pytest.raises(RuntimeFault, match="4 inputs"):
        session.infer({"d": good["b"], "b": good["b"], "c": good["b"], "a": good["a"]})
