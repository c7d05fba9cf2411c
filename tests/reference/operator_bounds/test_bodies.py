"""Bodies of ours give the values of the operators that they spell out."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from operator_bounds_making import draw, make_model

from conformance.numerics.modes import native
from conformance.reference.evaluate import widen
from conformance.reference.interpreter import Interpreter
from conformance.reference.operator_bounds.bodies import OWN
from conformance.reference.operator_bounds.walk import Walk
from conformance.reference.wide_gaps import GAPS
from conformance.reference.wide_operators import OPERATORS

IMAGE = draw((2, 6, 5, 4), 1)
VECTOR = draw((6,), 2)
POSITIVE = draw((6,), 3, positive=True)
AXES = np.array([1, 3])

CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("BatchNormalization", {"x": IMAGE, "s": VECTOR, "b": VECTOR, "m": VECTOR, "v": POSITIVE}, {"epsilon": 1e-2}),
    ("InstanceNormalization", {"x": IMAGE, "s": VECTOR, "b": VECTOR}, {}),
    ("LRN", {"x": IMAGE}, {"size": 3, "alpha": 0.5, "bias": 0.7}),
    ("LRN", {"x": IMAGE}, {"size": 4}),
    ("LpNormalization", {"x": IMAGE}, {"p": 1, "axis": 1}),
    ("LpNormalization", {"x": IMAGE}, {"p": 2}),
    ("LpPool", {"x": IMAGE}, {"kernel_shape": [2, 3], "strides": [2, 1]}),
    ("LpPool", {"x": IMAGE}, {"kernel_shape": [2, 2], "p": 3}),
    ("ReduceLogSumExp", {"x": IMAGE}, {}),
    ("ReduceLogSumExp", {"x": IMAGE, "axes": AXES}, {"keepdims": 0}),
]


@pytest.mark.parametrize(("op", "inputs", "attributes"), CASES)
def test_a_body_gives_what_its_operator_gives(op: str, inputs: dict[str, Any], attributes: dict[str, Any]) -> None:
    model = make_model(op, inputs, **attributes)
    own = Walk(onnx.load_model_from_string(model), inputs, native("float32"), None).run_again(inputs)
    plain = Interpreter(widen(model), (*GAPS, *OPERATORS)).run(inputs)
    np.testing.assert_allclose(own["y0"], plain["y0"], rtol=1e-12, atol=1e-12)


def test_every_body_is_tried_above_or_has_no_operator_to_compare_with() -> None:
    assert set(OWN) - {op for op, _, _ in CASES} == {"GlobalLpPool"}


def test_the_global_norm_is_that_of_numpy() -> None:
    model = make_model("GlobalLpPool", {"x": IMAGE}, p=2)
    own = Walk(onnx.load_model_from_string(model), {"x": IMAGE}, native("float32"), None).run_again({"x": IMAGE})
    expected = np.sqrt((IMAGE.astype(np.float64) ** 2).sum(axis=(2, 3), keepdims=True))
    np.testing.assert_allclose(own["y0"], expected, rtol=1e-13)


def test_default_attributes_reach_onnx_bodies() -> None:
    model = make_model("Elu", {"x": IMAGE})
    found = Walk(onnx.load_model_from_string(model), {"x": IMAGE}, native("float32"), None).run_again({"x": IMAGE})
    wide = IMAGE.astype(np.float64)
    np.testing.assert_allclose(found["y0"], np.where(wide < 0, np.expm1(np.minimum(wide, 0)), wide), rtol=1e-6)
