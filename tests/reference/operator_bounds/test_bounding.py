"""Bounds of single operators: correct devices pass, wrong ones do not, and the references are those of other arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto
from operator_bounds_making import draw, make_model, multiply

from conformance.errors import HarnessError
from conformance.numerics.bounded import Bound
from conformance.numerics.formats import FORMATS, round_to
from conformance.numerics.limits import Discrete, Exact, Limit, Rate, Unbounded, judge
from conformance.numerics.modes import PrecisionMode, native
from conformance.reference.operator_bounds import bounding
from conformance.reference.operator_bounds.bounding import bounds_like, bounds_of

FLOAT32 = native("float32")


def only(
    op: str, inputs: dict[str, Any], mode: PrecisionMode = FLOAT32, output: str = "float32", **attributes: Any
) -> Limit:
    return bounds_of(make_model(op, inputs, output, **attributes), inputs, mode)[0]


def bound(
    op: str, inputs: dict[str, Any], mode: PrecisionMode = FLOAT32, output: str = "float32", **attributes: Any
) -> Bound:
    found = only(op, inputs, mode, output, **attributes)
    assert isinstance(found, Bound), found
    return found


A, B = draw((40, 64), 1), draw((64, 40), 2)
POSITIVE = draw((40, 64), 3, positive=True), draw((64, 40), 4, positive=True)


# -- a second, independent computation ---------------------------------------------------------------


def test_products_agree_with_rational_arithmetic() -> None:
    found = bound("MatMul", {"a": A, "b": B})
    for row, column in ((0, 0), (7, 31), (39, 39)):
        pairs = [(Fraction(float(x)), Fraction(float(y))) for x, y in zip(A[row], B[:, column], strict=True)]
        assert found.reference[row, column] == pytest.approx(float(sum(x * y for x, y in pairs)), rel=1e-13, abs=1e-13)
        magnitude = float(sum(abs(x * y) for x, y in pairs))
        assert found.unit[row, column] == pytest.approx(magnitude * 2.0**-24, rel=1e-12)
    assert found.limit == 2 * 64
    assert found.products == 64


def test_sums_agree_with_exact_summation() -> None:
    x = draw((3, 500), 5) * np.float32(1e6)
    found = bound("ReduceSum", {"x": x, "axes": np.array([1])}, keepdims=0)
    for row in range(3):
        assert found.reference[row] == pytest.approx(math.fsum(map(float, x[row])), rel=1e-12)


@pytest.mark.parametrize(
    ("op", "function"),
    [
        ("Exp", np.exp),
        ("Log", np.log),
        ("Sin", np.sin),
        ("Tanh", np.tanh),
        ("Sqrt", np.sqrt),
        ("Sigmoid", lambda x: 1 / (1 + np.exp(-x))),
    ],
)
def test_functions_agree_with_extended_precision(op: str, function: Any) -> None:
    x = draw((200,), 6, positive=True)
    expected = function(x.astype(np.longdouble)).astype(np.float64)
    np.testing.assert_allclose(bound(op, {"x": x}).reference, expected, rtol=1e-15)


def test_gemm_weighs_alpha_beta_and_transposition() -> None:
    c = draw((40,), 7)
    found = bound("Gemm", {"a": A.T.copy(), "b": B, "c": c}, alpha=-0.5, beta=2.0, transA=1)
    wide = [one.astype(np.float64) for one in (A, B, c)]
    np.testing.assert_allclose(found.reference, -0.5 * wide[0] @ wide[1] + 2 * wide[2], rtol=1e-12, atol=1e-12)
    magnitudes = 0.5 * np.abs(wide[0]) @ np.abs(wide[1]) + 2 * np.abs(wide[2])
    np.testing.assert_allclose(found.unit, magnitudes * 2.0**-24, rtol=1e-12)
    assert found.products == 65


# -- products: correct devices and wrong ones --------------------------------------------------------


@pytest.mark.parametrize(("a", "b"), [(A, B), POSITIVE])
def test_a_correct_product_passes_in_any_order(a: Any, b: Any) -> None:
    found = bound("MatMul", {"a": a, "b": b})
    assert judge(found, a @ b).ok
    assert judge(found, multiply(a, b).astype(np.float32)).ok
    assert judge(found, multiply(a[:, ::-1], b[::-1]).astype(np.float32)).ok


@pytest.mark.parametrize("operand", ["tf32", "float16", "bfloat16"])
def test_narrowed_operands_fail_unless_declared(operand: str) -> None:
    y = multiply(A, B, operand=operand).astype(np.float32)
    judged = judge(bound("MatMul", {"a": A, "b": B}), y)
    assert not judged.ok
    assert ("bfloat16" if operand == "bfloat16" else "float16 or TF32") in judged.looks_like
    assert judge(bound("MatMul", {"a": A, "b": B}, PrecisionMode(input=operand)), y).ok


def test_a_truncating_accumulator_fails_unless_declared() -> None:
    a, b = POSITIVE
    y = multiply(a, b, rounding="toward-zero").astype(np.float32)
    judged = judge(bound("MatMul", {"a": a, "b": b}), y)
    assert "toward zero" in judged.looks_like
    assert judge(bound("MatMul", {"a": a, "b": b}, PrecisionMode(accumulate_rounding="toward-zero")), y).ok


def test_a_narrow_accumulator_fails_unless_declared() -> None:
    a, b = (one.astype(np.float16) for one in POSITIVE)
    y = multiply(a, b, sums="float16").astype(np.float16)
    inputs = {"a": a, "b": b}
    assert judge(bound("MatMul", inputs, native("float16"), "float16"), multiply(a, b).astype(np.float16)).ok
    assert not judge(bound("MatMul", inputs, native("float16"), "float16"), y).ok
    declared = PrecisionMode(input="float16", accumulate="float16", output="float16")
    assert judge(bound("MatMul", inputs, declared, "float16"), y).ok


def test_a_lost_element_and_one_percent_fail() -> None:
    found = bound("MatMul", {"a": A, "b": B})
    assert not judge(found, A[:, :-1] @ B[:-1]).ok
    y = A @ B
    y[3, 17] *= np.float32(1.01)
    judged = judge(found, y)
    assert judged.reason.startswith("y0[3,17] = ")
    assert "(dot product, K = 64, e = " in judged.reason


def test_an_output_of_zeros_must_be_zero() -> None:
    a = A.copy()
    a[0] = 0
    found = bound("MatMul", {"a": a, "b": B})
    y = a @ B
    assert judge(found, y).ok
    y[0, 0] = 1e-30
    assert not judge(found, y).ok


def test_sums_that_may_overflow_on_the_way_are_not_judged() -> None:
    x = np.array([[3e38, 3e38, -3e38], [1, 2, 3]], dtype=np.float32)
    found = bound("ReduceSum", {"x": x, "axes": np.array([1])}, keepdims=0)
    assert judge(found, np.array([np.inf, 6], dtype=np.float32)).ok
    assert not judge(found, np.array([3e38, np.inf], dtype=np.float32)).ok


def test_a_declared_transform_leaves_convolution_to_tier_3() -> None:
    inputs = {"x": draw((1, 2, 8, 8), 8), "w": draw((3, 2, 3, 3), 9)}
    assert bound("Conv", inputs).products == 18
    found = only("Conv", inputs, PrecisionMode(transforms=("winograd",)))
    assert isinstance(found, Unbounded)
    assert "winograd" in found.reason


# -- single roundings, functions ---------------------------------------------------------------------


def test_one_rounding_is_allowed_and_truncation_is_not() -> None:
    x, z = draw((2000,), 10), draw((2000,), 11)
    found = bound("Mul", {"x": x, "z": z})
    wide = x.astype(np.float64) * z
    assert judge(found, x * z).ok
    assert not judge(found, round_to(wide, FORMATS["float32"], "toward-zero").astype(np.float32)).ok


@pytest.mark.parametrize("op", ["Exp", "Erf", "Tanh", "Sigmoid", "Gelu", "Softplus", "Softmax", "LogSoftmax", "Mish"])
def test_rounded_inputs_are_caught_in_functions(op: str) -> None:
    x = draw((20, 50), 12)
    right = bound(op, {"x": x})
    assert judge(right, round_to(right.reference, FORMATS["float32"]).astype(np.float32)).ok
    narrow = bound(op, {"x": round_to(x, FORMATS["tf32"]).astype(np.float32)}).reference.astype(np.float32)
    assert not judge(right, narrow).ok


def test_an_approximate_gelu_is_caught() -> None:
    x = draw((20, 50), 13)
    approximate = bound("Gelu", {"x": x}, approximate="tanh").reference.astype(np.float32)
    assert not judge(bound("Gelu", {"x": x}), approximate).ok


def test_a_wrong_epsilon_is_caught() -> None:
    inputs = {"x": draw((20, 50), 14), "s": draw((50,), 15)}
    other = bound("LayerNormalization", inputs, epsilon=1e-3).reference.astype(np.float32)
    assert not judge(bound("LayerNormalization", inputs, epsilon=1e-5), other).ok


def test_results_on_either_side_of_overflow() -> None:
    found = bound("Exp", {"x": np.array([88.0, 100.0], dtype=np.float32)})
    with np.errstate(over="ignore"):
        right = np.exp(np.array([88.0, 100.0])).astype(np.float32)
    assert np.isinf(right[1])
    assert judge(found, right).ok
    assert not judge(found, np.array([right[0], 3e38], dtype=np.float32)).ok


# -- exact, discrete, quantised ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn])
def test_moved_values_are_exact_in_every_type(kind: Any) -> None:
    x = draw((4, 5), 16).astype(kind)
    names = {"float8_e4m3fn": "float8e4m3fn"}
    found = only("Transpose", {"x": x}, output=names.get(x.dtype.name, x.dtype.name))
    assert isinstance(found, Exact)
    assert judge(found, x.T.copy()).ok
    assert not judge(found, x.T[::-1].copy()).ok


def test_integers_beyond_two_to_the_53_stay_exact() -> None:
    x = np.array([2**62 + 1, -(2**61) - 3])
    found = only("Add", {"x": x, "z": np.ones(2, dtype=np.int64)}, output="int64")
    assert isinstance(found, Exact)
    assert found.expected.tolist() == [2**62 + 2, -(2**61) - 2]


def test_conversions_beyond_the_range_are_left_open() -> None:
    x = np.array([1.7, -2.5, 300.0, np.nan], dtype=np.float32)
    found = only("Cast", {"x": x}, output="int8", to=TensorProto.INT8)
    assert judge(found, np.array([1, -2, 44, 0], dtype=np.int8)).ok
    assert not judge(found, np.array([2, -2, 44, 0], dtype=np.int8)).ok


def test_an_index_is_asked_where_narrowed_values_decide_it() -> None:
    x = np.array([[1.0, 1.0001, 0.5], [1.0, 3.0, 0.5]], dtype=np.float32)
    exact = only("ArgMax", {"x": x}, output="int64", axis=1, keepdims=0)
    assert isinstance(exact, Discrete)
    assert not judge(exact, np.array([0, 1])).ok
    narrow = only("ArgMax", {"x": x}, PrecisionMode(input="bfloat16", output="bfloat16"), "int64", axis=1, keepdims=0)
    assert judge(narrow, np.array([0, 1])).ok
    assert not judge(narrow, np.array([1, 0])).ok


def test_quantised_values_are_judged_by_their_rate() -> None:
    x = draw((2000,), 17)
    inputs = {"x": x, "s": np.array(0.01, dtype=np.float32), "z": np.array(3, dtype=np.uint8)}
    found = only("QuantizeLinear", inputs, output="uint8")
    assert isinstance(found, Rate)
    right = np.clip(np.rint(x / np.float32(0.01)) + 3, 0, 255).astype(np.uint8)
    assert judge(found, right).ok
    assert not judge(found, np.clip(np.rint(x / np.float32(0.01)), 0, 255).astype(np.uint8)).ok


def test_every_output_has_its_limit() -> None:
    x = draw((30,), 18)
    model = make_model("DynamicQuantizeLinear", {"x": x}, "uint8 float32 uint8", count=3)
    found = bounds_of(model, {"x": x}, FLOAT32)
    assert [type(one) for one in found] == [Rate, Bound, Rate]


def test_an_empty_output_has_a_bound_that_passes() -> None:
    inputs = {"a": np.zeros((0, 4), dtype=np.float32), "b": np.zeros((4, 3), dtype=np.float32)}
    assert judge(only("MatMul", inputs), np.zeros((0, 3), dtype=np.float32)).ok


# -- declared formats --------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["Add", "Mul", "Exp", "Relu", "Softmax", "Tanh", "ReduceMax"])
def test_a_device_that_stores_bfloat16_passes_where_it_says_so(op: str) -> None:
    inputs = {"x": draw((30, 40), 19), **({"z": draw((30, 40), 20)} if op in ("Add", "Mul") else {})}
    form = FORMATS["bfloat16"]
    given = {key: round_to(one, form).astype(np.float32) for key, one in inputs.items()}
    exact = only(op, given)
    wide = exact.reference if isinstance(exact, Bound) else exact.expected  # type: ignore[union-attr]
    y = round_to(wide, form).astype(np.float32)
    assert judge(only(op, inputs, PrecisionMode(input="bfloat16", output="bfloat16")), y).ok
    assert not judge(only(op, inputs), y).ok


def test_flushed_subnormals_are_allowed_where_declared() -> None:
    x = np.array([1e-40, 1.0], dtype=np.float32)
    flushed = np.array([0.0, 1.0], dtype=np.float32)
    one = np.ones(2, dtype=np.float32)
    assert not judge(only("Mul", {"x": x, "z": one}), flushed).ok
    assert judge(only("Mul", {"x": x, "z": one}, PrecisionMode(subnormals="flushed")), flushed).ok
    assert judge(only("Identity", {"x": x}, PrecisionMode(subnormals="flushed")), flushed).ok


# -- what has no bound, and what is no reference -----------------------------------------------------


def test_tier_3_is_named_with_its_reason() -> None:
    found = only("Det", {"x": draw((3, 4, 4), 21)})
    assert isinstance(found, Unbounded)
    assert "pivots" in found.reason


def test_a_bound_that_says_nothing_is_none() -> None:
    inputs = {
        "x": np.full((2, 3, 50), 1e6, dtype=np.float32),
        "s": np.ones(3, dtype=np.float32),
        "b": np.zeros(3, dtype=np.float32),
    }
    assert isinstance(only("InstanceNormalization", inputs), Unbounded)


def test_a_body_may_borrow_the_bounds_of_its_operator() -> None:
    x = draw((30,), 22)
    base = make_model("Tanh", {"x": x})
    expanded = make_model("RandomUniformLike", {"x": x}).replace(b"y0", b"z0")
    assert [type(one) for one in bounds_of(expanded, {"x": x}, FLOAT32)] == [Unbounded]
    found = bounds_like(base, expanded, {"x": x}, FLOAT32)
    assert isinstance(found[0], Bound)
    assert found[0].name == "z0"


def test_a_reference_in_float32_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = bounding.Walk.run_again

    def narrow(self: Any, inputs: Any) -> Any:
        return {key: one.astype(np.float32).astype(np.float64) for key, one in plain(self, inputs).items()}

    def run(self: Any) -> Any:
        found = plain(self, self.inputs)
        self.run_before()
        return {key: one.astype(np.float32).astype(np.float64) for key, one in found.items()}

    monkeypatch.setattr(bounding.Walk, "run_before", bounding.Walk.run, raising=False)
    monkeypatch.setattr(bounding.Walk, "run_again", narrow)
    monkeypatch.setattr(bounding.Walk, "run", run)
    with pytest.raises(HarnessError, match="holds nothing beyond float32"):
        only("Tanh", {"x": draw((100,), 23)})


def test_whole_numbers_are_a_reference_all_the_same() -> None:
    x = np.arange(64, dtype=np.float32).reshape(8, 8)
    assert judge(bound("MatMul", {"a": x, "b": x}), x @ x).ok
