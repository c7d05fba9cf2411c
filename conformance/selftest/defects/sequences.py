"""Defects of attention and of what a decoder keeps: caches, positions and masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.selftest.defects.family import Family, at, first

if TYPE_CHECKING:
    from conformance.reference.interpreter import Node, Values
    from conformance.selftest.injection import Site, Surroundings

FAMILY = Family("sequences")


def _cache(node: Node, around: Surroundings) -> bool:
    """Return whether a node appends to a cache."""
    return node.op == "Concat" and any(name.startswith("past") for name in node.inputs) and len(around.producers) > 1


def _repeated_heads(node: Node, around: Surroundings) -> bool:
    """Return whether a node repeats the heads of keys or values for the queries that share them."""
    return node.op == "Concat" and len(node.inputs) > 1 and len(set(node.inputs)) == 1 and around.feeds(node, "Reshape")


def _position(node: Node, around: Surroundings) -> bool:
    return node.op == "Gather" and any(word in node.inputs[0] for word in ("cos", "sin")) and bool(around.producers)


def _mask(node: Node, around: Surroundings) -> bool:
    return node.op == "Add" and around.feeds(node, "Softmax")


def _scores(node: Node, around: Surroundings) -> bool:
    return node.op in ("Mul", "Div") and any(
        _mask(one, around) or one.op == "Softmax" for n in node.outputs for one in around.consumers.get(n, [])
    )


def _compares_positions(node: Node, around: Surroundings) -> bool:
    return node.op in ("Less", "Greater", "LessOrEqual") and around.feeds(node, "Where")


@FAMILY.add("cache-stale", "the newest entry of the cache is the one before it", _cache)
def _stale(site: Site) -> Values:
    def change(value: Any) -> Any:
        value = np.array(value)
        value[..., -1, :] = value[..., -2, :]
        return value

    return first(site.clean(), change)


@FAMILY.add("cache-off-by-one", "the cache that was handed in is moved by one position", _cache)
def _moved(site: Site) -> Values:
    return site.replaced(0, np.roll(site.x, 1, axis=-2))


@FAMILY.add(
    "cache-of-earlier-request", "the cache of an earlier sequence is read", _cache, level="behaviour", remembers=True
)
def _earlier(site: Site) -> Values:
    past = site.memory.setdefault("past", site.x)
    return site.replaced(0, past)


@FAMILY.add("cache-heads-swapped", "the heads of the cache change places", _cache)
def _heads(site: Site) -> Values:
    return site.replaced(0, np.flip(site.x, axis=1))


@FAMILY.add("shared-heads-misplaced", "queries read the keys of head h mod n instead of h div n", _repeated_heads)
def _shared(site: Site) -> Values:
    def change(value: Any) -> Any:
        groups, times = value.shape[1], value.shape[2]
        return np.swapaxes(value, 1, 2).reshape(value.shape[0], groups, times, *value.shape[3:])

    return first(site.clean(), change)


@FAMILY.add("rotary-position-off-by-one", "rotary positions are one too large", _position)
def _rotary(site: Site) -> Values:
    return site.replaced(1, np.minimum(np.asarray(site.inputs[1]) + 1, site.x.shape[0] - 1))


@FAMILY.add("rotary-position-from-zero", "rotary positions count from the beginning of the request", _position)
def _from_zero(site: Site) -> Values:
    positions = np.asarray(site.inputs[1])
    return site.replaced(1, positions - positions.min())


@FAMILY.add("mask-off-by-one", "each position sees the one after it", _compares_positions)
def _mask_moved(site: Site) -> Values:
    return site.replaced(0, np.asarray(site.x) + 1)


@FAMILY.add("mask-missing", "masked positions are attended to", _mask)
def _no_mask(site: Site) -> Values:
    def without(one: Any) -> Any:
        return np.where(one < -100, 0.0, one) if isinstance(one, np.ndarray) else one

    return site.clean([without(one) for one in site.inputs])


@FAMILY.add("mask-soft", "masked positions are lowered by 6 only", _mask)
def _soft(site: Site) -> Values:
    return site.clean([np.where(one < -100, -6.0, one) for one in site.inputs])


@FAMILY.add("mask-shifted", "the mask is moved by one position", _mask)
def _shifted(site: Site) -> Values:
    def moved(one: Any) -> Any:
        is_mask = bool(np.any(one < -100))
        return np.roll(one, 1, axis=-1) if is_mask else one

    return site.clean([moved(one) for one in site.inputs])


@FAMILY.add("scores-unscaled", "attention scores are not divided by the root of the head size", _scores)
def _unscaled(site: Site) -> Values:
    small = [at_ for at_, one in enumerate(site.inputs) if one.size == 1]
    return site.replaced(small[0], np.ones_like(site.inputs[small[0]])) if small else site.clean()


@FAMILY.add("attention-scale-off", "attention takes a scale of its own", at("Attention"))
def _attention(site: Site) -> Values:
    size = site.x.shape[-1]
    own = site.node.attribute("scale")
    return site.clean(scale=float((own or size**-0.5) * 1.03))


@FAMILY.add(
    "attention-mask-flag", "causal attention sees what comes later, or other attention does not", at("Attention")
)
def _causal(site: Site) -> Values:
    return site.clean(is_causal=1 - int(site.node.attribute("is_causal", 0)))


@FAMILY.add(
    "rotary-interleaving",
    "rotary embedding pairs neighbours instead of halves, or halves instead of neighbours",
    at("RotaryEmbedding"),
)
def _interleaved(site: Site) -> Values:
    return site.clean(interleaved=1 - int(site.node.attribute("interleaved", 0)))
