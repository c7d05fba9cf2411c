"""Cases of attention and rotary embedding at the head shapes of published models: prefill, decoding with a cache, odd lengths.

Short ones have all heads; long ones those of one shard, so that a case stays within some megabytes and its reference within a
fraction of a second. Queries are twice as large as keys: weights are peaked enough that one key more or less is seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.reference.contrib.drafts import Draft, Given
from conformance.reference.contrib.layers import CAPPED, EIGHT, FULL, LAYERS, ONE, SMALL, THREE, Layer, rotary_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CACHES = ("present_key", "present_value")


class _Grouped:
    """The inputs of one GroupQueryAttention."""

    def __init__(self, layer: Layer, length: int, past: int | None, **form: Any) -> None:
        self.layer, self.length, self.past, self.form = layer, length, past, form

    def __call__(self, rng: np.random.Generator) -> list[Given | None]:
        layer, length, past, batch = self.layer, self.length, self.past or 0, self.form.get("batch", 1)
        q = 2 * rng.normal(size=(batch, length, layer.heads * layer.size))
        k, v = (rng.normal(size=(batch, length, layer.kv_heads * layer.size)) for _ in range(2))
        cache = (batch, layer.kv_heads, past, layer.size)
        total = past + length
        given: list[Given | None] = [Given("query", q), Given("key", k), Given("value", v)]
        if self.form.get("packed"):
            given = [Given("query", np.concatenate([q, k, v], axis=2)), None, None]
        if self.past is None:
            given += [None, None]
        else:
            given += [Given("past_key", rng.normal(size=cache)), Given("past_value", rng.normal(size=cache))]
        given += [
            Given("seqlens_k", np.full(batch, total - 1, dtype=np.int32)),
            Given("total_sequence_length", np.array([total], dtype=np.int32)),
        ]
        if self.form.get("rotary"):
            cosines, sines = rotary_tables(total + 3, self.form.get("turned", layer.size), layer.base)
            given += [Given("cos_cache", cosines, is_weight=True), Given("sin_cache", sines, is_weight=True)]
        else:
            given += [None, None]
        positions = np.broadcast_to(np.arange(past, total, dtype=np.int64) + 2, (batch, length)).copy()
        given.append(Given("position_ids", positions) if self.form.get("positions") else None)
        bias = rng.normal(size=(1, layer.heads, length, total))
        given.append(Given("attention_bias", bias) if self.form.get("bias") else None)
        given.append(
            Given("head_sink", rng.normal(size=layer.heads), is_weight=True) if self.form.get("sink") else None
        )
        return given

    @property
    def others(self) -> tuple[str, ...]:
        """The element types besides the case's own."""
        return ("int32", "int64") if self.form.get("positions") else ("int32",)


def _grouped() -> Iterator[Draft]:
    rotary: dict[str, Any] = {"rotary": True}
    rows: list[tuple[str, Layer, int, int | None, dict[str, Any], dict[str, Any]]] = [
        *((f"prefill{length}", ONE, length, None, rotary, {}) for length in (1, 7)),
        *((f"prefill{length}", layer, length, None, rotary, {}) for layer, length in
          ((ONE.shard(2), 64), (EIGHT.cut(4, 2), 127), (SMALL.cut(2, 1), 129), (THREE.cut(2, 1), 256))),
        *((f"decode{past}", layer, 1, past, rotary, {}) for layer, past in ((ONE, 1), (EIGHT, 63))),
        *((f"decode{past}", layer.shard(2), 1, past, rotary, {}) for layer, past in ((EIGHT, 511), (ONE, 1023), (SMALL, 63))),
        ("chunk7-past63", EIGHT.shard(2), 7, 63, rotary, {}),
        ("batch3-prefill9", ONE.shard(2), 9, None, rotary | {"batch": 3}, {}),
        ("batch3-decode63", ONE.shard(2), 1, 63, rotary | {"batch": 3}, {}),
        ("empty-cache-prefill7", ONE.shard(2), 7, 0, rotary, {}),
        ("no-rotary-prefill17", ONE.shard(2), 17, None, {}, {}),
        ("no-rotary-decode63", ONE.shard(2), 1, 63, {}, {}),
        ("packed-prefill17", THREE.shard(2), 17, None, rotary | {"packed": True}, {}),
        ("packed-decode63", THREE.shard(2), 1, 63, rotary | {"packed": True}, {}),
        ("interleaved-prefill17", ONE.shard(2), 17, None, rotary, {"rotary_interleaved": 1}),
        ("interleaved-decode63", ONE.shard(2), 1, 63, rotary, {"rotary_interleaved": 1}),
        ("partial-rotary-prefill17", FULL.shard(4), 17, None, rotary | {"turned": 48}, {}),
        ("positions-prefill17", ONE.shard(2), 17, None, rotary | {"positions": True}, {}),
        ("window32-prefill129", EIGHT.cut(4, 2), 129, None, rotary, {"local_window_size": 32}),
        ("window32-decode511", EIGHT.shard(2), 1, 511, rotary, {"local_window_size": 32}),
        ("window1-prefill9", ONE.shard(2), 9, None, rotary, {"local_window_size": 1}),
        ("softcap50-prefill33", CAPPED.shard(2), 33, None, rotary, {"softcap": CAPPED.softcap}),
        ("softcap2-decode63", CAPPED.shard(2), 1, 63, rotary, {"softcap": 2.0}),
        ("scale-prefill17", CAPPED.shard(2), 17, None, rotary, {"scale": 0.0625 / 2}),
        ("bias-prefill17", ONE.shard(2), 17, None, {"bias": True}, {}),
        ("sink-prefill33", EIGHT.shard(2), 33, None, rotary | {"sink": True}, {"local_window_size": 16}),
        ("smooth-prefill33", ONE.shard(2), 33, None, rotary, {"smooth_softmax": 1}),
        ("one-kv-head-prefill33", SMALL.shard(1), 33, None, rotary, {}),
        ("as-many-kv-heads-prefill33", FULL.shard(4), 33, None, rotary, {}),
    ]  # fmt: skip
    for name, layer, length, past, form, more in rows:
        attributes = {"num_heads": layer.heads, "kv_num_heads": layer.kv_heads, **more}
        if form.get("rotary"):
            attributes |= {"do_rotary": 1, "rotary_interleaved": more.get("rotary_interleaved", 0)}
        inputs = _Grouped(layer, length, past, **form)
        yield Draft(
            "GroupQueryAttention", f"{name}-{layer.text}", inputs, attributes, ("output", *CACHES), others=inputs.others
        )


def _multi_head(
    batch: int, heads: int, size: int, length: int, keys: int, **form: Any
) -> Callable[[np.random.Generator], list[Given | None]]:
    def inputs(rng: np.random.Generator) -> list[Given | None]:
        hidden, past = heads * size, form.get("past", 0)
        cache = (batch, heads, past, size)
        masks = {
            "lengths": np.arange(keys, keys - batch, -1, dtype=np.int32),
            "keys": (rng.random((batch, keys)) < 0.8).astype(np.int32) | (np.arange(keys) == 0),
            "pairs": np.broadcast_to(np.tri(length, keys, keys - length, dtype=np.int32), (batch, length, keys)).copy(),
        }
        mask = masks.get(form.get("mask", ""))
        given: list[Given | None] = [Given("query", 2 * rng.normal(size=(batch, length, hidden)))]
        given += [Given(name, rng.normal(size=(batch, keys, hidden))) for name in ("key", "value")]
        given.append(Given("bias", rng.normal(size=3 * hidden), is_weight=True) if form.get("bias") else None)
        given.append(None if mask is None else Given("mask", mask.astype(np.int32)))
        scores = (1, heads, length, past + keys)
        given.append(Given("attention_bias", rng.normal(size=scores)) if form.get("scores") else None)
        given += [Given(name, rng.normal(size=cache)) if past else None for name in ("past_key", "past_value")]
        return given

    return inputs


def _multi_heads() -> Iterator[Draft]:
    rows: list[tuple[str, tuple[int, int, int, int, int], dict[str, Any], dict[str, Any]]] = [
        ("h6-d64-s64", (1, 6, 64, 64, 64), {}, {}),
        ("h2-d64-s129-bias", (1, 2, 64, 129, 129), {"bias": True}, {}),
        ("h16-d64-cross-7-65", (2, 16, 64, 7, 65), {}, {}),
        ("h8-d80-s33-causal", (1, 8, 80, 33, 33), {}, {"unidirectional": 1}),
        ("h8-d64-s33-lengths", (3, 8, 64, 33, 33), {"mask": "lengths"}, {}),
        ("h8-d64-s33-mask", (2, 8, 64, 33, 33), {"mask": "keys"}, {}),
        ("h8-d64-s33-pairs", (2, 8, 64, 33, 33), {"mask": "pairs"}, {}),
        ("h8-d64-s33-scores", (2, 8, 64, 33, 33), {"scores": True}, {}),
        ("h12-d64-past63", (1, 12, 64, 1, 1), {"past": 63}, {}),
        ("h12-d64-past17-s5-causal", (2, 12, 64, 5, 5), {"past": 17}, {"unidirectional": 1}),
        ("h8-d128-scale", (1, 8, 128, 17, 17), {}, {"scale": 0.125}),
    ]
    for name, sizes, form, more in rows:
        outputs = ("output", *CACHES) if form.get("past") else ("output",)
        others = ("int32",) if form.get("mask") else ()
        attributes = {"num_heads": sizes[1], **more}
        yield Draft("MultiHeadAttention", name, _multi_head(*sizes, **form), attributes, outputs, others=others)


def _projected() -> Iterator[Draft]:
    rows: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("h3-d64-s33", {}, {}),
        ("h3-d64-s33-causal", {}, {"unidirectional": 1}),
        ("h3-d64-s5-past17-causal", {"past": 17, "length": 5}, {"unidirectional": 1}),
        ("h3-d64-s33-lengths", {"mask": np.array([33, 20], dtype=np.int32)}, {}),
        ("h3-d64-s33-both-ends", {"mask": np.array([33, 20, 4, 0], dtype=np.int32)}, {}),
        ("h3-d64-s33-mask", {"mask": np.tri(2, 33, 15, dtype=np.int32)}, {}),
    ]
    for name, form, more in rows:

        def inputs(rng: np.random.Generator, form: dict[str, Any] = form) -> list[Given | None]:
            batch, length, hidden, past = 2, form.get("length", 33), 192, form.get("past", 0)
            return [
                Given("input", rng.normal(size=(batch, length, hidden))),
                Given("weights", rng.normal(size=(hidden, 3 * hidden)) / np.sqrt(hidden), is_weight=True),
                Given("bias", rng.normal(size=3 * hidden), is_weight=True),
                Given("mask_index", form["mask"]) if "mask" in form else None,
                Given("past", rng.normal(size=(2, batch, 3, past, 64))) if past else None,
            ]

        outputs = ("output", "present") if form.get("past") else ("output",)
        others = ("int32",) if "mask" in form else ()
        yield Draft("Attention", name, inputs, {"num_heads": 3, **more}, outputs, others=others)


def _rotary() -> Iterator[Draft]:
    rows: list[tuple[str, Layer, int, dict[str, Any], dict[str, Any]]] = [
        *((f"prefill33-{layer.name}", layer.shard(2), 33, {}, {}) for layer in LAYERS),
        ("decode1023", EIGHT.shard(2), 1, {"first": 1023}, {}),
        ("offset-prefill7", ONE.shard(2), 7, {"first": 100, "offset": True}, {}),
        ("interleaved-prefill33", ONE.shard(2), 33, {}, {"interleaved": 1}),
        ("partial-prefill33", FULL.shard(4), 33, {"turned": 48}, {"num_heads": 4, "rotary_embedding_dim": 48}),
        ("partial-interleaved", FULL.shard(4), 33, {"turned": 32}, {"num_heads": 4, "rotary_embedding_dim": 32, "interleaved": 1}),
        ("by-heads-prefill33", ONE.shard(2), 33, {"by_heads": True}, {}),
        ("scattered-positions", ONE.shard(2), 33, {"scattered": True}, {}),
    ]  # fmt: skip
    for name, layer, length, form, more in rows:

        def inputs(
            rng: np.random.Generator, layer: Layer = layer, length: int = length, form: dict[str, Any] = form
        ) -> list[Given | None]:
            batch, first = 2, form.get("first", 0)
            positions = np.broadcast_to(first + np.arange(length), (batch, length)).astype(np.int64)
            if form.get("scattered"):
                positions = rng.integers(0, first + length, (batch, length))
            cosines, sines = rotary_tables(first + length + 1, form.get("turned", layer.size), layer.base)
            flat, split = (batch, length, layer.heads * layer.size), (batch, layer.heads, length, layer.size)
            return [
                Given("input", rng.normal(size=split if form.get("by_heads") else flat)),
                Given("position_ids", np.array([first]) if form.get("offset") else positions.copy()),
                Given("cos_cache", cosines, is_weight=True),
                Given("sin_cache", sines, is_weight=True),
            ]

        yield Draft("RotaryEmbedding", name, inputs, more, others=("int64",))


DRAFTS: list[Draft] = [*_grouped(), *_multi_heads(), *_projected(), *_rotary()]
