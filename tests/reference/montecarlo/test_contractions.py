"""Sums whose accumulator cuts: which partial sums they have, and that a device that declares it lies inside the spread."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from conformance.numerics.formats import FORMATS, round_to
from conformance.numerics.modes import PrecisionMode
from conformance.numerics.spread import judge_spread
from conformance.reference.evaluate import widen
from conformance.reference.interpreter import Interpreter, Node
from conformance.reference.montecarlo.contractions import mean_partial_sums, summed_axes
from conformance.reference.montecarlo.noise import Noise
from conformance.reference.montecarlo.runs import spreads

CUTTING = PrecisionMode(accumulate_rounding="toward-zero")


def noise(run: int) -> Noise:
    return Noise(CUTTING, (1,), run)


def one_node(op: str, arrays: list[Any], **attributes: Any) -> tuple[Any, dict[str, Any]]:
    """Return a widened model of one node and its inputs x0, x1, …"""
    given = {f"x{at}": one for at, one in enumerate(arrays)}
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, one.shape) for name, one in given.items()]
    result = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph([helper.make_node(op, list(given), ["y"], **attributes)], "one", infos, result)
    return widen(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)]).SerializeToString()), given


def compute_of(op: str, arrays: list[Any], **attributes: Any) -> tuple[Node, Any]:
    """Return a node and the function that computes it."""
    model, given = one_node(op, arrays, **attributes)
    interpreter = Interpreter(model)

    def compute(values: list[Any]) -> list[Any]:
        return [interpreter.run(dict(zip(given, values, strict=True)))["y"]]

    return interpreter.nodes[0], compute


def test_products_are_in_the_sum_for_the_additions_that_follow_them() -> None:
    assert (noise(0).lags((2, 3)) * 6).round().tolist() == [[6, 5, 4], [3, 2, 1]]
    assert (noise(1).lags((2, 3)) * 6).round().tolist() == [[1, 2, 3], [4, 5, 6]]


def test_other_runs_nest_and_turn_the_loops_in_every_way() -> None:
    loops = {tuple((noise(run).lags((2, 3)) * 6).round().astype(int).ravel().tolist()) for run in range(2, 80)}
    assert all(sorted(one) == [1, 2, 3, 4, 5, 6] for one in loops)
    assert len(loops) == 8  # two nestings, each axis from either end


def test_the_mean_of_the_partial_sums_is_that_of_adding_one_after_another() -> None:
    a, b = np.random.default_rng(1).standard_normal((2, 5, 7))
    node, compute = compute_of("MatMul", [a, b.T])
    found = mean_partial_sums(noise(0), node, [a, b.T], compute)
    assert found is not None
    partial = np.cumsum(a[:, None, :] * b, axis=-1)
    np.testing.assert_allclose(found, partial.mean(axis=-1), rtol=1e-12, atol=1e-15)


def test_a_window_is_summed_over_channels_and_taps() -> None:
    x, w = np.random.default_rng(2).standard_normal((2, 1, 3, 2, 2))
    node, compute = compute_of("Conv", [x, w])
    found = mean_partial_sums(noise(1), node, [x, w], compute)
    assert found is not None
    assert found.item() == pytest.approx(float(np.cumsum((x * w).ravel()[::-1]).mean()))


@pytest.mark.parametrize(
    ("op", "second", "attributes", "axes"),
    [
        ("MatMul", (4, 7, 5), {}, (1,)),
        ("MatMul", (7,), {}, (0,)),
        ("Gemm", (7, 5), {}, (0,)),
        ("Gemm", (5, 7), {"transB": 1}, (1,)),
        ("Conv", (8, 3, 5, 5), {}, (1, 2, 3)),
        ("ConvTranspose", (3, 8, 5, 5), {}, (0, 2, 3)),
        ("Einsum", (7, 5), {"equation": "ij,jk->ik"}, None),
    ],
)
def test_the_axes_that_products_run_over(op: str, second: tuple[int, ...], attributes: Any, axes: Any) -> None:
    node, _ = compute_of(op, [np.zeros((4, 3, 7)), np.zeros(second)], **attributes)
    assert summed_axes(node, [None, np.zeros(second)]) == axes


def test_a_bias_is_there_from_the_start_or_comes_last() -> None:
    a, b, bias = np.ones((1, 4)), np.ones((4, 1)), np.array([100.0])
    node, compute = compute_of("Gemm", [a, b, bias])
    seen = {mean_partial_sums(noise(run), node, [a, b, bias], compute).item() for run in range(20)}  # type: ignore[union-attr]
    assert seen == {2.5, 102.5}


def cut_in_order(a: Any, b: Any, order: Any) -> Any:
    """Return a·b with every addition cut to float32."""
    total = np.zeros((a.shape[0], b.shape[1]))
    for at in order:
        total = round_to(total + a[:, at, None].astype(np.float64) * b[at], FORMATS["float32"], "toward-zero")
    return total.astype(np.float32)


def test_cutting_sums_that_rise_and_fall_again_are_right_where_they_are_declared_and_only_there() -> None:
    # What neighbouring outputs have in common: the same weights, half of them positive, and inputs that are much alike.
    random = np.random.default_rng(3)
    a = (1 + 0.1 * random.random((60, 128))).astype(np.float32)
    b = (random.random((128, 40)) * np.repeat([1.0, -1.0], 64)[:, None]).astype(np.float32)
    model, inputs = one_node("MatMul", [a, b])
    declared, plain = (spreads(model, inputs, mode, 7, {"y": "float32"})["y"] for mode in (CUTTING, PrecisionMode()))
    for order in (range(128), range(127, -1, -1), random.permutation(128)):
        found = cut_in_order(a, b, order)
        judged = judge_spread(declared, found, "y")
        assert judged.ok, judged.reason
    assert not judge_spread(plain, cut_in_order(a, b, range(128)), "y").ok
    for at, factor in itertools.product((0, 31), (1e-3, 1e-1)):
        wrong = cut_in_order(a, b, range(128))
        wrong[at, at] += factor
        assert not judge_spread(declared, wrong, "y").ok
