"""The kinds of defect: their list, and that each family does to a node what its words say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from selftest.nodes import baseline, chain, draw, load, with_defect

from conformance.numerics.modes import PrecisionMode, native
from conformance.selftest.defects import DEFECTS
from conformance.selftest.defects.formats import half_away
from conformance.selftest.injection import Baseline, Defective, earlier
from conformance.selftest.simulate import Simulated


def test_there_are_kinds_enough_each_with_a_name_and_words_of_its_own() -> None:
    assert len(DEFECTS) >= 60
    assert len({one.name for one in DEFECTS}) == len({one.says for one in DEFECTS}) == len(DEFECTS)
    assert {one.level for one in DEFECTS} == {"node", "output", "behaviour"}


def test_about_half_are_set_aside_by_their_names() -> None:
    held_out = [one for one in DEFECTS if one.is_held_out]
    assert 0.4 < len(held_out) / len(DEFECTS) < 0.6
    by_name = {one.name: one.is_held_out for one in DEFECTS}
    assert (by_name["channel-zeroed"], by_name["float16-sums"]) == (_parity("channel-zeroed"), _parity("float16-sums"))


def _parity(name: str) -> bool:
    import hashlib

    return bool(hashlib.blake2b(name.encode(), digest_size=1).digest()[0] % 2)


def test_a_format_that_is_declared_is_no_defect() -> None:
    by_name = {one.name: one for one in DEFECTS}
    assert by_name["bfloat16-operands"].is_defect(PrecisionMode())
    assert not by_name["bfloat16-operands"].is_defect(native("bfloat16"))
    assert not by_name["truncating-accumulation"].is_defect(PrecisionMode(accumulate_rounding="toward-zero"))
    assert not by_name["exp-to-1e-3"].is_defect(native("bfloat16"))


X, W = draw(1, 3, 8, 8), draw(4, 3, 3, 3, seed=1)
CASES: list[tuple[str, str, list[Any], dict[str, Any]]] = [
    ("last-term-dropped", "MatMul", [draw(4, 6), draw(6, 4)], {}),
    ("last-term-dropped", "Gemm", [draw(4, 6), draw(4, 6)], {"transB": 1}),
    ("first-term-twice", "Conv", [X, W], {}),
    ("tail-dropped", "MatMul", [draw(4, 20), draw(20, 4)], {}),
    ("weights-transposed", "MatMul", [draw(4, 4), draw(4, 4, seed=2)], {}),
    ("kernel-mirrored", "Conv", [X, W], {}),
    ("bias-skipped", "Conv", [X, W, draw(4)], {}),
    ("bias-shifted", "Gemm", [draw(4, 6), draw(6, 4), draw(4)], {}),
    ("beta-ignored", "Gemm", [draw(4, 6), draw(6, 4), draw(4)], {"beta": 0.5}),
    ("groups-shifted", "Conv", [draw(1, 4, 8), draw(4, 2, 3)], {"group": 2}),
    ("padding-shifted", "Conv", [X, W], {"pads": [1, 1, 1, 1]}),
    ("padding-repeats-edge", "Conv", [X, W], {"pads": [1, 1, 1, 1]}),
    ("stride-offset", "MaxPool", [X], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("dilation-ignored", "Conv", [X, W], {"dilations": [2, 2], "pads": [2, 2, 2, 2]}),
    ("max-pads-with-zero", "MaxPool", [-np.abs(X)], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("mean-counts-padding", "AveragePool", [X], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("epsilon-tenfold", "LayerNormalization", [0.01 * draw(3, 8), draw(8)], {}),
    ("epsilon-outside-root", "LayerNormalization", [0.01 * draw(3, 8), draw(8)], {}),
    ("variance-of-sample", "LayerNormalization", [draw(3, 8), draw(8)], {}),
    ("softmax-over-wrong-axis", "Softmax", [draw(3, 8)], {}),
    ("softmax-drops-last", "Softmax", [draw(3, 8)], {}),
    ("last-summand-dropped", "ReduceSum", [draw(3, 8), np.array([1])], {}),
    ("exp-to-1e-4", "Exp", [draw(64)], {}),
    ("gelu-by-tanh", "Erf", [draw(64)], {}),
    ("relu-leaks", "Relu", [draw(64)], {}),
    ("clip-bounds-swapped", "Clip", [draw(64), np.float32(-0.5) * np.ones(()), np.float32(0.5) * np.ones(())], {}),
    ("square-not-transposed", "Transpose", [draw(4, 4)], {}),
    ("concat-order", "Concat", [draw(2, 2), draw(2, 2, seed=1)], {"axis": 0}),
    ("slice-off-by-one", "Slice", [draw(8), np.array([2]), np.array([5])], {}),
    ("gather-off-by-one", "Gather", [draw(8), np.array([1, 7])], {}),
    ("depth-to-space-order", "DepthToSpace", [draw(1, 8, 2, 2)], {"blocksize": 2}),
    ("broadcast-axis", "Add", [draw(4, 4), draw(4, seed=1)], {}),
    ("nan-dropped", "Max", [np.array([1, np.nan], np.float32), np.array([0, 0], np.float32)], {}),
    ("float16-range", "Mul", [np.array([300, 1], np.float32), np.array([300, 1], np.float32)], {}),
    ("row-repeated", "Relu", [draw(3, 8)], {}),
    ("batch-of-three", "Relu", [draw(3, 8)], {}),
    ("scale-one-percent", "Relu", [draw(3, 8)], {}),
    ("one-element-in-4096", "Exp", [draw(5000)], {}),
    ("output-of-earlier-run", "Relu", [draw(3, 8)], {}),
    ("state-added-up", "Relu", [draw(3, 8)], {}),
    ("truncated-results", "Exp", [draw(64)], {}),
    ("bfloat16-operands", "MatMul", [draw(4, 6), draw(6, 4)], {}),
    ("float16-accumulation", "MatMul", [draw(4, 6), draw(6, 4)], {}),
    ("split-sum-in-float16", "MatMul", [draw(4, 6), draw(6, 4)], {}),
    ("emulated-float32", "MatMul", [draw(4, 6), draw(6, 4)], {}),
    ("flushed-operands", "Mul", [np.full(2, 1e-40, np.float32), np.full(2, 1e10, np.float32)], {}),
]


@pytest.mark.parametrize(
    ("name", "op", "inputs", "attributes"), CASES, ids=[f"{name}-{op}" for name, op, _, _ in CASES]
)
def test_a_defect_changes_what_its_node_gives(
    name: str, op: str, inputs: list[Any], attributes: dict[str, Any]
) -> None:
    inputs = [one.astype(np.float32) if one.dtype == np.float64 else one for one in inputs]
    base = baseline(op, inputs, **attributes)
    before = base.outputs["y0"].tobytes()
    found = with_defect(name, base)
    assert found.dtype == base.outputs["y0"].dtype
    assert found.tobytes() != before
    assert base.outputs["y0"].tobytes() == before, "the correct device's results are left alone"
    again = base.run(base.step)["y0"]
    assert again.tobytes() == before


def test_int64_is_narrowed() -> None:
    base = baseline("Add", [np.array([2**40 + 3]), np.array([1])], kind="int64")
    assert with_defect("int64-narrowed", base).tolist() == [4]
    assert with_defect(
        "integers-through-float32", baseline("Add", [np.array([2**24]), np.array([1])], kind="int64")
    ).tolist() == [2**24]


QUANTISED = [
    np.array([-1000, -128, 0.5, 1.5, 1000], np.float32),
    np.float32(1) * np.ones((), np.float32),
    np.array(0, np.int8),
]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("quantise-wraps", [24, -128, 0, 2, -24]),
        ("quantise-half-away", [-128, -128, 1, 2, 127]),
        ("quantise-truncates", [-128, -128, 0, 1, 127]),
        ("quantise-symmetric", [-127, -127, 0, 2, 127]),
    ],
)
def test_quantising_goes_wrong_as_told(name: str, wanted: list[int]) -> None:
    base = baseline("QuantizeLinear", QUANTISED, kind="int8")
    assert base.outputs["y0"].tolist() == [-128, -128, 0, 2, 127]
    assert with_defect(name, base).tolist() == wanted


def test_zero_points_and_scales_are_mistaken() -> None:
    given = [np.array([[10, 20], [30, 40]], np.int8), np.array([1, 2], np.float32), np.array([5, 5], np.int8)]
    base = baseline("DequantizeLinear", given, axis=1)
    assert base.outputs["y0"].tolist() == [[5, 30], [25, 70]]
    assert with_defect("zero-point-ignored", base).tolist() == [[10, 40], [30, 80]]
    assert with_defect("scale-per-tensor", base).tolist() == [[5, 15], [25, 35]]
    assert with_defect("scale-shifted", base).tolist() == [[10, 15], [50, 35]]


def test_ties_go_away_from_zero() -> None:
    values = np.array([1 + 2.0**-11, -1 - 2.0**-11, 1 + 3 * 2.0**-11, 1 + 2.0**-12, 3 * 2.0**-26])
    assert half_away(values, "float16").tolist() == [1 + 2.0**-10, -1 - 2.0**-10, 1 + 2.0**-9, 1.0, 2.0**-24]
    assert half_away(np.array([np.inf, np.nan]), "float16").tolist()[0] == np.inf


def test_a_defect_may_be_at_one_node_only() -> None:
    interpreter = load(chain(["Exp", "Tanh", "Exp", "Relu"]))
    defect = next(one for one in DEFECTS if one.name == "exp-to-1e-2")
    base = Baseline(interpreter, Simulated(PrecisionMode()), {"t0": draw(8)}, {"t4": "float32"})
    assert Defective(defect, base, "all", 0).sites == [0, 2]
    assert {tuple(Defective(defect, base, "one", seed).sites) for seed in range(20)} == {(0,), (2,)}
    assert Defective(defect, base, "one", 3).sites == Defective(defect, base, "one", 3).sites


def test_what_is_stale_is_what_was_there_before() -> None:
    base = baseline("Relu", [draw(3, 8)])
    assert np.array_equal(with_defect("output-of-earlier-run", base), np.maximum(earlier({"x": draw(3, 8)})["x"], 0))


def test_a_defect_that_changes_no_rounding_shows_nothing() -> None:
    base = baseline("MatMul", [np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32)])
    assert with_defect("bfloat16-operands", base).tobytes() == base.outputs["y0"].tobytes()
