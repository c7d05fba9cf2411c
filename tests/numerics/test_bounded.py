"""The judge of one bounded output: what passes, what must not, and what it says about it."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from conformance.errors import HarnessError
from conformance.numerics.bounded import FEWEST, Bound, from_arrays, judge_bound, to_arrays


def bound(reference: Any, unit: Any, **more: Any) -> Bound:
    fields = {"name": "y", "kind": "float32", "law": "dot product, K = 64"} | more
    return Bound(reference=np.asarray(reference, dtype=np.float64), unit=np.asarray(unit, dtype=np.float64), **fields)


def test_an_output_within_its_limit_passes_and_tells_how_far_from_it() -> None:
    judged = judge_bound(bound([1.0, 2.0], 0.01, limit=2.0), np.array([1.01, 2.0], dtype=np.float32))
    assert judged.ok
    assert judged.statistics[0].name == "max |e|"
    assert judged.statistics[0].share == pytest.approx(0.5, rel=1e-3)


def test_the_message_names_element_values_limit_law_and_statistic() -> None:
    reference = np.full((4, 18), 0.4)
    actual = reference.astype(np.float32)
    actual[3, 17] = 0.451
    judged = judge_bound(bound(reference, 0.005, limit=2.0), actual)
    assert judged.reason.startswith("y[3,17] = 0.451")
    assert "want 0.4 ± 0.01 (dot product, K = 64, e = 10.2 > 2)" in judged.reason


def test_the_element_worst_by_its_own_limit_is_named() -> None:
    judged = judge_bound(bound([1.0, 100.0], [0.001, 10.0]), np.array([1.1, 109.0], dtype=np.float32))
    assert judged.reason.startswith("y[0] = 1.1")


def test_a_scalar_has_no_index() -> None:
    assert judge_bound(bound(1.0, 0.01), np.array(2.0, dtype=np.float32)).reason.startswith("y = 2, want 1")


@pytest.mark.parametrize(
    ("actual", "text"),
    [
        (np.zeros((2, 1), dtype=np.float32), "shape [2, 1], want [2]"),
        (np.zeros(2, dtype=np.int32), "type int32, want float32"),
    ],
)
def test_shape_and_kind_are_looked_at(actual: Any, text: str) -> None:
    assert text in judge_bound(bound([0.0, 0.0], 1.0), actual).reason


def test_an_empty_output_passes() -> None:
    assert judge_bound(bound(np.zeros((0, 3)), np.zeros((0, 3))), np.zeros((0, 3), dtype=np.float32)).ok


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_must_be_expected(wrong: float) -> None:
    assert not judge_bound(bound([1.0, 2.0], 1e9), np.array([1.0, wrong], dtype=np.float32)).ok


@pytest.mark.parametrize("wrong", [1.0, np.inf, -np.inf])
def test_nan_must_stay_nan(wrong: float) -> None:
    one = bound([np.nan, 1.0], 0.1)
    assert judge_bound(one, np.array([np.nan, 1.0], dtype=np.float32)).ok
    assert not judge_bound(one, np.array([wrong, 1.0], dtype=np.float32)).ok


def test_an_infinity_keeps_its_sign() -> None:
    one = bound([-np.inf], 0.1)
    assert judge_bound(one, np.array([-np.inf], dtype=np.float32)).ok
    assert not judge_bound(one, np.array([np.inf], dtype=np.float32)).ok


def test_a_result_beyond_the_type_must_overflow_and_one_at_its_edge_may() -> None:
    assert judge_bound(bound([1e39], 1e30), np.array([np.inf], dtype=np.float32)).ok
    assert not judge_bound(bound([1e39], 1e30), np.array([3e38], dtype=np.float32)).ok
    largest = float(np.finfo(np.float32).max)
    edge = bound([largest], 1e32)
    assert judge_bound(edge, np.array([np.inf], dtype=np.float32)).ok
    assert judge_bound(edge, np.array([largest], dtype=np.float32)).ok


def test_a_declared_format_overflows_at_its_own_largest_value() -> None:
    one = bound([1e6], 1.0, stored="float16")
    assert judge_bound(one, np.array([np.inf], dtype=np.float32)).ok


def test_nothing_is_asked_of_exempt_elements() -> None:
    one = bound([1.0, 1.0], 0.1, exempt=np.array([True, False]))
    assert judge_bound(one, np.array([np.inf, 1.0], dtype=np.float32)).ok
    assert not judge_bound(one, np.array([1.0, np.inf], dtype=np.float32)).ok


def test_a_unit_of_zero_asks_for_the_very_value() -> None:
    one = bound([0.0, 1.0], [0.0, 0.1])
    assert judge_bound(one, np.array([0.0, 1.0], dtype=np.float32)).ok
    assert not judge_bound(one, np.array([1e-38, 1.0], dtype=np.float32)).ok


def test_slack_comes_on_top() -> None:
    assert not judge_bound(bound([1.0], 0.01), np.array([1.05], dtype=np.float32)).ok
    assert judge_bound(bound([1.0], 0.01, slack=0.05), np.array([1.05], dtype=np.float32)).ok


def test_narrow_types_are_read() -> None:
    one = bound([1.0, 2.0], 0.01, kind="bfloat16")
    assert judge_bound(one, np.array([1.0, 2.0], dtype=ml_dtypes.bfloat16)).ok
    assert not judge_bound(one, np.array([1.0, 2.5], dtype=ml_dtypes.bfloat16)).ok


def errors(**more: Any) -> tuple[Bound, Any]:
    rng = np.random.default_rng(5)
    reference = rng.uniform(1, 2, 4 * FEWEST)
    return bound(reference, 2.0**-20, limit=2.0, terms=1.0, products=1, **more), rng.uniform(-1, 1, 4 * FEWEST)


def test_errors_that_lean_to_one_side_fail_although_each_is_small() -> None:
    one, e = errors()
    assert judge_bound(one, one.reference + e * 2.0**-20).ok
    judged = judge_bound(one, one.reference - np.abs(e) * 2.0**-20)
    assert "lean to one side" in judged.reason
    assert "|Σ sign(reference)·e|" in judged.reason


def test_errors_that_are_too_large_together_fail() -> None:
    one, e = errors()
    judged = judge_bound(one, one.reference + np.sign(e) * 1.9 * 2.0**-20)
    assert "too large together" in judged.reason


def test_a_declared_drift_toward_zero_may_lean() -> None:
    one, e = errors(drift=2.0)
    assert judge_bound(one, one.reference - np.abs(e) * 2.0**-20).ok


def test_shared_operands_may_lean() -> None:
    one, e = errors(is_leaning_tested=False)
    assert judge_bound(one, one.reference - np.abs(e) * 2.0**-20).ok


def test_few_elements_are_not_counted_together() -> None:
    reference = np.linspace(1, 2, FEWEST - 1)
    one = bound(reference, 2.0**-20, limit=2.0, terms=1.0)
    assert judge_bound(one, reference - 2.0**-20).ok


def test_ties_of_few_values_lean_by_themselves() -> None:
    # 1 + 2^-24 lies half-way between two float32 values, and all of them go to the even one.
    reference = np.full(2 * FEWEST, 1 + 2.0**-24)
    one = bound(reference, 2.0**-24, limit=2.0, terms=1.0)
    assert judge_bound(one, reference.astype(np.float32)).ok


def test_a_bound_survives_a_file_of_arrays(tmp_path: Any) -> None:
    one, _ = errors(drift=0.5, exempt=np.zeros(4 * FEWEST, dtype=bool), slack=np.full(4 * FEWEST, 0.25))
    np.savez(tmp_path / "bound.npz", **to_arrays(one))
    with np.load(tmp_path / "bound.npz", allow_pickle=False) as stored:
        again = from_arrays(dict(stored))
    for field in one.__struct_fields__:
        assert np.array_equal(getattr(one, field), getattr(again, field)), field


def test_where_nothing_can_be_judged_nobody_passes() -> None:
    ones = np.ones(4)
    bound = Bound(
        name="y", kind="float32", law="1 ulp", reference=ones, unit=1e-7 * ones, exempt=np.ones(4, dtype=bool)
    )
    with pytest.raises(HarnessError, match="nothing of 'y' can be judged"):
        judge_bound(bound, ones.astype(np.float32))
