"""Models and inputs of generated cases: valid, the same for the same seed, in their domains; bodies that agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from conformance.reference.made import index, limits, listing
from conformance.reference.made.draws import DRAWS, draw
from conformance.reference.recipes import generator


@pytest.fixture(scope="module")
def first_of_each() -> list[listing.Item]:
    """One case per operator version, type float32, and its function body."""
    found: dict[tuple[str, int, bool], listing.Item] = {}
    for item in listing.items():
        if item.kind == "float32":
            found.setdefault((item.row.op, item.since, item.is_expanded), item)
    return list(found.values())


def test_every_version_makes_a_valid_model(first_of_each: list[listing.Item]) -> None:
    """ONNX's own checker takes each; the expanded ones hold the operator no more."""
    for item in first_of_each:
        model = onnx.load_model_from_string(index.carry_out_item(item, np.random.default_rng(0)).model)
        onnx.checker.check_model(model)
        if item.is_expanded:
            names = {node.op_type for node in model.graph.node}
            assert item.row.op not in names, item.case_id
            assert not model.functions


def test_inputs_depend_on_id_and_challenge_alone() -> None:
    """The same twice, other inputs under another challenge, and a function body is fed what its operator is fed."""
    case = "operators/ai.onnx.Softmax-13/float32/made/axis-1"
    once, again = index.make(case, generator(case)), index.make(case, generator(case))
    assert once.model == again.model
    assert all(np.array_equal(a["x0"], b["x0"]) for a, b in zip(once.datasets, again.datasets, strict=True))
    other = limits.made_of(case, "nonce")
    assert other.model == once.model
    assert not np.array_equal(other.datasets[0]["x0"], once.datasets[0]["x0"])
    body = limits.made_of("operators/ai.onnx.Softmax-13/float32/made-expanded/axis-1")
    assert np.array_equal(body.datasets[0]["x0"], once.datasets[0]["x0"])


@pytest.mark.parametrize("case", [
    "operators/ai.onnx.Softmax-13/float32/made/axis-1",
    "operators/ai.onnx.Clip-13/float32/made/both",
    "operators/ai.onnx.LayerNormalization-17/float32/made/axis-1",
    "operators/ai.onnx.HardSwish-22/float32/made/values",
    "operators/ai.onnx.PRelu-16/float32/made/slope-per-channel",
    "operators/ai.onnx.ReduceLogSumExp-18/float32/made/two-axes",
    "operators/ai.onnx.MeanVarianceNormalization-13/float32/made/axes-2-3",
])  # fmt: skip
def test_a_body_computes_what_the_operator_does(case: str) -> None:
    """By ONNX's evaluator, on the same inputs."""
    made, body = limits.made_of(case), limits.made_of(case.replace("/made/", "/made-expanded/"))
    for inputs in made.datasets:
        want: Any = ReferenceEvaluator(onnx.load_model_from_string(made.model)).run(None, inputs)[0]
        got: Any = ReferenceEvaluator(onnx.load_model_from_string(body.model)).run(None, inputs)[0]
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted(DRAWS))
def test_draws_are_finite_and_of_their_shape(name: str) -> None:
    """In every type that they may be narrowed to."""
    for kind in ("float32", "float16", "bfloat16"):
        for shape in ((), (0, 3), (5, 7)):
            values = draw(name, np.random.default_rng(1), shape, kind, None)
            assert values.shape == shape
            assert np.isfinite(values).all()


def test_special_draws_are_what_they_say() -> None:
    """Cancelling answers to the input before; subnormals lie near the smallest normal; distinct values differ."""
    rng = np.random.default_rng(2)
    before = rng.standard_normal((3, 5))
    both = draw("cancelling", rng, (3, 5), "float32", before) + before
    assert np.abs(both).max() < np.abs(before).max() / 32
    assert np.abs(draw("subnormal", rng, (64,), "float16", None)).max() <= 2.0**-11
    assert len(np.unique(draw("distinct", rng, (217,), "float16", None).astype(np.float16))) == 217
    assert np.abs(draw("nonzero", rng, (99,), "float32", None)).min() >= 0.25
