"""The check of reference models: a device that is right passes each kind of case, and for each there are devices that must fail.

The device is onnxruntime in this process, told to misbehave.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import ml_dtypes
import msgspec
import numpy as np
import onnxruntime
import pytest

from conformance.adapters.runtime.port import Mode, PlaceOutput, RuntimeFault, RuntimeSession
from conformance.checks import models
from conformance.checks.support.port import Planned, Requested, Target
from conformance.observation import Observation, Seen
from conformance.plan import Context as RealContext
from conformance.prepare import prepare, target_of
from conformance.profile.declares import Exclusion
from conformance.profile.terms import parse_term
from conformance.records import Basis, Judgement, Outcome, Witness
from conformance.reference.feeds import past_of
from conformance.tensors import Value, from_ref
from conformance.workload import Workload

ON_DEVICE = (Witness(source="assignment", nodes={"CPUExecutionProvider": 9}),)


def _context(profile: str = "reference-cpu") -> RealContext:
    loaded, _ = prepare(profile)
    return RealContext(loaded, target_of(loaded), lambda: None)


@pytest.fixture(scope="module")
def planned() -> dict[str, Planned]:
    """Every case that the reference device has, by id."""
    requested = Requested("NUM-001", "MUST", {"set": "all"}, "asked")
    return {one.case.id: one for one in models.plan(requested, _context())}


class Honest(RuntimeSession):
    """onnxruntime, in one thread; `change` is where others misbehave."""

    def __init__(self, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._names = [one.name for one in self._session.get_outputs()]
        self.runs = 0

    def _infer(self, feeds: dict[str, Value], place: PlaceOutput | None) -> list[tuple[str, Value]]:
        self.runs += 1
        results = self._session.run(self._names, self.before(feeds))
        return self.change(list(zip(self._names, results, strict=True)))

    def before(self, feeds: dict[str, Any]) -> dict[str, Any]:
        return feeds

    def change(self, outputs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        return outputs

    def _witnesses(self) -> tuple[Witness, ...]:
        return ON_DEVICE


class InBfloat16(Honest):
    def change(self, outputs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        return [(name, value.astype(ml_dtypes.bfloat16).astype(value.dtype)) for name, value in outputs]


class InTf32(Honest):
    def change(self, outputs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        return [(n, (v.view(np.int32) & ~np.int32(0x1FFF)).view(np.float32)) for n, v in outputs]


class OneSampleWrong(Honest):
    def change(self, outputs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        outputs[0][1][-1] *= -1
        return outputs


class Widened(Honest):
    def change(self, outputs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        return [(name, value.astype(np.float64)) for name, value in outputs]


class OneTooMany(Honest):
    def change(self, outputs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        return [*outputs, ("extra", outputs[0][1])]


class Swapped(Honest):
    def change(self, outputs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        return outputs[::-1]


class NotANumber(Honest):
    def change(self, outputs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        outputs[0][1].reshape(-1)[3] = np.nan
        return outputs


class Scribbling(Honest):
    def before(self, feeds: dict[str, Any]) -> dict[str, Any]:
        copies = {name: value.copy() for name, value in feeds.items()}
        next(iter(feeds.values())).reshape(-1)[0] += 1
        return copies


class Refusing(Honest):
    def before(self, feeds: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeFault("run", "NoMemory", "no memory left")


class StaleCache(Honest):
    """Answers each later request from the cache of the second one, cut or grown to fit."""

    def before(self, feeds: dict[str, Any]) -> dict[str, Any]:
        past = {name: value for name, value in feeds.items() if name.startswith("past_")}
        if self.runs == 2:
            self.kept = {name: value.copy() for name, value in past.items()}
        if self.runs <= 2:
            return feeds
        stale = {name: value.copy() for name, value in past.items()}
        for name, value in self.kept.items():
            stale[name][:, :, : value.shape[2]] = value
            stale[name][:, :, value.shape[2] :] = value[:, :, -1:]
        return feeds | stale


class SharedCache(Honest):
    """Keeps the newest cache for everybody: the session beside it gets that one."""

    newest: ClassVar[dict[str, Any]] = {}

    def before(self, feeds: dict[str, Any]) -> dict[str, Any]:
        shared = {
            name: value for name, value in self.newest.items() if name in feeds and value.shape == feeds[name].shape
        }
        type(self).newest = {name: value.copy() for name, value in feeds.items() if name.startswith("past_")}
        return feeds | shared


class NoCachesLater(Honest):
    """Keeps its state to itself: after the first request no cache comes out, and none that goes in is looked at."""

    def before(self, feeds: dict[str, Any]) -> dict[str, Any]:
        self.kept = feeds if self.runs == 1 else feeds | self.state
        return self.kept

    def change(self, outputs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        self.state = {past_of(name): value for name, value in outputs if name.startswith("present.")}
        return outputs if self.runs == 1 else outputs[:1]


class IgnoresCaches(NoCachesLater):
    """The same, but caches come out all the time."""

    def change(self, outputs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        super().change(outputs)
        return outputs


class WrongInTheMiddle(Honest):
    """Hands out wrong caches in the middle, and computes on with the right ones that it kept."""

    def before(self, feeds: dict[str, Any]) -> dict[str, Any]:
        return feeds if self.runs == 1 or self.runs > 13 else feeds | self.state

    def change(self, outputs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        self.state = {past_of(name): value for name, value in outputs if name.startswith("present.")}
        if not 1 < self.runs < 13:
            return outputs
        return [(name, np.full_like(value, 7) if name.startswith("present.") else value) for name, value in outputs]


class ScribblingOnCaches(Honest):
    def before(self, feeds: dict[str, Any]) -> dict[str, Any]:
        copies = {name: value.copy() for name, value in feeds.items()}
        if self.runs > 1:
            next(value for name, value in feeds.items() if name.startswith("past_"))[:] = 0
        return copies


class InIntegers(Honest):
    def change(self, outputs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        return [(name, np.round(value * 8).astype(np.int8)) for name, value in outputs]


class PositionsOff(Honest):
    def before(self, feeds: dict[str, Any]) -> dict[str, Any]:
        return {name: value + 1 if name == "position_ids" else value for name, value in feeds.items()}


class MaskIgnored(Honest):
    def before(self, feeds: dict[str, Any]) -> dict[str, Any]:
        return {name: np.ones_like(value) if name == "attention_mask" else value for name, value in feeds.items()}


def _judge(desk: Any, one: Planned, device: Callable[[bytes], RuntimeSession], **given: Any) -> Judgement:
    case = one.filled()
    workload: Workload = case.workload  # type: ignore[assignment]
    desk_ = desk({Mode.STRICT: lambda: device(workload.model.data or b"")}, **given)
    observation = models.measure(case, desk_)
    observation = msgspec.msgpack.decode(msgspec.msgpack.encode(observation), type=Observation)
    values = [
        [[(out.name, from_ref(out.value)) for out in run.outputs] for run in session.inferences]
        for session in observation.sessions
    ]
    return models.judge(one.case, Seen(observation, values), one.expected())  # type: ignore[misc]


RIGHT = [
    "models/encoder/float32/agreement",
    "models/encoder/float32-opset17/agreement",
    "models/encoder/float16/agreement",
    "models/decoder/float32/prefill",
    "models/decoder/float32/decode",
    "models/decoder/float32/two-sequences",
    "models/decoder/float32-opset24/decode",
    "models/decoder/int4/decode",
    "models/decoder/int4-contrib/decode",
    "models/cnn-shapes/float32/accuracy",
    "models/cnn-shapes/float32/agreement",
]


@pytest.mark.parametrize("case", RIGHT)
def test_a_device_that_is_right_passes(case: str, planned: dict[str, Planned], desk: Any) -> None:
    judged = _judge(desk, planned[case], Honest)

    assert judged.outcome is Outcome.PASS, judged.reason
    assert all(one.margin is None or one.margin < 1 for one in judged.measurements)


WRONG: list[tuple[str, type[Honest], str]] = [
    ("models/encoder/float32/agreement", InBfloat16, "(Monte Carlo arithmetic: |r| = "),
    ("models/encoder/float32/agreement", InTf32, "Monte Carlo arithmetic"),
    ("models/encoder/float32/agreement", OneSampleWrong, "last_hidden_state[7,"),
    ("models/encoder/float32/agreement", Widened, "type float64, want float32"),
    ("models/encoder/float32/agreement", OneTooMany, "not those of the model"),
    ("models/encoder/float32/agreement", Swapped, "not those of the model"),
    ("models/encoder/float32/agreement", NotANumber, "= nan, want "),
    ("models/encoder/float32/agreement", Scribbling, "changed its inputs"),
    ("models/encoder/float32/agreement", Refusing, "rejected at run: NoMemory"),
    ("models/encoder/float32/agreement", MaskIgnored, "Monte Carlo arithmetic"),
    ("models/decoder/float32/prefill", PositionsOff, "Monte Carlo arithmetic"),
    ("models/decoder/float32/decode", StaleCache, "Monte Carlo arithmetic"),
    ("models/decoder/float32/decode", OneTooMany, "not those of the model"),
    ("models/decoder/float32/decode", Refusing, "rejected at run: NoMemory"),
    ("models/decoder/float32/decode", Scribbling, "changed its inputs"),
    ("models/decoder/float32/decode", NoCachesLater, "not those of the model"),
    ("models/decoder/float32/two-sequences", NoCachesLater, "not those of the model"),
    ("models/decoder/float32/decode", IgnoresCaches, "inference 13: "),
    ("models/decoder/float32/two-sequences", IgnoresCaches, "inference 13: shape [1, 2, 29, 32], want [1, 2, 17, 32]"),
    ("models/decoder/float32/decode", WrongInTheMiddle, "= 7, want "),
    ("models/decoder/float32/decode", ScribblingOnCaches, "changed its inputs: past_key_values.0.key"),
    ("models/cnn-shapes/float32/accuracy", InIntegers, "type int8, want float32"),
    ("models/cnn-shapes/int8-qdq/accuracy", InIntegers, "type int8, want float32"),
    ("models/decoder/float32/two-sequences", SharedCache, "Monte Carlo arithmetic"),
    ("models/cnn-shapes/float32/accuracy", OneTooMany, "not those of the model"),
    ("models/cnn-shapes/float32/accuracy", Refusing, "rejected at run: NoMemory"),
]


@pytest.mark.parametrize(
    ("case", "device", "told"), WRONG, ids=[f"{c.split('/', 1)[1]}-{d.__name__}" for c, d, _ in WRONG]
)
def test_a_device_that_is_wrong_fails(
    case: str, device: type[Honest], told: str, planned: dict[str, Planned], desk: Any
) -> None:
    judged = _judge(desk, planned[case], device)

    assert judged.outcome is Outcome.FAIL
    assert told in judged.reason


@pytest.mark.parametrize(
    ("every", "outcome", "told"),
    [
        (2, Outcome.FAIL, "that the reference gets right are wrong"),
        (100, Outcome.INCONCLUSIVE, "between them"),
        (600, Outcome.PASS, ""),
    ],
)
def test_the_share_that_is_lost_decides(
    every: int, outcome: Outcome, told: str, planned: dict[str, Planned], desk: Any
) -> None:
    """One sample in `every` gets the answer of another class."""

    class Losing(Honest):
        def change(self, outputs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
            for at in range(len(outputs[0][1])):
                if (self.runs * 64 + at) % every == 0:
                    outputs[0][1][at] *= -1
            return outputs

    judged = _judge(desk, planned["models/cnn-shapes/float32/accuracy"], Losing)

    assert judged.outcome is outcome, judged.reason
    assert told in judged.reason


def test_what_ran_elsewhere_does_not_pass(planned: dict[str, Planned], desk: Any) -> None:
    class Elsewhere(Honest):
        def _witnesses(self) -> tuple[Witness, ...]:
            return (Witness(source="assignment", nodes={"Other": 9}),)

    class Silent(Honest):
        def _witnesses(self) -> tuple[Witness, ...]:
            return ()

    number = iter(range(9))

    def first_elsewhere(model: bytes) -> RuntimeSession:
        return Elsewhere(model) if next(number) == 0 else Honest(model)

    case = planned["models/encoder/float32/agreement"]
    assert _judge(desk, case, Elsewhere).outcome is Outcome.FAIL
    assert _judge(desk, planned["models/decoder/float32/two-sequences"], first_elsewhere).outcome is Outcome.FAIL
    assert _judge(desk, case, Silent).outcome is Outcome.UNMEASURED
    assert _judge(desk, case, Silent, witness=False).context == "placement not shown"


def test_a_refusal_to_compile_is_told(planned: dict[str, Planned], desk: Any) -> None:
    def refuse(model: bytes) -> RuntimeSession:
        raise RuntimeFault("compile", "Unsupported", "no such operator")

    for case in ("models/encoder/float32/agreement", "models/decoder/float32/decode"):
        judged = _judge(desk, planned[case], refuse)
        assert (judged.outcome, judged.reason) == (Outcome.FAIL, "rejected at compile: Unsupported: no such operator")


def test_a_category_has_its_own_models_and_requires_them_in_float32() -> None:
    requested = Requested("NUM-001", "MUST", {"set": "accelerator-card"}, "asked")
    cases = {one.case.id: one.case for one in models.plan(requested, _context("cuda"))}

    assert cases["models/encoder/float32/agreement"].basis is Basis.REQUIRED
    assert cases["models/encoder/float32/agreement"].params["precision"]["accumulate"] == "float32"
    assert {case.split("/")[1] for case in cases} == {"cnn-shapes", "decoder", "encoder", "mobile-cnn"}


def test_what_is_not_declared_is_unsupported_with_the_reason(planned: dict[str, Planned]) -> None:
    case = planned["models/decoder/bfloat16/decode"].case

    assert case.basis is Basis.UNCLAIMED
    assert "bfloat16" in case.unsupported
    static = RealContext(prepare("reference-cpu")[0], Target("P", True, True, False, "", "", {}), lambda: None)
    requested = Requested("NUM-001", "MUST", {"set": "all"}, "asked")
    unclaimed = {one.case.id: one.case.unsupported for one in models.plan(requested, static)}
    assert "shapes.dynamic" in unclaimed["models/decoder/float32/decode"]


def test_a_device_without_dynamic_shapes_is_not_asked_to_decode_whatever_else_it_leaves_out() -> None:
    loaded, _ = prepare("cuda")
    operators = loaded.profile.declares.operators
    assert operators is not None
    narrower = operators.model_copy(update={"exclude": (Exclusion(term=parse_term("Gather")),)})
    declares = loaded.profile.declares.model_copy(update={"operators": narrower})
    less = replace(loaded, profile=loaded.profile.model_copy(update={"declares": declares}))
    requested = Requested("NUM-002", "MUST", {"set": "accelerator-card"}, "asked")

    cases = {one.case.id: one.case for one in models.plan(requested, RealContext(less, target_of(less), lambda: None))}

    assert cases["models/decoder/float32/decode"].basis is Basis.UNCLAIMED
    assert cases["models/encoder/float32/agreement"].basis is Basis.REQUIRED


def test_each_request_has_the_whole_deadline(planned: dict[str, Planned], desk: Any) -> None:
    case = planned["models/decoder/float32/decode"].filled()
    device = desk({Mode.STRICT: lambda: Honest(case.workload.model.data)})  # type: ignore[union-attr]
    models.measure(case, device)

    assert device.entered.count("run") >= 14
