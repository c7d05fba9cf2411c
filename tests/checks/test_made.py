"""The check of generated operators: what is planned, and that right outputs pass and wrong ones fail in every tier."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from conformance.checks import made as check
from conformance.checks.support.limiting import judge_limits
from conformance.checks.support.port import Requested
from conformance.numerics.limits import Exact
from conformance.numerics.modes import PrecisionMode, native
from conformance.plan import Context
from conformance.prepare import prepare, target_of
from conformance.records import Basis, DeviceFault, Outcome, Witness
from conformance.reference.entries import OperatorUse
from conformance.reference.made import index
from conformance.reference.made.limits import limits_of, made_of
from conformance.tensors import from_ref

WITNESS = (Witness(source="assignment", nodes={"CPUExecutionProvider": 1}),)
REQUESTED = Requested("OP-003", "MUST", {"scope": "declared"}, "asked")
SOFTMAX = "operators/ai.onnx.Softmax-13/float32/made/long-1025"
MATMUL = "operators/ai.onnx.MatMul-13/float32/made/k-257"
GATHER = "operators/ai.onnx.Gather-13/float32/made/axis-1"
QUANTISE = "operators/ai.onnx.QuantizeLinear-13/float32/made/uint8-per-tensor"
GRU = "operators/ai.onnx.GRU-22/float32/made/bias"


def entry(case_id: str, **changes: Any) -> index.Entry:
    """A row as the index gives it."""
    _, version, kind, *_ = case_id.split("/")
    op, since = version.removeprefix("ai.onnx.").rsplit("-", 1)
    use = OperatorUse("ai.onnx", op, int(since), None, {}, (kind,))
    row = index.Entry(
        case_id=case_id, uses=[use], types=(kind,), opset_imports={"ai.onnx": int(since)}, outputs=["y0"], sets=["normal"],
        tier="bound", subject=kind, smoke=True, needs_zero_size=False, needs_subnormals=False,
    )  # fmt: skip
    return msgspec.structs.replace(row, **changes)


def plan(*entries: index.Entry, requested: Requested = REQUESTED, profile: str = "reference-cpu", **target: Any) -> Any:
    """Plan these rows for a shipped profile; by case id."""
    loaded, _ = prepare(profile)
    context = Context(loaded, target_of(loaded)._replace(**target), lambda: None, challenge="nonce")
    context.made = lambda: list(entries)  # type: ignore[method-assign]
    return {one.case.id: one for one in check.plan(requested, context)}


def right_outputs(case_id: str) -> list[list[tuple[str, Any]]]:
    """The reference of each data set, rounded to the type of the output: what a right device gives."""
    kind = np.dtype(np.float32)
    runs = []
    for limits in limits_of(case_id, msgspec.to_builtins(native("float32")), "float32"):
        run = []
        for at, limit in enumerate(limits):
            value = getattr(limit, "expected", None)
            run.append((f"y{at}", np.asarray(limit.reference).astype(kind) if value is None else value))
        runs.append(run)
    return runs


def judge(case_id: str, runs: Any, see: Any, session: Any, **given: Any) -> Any:
    """Judge outputs of a case against its limits."""
    mode = msgspec.to_builtins(native("float32"))
    expected = limits_of(case_id, mode, "float32")
    outputs = [f"y{at}" for at in range(len(expected[0]))]
    planned = next(
        iter(plan(entry(case_id, outputs=outputs, sets=[f"set {at}" for at in range(len(expected))])).values())
    )
    seen = see(session(*runs, **({"witnesses": WITNESS} | given)))
    return check.judge(planned.case, seen, expected)


def test_claimed_cases_are_planned_and_others_are_not() -> None:
    """bfloat16 Add is excluded by the profile; nothing of it is asked."""
    add, bad = "operators/ai.onnx.Add-14/float32/made/broadcast", "operators/ai.onnx.Add-14/bfloat16/made/broadcast"
    found = plan(entry(add), entry(bad))
    assert list(found) == [add]
    case = found[add].case
    assert (case.basis, case.requirements, case.smoke, case.workload) == (Basis.DECLARED, ("OP-003",), True, None)
    assert PrecisionMode.of(case.params["mode"]) == native("float32")
    workload = found[add].filled().workload
    assert workload is not None
    given = {one.name: from_ref(one.value) for one in workload.datasets[0]}
    assert np.array_equal(given["x0"], made_of(add, "nonce").datasets[0]["x0"])
    assert found[add].is_from_code


def test_the_minimum_is_asked_of_an_accelerator_whatever_it_claims() -> None:
    """Add is in the category's minimum at opset 13 to 17, Sin is not."""
    requested = REQUESTED._replace(params={"scope": "minimum"})
    found = plan(
        entry("operators/ai.onnx.Add-14/float32/made/broadcast"),
        entry("operators/ai.onnx.Sin-7/float32/made/values"),
        requested=requested,
        profile="cuda",
    )
    assert [(one.case.id.split("/")[1], one.case.basis) for one in found.values()] == [
        ("ai.onnx.Add-14", Basis.REQUIRED)
    ]
    assert plan(entry("operators/ai.onnx.Add-14/float32/made/broadcast"), requested=requested) == {}


def test_empty_tensors_are_asked_of_whoever_takes_them() -> None:
    """The profile declares zero_size."""
    row = entry(MATMUL, needs_zero_size=True)
    assert plan(row)
    assert not plan(row, takes_zero_size=False)


@pytest.mark.parametrize("case_id", [SOFTMAX, MATMUL, GATHER, QUANTISE, GRU])
def test_the_reference_itself_passes(case_id: str, see: Any, session: Any) -> None:
    """Rounded to the type of the output; the measurement says how far from the limit it was."""
    judged = judge(case_id, right_outputs(case_id), see, session)
    assert (judged.outcome, judged.reason) == (Outcome.PASS, "")
    worst = next(one for one in judged.measurements if one.name == "worst_error")
    assert worst.met
    assert worst.margin <= 1


def _bfloat16(value: Any) -> Any:
    bits = value.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


@pytest.mark.parametrize(
    ("case_id", "wrong"),
    [
        (MATMUL, lambda y: y * np.float32(1.01)),
        (MATMUL, _bfloat16),
        (SOFTMAX, lambda y: np.roll(y, 1, axis=-1)),
        (GATHER, lambda y: np.nextafter(y, np.float32(9))),
        (GATHER, lambda y: y[:, ::-1]),
        (QUANTISE, lambda y: np.minimum(y, 253).astype(np.uint8) + np.uint8(2)),
        (GRU, lambda y: y * np.float32(1.001)),
        (GRU, lambda y: np.where(np.arange(y.size).reshape(y.shape) == 3, np.float32("nan"), y)),
        (MATMUL, lambda y: y.astype(np.float64)),
        (MATMUL, lambda y: y[:-1]),
    ],
)
def test_a_wrong_output_fails(case_id: str, wrong: Any, see: Any, session: Any) -> None:
    """In the last data set only, and the message says where."""
    runs = right_outputs(case_id)
    name, value = runs[-1][0]
    runs[-1][0] = (name, np.ascontiguousarray(wrong(value)))
    judged = judge(case_id, runs, see, session)
    assert judged.outcome is Outcome.FAIL
    assert "y0" in judged.reason
    assert f"inference {len(runs) - 1}" in judged.context


def test_faults_names_and_places_are_judged(see: Any, session: Any) -> None:
    """As for ONNX's own cases."""
    runs = right_outputs(GATHER)
    fault = DeviceFault(phase="compile", kind="NotImplemented", message="no kernel")
    assert judge(GATHER, [], see, session, fault=fault).outcome is Outcome.FAIL
    named = [[("z", run[0][1])] for run in runs]
    assert "not those of the model" in judge(GATHER, named, see, session).reason
    assert judge(GATHER, runs, see, session, changed=["x0"]).outcome is Outcome.FAIL
    assert judge(GATHER, runs[:-1], see, session).outcome is Outcome.ERROR
    elsewhere = (Witness(source="assignment", nodes={"OtherProvider": 1}),)
    assert judge(GATHER, runs, see, session, witnesses=elsewhere).outcome is Outcome.FAIL


def test_vendor_operators_too_are_judged_by_the_names_of_the_model() -> None:
    """A device that calls an output otherwise is wrong, whatever its values are."""
    contributed = [one for one in index.load_entries() if "com.microsoft" in one.case_id]
    assert contributed
    assert all(one.outputs for one in contributed)


def test_an_output_by_another_name_is_wrong_whatever_its_values_are() -> None:
    session: Any = SimpleNamespace(inferences=[SimpleNamespace(inputs_changed=[])], mode="strict")
    limit = Exact(name="output", expected=np.ones(2, dtype=np.float32))

    def judged(name: str) -> Outcome:
        values = [[(name, np.ones(2, dtype=np.float32))]]
        return judge_limits({"sets": [], "outputs": ["output"]}, [[limit]], session, values).outcome

    assert judged("output") is Outcome.PASS
    assert judged("anything") is Outcome.FAIL
