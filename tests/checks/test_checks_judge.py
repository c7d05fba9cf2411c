"""The judges of the three checks: pure functions, shown what a right device and a wrong one would show."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import numpy as np
import pytest

from conformance.adapters.runtime.port import Mode
from conformance.checks import check_module, check_names, operators, placement
from conformance.checks import session as session_check
from conformance.checks.support.valuing import judge_faults, judge_values
from conformance.numerics.limits import Exact
from conformance.observation import InferenceSeen, SessionSeen
from conformance.profile.category import CHECK_PARAMETERS
from conformance.records import Case, DeviceFault, Identity, Outcome, Witness
from conformance.reference import probes

DUT = "XExecutionProvider"
CPU = "CPUExecutionProvider"
ON_DUT = (Witness(source="assignment", nodes={DUT: 2}), Witness(source="profile", nodes={DUT: 2}))
ON_CPU = (Witness(source="assignment", nodes={CPU: 2}), Witness(source="profile", nodes={CPU: 2}))
REFUSED = DeviceFault(phase="compile", kind="Fail", message="no kernel\nat all")
Y = np.array([1.0, 2.0], np.float32)


def case(check: str, name: str = "a/b/c", **params: Any) -> Case:
    return Case(id=name, check=check, requirements=("R",), why="", params=params)


# -- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outputs", "changed", "outcome", "reason"),
    [
        ([("y", Y)], (), Outcome.PASS, ""),
        ([("y", Y + np.float32(1e-6))], (), Outcome.PASS, ""),
        ([("y", Y)], ("x",), Outcome.FAIL, "the device changed its inputs: x"),
        ([("z", Y)], (), Outcome.FAIL, "the outputs are not those of the model, in its order"),
        ([], (), Outcome.FAIL, "the outputs are not those of the model"),
        ([("y", Y), ("y", Y)], (), Outcome.FAIL, "the outputs are not those of the model"),
        ([("y", Y + 1)], (), Outcome.FAIL, "y[0] = 2, want 1"),
        ([("y", Y.astype(np.float64))], (), Outcome.FAIL, "y: type float64, want float32"),
        ([("y", Y[:1])], (), Outcome.FAIL, "y: shape [1], want [2]"),
        ([("y", None)], (), Outcome.FAIL, "an empty optional"),
    ],
)
def test_values_are_compared_after_names_and_inputs(
    session: Any, outputs: Any, changed: Any, outcome: Outcome, reason: str
) -> None:
    seen, values = session(outputs, changed=changed)
    judged = judge_values(seen, values, [[Y]], names=["y"], rtol=1e-3, atol=1e-7)

    assert (judged.outcome, reason in judged.reason) == (outcome, True), judged.reason


def test_every_inference_counts_and_none_may_be_missing(session: Any) -> None:
    good, bad = [("y", Y)], [("y", Y + 1)]
    seen, values = session(good, bad)
    judged = judge_values(seen, values, [[Y], [Y]], names=["y"], rtol=0, atol=0)
    assert judged.outcome is Outcome.FAIL
    assert "inference 1" in judged.context

    seen, values = session(good)
    assert judge_values(seen, values, [[Y], [Y]], names=["y"], rtol=0, atol=0).outcome is Outcome.ERROR
    assert judge_values(seen, [], [], names=["y"], rtol=0, atol=0).outcome is Outcome.ERROR, "nothing is never a pass"


def test_the_worst_error_is_told_with_its_limit(session: Any) -> None:
    seen, values = session([("y", Y * np.float32(1.0005))])
    (measured,) = judge_values(seen, values, [[Y]], names=["y"], rtol=1e-3, atol=0).measurements

    assert (measured.name, measured.limit, measured.met) == ("worst_error", "rtol 0.001, atol 0", True)
    assert measured.margin == pytest.approx(0.5, rel=1e-3)


def test_the_last_session_decides_and_all_refusals_are_told(session: Any) -> None:
    refused = SessionSeen(mode="strict", fault=REFUSED)
    right, _ = session([("y", Y)], mode="shared")
    assert judge_faults([]) is not None
    assert judge_faults([refused, right]) is None
    judged = judge_faults([refused, SessionSeen(mode="shared", fault=REFUSED)])
    assert judged is not None
    assert (judged.outcome, judged.reason) == (Outcome.FAIL, "rejected at compile: Fail: no kernel")
    assert judged.context.startswith("strict: Fail: no kernel")
    assert "shared: Fail" in judged.context
    broken = SessionSeen(mode="strict", inferences=[InferenceSeen(), InferenceSeen(fault=REFUSED)])
    judged = judge_faults([broken])
    assert judged is not None
    assert judged.reason == "rejected at run: Fail: no kernel"
    wordless = judge_faults([SessionSeen(mode="strict", fault=DeviceFault(phase="run", kind="E", message=" \n"))])
    assert wordless is not None
    assert wordless.reason == "rejected at run: E: no message"


def test_what_the_adapter_cannot_do_is_not_the_device_s_failure() -> None:
    fault = DeviceFault(phase="run", kind="Unavailable", message="sequences cannot be mixed with types numpy lacks")
    judged = judge_faults([SessionSeen(mode="strict", inferences=[InferenceSeen(fault=fault)])])

    assert judged is not None
    assert judged.outcome is not Outcome.FAIL


# -- operators --------------------------------------------------------------------------------------------------------

LIMITS = [[Exact(name="y", expected=Y)]]
OPERATOR = case(
    "operators", provider=DUT, allowed_host_ops=["Shape"], rtol=1e-3, atol=1e-7, sets=[], outputs=["y"], needs=[]
)


@pytest.mark.parametrize(
    ("witnesses", "has_witness", "outcome", "words"),
    [
        (ON_DUT, True, Outcome.PASS, "strict session"),
        (ON_CPU, True, Outcome.FAIL, f"not on {DUT}"),
        ((), True, Outcome.UNMEASURED, "placement not shown"),
        ((), False, Outcome.PASS, "placement not shown"),
    ],
)
def test_a_right_answer_counts_where_it_was_shown_to_come_from(
    session: Any, see: Any, witnesses: Any, has_witness: bool, outcome: Outcome, words: str
) -> None:
    seen = see(session([("y", Y)], witnesses=witnesses), has_witness=has_witness)
    judged = operators.judge(OPERATOR, seen, LIMITS)

    assert (judged.outcome, words in judged.reason + judged.context) == (outcome, True), judged
    assert any(one.name == "worst_error" for one in judged.measurements)


def test_a_wrong_answer_is_a_failure_wherever_it_came_from(session: Any, see: Any) -> None:
    assert operators.judge(OPERATOR, see(session([("y", Y + 1)], witnesses=ON_DUT)), LIMITS).outcome is Outcome.FAIL
    assert operators.judge(OPERATOR, see(session([("y", Y + 1)]), has_witness=False), LIMITS).outcome is Outcome.FAIL


def test_a_claimed_operator_that_is_rejected_is_a_failure(see: Any) -> None:
    judged = operators.judge(OPERATOR, see((SessionSeen(mode="strict", fault=REFUSED), [])), LIMITS)

    assert (judged.outcome, judged.reason) == (Outcome.FAIL, "rejected at compile: Fail: no kernel")


def test_a_wrong_answer_of_a_folded_session_is_not_hidden_by_a_right_one(session: Any, see: Any) -> None:
    nothing = (Witness(source="assignment", nodes={}), Witness(source="profile", nodes={}))
    folded = session([("y", Y + 1)], witnesses=nothing)
    unfolded = session([("y", Y)], mode="unfolded", witnesses=ON_DUT)

    assert operators.judge(OPERATOR, see(folded, unfolded), LIMITS).outcome is Outcome.FAIL


def test_a_missing_precondition_is_not_run(desk: Any) -> None:
    asked = msgspec.structs.replace(
        OPERATOR, params=OPERATOR.params | {"needs": ["locale:x"]}, workload=probes_workload()
    )
    observation = operators.measure(asked, desk({}))

    assert (observation.missing, observation.sessions) == ("locale:x", [])


def probes_workload() -> Any:
    from conformance.tensors import to_ref
    from conformance.workload import ModelRef, NamedValue, Workload

    inputs, _ = probes.four_outputs(3)
    named = [NamedValue(key, to_ref(value)) for key, value in inputs.items()]
    return Workload(model=ModelRef(data=b"m"), datasets=[named])


# -- session ----------------------------------------------------------------------------------------------------------

WHO = Identity(runtime="r", runtime_version="1", provider=DUT, hardware="npu", driver="1.2", details={"serial": "7"})


@pytest.mark.parametrize(
    ("changes", "declared", "outcome", "words"),
    [
        ({}, {}, Outcome.PASS, ""),
        ({}, {"hardware": "npu", "driver": "1.2", "binding": {"serial": "7"}}, Outcome.PASS, ""),
        ({}, {"hardware": "gpu"}, Outcome.FAIL, "another hardware than the profile declares"),
        ({}, {"driver": "1.3"}, Outcome.FAIL, "another driver than"),
        ({}, {"binding": {"serial": "8"}}, Outcome.FAIL, "another serial than"),
        ({"hardware": ""}, {"hardware": "npu"}, Outcome.PASS, "unverified, the runtime does not report it: hardware"),
        ({"driver": ""}, {"driver": "1.2"}, Outcome.UNMEASURED, "unverified"),
        ({"details": {}}, {"binding": {"serial": "7"}}, Outcome.UNMEASURED, "serial"),
        ({}, {"unit_serial": "7"}, Outcome.PASS, ""),
        ({}, {"unit_serial": "8"}, Outcome.FAIL, "another unit_serial than the bench file declares"),
        (
            {"details": {}},
            {"unit_serial": "7"},
            Outcome.PASS,
            "unverified, the runtime does not report it: unit_serial",
        ),
        ({"runtime": ""}, {}, Outcome.UNMEASURED, "does not say what it is"),
        ({"provider": ""}, {}, Outcome.UNMEASURED, "does not say what it is"),
        # What is wrong is told even where something else is silent.
        ({"hardware": ""}, {"hardware": "npu", "driver": "1.3"}, Outcome.FAIL, "another driver"),
    ],
)
def test_identity(see: Any, changes: Any, declared: Any, outcome: Outcome, words: str) -> None:
    params = {"probe": "identity", "hardware": "", "driver": "", "binding": {}, "provider": DUT} | declared
    judged = session_check.judge(case("session", **params), see(identity=msgspec.structs.replace(WHO, **changes)), [])

    assert (judged.outcome, words in judged.reason + judged.context) == (outcome, True), judged


def test_registration(see: Any) -> None:
    asked = case("session", probe="registration", provider=DUT)
    assert session_check.judge(asked, see(identity=WHO), []).outcome is Outcome.PASS
    other = session_check.judge(asked, see(identity=msgspec.structs.replace(WHO, provider=CPU)), [])
    assert (other.outcome, other.actual, other.expected) == (Outcome.FAIL, CPU, DUT)
    assert session_check.judge(asked, see(), []).outcome is Outcome.UNMEASURED


def test_probes_are_judged_exactly(session: Any, see: Any) -> None:
    asked = case("session", probe="output-contract", outputs=["y"])
    assert session_check.judge(asked, see(session([("y", Y)])), [[Y]]).outcome is Outcome.PASS
    nearly = np.nextafter(Y, np.float32(9))
    assert session_check.judge(asked, see(session([("y", nearly)])), [[Y]]).outcome is Outcome.FAIL


def test_each_of_several_sessions_is_judged(session: Any, see: Any) -> None:
    asked = case("session", probe="create-run-destroy", outputs=["y"])
    good, bad = session([("y", Y)]), session([("y", Y + 1)])
    gone = (SessionSeen(mode="strict", fault=REFUSED), [])
    expected = [[Y]] * 5

    assert session_check.judge(asked, see(*[good] * 5), expected).outcome is Outcome.PASS
    for at in range(5):
        for wrong in (bad, gone):
            sessions = [good] * 5
            sessions[at] = wrong
            assert session_check.judge(asked, see(*sessions), expected).outcome is Outcome.FAIL


def test_fewer_sessions_than_were_asked_for_are_no_pass(session: Any, see: Any) -> None:
    asked = case("session", probe="create-run-destroy", outputs=["y"])
    one = session(*[[("y", Y)]] * 5)

    assert session_check.judge(asked, see(one), [[Y]] * 5).outcome is not Outcome.PASS


def test_a_refused_first_mode_is_no_failure_of_the_session_that_followed(session: Any, see: Any) -> None:
    asked = case("session", probe="fresh-outputs", outputs=["y"])
    refused = (SessionSeen(mode="strict", fault=REFUSED), [])

    assert session_check.judge(asked, see(refused, session([("y", Y)], mode="shared")), [[Y]]).outcome is Outcome.PASS
    assert session_check.judge(asked, see(refused), [[Y]]).outcome is Outcome.FAIL


# -- placement --------------------------------------------------------------------------------------------------------


def place(probe: str, **params: Any) -> Case:
    given = {"probe": probe, "provider": DUT, "on_host_cpu": False, "is_host_cpu_allowed": True}
    given |= {"allowed_host_ops": []} | params
    return case("placement", **given)


@pytest.mark.parametrize("probe", ["model/device-nodes", "control/other-provider", "control/forced-to-host"])
def test_an_adapter_without_witness_shows_nothing(session: Any, see: Any, probe: str) -> None:
    judged = placement.judge(place(probe), see(session([("y", Y)], witnesses=ON_DUT), has_witness=False), [])

    assert judged.outcome is Outcome.UNMEASURED
    assert judged.remedy


def test_nodes_on_the_device_pass_and_elsewhere_stop_the_run(session: Any, see: Any) -> None:
    asked = place("model/device-nodes")
    assert placement.judge(asked, see(session([("y", Y)], witnesses=ON_DUT)), []).outcome is Outcome.PASS
    judged = placement.judge(asked, see(session([("y", Y)], witnesses=ON_CPU)), [])
    assert (judged.outcome, judged.stops) == (Outcome.FAIL, True)
    partly = (Witness(source="assignment", nodes={DUT: 1, CPU: 1}, host_ops=("MatMul",)),)
    judged = placement.judge(asked, see(session([("y", Y)], witnesses=partly)), [])
    assert (judged.outcome, judged.stops) == (Outcome.FAIL, False), "a device that runs something is tested further"
    judged = placement.judge(asked, see(session([("y", Y)], witnesses=())), [])
    assert (judged.outcome, judged.stops) == (Outcome.UNMEASURED, False)


def test_a_shared_session_tells_what_the_strict_one_was_refused_for(session: Any, see: Any) -> None:
    refused = (SessionSeen(mode="strict", fault=REFUSED), [])
    judged = placement.judge(
        place("model/device-nodes"), see(refused, session([("y", Y)], mode="shared", witnesses=ON_DUT)), []
    )

    assert judged.outcome is Outcome.PASS
    assert judged.context.startswith("shared session; strict: Fail: no kernel")


def test_a_device_that_runs_nothing_stops_the_run(see: Any) -> None:
    gone = [(SessionSeen(mode=mode, fault=REFUSED), []) for mode in ("strict", "shared", "user")]
    judged = placement.judge(place("model/device-nodes"), see(*gone), [])

    assert (judged.outcome, judged.stops) == (Outcome.FAIL, True)
    assert judged.reason == "the device was found, but runs nothing: Fail: no kernel"
    assert judged.context.count("Fail") == 3


def test_a_probe_that_fails_at_run_is_a_failure(see: Any) -> None:
    broken = SessionSeen(mode="strict", inferences=[InferenceSeen(fault=REFUSED)], witnesses=ON_DUT)
    judged = placement.judge(place("model/device-nodes"), see((broken, [])), [])

    assert judged.reason == "the probe model fails at run: Fail: no kernel"


@pytest.mark.parametrize(
    ("witnesses", "reason"),
    [
        (ON_CPU, "an ordinary session ran elsewhere: not on XExecutionProvider"),
        (ON_DUT, "the device takes a model only when the runtime may retry elsewhere"),
        ((), "an ordinary session ran elsewhere: placement not shown"),
    ],
)
def test_what_only_an_ordinary_session_runs_is_no_pass(session: Any, see: Any, witnesses: Any, reason: str) -> None:
    refused = (SessionSeen(mode="strict", fault=REFUSED), [])
    seen = see(refused, session([("y", Y)], mode="user", witnesses=witnesses))
    judged = placement.judge(place("model/device-nodes"), seen, [])

    assert (judged.outcome, judged.reason.startswith(reason)) == (Outcome.FAIL, True), judged.reason


@pytest.mark.parametrize(
    ("probe", "witnesses", "outcome"),
    [
        ("control/other-provider", ON_DUT, Outcome.PASS),
        ("control/other-provider", ON_CPU, Outcome.PASS),
        ("control/other-provider", (), Outcome.ERROR),
        ("control/other-provider", (Witness(source="assignment", nodes={placement.NOBODY: 1}),), Outcome.ERROR),
        ("control/forced-to-host", ON_CPU, Outcome.PASS),
        ("control/forced-to-host", ON_DUT, Outcome.FAIL),
        ("control/forced-to-host", (), Outcome.ERROR),
    ],
)
def test_the_controls_must_be_able_to_fail(
    session: Any, see: Any, probe: str, witnesses: Any, outcome: Outcome
) -> None:
    judged = placement.judge(place(probe), see(session([("y", Y)], witnesses=witnesses)), [])

    assert judged.outcome is outcome
    assert judged.measurements[0].met == (outcome is Outcome.PASS)


@pytest.mark.parametrize("kind", ["Unavailable", "Fail"])
def test_a_control_that_did_not_run_shows_nothing(see: Any, kind: str) -> None:
    fault = DeviceFault(phase="compile", kind=kind, message="no")
    judged = placement.judge(place("control/forced-to-host"), see((SessionSeen(mode="host", fault=fault), [])), [])

    assert judged.outcome is Outcome.UNMEASURED


def load(
    cpu_ms: float, wall_ms: float = 100.0, mode: str = "strict", waited_ms: float = 0.0
) -> tuple[SessionSeen, list[Any]]:
    warm = InferenceSeen(cpu_ns=10**12, wall_ns=10**12)
    walls = {"wall_ns": int(wall_ms * 1e6), "waited_ns": int(waited_ms * 1e6)}
    timed = [InferenceSeen(cpu_ns=int((cpu_ms + n) * 1e6), **walls) for n in (5, 0, 9)]
    return SessionSeen(mode=mode, inferences=[warm, *timed]), []


@pytest.mark.parametrize(
    ("device_ms", "host_ms", "outcome", "ratio"),
    [
        (1, 100, Outcome.PASS, 0.01),
        (25, 100, Outcome.PASS, 0.25),
        (26, 100, Outcome.INCONCLUSIVE, 0.26),
        (49, 100, Outcome.INCONCLUSIVE, 0.49),
        (50, 100, Outcome.FAIL, 0.5),
        (100, 100, Outcome.FAIL, 1.0),
        (300, 100, Outcome.FAIL, 3.0),
    ],
)
def test_an_accelerator_leaves_the_host_alone(
    see: Any, device_ms: float, host_ms: float, outcome: Outcome, ratio: float
) -> None:
    asked = place("host-cpu/contraction-load")
    judged = placement.judge(asked, see(load(device_ms), load(host_ms, mode="host")), [])

    assert judged.outcome is outcome
    assert judged.measurements[0].value == pytest.approx(ratio)


@pytest.mark.parametrize(
    ("cpu_ms", "outcome"),  # the least disturbed of the runs counts, which took 9 ms more
    [(91, Outcome.PASS), (41, Outcome.PASS), (40, Outcome.INCONCLUSIVE), (1, Outcome.INCONCLUSIVE), (0, Outcome.FAIL)],
)
def test_a_cpu_must_cost_cpu_time(see: Any, cpu_ms: float, outcome: Outcome) -> None:
    judged = placement.judge(place("host-cpu/contraction-load", on_host_cpu=True), see(load(cpu_ms)), [])

    assert judged.outcome is outcome


def test_a_busy_host_is_not_the_cpu_device_s_failure(see: Any) -> None:
    asked = place("host-cpu/contraction-load", on_host_cpu=True)
    busy, told = load(100, 250), load(100, 250, waited_ms=150)

    assert placement.judge(asked, see(load(100, 100)), []).outcome is Outcome.PASS
    assert placement.judge(asked, see(told), []).outcome is Outcome.PASS, "the host says how long it kept us waiting"
    assert placement.judge(asked, see(busy), []).outcome is Outcome.INCONCLUSIVE, (
        "the same, on a host that does not say"
    )


@pytest.mark.parametrize("at", [0, 1])
def test_a_load_that_did_not_run_shows_nothing(see: Any, at: int) -> None:
    sessions = [load(1), load(100, mode="host")]
    sessions[at] = (SessionSeen(mode="strict", inferences=[InferenceSeen(fault=REFUSED)]), [])
    judged = placement.judge(place("host-cpu/contraction-load"), see(*sessions), [])

    assert (judged.outcome, "Fail: no kernel" in judged.reason) == (Outcome.UNMEASURED, True)


# -- what is measured -------------------------------------------------------------------------------------------------


def test_placement_is_measured_in_the_modes_that_it_is_judged_in(desk: Any) -> None:
    from conformance.adapters.runtime.port import RuntimeFault, RuntimeSession

    class Session(RuntimeSession):
        def _infer(self, feeds: Any, place: Any) -> Any:
            return [("y", Y)]

        def _witnesses(self) -> tuple[Witness, ...]:
            return ON_DUT

    refused = RuntimeFault("compile", "Fail", "no")
    both = (Mode.STRICT, Mode.SHARED)
    table: list[tuple[str, bool, dict[Mode, Any], list[Mode]]] = [
        ("model/device-nodes", False, {Mode.STRICT: Session}, [Mode.STRICT]),
        ("model/device-nodes", False, {Mode.STRICT: refused, Mode.SHARED: Session}, [*both]),
        (
            "model/device-nodes",
            False,
            {Mode.STRICT: refused, Mode.SHARED: refused, Mode.USER: Session},
            [*both, Mode.USER],
        ),
        ("control/other-provider", False, {Mode.STRICT: refused, Mode.SHARED: refused}, [*both]),
        ("control/forced-to-host", False, {Mode.HOST: Session}, [Mode.HOST]),
        ("host-cpu/contraction-load", False, {Mode.STRICT: Session, Mode.HOST: Session}, [Mode.STRICT, Mode.HOST]),
        ("host-cpu/contraction-load", True, {Mode.STRICT: Session}, [Mode.STRICT]),
        (
            "host-cpu/contraction-load",
            False,
            {Mode.STRICT: refused, Mode.SHARED: Session, Mode.HOST: Session},
            [*both, Mode.HOST],
        ),
    ]
    for probe, on_cpu, sessions, compiled in table:
        device = desk(sessions, both)
        asked = msgspec.structs.replace(place(probe, on_host_cpu=on_cpu), workload=probes_workload())
        observation = placement.measure(asked, device)
        assert device.compiled == compiled, probe
        if probe.startswith("host-cpu"):
            assert [len(one.inferences) for one in observation.sessions] == [4] * len(observation.sessions)


def test_sessions_are_created_and_destroyed_five_times(desk: Any) -> None:
    from conformance.adapters.runtime.port import RuntimeFault, RuntimeSession

    class Session(RuntimeSession):
        def _infer(self, feeds: Any, place: Any) -> Any:
            return [("y", Y)]

    device = desk({Mode.STRICT: RuntimeFault("compile", "E", "no"), Mode.SHARED: Session}, (Mode.STRICT, Mode.SHARED))
    asked = msgspec.structs.replace(case("session", probe="create-run-destroy"), workload=probes_workload())
    observation = session_check.measure(asked, device)
    assert [one.mode for one in observation.sessions] == ["shared"] * 5

    alone = session_check.measure(case("session", probe="identity"), device)
    assert (alone.identity, alone.sessions) == (device.identity, [])
    contract = msgspec.structs.replace(case("session", probe="output-contract"), workload=probes_workload())
    assert [one.mode for one in session_check.measure(contract, device).sessions] == ["strict", "shared"]


# -- all of them ------------------------------------------------------------------------------------------------------


def test_the_checks_are_found_and_have_their_three_functions() -> None:
    assert check_names() == sorted(CHECK_PARAMETERS)
    for name in check_names():
        assert callable(check_module(name).judge)


def test_judging_changes_nothing_and_gives_the_same_again(session: Any, see: Any) -> None:
    seen = see(session([("y", Y)], witnesses=ON_DUT))
    before = copy.deepcopy(seen)
    first = operators.judge(OPERATOR, seen, LIMITS)

    assert operators.judge(OPERATOR, seen, LIMITS) == first
    assert seen.observation == before.observation
    assert msgspec.json.decode(msgspec.json.encode(first), type=type(first)) == first
