"""The references beside plain loops over single numbers: a second, independent computation from the operators' texts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from conformance.reference.contrib.packing import pack
from tests.reference.contrib.one_node import build, fed, reference

if TYPE_CHECKING:
    from conformance.tensors import Array

RNG = np.random.default_rng(11)


def softmax(scores: list[float]) -> list[float]:
    top = max(scores)
    powers = [math.exp(one - top) for one in scores]
    return [one / math.fsum(powers) for one in powers]


def turned(vector: list[float], position: int, base: float, *, is_interleaved: bool) -> list[float]:
    half, result = len(vector) // 2, list(vector)
    for at in range(half):
        angle = position * base ** (-2 * at / len(vector))
        a, b = (2 * at, 2 * at + 1) if is_interleaved else (at, at + half)
        result[a] = vector[a] * math.cos(angle) - vector[b] * math.sin(angle)
        result[b] = vector[b] * math.cos(angle) + vector[a] * math.sin(angle)
    return result


def grouped_by_hand(
    q: Array,
    k: Array,
    v: Array,
    past_k: Array,
    past_v: Array,
    *,
    heads: int,
    groups: int,
    window: int,
    softcap: float,
    interleaved: bool,
) -> Array:
    length, size, past = q.shape[1], q.shape[2] // heads, past_k.shape[2]
    result = np.zeros((1, length, heads * size))
    for head in range(heads):
        group = head // (heads // groups)
        keys = [past_k[0, group, at].tolist() for at in range(past)]
        values = [past_v[0, group, at].tolist() for at in range(past)]
        for at in range(length):
            row = k[0, at, group * size : (group + 1) * size].tolist()
            keys.append(turned(row, past + at, 10000.0, is_interleaved=interleaved))
            values.append(v[0, at, group * size : (group + 1) * size].tolist())
        for at in range(length):
            query = turned(
                q[0, at, head * size : (head + 1) * size].tolist(), past + at, 10000.0, is_interleaved=interleaved
            )
            seen = [one for one in range(past + length) if past + at - window < one <= past + at]
            scores = [math.fsum(a * b for a, b in zip(query, keys[one], strict=True)) / math.sqrt(size) for one in seen]
            weights = softmax([softcap * math.tanh(one / softcap) for one in scores])
            for place in range(size):
                total = math.fsum(w * values[one][place] for w, one in zip(weights, seen, strict=True))
                result[0, at, head * size + place] = total
    return result


def test_grouped_query_attention_with_cache_window_softcap_and_rotary_embedding() -> None:
    heads, groups, size, past, length = 6, 2, 8, 5, 4
    q, k, v = (RNG.normal(size=(1, length, count * size)) for count in (heads, groups, groups))
    past_k, past_v = (RNG.normal(size=(1, groups, past, size)) for _ in range(2))
    angles = np.arange(12)[:, None] * 10000.0 ** (-np.arange(0, size, 2) / size)
    inputs = {
        "q": q, "k": k, "v": v, "past_k": past_k, "past_v": past_v,
        "lengths": np.array([past + length - 1], np.int32), "total": np.array([past + length], np.int32),
        "cos": np.cos(angles), "sin": np.sin(angles),
    }  # fmt: skip
    for interleaved in (False, True):
        model = build(
            "GroupQueryAttention", inputs, ("output", "key", "value"), num_heads=heads, kv_num_heads=groups, do_rotary=1,
            rotary_interleaved=int(interleaved), local_window_size=3, softcap=2.0,
        )  # fmt: skip
        want = grouped_by_hand(
            q, k, v, past_k, past_v, heads=heads, groups=groups, window=3, softcap=2.0, interleaved=interleaved
        )
        np.testing.assert_allclose(reference(model, fed(inputs))["output"], want, rtol=1e-12, atol=1e-13)


def test_a_quantised_product_with_a_last_block_that_is_not_full() -> None:
    width, rows, block, bits = 40, 3, 16, 4
    codes, scales, zeros = (
        RNG.integers(0, 16, (rows, 3, block)),
        RNG.normal(size=(rows, 3)),
        RNG.integers(0, 16, (rows, 3)),
    )
    a = RNG.normal(size=(2, width))
    inputs = {"a": a, "b": pack(codes, bits), "scales": scales, "zeros": pack(zeros, bits)}
    model = build("MatMulNBits", inputs, K=width, N=rows, bits=bits, block_size=block)
    want = np.array([
        [
            math.fsum(
                a[m, at] * (int(codes[n, at // block, at % block]) - int(zeros[n, at // block])) * scales[n, at // block]
                for at in range(width)
            )
            for n in range(rows)
        ]
        for m in range(2)
    ])  # fmt: skip
    np.testing.assert_allclose(reference(model, inputs)["output"], want, rtol=1e-12, atol=1e-13)


def test_a_mixture_of_experts_with_swiglu() -> None:
    experts, tokens, hidden, inner = 3, 4, 5, 6
    x, router = RNG.normal(size=(tokens, hidden)), RNG.normal(size=(tokens, experts))
    w1, b1 = RNG.normal(size=(experts, 2 * inner, hidden)), RNG.normal(size=(experts, 2 * inner))
    w2, b2 = RNG.normal(size=(experts, hidden, inner)), RNG.normal(size=(experts, hidden))
    inputs = {"x": x, "router": router, "w1": w1, "b1": b1, "w2": w2, "b2": b2}
    model = build(
        "MoE", inputs, k=2, activation_type="swiglu", swiglu_fusion=1, normalize_routing_weights=1, activation_alpha=1.5,
        activation_beta=1.0, swiglu_limit=1.0,
    )  # fmt: skip
    want = np.zeros((tokens, hidden))
    for token in range(tokens):
        shares = softmax(router[token].tolist())
        best = sorted(range(experts), key=lambda one: -shares[one])[:2]
        for expert in best:
            both = [math.fsum((w1[expert, row] * x[token]).tolist()) + b1[expert, row] for row in range(2 * inner)]
            middle = []
            for at in range(inner):
                gate, linear = min(both[2 * at], 1.0), min(max(both[2 * at + 1], -1.0), 1.0)
                middle.append(gate / (1 + math.exp(-1.5 * gate)) * (linear + 1.0))
            share = shares[expert] / math.fsum(shares[one] for one in best)
            for at in range(hidden):
                want[token, at] += share * (math.fsum((w2[expert, at] * np.array(middle)).tolist()) + b2[expert, at])
    np.testing.assert_allclose(reference(model, inputs)["output"], want, rtol=1e-12, atol=1e-13)


def test_skip_simplified_layer_normalization() -> None:
    x, skip, gamma, bias = (
        RNG.normal(size=(2, 3, 7)),
        RNG.normal(size=(2, 3, 7)),
        RNG.normal(size=7),
        RNG.normal(size=7),
    )
    inputs = {"x": x, "skip": skip, "gamma": gamma, "bias": bias}
    model = build("SkipSimplifiedLayerNormalization", inputs, ("output", "", "", "sum"), epsilon=0.5)
    found = reference(model, inputs)
    for place in np.ndindex(2, 3):
        row = [float(a + b + c) for a, b, c in zip(x[place], skip[place], bias, strict=True)]
        root = math.sqrt(math.fsum(one * one for one in row) / 7 + 0.5)
        np.testing.assert_allclose(found["sum"][place], row, rtol=1e-14)
        np.testing.assert_allclose(
            found["output"][place], [one / root * g for one, g in zip(row, gamma, strict=True)], rtol=1e-13
        )
