"""Attention with heads: multi-head, grouped-query with a cache of keys and values, and with its input projection.

    scores[b, h, s, t] = scale · q[b, h, s]·k[b, g, t], g = h // (heads / kv_heads)   (softcap·tanh(scores/softcap) where given)
    output = softmax over t of (scores + bias, masked) · v

Query s stands at position past + s; a causal mask lets it see the keys t ≤ past + s, a local window of w the last w of them, itself
included. Keys that are masked by length, cause or window have weight zero.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from conformance.errors import HarnessError
from conformance.reference.contrib.rotary import Angles, rotate

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.reference.contrib.body import Body
    from conformance.tensors import Array

HIDDEN = -1e30
"""The score of a key that is not seen: its weight is zero whatever the others are, and no infinity meets a perturbation."""


class Sizes(NamedTuple):
    """The sizes of one attention."""

    batch: int
    length: int
    """New tokens of the query."""
    heads: int
    kv_heads: int
    size: int
    """Elements per head of queries and keys."""
    past: int = 0
    """Keys and values in the cache."""


def split_heads(body: Body, x: str, batch: int, heads: int) -> str:
    """Return [batch, length, heads·size] as [batch, heads, length, size]."""
    return body.transpose(body.reshape(x, batch, 0, heads, -1), 0, 2, 1, 3)


def join_heads(body: Body, x: str, batch: int, length: int) -> str:
    """Return [batch, heads, length, size] as [batch, length, heads·size]."""
    return body.reshape(body.transpose(x, 0, 2, 1, 3), batch, length, -1)


def with_past(body: Body, x: str, index: int) -> str:
    """Return keys or values behind those of the cache input, where there is one."""
    has_past = body.has(index) and body.shape(index)[2] > 0
    return body.join(body.name(index), x, axis=2) if has_past else x


def seen_keys(sizes: Sizes, total: int, *, is_causal: bool, window: int = -1) -> Array:
    """Return which keys each query sees: bool [length, total]."""
    queries = sizes.past + np.arange(sizes.length)[:, None]
    keys = np.arange(total)[None, :]
    seen = keys <= queries if is_causal else np.ones((sizes.length, total), dtype=bool)
    return seen & (keys > queries - window) if window > 0 else seen


def attend(body: Body, q: str, k: str, v: str, sizes: Sizes, **options: Any) -> str:
    """Return the output [batch, heads, length, v_size].

    Options: `scale`; `softcap`; `bias`, the names of what is added to the scores; `seen`, which keys a query sees; `sink`, the name of a
    score per head [1, heads, 1, 1] that takes part in the softmax and has no value.
    """
    batch, length, heads = sizes.batch, sizes.length, sizes.heads
    grouped = heads > sizes.kv_heads  # then the queries that share a key-value head stand one below the other
    rows = heads // sizes.kv_heads * length
    q = body.reshape(q, batch, sizes.kv_heads, rows, -1) if grouped else q
    scores = body.op("MatMul", q, body.transpose(k, 0, 1, 3, 2))
    scores = body.reshape(scores, batch, heads, length, -1) if grouped else scores
    scores = body.scaled(scores, options.get("scale") or 1 / math.sqrt(sizes.size))
    softcap = options.get("softcap") or 0.0
    if softcap:
        scores = body.scaled(body.op("Tanh", body.scaled(scores, 1 / softcap)), softcap)
    for name in options.get("bias", ()):
        scores = body.op("Add", scores, name)
    seen = options.get("seen")
    if seen is not None and not seen.all():
        scores = body.op("Where", body.constant(seen, np.bool_), scores, body.constant(HIDDEN))
    if "sink" in options:
        shape = body.integers(sizes.batch, sizes.heads, sizes.length, 1)
        wide = body.join(scores, body.op("Expand", options["sink"], shape), axis=3)
        weights = body.cut(body.op("Softmax", wide, axis=-1), 3, 0, -1)
    else:
        weights = body.op("Softmax", scores, axis=-1)
    weights = body.reshape(weights, batch, sizes.kv_heads, rows, -1) if grouped else weights
    output = body.op("MatMul", weights, v)
    return body.reshape(output, batch, heads, length, -1) if grouped else output


def _group_query_attention(body: Body) -> None:
    """Inputs query, key, value, past_key, past_value, seqlens_k, total_sequence_length, cos, sin, position_ids, bias, sink."""
    batch, length = body.shape(0)[:2]
    heads, groups = int(body.attribute("num_heads")), int(body.attribute("kv_num_heads"))
    if body.attribute("sliding_window_cache", 0) or any(body.has(at) for at in range(12, 17)):
        raise HarnessError("no reference for GroupQueryAttention with a quantised or windowed cache, norms or padding")
    if body.has(1):
        names = [split_heads(body, body.name(at), batch, of) for at, of in ((0, heads), (1, groups), (2, groups))]
        size = body.shape(0)[2] // heads
    else:
        size = body.shape(0)[2] // (heads + 2 * groups)
        whole = split_heads(body, body.name(0), batch, heads + 2 * groups)
        ends = (0, heads, heads + groups, heads + 2 * groups)
        names = [body.cut(whole, 1, ends[at], ends[at + 1]) for at in range(3)]
    past = body.shape(3)[2] if body.has(3) else 0
    if (body.value(5).reshape(-1) + 1 != past + length).any():
        raise HarnessError("no reference for GroupQueryAttention with caches or prompts of unequal lengths")
    q, k, v = names
    if body.attribute("do_rotary", 0):
        positions = np.broadcast_to(past + np.arange(length), (batch, length))
        angles = Angles(body, 7, 8, body.value(9) if body.has(9) else positions)
        is_interleaved = bool(body.attribute("rotary_interleaved", 0))
        q, k = (rotate(body, one, size, angles, is_interleaved=is_interleaved) for one in (q, k))
    k, v = with_past(body, k, 3), with_past(body, v, 4)
    sizes = Sizes(batch, length, heads, groups, size, past)
    window = int(body.attribute("local_window_size", -1))
    options: dict[str, Any] = {
        "scale": body.attribute("scale", 0.0),
        "softcap": body.attribute("softcap", 0.0),
        "seen": seen_keys(sizes, past + length, is_causal=bool(body.attribute("causal", 1)), window=window),
        "bias": [body.name(10)] if body.has(10) else [],
    }
    if body.has(11):
        options["sink"] = body.reshape(body.name(11), 1, heads, 1, 1)
    elif body.attribute("smooth_softmax", -1) == 1:
        options["sink"] = body.constant(np.zeros((1, 1, 1, 1)))
    output = attend(body, q, k, v, sizes, **options)
    body.give(0, join_heads(body, output, batch, length))
    body.give(1, k)
    body.give(2, v)


def _padding(body: Body, index: int, batch: int, total: int) -> list[str]:
    """Return what a mask of keys adds to the scores, as constants that broadcast to [batch, heads, length, total]."""
    if not body.has(index):
        return []
    mask = body.value(index)
    if mask.ndim == 1 and mask.shape == (batch,):
        seen = np.arange(total)[None, :] < mask[:, None]
    elif mask.ndim == 1 and mask.shape == (2 * batch,):
        seen = (np.arange(total)[None, :] < mask[:batch, None]) & (np.arange(total)[None, :] >= mask[batch:, None])
    elif mask.ndim in (2, 3):
        seen = mask != 0
    else:
        raise HarnessError(f"no reference for {body.node.op_type} with a mask of shape {mask.shape}")
    shaped = seen[:, None, None, :] if seen.ndim == 2 else seen[:, None, :, :]
    return [body.constant(np.where(shaped, 0.0, body.attribute("mask_filter_value", -10000.0)))]


def _multi_head_attention(body: Body) -> None:
    """Inputs query, key, value, bias, key_padding_mask, attention_bias, past_key, past_value."""
    heads, batch, length = int(body.attribute("num_heads")), body.shape(0)[0], body.shape(0)[1]
    if body.has(8) or body.has(9):
        raise HarnessError("no reference for MultiHeadAttention with shared buffers or beams")
    if body.wants(3):  # the text calls it normalised; the CPU kernel gives scores before the softmax
        raise HarnessError("no reference for the scores that MultiHeadAttention gives as a fourth output")
    if len(body.shape(0)) == 5:  # [batch, length, heads, 3, size]
        packed = body.transpose(body.name(0), 3, 0, 2, 1, 4)
        parts = [body.take(packed, np.array(at), 0) for at in range(3)]
        size, value_size = body.shape(0)[4], body.shape(0)[4]
    else:
        parts = [_head_form(body, at, batch, heads) for at in range(3)]
        size = body.shape(0)[2] // heads
        value_size = body.shape(2)[3] if len(body.shape(2)) == 4 else body.shape(2)[2] // heads
    if body.has(3):
        ends = np.cumsum([0, heads * size, heads * size, heads * value_size]).tolist()
        for at, width in enumerate((size, size, value_size)):
            part = body.reshape(body.cut(body.name(3), 0, ends[at], ends[at + 1]), 1, heads, 1, width)
            if not (at and len(body.shape(0)) == 3 and len(body.shape(at)) == 4):
                parts[at] = body.op("Add", parts[at], part)
    past = body.shape(6)[2] if body.has(6) else 0
    q, k, v = parts[0], with_past(body, parts[1], 6), with_past(body, parts[2], 7)
    fresh = length if len(body.shape(0)) == 5 else body.shape(1)[2 if len(body.shape(1)) == 4 else 1]
    sizes = Sizes(batch, length, heads, heads, size, past)
    output = attend(
        body, q, k, v, sizes,
        scale=body.attribute("scale", 0.0),
        bias=[*([body.name(5)] if body.has(5) else []), *_padding(body, 4, batch, past + fresh)],
        seen=seen_keys(sizes, past + fresh, is_causal=bool(body.attribute("unidirectional", 0))),
    )  # fmt: skip
    body.give(0, join_heads(body, output, batch, length))
    body.give(1, k)
    body.give(2, v)


def _head_form(body: Body, index: int, batch: int, heads: int) -> str:
    rank = len(body.shape(index))
    if rank == 4:  # keys and values of another sequence, already by heads
        return body.name(index)
    if rank != 3:
        raise HarnessError("no reference for MultiHeadAttention with packed keys and values")
    return split_heads(body, body.name(index), batch, heads)


def _attention(body: Body) -> None:
    """Inputs input, weights, bias, mask_index, past [2, batch, heads, length, size], attention_bias."""
    (batch, length, _), heads = body.shape(0), int(body.attribute("num_heads"))
    if body.attribute("do_rotary", 0) or body.attribute("past_present_share_buffer", 0):
        raise HarnessError("no reference for Attention with rotary embedding or shared buffers")
    widths = body.attribute("qkv_hidden_sizes") or [body.shape(1)[1] // 3] * 3
    ends = np.cumsum([0, *widths]).tolist()
    whole = body.plus(body.op("MatMul", body.name(0), body.name(1)), 2)
    q, k, v = (split_heads(body, body.cut(whole, 2, ends[at], ends[at + 1]), batch, heads) for at in range(3))
    past = body.shape(4)[3] if body.has(4) else 0
    if past:
        k, v = (body.join(body.take(body.name(4), np.array(at), 0), one, axis=2) for at, one in enumerate((k, v)))
    sizes = Sizes(batch, length, heads, heads, widths[0] // heads, past)
    output = attend(
        body, q, k, v, sizes,
        scale=body.attribute("scale", 0.0),
        bias=[*([body.name(5)] if body.has(5) else []), *_padding(body, 3, batch, past + length)],
        seen=seen_keys(sizes, past + length, is_causal=bool(body.attribute("unidirectional", 0))),
    )  # fmt: skip
    body.give(0, join_heads(body, output, batch, length))
    if body.wants(1):
        both = [body.reshape(one, 1, batch, heads, past + length, -1) for one in (k, v)]
        body.give(1, body.join(*both, axis=0))


LOWERINGS: dict[str, Callable[[Body], None]] = {
    "Attention": _attention,
    "GroupQueryAttention": _group_query_attention,
    "MultiHeadAttention": _multi_head_attention,
}
