"""ONNX's own node cases: their expected outputs are within our bounds, and few have none."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.numerics.limits import Unbounded, judge
from conformance.numerics.modes import native
from conformance.reference import suite
from conformance.reference.operator_bounds.bounding import bounds_of

EVERY = 12
PRINTED = {"test_averagepool_2d_ceil_last_window_starts_on_pad": "expected values are written with four digits"}


def nodes(cases: suite.Suite) -> list[suite.SuiteEntry]:
    return [one for one in cases.entries if one.kind == "node" and not one.invalid and one.name not in PRINTED]


def kind_of(entry: suite.SuiteEntry) -> str:
    return next((one for one in ("float32", "float16", "bfloat16", "float64") if one in entry.types), "float32")


@pytest.mark.parametrize("start", range(3))
def test_expected_outputs_are_within_their_bounds(whole: suite.Suite, start: int) -> None:
    judged, none = 0, 0
    for entry in nodes(whole)[start :: 3 * EVERY]:
        limits = bounds_of(whole.model(entry), whole.inputs(entry), native(kind_of(entry)))
        expected = whole.expected(entry)
        assert len(limits) == len(expected)
        for limit, value in zip(limits, expected, strict=True):
            if isinstance(limit, Unbounded):
                none += 1
                continue
            assert judge(limit, value).reason == "", entry.name
            judged += 1
    assert judged > 40
    assert none < judged / 4


def test_outputs_that_are_one_percent_off_are_not(whole: suite.Suite) -> None:
    caught, seen = 0, 0
    for entry in nodes(whole)[5 :: 2 * EVERY]:
        limits = bounds_of(whole.model(entry), whole.inputs(entry), native(kind_of(entry)))
        for limit, value in zip(limits, whole.expected(entry), strict=True):
            if isinstance(limit, Unbounded) or not isinstance(value, np.ndarray) or value.dtype != np.float32:
                continue
            if value.size and np.all(np.isfinite(value)) and np.any(value):
                seen += 1
                caught += not judge(limit, value * np.float32(1.01)).ok
    assert seen > 30
    assert caught >= 0.95 * seen
