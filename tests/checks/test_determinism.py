"""The check of determinism: each class is passed by a device that has it, and misses one that does not, at the class meant for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from conformance.adapters.runtime import misbehaving
from conformance.adapters.runtime.port import RuntimeFault, RuntimeSession
from conformance.checks import determinism
from conformance.checks.support.port import Planned, Requested
from conformance.observation import Observation, Seen
from conformance.plan import Context
from conformance.prepare import prepare, target_of
from conformance.profile.vocabulary import DETERMINISM
from conformance.records import Basis, Judgement, Outcome
from conformance.tensors import from_ref

CLASSES = list(DETERMINISM[1:])
MODEL = "determinism/encoder/float32"
PROBE = "determinism/long-product/float32"


def context(declared: str | None = None, *, dynamic: bool = True, challenge: str = "") -> Context:
    """The context of reference-cpu with another declaration of determinism, or with none."""
    loaded, _ = prepare("reference-cpu")
    declares = loaded.profile.declares.model_copy(update={"determinism": None})
    loaded = replace(loaded, profile=loaded.profile.model_copy(update={"declares": declares}))
    made = Context(loaded, target_of(loaded)._replace(takes_dynamic_shapes=dynamic), lambda: None, challenge)
    if declared is not None:
        made.determinism = declared
    return made


def plan(declared: str | None = None, params: dict[str, Any] | None = None, **given: Any) -> dict[str, Planned]:
    asked = Requested("DET-001", "MUST", params or {}, "asked")
    return {one.case.id: one for one in determinism.plan(asked, context(declared, **given))}


@pytest.fixture(scope="module")
def planned() -> dict[str, Planned]:
    return plan("batch-invariant")


def run(device: Any, planned: Planned) -> tuple[Judgement, Observation]:
    """Measure as the child does, and judge as the parent does."""
    case = planned.filled()
    sent = msgspec.msgpack.encode(determinism.measure(case, device))
    observation = msgspec.msgpack.decode(sent, type=Observation)
    values = [
        [[(one.name, from_ref(one.value)) for one in inference.outputs] for inference in session.inferences]
        for session in observation.sessions
    ]
    assert planned.expected is not None
    return determinism.judge(case, Seen(observation, values), planned.expected()), observation


# -- what is planned --------------------------------------------------------------------------------------------------


def test_the_classes_are_those_of_the_vocabulary_weakest_first() -> None:
    assert list(determinism.CLASSES) == CLASSES


def test_cases_reach_up_to_the_declared_class() -> None:
    for at, declared in enumerate(CLASSES):
        found = {name.rsplit("/", 1)[1] for name in plan(declared)}
        assert found == set(CLASSES[: at + 1])


def test_where_nothing_is_declared_the_bound_alone_is_asked() -> None:
    found = plan()
    assert {name.rsplit("/", 1)[1] for name in found} == {"bounded"}
    assert MODEL + "/bounded" in found
    assert not any("long-product" in name for name in found)


def test_a_device_that_declares_none_has_nothing_to_pass() -> None:
    found = plan("none")
    assert found
    assert {one.case.basis for one in found.values()} == {Basis.UNCLAIMED}
    assert {one.case.unsupported for one in found.values()} == {"profile declares determinism: none"}


def test_only_the_models_of_the_category_are_run() -> None:
    names = {name.split("/")[1] for name in plan("bitwise-run", {"set": "intelligent-sensor"})}
    assert "keyword-spotting" in names
    assert "encoder" not in names
    assert "long-product" in names


def test_batches_are_asked_of_what_has_rows(planned: dict[str, Planned]) -> None:
    with_batches = {name.rsplit("/", 1)[0] for name in planned if name.endswith("batch-invariant")}
    assert {MODEL, PROBE} <= with_batches
    assert not any("decoder" in name or "scatter-add" in name for name in with_batches)


def test_a_device_without_dynamic_shapes_gets_a_model_for_each_batch() -> None:
    found = plan("batch-invariant", dynamic=False)
    assert not any("decoder" in name for name in found)
    case = found[PROBE + "/batch-invariant"].filled()
    assert case.workload is not None
    sizes = {size for size, _ in determinism.BATCHES}
    assert set(case.workload.further) == {"exposed", *map(str, sizes), *(f"exposed {size}" for size in sizes)}


# -- devices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", [MODEL, PROBE, "determinism/scatter-add/float32"])
def test_a_device_that_behaves_passes_every_class(
    subject: str, planned: dict[str, Planned], misbehave: Callable[..., Any]
) -> None:
    device = misbehave("none", session_options={"intra_op_num_threads": 1})
    quick = [name for name in planned if name.startswith(subject) and not name.endswith("bitwise-process")]
    cases = [planned[name] for name in (*quick, *([f"{PROBE}/bitwise-process"] if subject == PROBE else []))]
    assert len(cases) >= 2
    for one in cases:
        judged, _ = run(device, one)
        assert (one.case.id, judged.outcome, judged.reason) == (one.case.id, Outcome.PASS, "")


@pytest.mark.parametrize(
    ("behaviour", "caught", "words"),
    [
        ("noisy-bits", "bitwise-run", "in run 3 of 10"),
        ("session-seeded", "bitwise-session", "in session 2 of 4"),
        ("process-seeded", "bitwise-process", "in fresh process 1 of 2"),
        ("batch-variant", "batch-invariant", "the row in place 0 of a batch of 2, beside the row alone"),
    ],
)
def test_each_way_of_varying_is_caught_by_the_class_meant_for_it(
    behaviour: str, caught: str, words: str, planned: dict[str, Planned], misbehave: Callable[..., Any]
) -> None:
    device = misbehave(behaviour, session_options={"intra_op_num_threads": 1})
    weaker = [name for name in CLASSES[: CLASSES.index(caught)] if name != "bitwise-process"]  # which takes a second
    for name in (*weaker, caught):
        judged, _ = run(device, planned[f"{MODEL}/{name}"])
        assert (name, judged.outcome) == (name, Outcome.FAIL if name == caught else Outcome.PASS), judged.reason
    assert judged.reason.endswith(f": not {caught}")
    assert "last_hidden_state[" in judged.reason
    assert words in judged.context
    assert "differ by up to 1 ULP" in judged.context
    assert "the first node that differs, with inner results exposed: Gather" in judged.context


def test_fixed_batches_are_compared_over_sessions(misbehave: Callable[..., Any]) -> None:
    one = plan("batch-invariant", dynamic=False)[f"{PROBE}/batch-invariant"]
    judged, seen = run(misbehave("none", session_options={"intra_op_num_threads": 1}), one)
    assert judged.outcome is Outcome.PASS
    assert len(seen.sessions) == len(determinism.BATCHES)
    judged, _ = run(misbehave("batch-variant", session_options={"intra_op_num_threads": 1}), one)
    assert judged.outcome is Outcome.FAIL
    assert "MatMul 'matmul_y'" in judged.context


def test_what_varies_within_the_bound_is_bounded_and_told(
    planned: dict[str, Planned], misbehave: Callable[..., Any]
) -> None:
    judged, _ = run(misbehave("noisy-bits"), planned[f"{MODEL}/bounded"])
    assert judged.outcome is Outcome.PASS
    told = {one.name: one.value for one in judged.measurements}
    assert told["differing_runs"] == 4


def test_what_varies_beyond_the_bound_is_not_bounded(
    planned: dict[str, Planned], misbehave: Callable[..., Any]
) -> None:
    judged, _ = run(misbehave("second-run-wrong"), planned[f"{MODEL}/bounded"])
    assert judged.outcome is Outcome.FAIL
    assert "inference 1" in judged.reason


def test_what_is_refused_fails_with_the_refusal(planned: dict[str, Planned], misbehave: Callable[..., Any]) -> None:
    judged, _ = run(misbehave("raise"), planned[f"{PROBE}/bitwise-run"])
    assert judged.outcome is Outcome.FAIL
    assert "the device refuses" in judged.reason


def test_an_input_that_is_changed_is_told(planned: dict[str, Planned], misbehave: Callable[..., Any]) -> None:
    judged, _ = run(misbehave("mutate-inputs"), planned[f"{PROBE}/bitwise-run"])
    assert judged.reason == "the device changed its inputs: x"


def test_the_same_bits_computed_elsewhere_are_no_pass(
    planned: dict[str, Planned], misbehave: Callable[..., Any]
) -> None:
    judged, _ = run(misbehave("elsewhere"), planned[f"{PROBE}/bitwise-run"])
    assert judged.outcome is Outcome.FAIL
    assert "SomewhereElse" in judged.reason


def test_a_device_that_is_lost_to_a_fresh_process_is_told(
    planned: dict[str, Planned], misbehave: Callable[..., Any]
) -> None:
    judged, _ = run(misbehave("reopen-lost"), planned[f"{PROBE}/bitwise-process"])
    assert judged.outcome is Outcome.FAIL
    assert "offers no device any more" in judged.reason


def test_runs_that_are_missing_are_an_error(planned: dict[str, Planned], misbehave: Callable[..., Any]) -> None:
    one = planned[f"{PROBE}/bitwise-session"]
    case = one.filled()
    observation = determinism.measure(case, misbehave("none"))
    cut = msgspec.structs.replace(observation, sessions=observation.sessions[:-1])
    values = [[[(o.name, from_ref(o.value)) for o in i.outputs] for i in s.inferences] for s in cut.sessions]
    judged = determinism.judge(case, Seen(cut, values), [])
    assert (judged.outcome, judged.reason) == (Outcome.ERROR, "6 runs were made, 8 are expected")


# -- where it begins --------------------------------------------------------------------------------------------------


class NoisySoftmax(RuntimeSession):
    """onnxruntime, of which the softmax and all that comes after it change in every second run."""

    def __init__(self, inner: RuntimeSession) -> None:
        self._inner, self._runs = inner, 0
        self.inputs, self.outputs = inner.inputs, inner.outputs

    def _infer(self, feeds: dict[str, Any], place: Any) -> list[tuple[str, Any]]:
        self._runs += 1
        results: list[tuple[str, Any]] = self._inner.infer(feeds, place)
        later = {"weights", "weighted", "expectation"}
        return [
            (name, np.nextafter(v, np.float32(9)) if name in later and self._runs % 2 else v) for name, v in results
        ]


class NoisyDevice(misbehaving.Adapter):
    """`refuses` makes it refuse every model but the first: then nothing can be exposed."""

    refuses = False
    made = 0

    def _compile_with(self, *given: Any) -> RuntimeSession:
        self.made += 1
        if self.refuses and self.made > 1:
            raise RuntimeFault("compile", "TooMany", "no more outputs than the model has")
        return NoisySoftmax(super()._compile_with(*given))

    def _compile(self, *given: Any) -> RuntimeSession:
        return self._compile_with(*given, {}, None)


@pytest.fixture
def noisy(tmp_path: Path, misbehave: Callable[..., Any]) -> Any:
    device = misbehave("none")
    device.adapter = NoisyDevice(NoisyDevice.read_options({}), tmp_path / "child")
    device.adapter.open()
    return device


def test_the_first_node_that_differs_is_named(planned: dict[str, Planned], noisy: Any) -> None:
    one = planned["determinism/reductions/float32/bitwise-run"]
    # an odd number of runs lies between those of the same inputs, so that every one differs from the first
    schedule = {"schedule": [[0, 0, 1, 1]], "loaded_from": None}
    case = msgspec.structs.replace(one.case, params=one.case.params | schedule)
    judged, _ = run(noisy, one._replace(case=case))
    assert judged.outcome is Outcome.FAIL
    assert judged.reason.startswith("expectation[0,0] = ")
    assert (
        "node that differs, with inner results exposed: Softmax 'softmax_weights' (result 'weights')" in judged.context
    )
    assert "8 of 8 elements differ by up to 1 ULP; in run 2 of 4; 2 of 2 runs differ" in judged.context


def test_a_device_that_exposes_nothing_says_why(planned: dict[str, Planned], noisy: Any) -> None:
    noisy.adapter.refuses = True
    one = planned["determinism/reductions/float32/bitwise-run"]
    case = msgspec.structs.replace(one.case, params=one.case.params | {"schedule": [[0, 0]], "loaded_from": None})
    judged, _ = run(noisy, one._replace(case=case))
    assert judged.outcome is Outcome.FAIL
    assert "exposed was refused: TooMany: no more outputs than the model has" in judged.context


def test_noise_that_is_gone_with_results_exposed_is_told_so(
    planned: dict[str, Planned], session: Callable[..., Any], see: Callable[..., Seen]
) -> None:
    one = planned[f"{PROBE}/bitwise-run"]
    case = msgspec.structs.replace(one.case, params=one.case.params | {"schedule": [[0, 0]], "loaded_from": None})
    runs = [[("y", np.full((8, 24), value, np.float32))] for value in (1, 2)]
    seen = see(session(*runs), facts={"differing results": []})
    judged = determinism.judge(case, seen, [[np.array(["y"]), np.array(["MatMul"])]])
    assert judged.context.endswith("the node was not found: with inner results exposed nothing differs")
    assert judged.reason == "y[0,0] = 2, was 1: not bitwise-run"


# -- challenges -------------------------------------------------------------------------------------------------------


def test_a_challenge_draws_other_inputs_under_the_same_ids() -> None:
    given = [plan("batch-invariant", challenge=text) for text in ("", "lot 7", "lot 7", "lot 8")]
    assert len({tuple(one) for one in given}) == 1
    for name in (f"{MODEL}/bitwise-run", f"{PROBE}/bitwise-run", f"{PROBE}/batch-invariant"):
        public, one, again, other = (found[name].filled().workload for found in given)
        assert one == again
        assert one is not None
        assert public is not None
        assert other is not None
        assert one.datasets != public.datasets
        assert one.datasets != other.datasets
        assert not any("lot" in found[name].case.id for found in given)
