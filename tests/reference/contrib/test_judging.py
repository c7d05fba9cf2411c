"""Right results pass and wrong ones fail: ONNX Runtime as the device, then the same with one thing done wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from conformance.numerics.bounded import Bound
from conformance.numerics.limits import Exact, Rate, judge
from conformance.numerics.modes import native
from conformance.numerics.spread import Spread, judge_spread
from conformance.reference.contrib import recipes
from conformance.reference.contrib.judging import limits_of
from conformance.reference.contrib.packing import pack
from conformance.reference.contrib.twins import twin_of
from conformance.reference.recipes import carry_out
from tests.reference.contrib.one_node import on_runtime, outputs_of, reference

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.numerics.judged import Judged
    from conformance.tensors import Array

RECIPES = {one.case_id.removeprefix("operators/com.microsoft."): one for one in recipes()}
DECODE = "GroupQueryAttention-1/float32/made/decode63-h14-kv2-d64"
PREFILL = "GroupQueryAttention-1/float32/made/no-rotary-prefill17-h8-kv2-d64"
WINDOW = "GroupQueryAttention-1/float32/made/window32-decode511-h8-kv2-d128"
CHUNK = "GroupQueryAttention-1/float32/made/chunk7-past63-h8-kv2-d128"
BITS4 = "MatMulNBits-1/float32/made/4bit-block32-k896-n257-m7-zeros-bias"
LONG = "MatMulNBits-1/float32/made/4bit-block64-k1000-n200-m7-zeros"


def judged(case: str, outputs: dict[str, Array]) -> list[Judged]:
    recipe = RECIPES[case]
    made = carry_out(recipe)
    limits = limits_of(made.model, made.datasets[0], native(recipe.kind), recipe.kind, 5)
    names = outputs_of(made.model)
    assert len(limits) == len(names)
    return [
        judge_spread(limit, outputs[name], name) if isinstance(limit, Spread) else judge(limit, outputs[name])
        for limit, name in zip(limits, names, strict=True)
    ]


def parts(case: str) -> tuple[onnx.ModelProto, dict[str, Array]]:
    made = carry_out(RECIPES[case])
    return onnx.load_model_from_string(made.model), dict(made.datasets[0])


def weight(model: onnx.ModelProto, name: str, change: Callable[[Array], Array]) -> None:
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(np.ascontiguousarray(change(onnx.numpy_helper.to_array(tensor))), name)
            )
            return
    raise AssertionError(name)


def set_attribute(model: onnx.ModelProto, name: str, value: Any) -> None:
    node = model.graph.node[0]
    kept = [one for one in node.attribute if one.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])


@pytest.mark.parametrize(
    "case",
    [
        DECODE,
        PREFILL,
        CHUNK,
        BITS4,
        LONG,
        "GroupQueryAttention-1/float16/made/packed-decode63-h6-kv2-d128",
        "MultiHeadAttention-1/float32/made/h8-d64-s33-lengths",
        "MatMulNBits-1/float16/made/8bit-block128-k2048-n257-m7-zeros",
        "FusedMatMul-1/float32/made/batch-axes",
        "GatherBlockQuantized-1/float32/made/4bit-block32-zeros",
        "SkipSimplifiedLayerNormalization-1/float32/made/width2048",
        "SkipLayerNormalization-1/float16/made/bias-width1024",
        "EmbedLayerNormalization-1/float32/made/masked",
        "BiasGelu-1/float32/made/three-sizes",
        "QMoE-1/float32/made/silu-top2-normalised-4bit-block64-zeros",
        "QLinearAdd-1/uint8/made/broadcast",
        "QLinearMul-1/int8/made/same",
    ],
)
def test_onnx_runtime_passes(case: str) -> None:
    made = carry_out(RECIPES[case])
    for one in judged(case, on_runtime(made.model, made.datasets[0])):
        assert one.ok, one.reason


def wrong_position(model: onnx.ModelProto, _: dict[str, Array]) -> None:
    """The new token is turned by the angle of the position before."""
    for name in ("cos_cache", "sin_cache"):
        weight(model, name, lambda table: np.roll(table, 1, axis=0))


def stale_cache(_: onnx.ModelProto, inputs: dict[str, Array]) -> None:
    """The last key of the cache is that of the step before."""
    inputs["past_key"] = inputs["past_key"].copy()
    inputs["past_key"][:, :, -1] = inputs["past_key"][:, :, -2]


def mapped_by_remainder(_: onnx.ModelProto, inputs: dict[str, Array]) -> None:
    """Query head h takes key-value head h mod 2 in place of h // 4: the same as with the query heads in another order."""
    query = inputs["query"]
    split = query.reshape(*query.shape[:2], 8, -1)
    inputs["query"] = split[:, :, [0, 2, 4, 6, 1, 3, 5, 7]].reshape(query.shape)


def wider_window(model: onnx.ModelProto, _: dict[str, Array]) -> None:
    set_attribute(model, "local_window_size", 33)


def later_key(model: onnx.ModelProto, _: dict[str, Array]) -> None:
    """No query is kept from looking ahead: the mask is off."""
    set_attribute(model, "causal", 0)


def no_zero_point(model: onnx.ModelProto, _: dict[str, Array]) -> None:
    weight(model, "zeros", lambda packed: np.full_like(packed, 0x88))


def shifted_scales(model: onnx.ModelProto, _: dict[str, Array]) -> None:
    weight(model, "scales", lambda scales: np.roll(scales, 1, axis=-1))


def high_nibble_first(model: onnx.ModelProto, _: dict[str, Array]) -> None:
    weight(model, "b", lambda packed: (packed >> 4) | (packed << 4))


def restored(name: str, outputs: dict[str, Array]) -> dict[str, Array]:
    if name != "mapped_by_remainder":
        return outputs
    output = outputs["output"]
    split = output.reshape(*output.shape[:2], 8, -1)
    return outputs | {"output": split[:, :, np.argsort([0, 2, 4, 6, 1, 3, 5, 7])].reshape(output.shape)}


@pytest.mark.parametrize(
    ("case", "defect"),
    [
        (DECODE, wrong_position),
        (CHUNK, wrong_position),
        (DECODE, stale_cache),
        (PREFILL, mapped_by_remainder),
        (WINDOW, wider_window),
        (PREFILL, later_key),
        (BITS4, no_zero_point),
        (LONG, no_zero_point),
        (BITS4, shifted_scales),
        (LONG, high_nibble_first),
    ],
)
def test_a_defect_fails(case: str, defect: Callable[[onnx.ModelProto, dict[str, Array]], None]) -> None:
    model, inputs = parts(case)
    defect(model, inputs)
    outputs = restored(defect.__name__, on_runtime(model.SerializeToString(), inputs))
    assert not all(one.ok for one in judged(case, outputs))


def test_a_mask_off_by_one_fails() -> None:
    """Each query sees one key more than it should, by the reference itself with the first query's row kept."""
    made = carry_out(RECIPES[PREFILL])
    inputs = dict(made.datasets[0])
    right = reference(made.model, inputs)
    model, _ = parts(PREFILL)
    set_attribute(model, "causal", 0)
    wrong = {name: value.copy() for name, value in right.items()}
    for at in range(16):
        shorter = {
            name: value[:, : at + 2] if name in ("query", "key", "value") else value for name, value in inputs.items()
        }
        shorter |= {"seqlens_k": np.array([at + 1], np.int32), "total_sequence_length": np.array([at + 2], np.int32)}
        wrong["output"][:, at] = reference(model.SerializeToString(), shorter)["output"][:, at]
    narrow = {name: value.astype(np.float32) for name, value in wrong.items()}
    assert all(one.ok for one in judged(PREFILL, {name: value.astype(np.float32) for name, value in right.items()}))
    assert not judged(PREFILL, narrow)[0].ok


def test_rounded_operands_fail_where_float32_is_declared() -> None:
    model, inputs = parts(BITS4)
    rounded = inputs["a"].view(np.uint32) & np.uint32(0xFFFF0000)
    outputs = on_runtime(model.SerializeToString(), {"a": rounded.view(np.float32)})
    assert not judged(BITS4, outputs)[0].ok


def test_a_quantised_result_off_by_one_step_fails() -> None:
    case = "QLinearAdd-1/uint8/made/broadcast"
    made = carry_out(RECIPES[case])
    right = on_runtime(made.model, made.datasets[0])["output"]
    wrong = np.where(right > 0, right - 1, right + 1).astype(np.uint8)
    assert not judged(case, {"output": wrong})[0].ok


def test_limits_are_of_the_tier_that_the_recipe_names() -> None:
    kinds = {"bound": Bound, "spread": Spread, "rate": Rate}
    seen = set()
    for case, recipe in RECIPES.items():
        if not recipe.smoke or "/bfloat16/" in case or recipe.uses[0].op_type in seen:
            continue
        seen.add(recipe.uses[0].op_type)
        if recipe.uses[0].op_type in ("EmbedLayerNormalization", "MoE", "QMoE", "Attention", "MultiHeadAttention"):
            continue  # seconds
        made = carry_out(recipe)
        limits = limits_of(made.model, made.datasets[0], native(recipe.kind), recipe.kind, 5)
        assert all(isinstance(one, kinds[recipe.tier] | Exact) for one in limits), case


def test_twins_are_one_operator_and_give_the_same() -> None:
    found = 0
    for case, recipe in RECIPES.items():
        if "/float32/" not in case or recipe.tier != "bound" or "MatMul" not in case or "-n1024-" in case:
            continue
        made = carry_out(recipe)
        twin = twin_of(made.model, made.datasets[0])
        assert twin is not None, case
        graph = onnx.load_model_from_string(twin).graph
        assert len(graph.node) == 1
        assert graph.node[0].domain == ""
        found += 1
        if found < 6 or "FusedMatMul" in case:
            want = reference(made.model, made.datasets[0])["output"]
            got = reference(twin, made.datasets[0])["output"]
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12 * np.abs(want).max())
    assert found > 10


def test_a_twin_is_given_only_where_weights_are_exact() -> None:
    made = carry_out(RECIPES["MatMulNBits-1/float32/made/4bit-block32-k2048-n64-m7-zeros-long"])
    assert twin_of(made.model, made.datasets[0]) is None
    assert pack(np.array([[1]]), 4).dtype == np.uint8
