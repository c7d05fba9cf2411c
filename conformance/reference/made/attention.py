"""Attention and what stands around it: grouped heads, masks, causality, caches, soft caps, rotary positions."""

from __future__ import annotations

from typing import Any

from conformance.reference.made.rows import Given, Row, fed, fixed, given

DATA = ("normal",)


def _heads(batch: int, heads: int, queries: int, keys: int, size: int, kv: int = 0) -> tuple[Given, ...]:
    kv = kv or heads
    return given(batch, heads, queries, size), given(batch, kv, keys, size), given(batch, kv, keys, size)


def _flat(batch: int, heads: int, queries: int, keys: int, size: int, kv: int) -> tuple[Given, ...]:
    return given(batch, queries, heads * size), given(batch, keys, kv * size), given(batch, keys, kv * size)


_CACHES = (given(2, 3, 6, 8), given(2, 3, 6, 8))
_ATTENTION: tuple[tuple[str, tuple[Given | None, ...], dict[str, Any], int], ...] = (
    ("heads-3", _heads(2, 3, 5, 7, 8), {}, 1),
    ("head-size-64", _heads(1, 2, 9, 65, 64), {}, 1),
    ("long-keys-257", _heads(1, 2, 3, 257, 16), {}, 1),
    ("one-query", _heads(2, 3, 1, 33, 16), {}, 1),
    ("grouped-heads", _heads(2, 6, 5, 7, 8, kv=2), {}, 1),
    ("flat", _flat(2, 3, 5, 7, 8, 3), {"q_num_heads": 3, "kv_num_heads": 3}, 1),
    ("flat-grouped", _flat(2, 6, 5, 7, 8, 2), {"q_num_heads": 6, "kv_num_heads": 2}, 1),
    ("causal", _heads(2, 3, 7, 7, 8), {"is_causal": 1}, 1),
    ("causal-more-keys", _heads(2, 3, 5, 9, 8), {"is_causal": 1}, 1),
    ("scale-0.5", _heads(2, 3, 5, 7, 8), {"scale": 0.5}, 1),
    ("softcap-2", _heads(2, 3, 5, 7, 8), {"softcap": 2.0}, 1),
    ("mask-added", (*_heads(2, 3, 5, 7, 8), given(5, 7)), {}, 1),
    ("mask-per-head", (*_heads(2, 3, 5, 7, 8), given(2, 3, 5, 7)), {}, 1),
    ("mask-bool", (*_heads(2, 3, 3, 5, 8), fed([[1, 0, 1, 0, 0], [1, 1, 0, 0, 1], [1, 1, 1, 1, 0]], "bool")), {}, 1),
    ("past", (*_heads(2, 3, 1, 1, 8), None, *_CACHES), {}, 3),
    ("past-causal", (*_heads(2, 3, 4, 4, 8), None, *_CACHES), {"is_causal": 1}, 3),
)
_ANGLES = (given(33, 4, draw="whole-unit"), given(33, 4, draw="whole-unit"))

ROWS: list[Row] = [
    *(Row("Attention", name, inputs, attributes, DATA, outputs=outputs) for name, inputs, attributes, outputs in _ATTENTION),
    Row("Attention", "left-window-2", _heads(2, 3, 9, 9, 8), {"left_window_size": 2}, DATA),
    Row("Attention", "causal-left-window-3", _heads(2, 3, 9, 9, 8), {"left_window_size": 3, "is_causal": 1}, DATA),
    Row("Attention", "windows-1-2", _heads(2, 3, 9, 9, 8), {"left_window_size": 1, "right_window_size": 2}, DATA),
    *(
        Row("RotaryEmbedding", name, (given(*shape), *caches, *positions), attributes, DATA)
        for name, shape, caches, positions, attributes in (
            ("4d", (2, 3, 5, 8), _ANGLES, (fixed([[0, 1, 2, 3, 4], [7, 9, 11, 30, 32]]),), {}),
            ("interleaved", (2, 3, 5, 8), _ANGLES, (fixed([[0, 1, 2, 3, 4], [7, 9, 11, 30, 32]]),), {"interleaved": 1}),
            ("3d", (2, 5, 24), _ANGLES, (fixed([[4, 3, 2, 1, 0], [7, 9, 11, 30, 32]]),), {"num_heads": 3}),
            ("partial", (2, 3, 5, 16), _ANGLES, (fixed([[0, 1, 2, 3, 4], [7, 9, 11, 30, 32]]),), {"rotary_embedding_dim": 8}),
            ("no-positions", (2, 3, 5, 8), (given(2, 5, 4, draw="whole-unit"), given(2, 5, 4, draw="whole-unit")), (), {}),
        )
    ),
    *(
        Row("LinearAttention", rule, inputs, {"update_rule": rule, "q_num_heads": 3, "kv_num_heads": 3}, DATA, outputs=2)
        for rule, inputs in (
            ("linear", (given(2, 9, 24), given(2, 9, 24, draw="weight"), given(2, 9, 24))),
            ("gated", (given(2, 9, 24), given(2, 9, 24, draw="weight"), given(2, 9, 24), None, given(2, 9, 24, draw="small"))),
        )
    ),
]  # fmt: skip
