"""The exact probes: what they claim is what their models hold, their answers are ONNX's, and their data show what they are for."""

from __future__ import annotations

import warnings
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import checker
from onnx.reference import ReferenceEvaluator

from conformance.checks.support.exactly import judge_exactly
from conformance.numerics.formats import FORMATS, round_to
from conformance.reference.exact import recipes
from conformance.reference.exact.building import NARROWEST, bits_of, each, opsets
from conformance.reference.exact.contractions import COUNTED, LENGTHS, cancelling, striped
from conformance.reference.exact.windows import Window, convolve, slide, spread
from conformance.reference.models import examine
from conformance.reference.recipes import carry_out

if TYPE_CHECKING:
    from conformance.tensors import Array

ALL = recipes()
BY_ID = {one.case_id: one for one in ALL}
EVALUATOR_GAPS = {
    "*/ai.onnx.ConvTranspose-*/*/2d-groups": "reshapes groups that are not of equal length on both sides",
    "*/ai.onnx.MaxPool-*/*/2d-same-lower": "drops a row of the output",
    "*/ai.onnx.MaxPool-*/*/nan": "drops a NaN",
    "*/ai.onnx.GlobalMaxPool-*": "reduces two axes, whatever there are",
    "*/ai.onnx.ReduceSumSquare-*/int32/*": "gives int64",
    "*/ai.onnx.ReduceSum-13/bfloat16/cancelling*": "sums in bfloat16",
    "*/ai.onnx.Cast-*/float64/to-bfloat16-rounded-once": "rounds twice",
    "*/ai.onnx.DequantizeLinear-13/*": "has no version for opset 13",
    "*/ai.onnx.Pad-*/negative": "refuses negative pads",
}
"""Where ONNX's ReferenceEvaluator cannot be the witness, and why."""


def test_ids_are_unique_ascii_and_say_operator_version_type_and_data() -> None:
    assert len(BY_ID) == len(ALL) > 4000
    for one in ALL:
        area, operator, kind, data = one.case_id.split("/")
        assert area == "exact"
        assert one.case_id.isascii()
        assert operator == one.uses[0].key
        assert kind in one.types
        assert data
        assert one.tier == "exact"
        assert (one.kind == "") == (not any(name in FORMATS for name in one.types)), one.case_id


def test_every_version_from_opset_13_on_is_probed_in_the_opset_in_which_it_begins() -> None:
    assert opsets("Cast")[:3] == (13, 19, 21)
    assert opsets("MatMul") == (13,)
    probed = {one.case_id.split("/")[1] for one in ALL}
    assert {"ai.onnx.Add-13", "ai.onnx.Add-14", "ai.onnx.MaxPool-12", "ai.onnx.ReduceMax-18"} <= probed
    assert {kind for opset, kind in each("Transpose", ("float16", "int64")) if opset == 21} == {"int64"}


@pytest.mark.parametrize("start", range(4))
def test_models_are_valid_and_hold_what_the_recipe_says(start: int) -> None:
    for one in ALL[start::16]:
        made = carry_out(one)
        model = onnx.load_model_from_string(made.model)
        checker.check_model(model)
        facts = examine(model)
        assert facts.uses == list(one.uses), one.case_id
        assert facts.types == one.types, one.case_id
        assert facts.opset_imports == one.opset_imports
        assert made.expected is not None
        assert len(made.expected) == len(made.datasets) == 1


@pytest.mark.parametrize("start", range(3))
def test_answers_are_those_of_onnx_reference_evaluator(start: int) -> None:
    asked = [one for one in ALL[start::9] if not any(fnmatchcase(one.case_id, gap) for gap in EVALUATOR_GAPS)]
    assert len(asked) > 400
    wrong = []
    for one in asked:
        made = carry_out(one)
        assert made.expected is not None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = ReferenceEvaluator(onnx.load_model_from_string(made.model)).run(None, dict(made.datasets[0]))
        for (name, want), got in zip(made.expected[0].items(), found, strict=True):
            judged = judge_exactly(want, np.asarray(got), name, "", keeps_zero_sign=one.keeps_zero_sign)
            if not judged.ok:
                wrong.append(f"{one.case_id}: {judged.reason}")
    assert wrong == []


def test_each_gap_of_the_evaluator_is_one() -> None:
    for gap in EVALUATOR_GAPS:
        assert any(fnmatchcase(one.case_id, gap) for one in ALL), gap


def test_the_same_challenge_gives_the_same_bytes_and_another_gives_others() -> None:
    one = BY_ID["exact/ai.onnx.MatMul-13/float32/integers-k257"]
    first, again, other = carry_out(one), carry_out(one), carry_out(one, "nonce")
    assert first.model == again.model
    for name, value in first.datasets[0].items():
        assert np.array_equal(value, again.datasets[0][name])
        assert not np.array_equal(value, other.datasets[0][name])


@pytest.mark.parametrize("length", LENGTHS)
def test_every_element_counts_and_no_sum_of_magnitudes_passes_what_eight_bits_hold(length: int) -> None:
    rng = np.random.default_rng(length)
    rows = max(5, -(-length // COUNTED))
    a = striped(rng, rows, length)
    assert (a != 0).any(axis=0).all()
    assert np.abs(a).sum(axis=1).max() * 2 <= 2**NARROWEST


def test_striped_refuses_rows_that_do_not_reach_every_column() -> None:
    with pytest.raises(ValueError, match="do not reach"):
        striped(np.random.default_rng(0), 2, 1025)


def _summed(values: Array, form: str, order: str) -> float:
    """Return the sum of one row held in a format: one after another, by halves, or in 32 lanes."""
    kept = [float(one) for one in values]
    if order == "lanes":
        kept = [_summed(values[at::32], form, "sequential") for at in range(32)]
    if order == "halves":
        while len(kept) > 1:
            pairs = [kept[at : at + 2] for at in range(0, len(kept), 2)]
            kept = [float(round_to(np.array(sum(pair)), FORMATS[form])) for pair in pairs]
        return kept[0]
    total = 0.0
    for one in kept:
        total = float(round_to(np.array(total + one), FORMATS[form]))
    return total


@pytest.mark.parametrize("order", ["sequential", "halves", "lanes"])
def test_a_float16_accumulator_shows_in_cancelling_sums(order: str) -> None:
    rows = cancelling(np.random.default_rng(5), 6, 1025)
    exact = rows.sum(axis=1)
    assert 1 <= np.abs(exact).min() <= np.abs(exact).max() <= 8
    narrow = [_summed(row, "float16", order) for row in rows]
    assert sum(a != b for a, b in zip(narrow, exact, strict=True)) >= 4
    assert [_summed(row, "float32", order) for row in rows] == exact.tolist()


@pytest.mark.parametrize("order", ["sequential", "halves", "lanes"])
def test_a_float16_accumulator_shows_in_wide_sums_whatever_the_order(order: str) -> None:
    made = _made("MatMul-13/float32/wide-sums-k257")
    a, b = (made.datasets[0][name].astype(np.float64) for name in ("x0", "x1"))
    want = _want(made)
    assert _summed(a[0] * b[:, 0], "float16", order) != want[0, 0]
    assert _summed(a[0] * b[:, 0], "float32", order) == want[0, 0]


@pytest.mark.parametrize(
    ("data", "form"),
    [
        ("wide-operands-9-bits-left", "bfloat16"),
        ("wide-operands-12-bits-left", "tf32"),
        ("wide-operands-12-bits-right", "float16"),
        ("wide-operands-13-bits-right", "tf32"),
        ("wide-operands-24-bits-left", "float16"),
        ("range-2e17", "float16"),
    ],
)
def test_narrowed_operands_show(data: str, form: str) -> None:
    made = _made(f"MatMul-13/float32/{data}")
    a, b = (round_to(made.datasets[0][name], FORMATS[form]) for name in ("x0", "x1"))
    with np.errstate(invalid="ignore"):
        assert (a @ b != _want(made)).any()


def test_tf32_passes_the_range_probe_that_float16_fails() -> None:
    made = _made("MatMul-13/float32/range-2e60")
    a, b = (round_to(made.datasets[0][name], FORMATS["tf32"]) for name in ("x0", "x1"))
    assert np.array_equal(a @ b, _want(made))


@pytest.mark.parametrize("length", LENGTHS)
def test_a_dropped_last_product_shows(length: int) -> None:
    made = _made(f"MatMul-13/bfloat16/integers-k{length}")
    a, b = (made.datasets[0][name].astype(np.float64) for name in ("x0", "x1"))
    assert (a[:, :-1] @ b[:-1] != _want(made)).any()


def test_results_are_exact_in_the_type_and_within_the_needs() -> None:
    shown = 0
    for recipe in ALL:
        operator, kind = recipe.case_id.split("/")[1:3]
        if operator not in ("ai.onnx.MatMul-13", "ai.onnx.Conv-22", "ai.onnx.Gemm-13") or kind not in FORMATS:
            continue
        want = _want(carry_out(recipe))
        finite = want[np.isfinite(want) & (want != 0)]
        scaled = np.abs(np.frexp(finite)[0]) * 2.0 ** min(recipe.needs.result_bits, bits_of(kind))
        assert np.array_equal(scaled, np.rint(scaled)), recipe.case_id
        shown += 1
    assert shown > 200


def _made(name: str) -> Any:
    return carry_out(BY_ID[f"exact/ai.onnx.{name}"])


def _want(made: Any) -> Array:
    return np.asarray(made.expected[0]["y0"], np.float64)


def test_the_sliding_window_is_a_convolution_by_loops() -> None:
    rng = np.random.default_rng(3)
    x, weights = rng.integers(-3, 4, size=(2, 4, 6, 7)), rng.integers(-3, 4, size=(6, 2, 3, 2))
    window = Window.of((3, 2), (2, 1), (1, 3), (1, 0, 2, 1))
    padded = np.pad(x, [(0, 0), (0, 0), (1, 2), (0, 1)])
    found = convolve(x, weights, window, 2)
    for n, m, i, j in np.ndindex(*found.shape):
        group = m // 3
        total = sum(
            padded[n, 2 * group + c, 2 * i + p, j + 3 * q] * weights[m, c, p, q]
            for c in range(2)
            for p in range(3)
            for q in range(2)
        )
        assert found[n, m, i, j] == total
    assert slide(x, window, -9).min() == -9


def test_the_transposed_convolution_is_the_adjoint_of_the_convolution() -> None:
    rng = np.random.default_rng(4)
    window = Window.of((3, 2), (2, 1), pads=(1, 0, 0, 1))
    x, weights = rng.integers(-3, 4, size=(1, 4, 6, 6)), rng.integers(-3, 4, size=(6, 2, 3, 2))
    y = convolve(x, weights, window, 2)
    other = rng.integers(-3, 4, size=y.shape)
    back = spread(other, weights, window, 2, (0, 0))
    assert back.shape == x.shape
    assert (y * other).sum() == (x * back).sum()
