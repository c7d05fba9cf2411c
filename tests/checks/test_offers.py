"""What a runtime offers beside plain runs: what is asked of whom, and how it is judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from conformance.adapters.runtime.port import Feature, Mode, PlaceOutput, RuntimeSession, Setting
from conformance.checks import offers
from conformance.checks.support.offering import COLD
from conformance.checks.support.port import Requested, Target
from conformance.checks.support.using import FIRST
from conformance.observation import InferenceSeen, SessionSeen
from conformance.records import UNAVAILABLE, Basis, DeviceFault, Judgement, Outcome, TensorInfo
from conformance.reference import probes
from conformance.tensors import Value


class Plain(RuntimeSession):
    """Computes relu(a·b), and offers nothing beside."""

    def _infer(self, feeds: dict[str, Value], place: PlaceOutput | None) -> list[tuple[str, Value]]:
        left, right = feeds["a"], feeds.get("b", np.zeros((16, 8), np.float32))
        return [("y", np.maximum(left @ right, np.float32(0)))]  # type: ignore[operator]


REFUSED = InferenceSeen(fault=DeviceFault(phase="run", kind="InvalidArgument", message="Got 5, expected 3"))


class Context:
    """What the plan looks at."""

    def __init__(self, *features: Feature, has_float: bool = True) -> None:
        self._has_float = has_float
        self.target = Target(
            provider="P", on_host_cpu=True, is_host_cpu_allowed=True, takes_zero_size=False, hardware="", driver="",
            binding={}, features=frozenset(map(str, features)),
        )  # fmt: skip

    def claims_type(self, name: str) -> bool:
        return self._has_float

    def probe_opset(self) -> int:
        return 13

    def why_unclaimed(self, operators: Sequence[str]) -> str:
        return ""


def plan(*features: Feature, has_float: bool = True) -> dict[str, Any]:
    requested = Requested("SES-003", "MUST", {}, "always")
    planned = offers.plan(requested, Context(*features, has_float=has_float))  # type: ignore[arg-type]
    return {one.case.params["offer"]: one for one in planned}


def test_what_the_adapter_offers_is_claimed_and_the_rest_is_not() -> None:
    planned = plan(Feature.BINDING, Feature.OPTIONS)

    claimed = {name for name, one in planned.items() if one.case.basis is Basis.DECLARED}
    assert claimed == {"other-weights", "binding", "options"}, "other weights are asked of everybody"
    assert planned["cache-folder"].case.unsupported == ("the adapter does not say that its runtime offers cache folder")
    assert {one.case.unsupported for one in plan(*Feature).values()} == {""}
    assert {one.case.unsupported for one in plan(*Feature, has_float=False).values()} == {
        "profile does not declare float32, which the probes use"
    }


def test_only_the_weights_differ_between_the_two_models() -> None:
    case = plan()["other-weights"].case
    one, (other,) = case.workload.model.data, case.params["models"]
    assert len(one) == len(other)
    assert sum(a != b for a, b in zip(one, other, strict=True)) <= 512
    first, second, third = plan()["other-weights"].expected()
    assert np.array_equal(first[0], third[0])
    assert not np.array_equal(first[0], second[0])


def test_what_the_adapter_cannot_do_is_no_word_about_the_device(desk: Any) -> None:
    for name in ("binding", "options", "fixed-dimension", "compiled-model", "cache-folder"):
        planned = plan(*Feature)[name]
        device = desk({Mode.STRICT: Plain})
        seen = offers.measure(planned.case, device)
        fault = seen.sessions[-1].fault or seen.sessions[-1].inferences[-1].fault
        assert fault is not None
        assert fault.kind == UNAVAILABLE, name


def judge(name: str, see: Any, *sessions: Any, expected: Any = None, **facts: Any) -> Judgement:
    planned = plan(*Feature)[name]
    return offers.judge(planned.case, see(*sessions, facts=facts), expected or planned.expected())


def answers(name: str) -> list[list[tuple[str, Any]]]:
    return [[("y", one)] for (one,) in plan(*Feature)[name].expected()]


def test_a_device_that_takes_no_model_fails(desk: Any) -> None:
    planned = plan(*Feature)["binding"]
    seen = offers.measure(planned.case, desk({Mode.STRICT: RuntimeError("no kernel")}))
    assert seen.sessions[-1].fault is not None


@pytest.mark.parametrize(
    ("settings", "outcome", "reason"),
    [
        ([Setting("a", "1", "1")], Outcome.PASS, ""),
        ([Setting("a", "True", "1"), Setting("b", "FP32", "fp32"), Setting("c", "1", "1.0")], Outcome.PASS, ""),
        ([Setting("a", "1", "1"), Setting("b", "x", None)], Outcome.PASS, ""),
        ([Setting("a", "1", "2")], Outcome.FAIL, "a is set to '1', and the runtime says '2'"),
        ([Setting("a", "1", "")], Outcome.FAIL, "a is set to '1', and the runtime's own list does not have it"),
        ([Setting("a", "1", None)], Outcome.UNMEASURED, "unverified, the runtime does not report it: a"),
        ([], Outcome.UNMEASURED, "the runtime reports no option"),
    ],
)
def test_options_differ_are_the_same_or_are_unverified(
    see: Any, session: Any, settings: list[Setting], outcome: Outcome, reason: str
) -> None:
    told = [list(one) for one in settings]
    judged = judge("options", see, session(*answers("options")), settings=told)

    assert (judged.outcome, judged.reason) == (outcome, reason)
    if len(settings) > 1 and settings[-1].actual is None:
        assert judged.context == "unverified, the runtime does not report it: b"
        assert [(one.name, one.value) for one in judged.measurements[1:]] == [("a", "1"), ("b", "unverified")]


def fixed(session: Any, *, refuse: tuple[int, ...] = (1, 2), declared: int | str | None = 3, wrong: int = -1) -> Any:
    right = answers("fixed-dimension")
    right[wrong] = [("y", right[wrong][0][1] + 1)] if wrong >= 0 else right[wrong]
    seen, values = session(*right, inputs=(TensorInfo(name="a", type="tensor(float32)", shape=(declared, 16)),))
    inferences = [REFUSED if at in refuse else one for at, one in enumerate(seen.inferences)]
    values = [[] if at in refuse else one for at, one in enumerate(values)]
    return SessionSeen(mode="strict", inputs=seen.inputs, inferences=inferences), values


@pytest.mark.parametrize(
    ("given", "outcome", "reason"),
    [
        ({}, Outcome.PASS, ""),
        ({"refuse": ()}, Outcome.PASS, ""),
        ({"refuse": (), "wrong": 1}, Outcome.FAIL, "y[0,0] = "),
        ({"refuse": (0,)}, Outcome.FAIL, "rejected at run: InvalidArgument"),
        ({"refuse": (1, 2, 3)}, Outcome.FAIL, "rejected at run: InvalidArgument"),
        ({"declared": "n"}, Outcome.FAIL, "the dimension was fixed as 3, and the session declares a ['n', 16]"),
    ],
)
def test_another_size_is_refused_or_right_and_never_wrong(
    see: Any, session: Any, given: dict[str, Any], outcome: Outcome, reason: str
) -> None:
    judged = judge("fixed-dimension", see, fixed(session, **given))

    assert (judged.outcome, judged.reason.startswith(reason)) == (outcome, True), judged


def test_what_was_not_run_is_an_error(see: Any, session: Any) -> None:
    assert judge("fixed-dimension", see, session(answers("fixed-dimension")[0])).outcome is Outcome.ERROR
    assert judge("other-weights", see, session(answers("other-weights")[0])).outcome is Outcome.ERROR
    fault = DeviceFault(phase="compile", kind="Fail", message="no")
    assert judge("fixed-dimension", see, session(fault=fault)).reason == "rejected at compile: Fail: no"
    assert judge("compiled-model", see, session(fault=fault)).reason == "rejected at compile: Fail: no"


def test_facts_are_told(see: Any, session: Any) -> None:
    one, other = answers("compiled-model")
    judged = judge("compiled-model", see, session(one), session(other), **{"compiled bytes": 9})

    assert (judged.outcome, judged.measurements[-1].name) == (Outcome.PASS, "compiled bytes")


def test_a_cache_folder_in_which_nothing_is_kept_shows_nothing(see: Any, session: Any) -> None:
    runs = [session(one) for one in answers("cache-folder")]
    judged = judge("cache-folder", see, *runs, **{COLD: 0, "files in the cache folder": 3})
    assert judged.outcome is Outcome.UNMEASURED
    assert judged.reason.startswith("the option had no effect that can be seen: ")
    assert judge("cache-folder", see, *runs, **{COLD: 1}).outcome is Outcome.PASS
    wrong = [*runs[:3], session(answers("cache-folder")[2])]
    assert judge("cache-folder", see, *wrong, **{COLD: 0}).outcome is Outcome.FAIL, "a wrong answer is one all the same"


def test_the_first_run_of_all_is_judged_too(see: Any, session: Any, desk: Any) -> None:
    one, other, _ = answers("other-weights")
    rest = [session(one), session(other), session(one)]
    assert judge("other-weights", see, session(one), *rest, **{FIRST: True}).outcome is Outcome.PASS
    assert judge("other-weights", see, session(other), *rest, **{FIRST: True}).outcome is Outcome.FAIL
    judged = judge("other-weights", see, session(one, changed=["a"]), *rest, **{FIRST: True})
    assert judged.reason == "the device changed its inputs: a"
    seen = offers.measure(plan()["other-weights"].case, desk({Mode.STRICT: Plain}))
    assert (len(seen.sessions), seen.facts) == (4, {FIRST: True})


def test_an_answer_of_nobody_is_plainly_wrong(see: Any, session: Any) -> None:
    one, other, _ = answers("other-weights")
    wrong = [("y", one[0][1] + 100)]
    judged = judge("other-weights", see, session(one), session(wrong), session(one))
    assert judged.reason.startswith("y[0,0] = ")
    judged = judge("other-weights", see, session(one), session(one), session(one))
    assert judged.reason.startswith("the answer is that of another model or run: y[")
    assert probes.matmul_weights(171, offers.SECOND)[1][0].tolist() == other[0][1].tolist()
