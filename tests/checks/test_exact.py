"""The exact probes as a check: what is planned for whom, and that each kind of wrong device fails where a right one passes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import numpy as np
import pytest

from conformance.checks import exact as check
from conformance.checks.support.port import Planned, Requested
from conformance.numerics.formats import FORMATS, round_to
from conformance.numerics.modes import PrecisionMode, native
from conformance.observation import Observation, Seen, SessionSeen
from conformance.plan import Context
from conformance.prepare import prepare, target_of
from conformance.records import Basis, DeviceFault, Outcome, Witness
from conformance.reference.recipes import Needs
from conformance.tensors import from_ref

Mutate = Callable[[dict[str, Any], Any], Any]
WITNESS = (Witness(source="assignment", nodes={"CPUExecutionProvider": 1}),)


def _plan(scope: str, profile: str = "reference-cpu", **modes: PrecisionMode) -> dict[str, Planned]:
    loaded, _ = prepare(profile)
    context = Context(loaded, target_of(loaded), lambda: None)
    if modes:
        declared = context.precision_mode
        context.precision_mode = lambda kind: (  # type: ignore[method-assign]
            msgspec.to_builtins(modes[kind]) if kind in modes else declared(kind)
        )
    requested = Requested("NUM-004", "MUST", {"scope": scope}, "asked")
    return {one.case.id: one for one in check.plan(requested, context)}


@pytest.fixture(scope="module")
def planned() -> dict[str, Planned]:
    return _plan("declared") | _plan("advisory")


def _id(name: str) -> str:
    return f"exact/ai.onnx.{name}"


def _seen(planned: Planned, outputs: Iterable[Any], see: Any, session: Any, **given: Any) -> Seen:
    runs = [[(f"y{at}", value) for at, value in enumerate(one)] for one in outputs]
    return see(session(*runs, witnesses=WITNESS, **given))  # type: ignore[no-any-return]


def test_what_is_claimed_is_planned_and_what_is_excluded_is_not(planned: dict[str, Planned]) -> None:
    assert len(planned) > 3500
    assert _id("MatMul-13/float32/integers-k257") in planned
    assert not any(name.startswith(_id("ConvInteger-")) for name in planned)  # excluded in the profile, with a reason
    one = planned[_id("MatMul-13/float32/integers-k257")].case
    assert one.basis is Basis.DECLARED
    assert one.params["probe"] == "integers-k257"


def test_scopes_part_what_the_texts_say_from_what_they_do_not() -> None:
    declared, advisory = _plan("declared"), _plan("advisory")
    assert not declared.keys() & advisory.keys()
    assert _id("Max-13/float32/nan") in advisory
    assert _id("Add-14/int32/wraps-around") in advisory
    assert _id("Add-14/uint32/wraps-around") in declared
    assert all(one.case.params["advisory"] for one in advisory.values())
    assert not any(one.case.smoke for one in advisory.values())
    assert _plan("minimum") == {}  # the host reference demands nothing


def test_what_the_category_demands_is_asked_of_an_accelerator_whatever_it_claims() -> None:
    demanded = _plan("minimum", "cuda")
    assert len(demanded) > 300
    assert {one.case.basis for one in demanded.values()} == {Basis.REQUIRED}
    assert _id("MatMul-13/float32/integers-k1025") in demanded


def test_the_first_of_each_operator_and_type_runs_twice_and_one_per_operator_is_smoke(
    planned: dict[str, Planned],
) -> None:
    first, second = planned[_id("MatMul-13/float16/integers-k1")], planned[_id("MatMul-13/float16/integers-k2")]
    assert [len(one.filled().workload.datasets) for one in (first, second)] == [2, 1]  # type: ignore[union-attr]
    assert [len(one.expected()) for one in (first, second)] == [2, 1]  # type: ignore[misc]
    smoke = [name for name, one in planned.items() if one.case.smoke]
    assert len({name.split("/")[1].rpartition("-")[0] for name in smoke}) == len(smoke) > 70


TF32 = PrecisionMode(input="tf32")
HALF = PrecisionMode(input="float16", accumulate="float16", output="float16")
BRAIN = PrecisionMode(input="bfloat16", output="bfloat16")


@pytest.mark.parametrize(
    ("mode", "probe", "asked"),
    [
        (native("float32"), "MatMul-13/float32/wide-operands-24-bits-left", True),
        (TF32, "MatMul-13/float32/wide-operands-12-bits-left", False),
        (TF32, "MatMul-13/float32/wide-operands-9-bits-left", True),
        (TF32, "MatMul-13/float32/wide-sums-k257", True),
        (TF32, "MatMul-13/float32/range-2e60", True),
        (HALF, "MatMul-13/float32/range-2e17", False),
        (HALF, "MatMul-13/float32/cancelling-sums-k257", False),
        (HALF, "MatMul-13/float32/integers-k1025", True),
        (BRAIN, "MatMul-13/float32/integers-k1025", True),
        (BRAIN, "MatMul-13/float32/cancelling-sums-k257", True),
        (BRAIN, "Cast-13/float32/to-float16-ties", False),
        (BRAIN, "Cast-13/float16/to-float32-widening", False),
        (native("float32"), "Conv-11/float32/2d", True),
        (PrecisionMode(transforms=("winograd",)), "Conv-11/float32/2d", False),
        (PrecisionMode(transforms=("winograd",)), "Conv-11/float32/2d-pointwise", True),
        (native("float32"), "Add-14/float32/subnormal", True),
        (PrecisionMode(subnormals="flushed"), "Add-14/float32/subnormal", False),
        (PrecisionMode(subnormals="flushed"), "Add-14/float32/special", True),
    ],
)
def test_a_probe_is_asked_where_the_declared_precision_holds_it(mode: PrecisionMode, probe: str, asked: bool) -> None:
    assert (_id(probe) in _plan("declared", float32=mode)) is asked


def test_needs_beyond_a_type_itself_are_not_asked_of_its_mode() -> None:
    needs = Needs(operand_bits=24, result_bits=24, largest=1e30)
    assert check.meets(native("float16"), needs, FORMATS["float16"])
    assert not check.meets(native("float16"), Needs(sum_bits=25), FORMATS["float16"])


def _dropped_last_product(feeds: dict[str, Any], want: Any) -> Any:
    return feeds["x0"][..., :-1] @ feeds["x1"][:-1]


def _float16_sums(feeds: dict[str, Any], want: Any) -> Any:
    total = np.zeros(want.shape, np.float16)
    for at in range(feeds["x0"].shape[1]):
        total += (feeds["x0"][:, at : at + 1] * feeds["x1"][at]).astype(np.float16)
    return total.astype(np.float32)


def _narrowed(form: str) -> Mutate:
    def mutate(feeds: dict[str, Any], want: Any) -> Any:
        a, b = (round_to(feeds[name], FORMATS[form]) for name in ("x0", "x1"))
        with np.errstate(invalid="ignore"):
            return (a @ b).astype(np.float32)

    return mutate


def _half_away(feeds: dict[str, Any], want: Any) -> Any:
    quotient = feeds["x0"].astype(np.float64) / 0.5
    away = np.copysign(np.floor(np.abs(quotient) + 0.5), quotient)
    return np.clip(away, -128, 127).astype(np.int8)


def _wrapped(feeds: dict[str, Any], want: Any) -> Any:
    return np.rint(feeds["x0"].astype(np.float64) * 2).astype(np.int64).astype(np.int8)


def _flushed(feeds: dict[str, Any], want: Any) -> Any:
    return np.where(np.abs(want) < 2.0**-126, np.float32(0), want)


def _swapped(feeds: dict[str, Any], want: Any) -> Any:
    return np.ascontiguousarray(np.swapaxes(want, -1, -2))


WRONG: list[tuple[str, Mutate, str]] = [
    ("MatMul-13/float32/integers-k257", _dropped_last_product, "dropped"),
    ("MatMul-13/float32/cancelling-sums-k1025", _float16_sums, "fewer bits"),
    ("MatMul-13/float32/wide-sums-k257", _float16_sums, "fewer bits"),
    ("MatMul-13/float32/wide-operands-12-bits-left", _narrowed("tf32"), "rounded to tf32"),
    ("MatMul-13/float32/wide-operands-9-bits-right", _narrowed("bfloat16"), "rounded to bfloat16"),
    ("MatMul-13/float32/range-2e17", _narrowed("float16"), "narrower"),
    ("MatMul-13/float32/square", _swapped, "other places"),
    ("Transpose-13/float32/square", _swapped, "other places"),
    ("Conv-11/float32/2d-pads-uneven", lambda _, want: np.roll(want, 1, axis=2), "other places"),
    ("MaxPool-12/int8/2d-pads", lambda _, want: np.maximum(want, 0), ""),
    ("ReduceSum-13/float32/rows-k257", lambda feeds, _: feeds["x0"][:, :-1].sum(1, keepdims=True), "dropped"),
    ("Add-14/int64/range", lambda _, want: want.astype(np.int32).astype(np.int64), "narrowed to 32 bits"),
    ("Gather-13/int64/axis-0-int64", lambda _, want: want.astype(np.float64).astype(np.int64), "computed in float64"),
    ("Add-14/uint8/wraps-around", lambda f, _: np.minimum(f["x0"].astype(int) + f["x1"], 255).astype(np.uint8), "saturated"),
    ("QuantizeLinear-13/float32/to-int8-ties", _half_away, "ties not rounded to even"),
    ("QuantizeLinear-13/float32/to-int8-saturation", _wrapped, "saturates"),
    ("Cast-13/float32/to-int32-truncated", lambda f, _: np.rint(f["x0"].astype(np.float64)).astype(np.int32), "off by one"),
    ("Round-11/float32/special", lambda f, w: np.where(np.isfinite(w), np.trunc(f["x0"] + np.copysign(np.float32(0.5), f["x0"])), w), ""),
    ("Add-14/float32/subnormal", _flushed, "flushed"),
    ("Neg-13/float32/special", lambda _, want: want + 0, "sign of zero"),
    ("Sqrt-13/float32/special", lambda _, want: np.nan_to_num(want, nan=0.0, posinf=np.inf), "NaN lost"),
    ("Add-14/float32/special", lambda _, want: np.where(np.isnan(want), np.float32(0), want), "NaN lost"),
    ("TopK-11/float32/ties-largest", lambda _, want: want[:, ::-1].copy(), "other places"),
    ("Mod-13/int32/sign-of-divisor", lambda f, _: np.fmod(f["x0"], f["x1"]), ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "mutate", "told"), WRONG, ids=[name for name, _, _ in WRONG])
def test_a_right_device_passes_and_one_that_errs_this_way_fails(
    name: str, mutate: Mutate, told: str, planned: dict[str, Planned], see: Any, session: Any
) -> None:
    one = planned[_id(name)]
    filled = one.filled()
    assert one.expected is not None
    assert filled.workload is not None
    expected = one.expected()
    feeds: dict[str, Any] = {value.name: from_ref(value.value) for value in filled.workload.datasets[0]}
    assert check.judge(filled, _seen(one, expected, see, session), expected).outcome is Outcome.PASS

    with np.errstate(all="ignore"):
        first = np.asarray(mutate(feeds, expected[0][0])).astype(expected[0][0].dtype)  # type: ignore[union-attr]
    wrong = [[first, *outputs[1:]] for outputs in expected]
    judged = check.judge(filled, _seen(one, wrong, see, session), expected)
    assert judged.outcome is Outcome.FAIL
    assert "want exactly" in judged.reason
    assert told in judged.reason
    assert judged.measurements[0].limit == "exact (tier 1)"


def test_a_second_run_that_differs_fails(planned: dict[str, Planned], see: Any, session: Any) -> None:
    one = planned[_id("MatMul-13/float32/integers-k1")]
    assert one.expected is not None
    expected: Any = one.expected()
    judged = check.judge(one.case, _seen(one, [expected[0], [expected[1][0] + 1]], see, session), expected)
    assert judged.outcome is Outcome.FAIL
    assert judged.context.startswith("inference 1")


@pytest.mark.parametrize("op", ["Max-13", "Min-13", "Relu-14", "Clip-13", "MaxPool-12", "ReduceMax-13"])
def test_a_lost_nan_is_told_and_not_judged(op: str, planned: dict[str, Planned], see: Any, session: Any) -> None:
    one = planned[_id(f"{op}/float32/nan")]
    assert one.expected is not None
    expected: Any = one.expected()
    assert check.judge(one.case, _seen(one, expected, see, session), expected).outcome is Outcome.PASS
    lost = [[np.where(np.isnan(value), np.float32(0), value) for value in outputs] for outputs in expected]
    judged = check.judge(one.case, _seen(one, lost, see, session), expected)
    assert judged.outcome is Outcome.INCONCLUSIVE
    assert "NaN lost; told, not judged: the text does not say what becomes of a NaN" in judged.reason


def test_faults_names_and_places_are_judged_before_a_pass(planned: dict[str, Planned], see: Any, session: Any) -> None:
    one = planned[_id("MatMul-13/float32/integers-k2")]
    assert one.expected is not None
    expected: Any = one.expected()
    refused = SessionSeen(mode="strict", fault=DeviceFault(phase="compile", kind="NotImplemented", message="no kernel"))
    assert check.judge(one.case, Seen(Observation(sessions=[refused]), [[]]), expected).outcome is Outcome.FAIL
    renamed = see(session([("z", expected[0][0])], witnesses=WITNESS))
    assert "outputs are not those" in check.judge(one.case, renamed, expected).reason
    changed = _seen(one, expected, see, session, changed=["x0"])
    assert "changed its inputs" in check.judge(one.case, changed, expected).reason
    elsewhere = see(session([("y0", expected[0][0])], witnesses=(Witness(source="assignment", nodes={"Other": 1}),)))
    assert check.judge(one.case, elsewhere, expected).outcome is Outcome.FAIL
    none = see(session())
    assert check.judge(one.case, none, expected).outcome is Outcome.ERROR


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        ("none", Outcome.PASS),
        ("wrong-value", Outcome.FAIL),
        ("wrong-type", Outcome.FAIL),
        ("mutate-inputs", Outcome.FAIL),
        ("raise", Outcome.FAIL),
    ],
)
def test_a_device_that_misbehaves_is_caught(
    behaviour: str, outcome: Outcome, planned: dict[str, Planned], misbehave: Any
) -> None:
    device = misbehave(behaviour)
    for name in ("MatMul-13/float32/integers-k65", "Conv-11/float32/2d", "ReduceSum-13/float32/middle-axis"):
        one = planned[_id(name)]
        filled = one.filled()
        assert one.expected is not None
        observation = check.measure(filled, device)
        values = [
            [[(o.name, from_ref(o.value)) for o in run.outputs] for run in session.inferences]
            for session in observation.sessions
        ]
        assert check.judge(filled, Seen(observation, values), one.expected()).outcome is outcome


def test_a_challenge_draws_other_inputs_and_keeps_the_ids() -> None:
    loaded, _ = prepare("reference-cpu")
    requested = Requested("NUM-004", "MUST", {"scope": "declared"}, "asked")
    name = _id("MatMul-13/float32/integers-k257")
    plans = [
        {one.case.id: one for one in check.plan(requested, Context(loaded, target_of(loaded), lambda: None, challenge))}
        for challenge in ("", "nonce")
    ]
    assert plans[0].keys() == plans[1].keys()
    first, second = (one[name].filled().workload for one in plans)
    assert first != second
