"""The references beside ONNX Runtime in float32, on random settings; evaluation and expansion agree to the bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from conformance.errors import HarnessError
from conformance.reference import wide_operators
from conformance.reference.contrib.layers import rotary_tables
from conformance.reference.contrib.lowering import LOWERINGS, expand
from conformance.reference.contrib.packing import pack, unpack
from conformance.reference.evaluate import widen
from conformance.reference.interpreter import Interpreter
from tests.reference.contrib.one_node import build, fed, on_runtime, reference

if TYPE_CHECKING:
    from conformance.tensors import Array

RNG = np.random.default_rng(7)
F = np.float32


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(F)


def grouped(length: int, past: int | None, *, packed: bool = False, turned: int = 0, **more: Any) -> dict[str, Any]:
    heads, groups, size, batch = 6, 2, more.pop("size", 16), 2 if length == 1 or past is None else 1
    q, k, v = (normal(batch, length, count * size) for count in (heads, groups, groups))
    total = (past or 0) + length
    cosines, sines = (one.astype(F) for one in rotary_tables(total + 3, turned or size))
    caches = [None if past is None else normal(batch, groups, past, size) for _ in range(2)]
    inputs: dict[str, Any] = {
        "q": np.concatenate([q, k, v], axis=2) if packed else q,
        "k": None if packed else k,
        "v": None if packed else v,
        "past_k": caches[0],
        "past_v": caches[1],
        "lengths": np.full(batch, total - 1, dtype=np.int32),
        "total": np.array([total], dtype=np.int32),
        "cos": cosines if turned else None,
        "sin": sines if turned else None,
        "positions": None,
        "bias": normal(1, heads, length, total) if more.pop("bias", False) else None,
        "sink": normal(heads) if more.pop("sink", False) else None,
    }
    attributes = {"num_heads": heads, "kv_num_heads": groups, **({"do_rotary": 1} if turned else {}), **more}
    return {"op": "GroupQueryAttention", "inputs": inputs, "outputs": ("output", "key", "value"), **attributes}


def quantised(bits: int, width: int, block: int, zeros: str, *, bias: bool) -> dict[str, Any]:
    rows, blocks = 24, -(-width // block)
    points: Any = RNG.integers(0, 2**bits, (rows, blocks))
    inputs = {
        "a": normal(2, 3, width),
        "b": pack(RNG.integers(0, 2**bits, (rows, blocks, block)), bits),
        "scales": np.abs(normal(rows, blocks)),
        "zeros": {"packed": pack(points, bits), "float": (points + 0.5).astype(F)}.get(zeros),
        "order": None,
        "bias": normal(rows) if bias else None,
    }
    return {"op": "MatMulNBits", "inputs": inputs, "K": width, "N": rows, "bits": bits, "block_size": block}


def heads(length: int, keys: int, past: int = 0, **more: Any) -> dict[str, Any]:
    inputs = {
        "q": normal(2, length, 64),
        "k": normal(2, keys, 64),
        "v": normal(2, keys, 64),
        "bias": normal(192) if more.pop("bias", False) else None,
        "mask": more.pop("mask", None),
        "scores": normal(1, 4, length, past + keys) if more.pop("scores", False) else None,
        "past_k": normal(2, 4, past, 16) if past else None,
        "past_v": normal(2, 4, past, 16) if past else None,
    }
    outputs = ("output", "key", "value") if past else ("output",)
    return {"op": "MultiHeadAttention", "inputs": inputs, "outputs": outputs, "num_heads": 4, **more}


def projected(past: int = 0, mask: Any = None, **more: Any) -> dict[str, Any]:
    inputs = {
        "x": normal(2, 5, 32),
        "w": normal(32, 192) / F(5),
        "b": normal(192),
        "mask": mask,
        "past": normal(2, 2, 4, past, 16) if past else None,
    }
    outputs = ("output", "present") if past else ("output",)
    return {"op": "Attention", "inputs": inputs, "outputs": outputs, "num_heads": 4, **more}


def experts(op: str, **more: Any) -> dict[str, Any]:
    count, hidden, inner = 4, 32, 48
    wide = 2 * inner if more.get("swiglu_fusion") else inner
    inputs: dict[str, Any] = {"x": normal(6, hidden), "router": normal(6, count) * F(3)}
    bits, block = more.get("expert_weight_bits", 0), more.get("block_size", 0)
    points: dict[str, Any] = {}
    for at, (rows, width) in enumerate(((wide, hidden), (hidden, inner)), start=1):
        if op == "MoE":
            inputs |= {f"w{at}": normal(count, rows, width) / F(6), f"b{at}": normal(count, rows)}
            continue
        shape = (count, rows, width // block) if block else (count, rows)
        codes = RNG.integers(0, 2**bits, (count, rows, width))
        inputs |= {f"w{at}": pack(codes, bits), f"s{at}": np.abs(normal(*shape)) / F(50), f"b{at}": normal(count, rows)}
        points[f"z{at}"] = pack(RNG.integers(0, 2**bits, shape), bits)
    if op == "QMoE":
        inputs |= {"w3": None, "s3": None, "b3": None, **points}
    return {"op": op, "inputs": inputs, "k": 2, **more}


def alone(op: str, *values: Array, **more: Any) -> dict[str, Any]:
    return {"op": op, "inputs": {f"x{at}": value for at, value in enumerate(values)}, **more}


SWIGLU = {
    "activation_type": "swiglu",
    "swiglu_fusion": 1,
    "activation_alpha": 1.702,
    "activation_beta": 1.0,
    "swiglu_limit": 2.0,
}
CASES: dict[str, dict[str, Any]] = {
    "gqa-prefill": grouped(9, None),
    "gqa-rotary": grouped(9, None, turned=16),
    "gqa-decode": grouped(1, 63, turned=16),
    "gqa-chunk": grouped(7, 5, turned=16),
    "gqa-empty-cache": grouped(7, 0, turned=16),
    "gqa-packed": grouped(9, None, packed=True, turned=16),
    "gqa-packed-decode": grouped(1, 20, packed=True, turned=16),
    "gqa-interleaved": grouped(9, 4, turned=16, rotary_interleaved=1),
    "gqa-partial": grouped(9, 4, turned=16, size=32),
    "gqa-window": grouped(9, None, local_window_size=4),
    "gqa-window-decode": grouped(1, 20, local_window_size=4),
    "gqa-softcap": grouped(9, None, softcap=2.0),
    "gqa-scale": grouped(9, None, scale=0.1),
    "gqa-smooth": grouped(9, None, smooth_softmax=1),
    "gqa-sink": grouped(9, None, sink=True),
    "gqa-bias": grouped(9, None, bias=True),
    "gqa-both-ways": grouped(9, None, causal=0),
    "mha": heads(5, 5),
    "mha-cross": heads(5, 9, bias=True),
    "mha-causal-past": heads(5, 5, 7, unidirectional=1),
    "mha-lengths": heads(5, 5, mask=np.array([5, 3], dtype=np.int32)),
    "mha-mask": heads(5, 5, mask=np.array([[1, 1, 1, 1, 0], [1, 1, 0, 1, 1]], dtype=np.int32)),
    "mha-scores": heads(5, 5, scores=True),
    "attention": projected(),
    "attention-past": projected(6, unidirectional=1),
    "attention-ends": projected(mask=np.array([5, 3, 1, 0], dtype=np.int32)),
    "attention-mask": projected(mask=np.array([[1, 1, 1, 1, 0], [1, 1, 0, 1, 1]], dtype=np.int32)),
    "attention-sizes": projected(qkv_hidden_sizes=[48, 48, 96]),
    **{
        f"nbits{bits}-{width}-{block}-{zeros}": quantised(bits, width, block, zeros, bias=zeros == "packed")
        for bits, width, block, zeros in (
            (4, 128, 32, "none"), (4, 200, 64, "packed"), (4, 96, 16, "float"), (8, 128, 32, "none"), (8, 200, 64, "packed"), (2, 128, 32, "packed"),
        )
    },
    "moe-relu": experts("MoE"),
    "moe-swiglu": experts("MoE", normalize_routing_weights=1, **SWIGLU),
    "qmoe4": experts("QMoE", expert_weight_bits=4, block_size=16, activation_type="silu", normalize_routing_weights=1),
    "qmoe4-row": experts("QMoE", expert_weight_bits=4, normalize_routing_weights=1, **SWIGLU),
    "qmoe8": experts("QMoE", expert_weight_bits=8, normalize_routing_weights=1),
    "fused-transposed": alone("FusedMatMul", normal(2, 5, 7), normal(2, 9, 5), transA=1, transB=1, alpha=0.3),
    "fused-batch": alone("FusedMatMul", normal(5, 2, 3, 7), normal(9, 2, 3, 7), transBatchA=1, transBatchB=1, transB=1),
    "fused-gemm": alone("FusedGemm", normal(5, 7), normal(7, 4), normal(4), activation="Relu", alpha=0.5),
    "fused-conv": alone(
        "FusedConv", normal(1, 4, 9, 9), normal(6, 4, 3, 3), normal(6), normal(1, 6, 9, 9), activation="Relu", pads=[1] * 4, kernel_shape=[3, 3]
    ),
    "gelu": alone("Gelu", normal(50, 7)),
    "bias-gelu": alone("BiasGelu", normal(50, 7), normal(7)),
    "fast-gelu": alone("FastGelu", normal(50, 7), normal(7)),
    "quick-gelu": alone("QuickGelu", normal(50, 7)),
    "skip": alone("SkipLayerNormalization", normal(2, 5, 64), normal(2, 5, 64), normal(64), normal(64), normal(64), epsilon=1e-5),
    "skip-simplified": alone(
        "SkipSimplifiedLayerNormalization", normal(2, 5, 64), normal(2, 5, 64), normal(64), normal(64), outputs=("output", "", "", "sum")
    ),
    "simplified": alone("SimplifiedLayerNormalization", normal(2, 5, 64), normal(64), outputs=("output", "inverse"), epsilon=1e-5),
    "gathered": alone(
        "GatherBlockQuantized", pack(RNG.integers(0, 16, (30, 64)), 4), RNG.integers(0, 30, (2, 5)), normal(30, 2),
        pack(RNG.integers(0, 16, (30, 2)), 4), bits=4, block_size=32,
    ),
    **{
        f"rotary-{name}": alone("RotaryEmbedding", normal(*shape), ids, *(one.astype(F) for one in rotary_tables(30, 16)), **more)
        for name, shape, ids, more in (
            ("flat", (2, 7, 64), np.array([3]), {}),
            ("heads", (2, 4, 7, 16), np.arange(7)[None].repeat(2, 0) + 1, {"interleaved": 1}),
            ("partial", (2, 7, 128), np.arange(7)[None].repeat(2, 0) + 1, {"num_heads": 4, "rotary_embedding_dim": 16}),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_onnx_runtime_in_float32(name: str) -> None:
    case = dict(CASES[name])
    inputs = case.pop("inputs")
    model = build(case.pop("op"), inputs, case.pop("outputs", ("output",)), **case)
    given = fed(inputs)
    want, got = reference(model, given), on_runtime(model, given)
    assert want.keys() == got.keys()
    for output, value in want.items():
        assert value.dtype == np.float64
        assert value.shape == got[output].shape
        np.testing.assert_allclose(got[output], value, rtol=1e-5, atol=3e-6 * np.abs(value).max())


@pytest.mark.parametrize("name", ["gqa-chunk", "qmoe4-row", "nbits4-200-64-packed", "skip-simplified"])
def test_the_expansion_holds_onnx_operators_only_and_gives_the_same(name: str) -> None:
    case = dict(CASES[name])
    inputs = case.pop("inputs")
    model = build(case.pop("op"), inputs, case.pop("outputs", ("output",)), **case)
    expanded = expand(widen(model), fed(inputs))
    assert {node.domain for node in expanded.graph.node} == {""}
    found, want = Interpreter(expanded, wide_operators.OPERATORS).run(fed(inputs)), reference(model, fed(inputs))
    for output, value in want.items():
        np.testing.assert_array_equal(found[output], value)


def test_qmoe_heeds_whether_routing_weights_are_normalised() -> None:
    """ONNX Runtime's CPU kernel does not: it always normalises (docs/findings)."""
    case = experts("QMoE", expert_weight_bits=4, block_size=16, activation_type="silu")
    op, inputs = case.pop("op"), case.pop("inputs")
    without = build(op, inputs, **case)
    with_it = build(op, inputs, **case, normalize_routing_weights=1)
    ours, theirs = (run(without, fed(inputs))["output"] for run in (reference, on_runtime))
    assert np.abs(ours - theirs).max() > 0.01
    np.testing.assert_allclose(theirs, reference(with_it, fed(inputs))["output"], rtol=1e-4, atol=1e-5)


def test_nodes_beside_it_stay_in_an_expansion() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 21, "com.microsoft": 1]>'
        "one (double[3, 4] x) => (double[3, 4] y) { a = com.microsoft.QuickGelu(x) y = Neg(a) }"
    )
    x = RNG.normal(size=(3, 4))
    expanded = expand(model, {"x": x})
    assert [node.op_type for node in expanded.graph.node][-1] == "Neg"
    y = Interpreter(expanded, wide_operators.OPERATORS).run({"x": x})["y"]
    np.testing.assert_allclose(y, -x / (1 + np.exp(-float(F(1.702)) * x)), rtol=1e-12)


def test_what_is_not_described_is_an_error_and_no_guess() -> None:
    case = grouped(1, 5)
    case["inputs"]["lengths"] = np.array([5, 3], dtype=np.int32)
    op, inputs, outputs = case.pop("op"), case.pop("inputs"), case.pop("outputs")
    with pytest.raises(HarnessError, match="unequal lengths"):
        reference(build(op, inputs, outputs, **case), fed(inputs))


def test_bits_are_packed_from_the_lowest() -> None:
    assert pack(np.array([[1, 2, 15]]), 4).tolist() == [[0x21, 0x0F]]
    values = RNG.integers(0, 4, (3, 9))
    np.testing.assert_array_equal(unpack(pack(values, 2), 2, 9), values)


def test_every_operator_of_the_table_is_tried() -> None:
    tried = {case["op"] for case in CASES.values()} | {"EmbedLayerNormalization", "QLinearAdd", "QLinearMul"}
    assert tried == {name for _, name in LOWERINGS}
