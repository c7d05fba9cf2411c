"""Defects of sums, means, normalisations and pooling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.selftest.defects.family import Family, at, first
from conformance.selftest.simulate import is_wide, reduced_axes

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.reference.interpreter import Node, Values
    from conformance.selftest.injection import Site, Surroundings

FAMILY = Family("reductions")
SUMS = ("ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceMax", "ReduceMin", "ReduceProd")
NORMALISATIONS = (
    "LayerNormalization",
    "BatchNormalization",
    "InstanceNormalization",
    "GroupNormalization",
    "RMSNormalization",
)


def _feeds_root(node: Node, around: Surroundings) -> bool:
    """Return whether a node adds an epsilon before a square root: what a normalisation that was taken apart has."""
    return node.op == "Add" and around.feeds(node, "Sqrt")


def _variance(node: Node, around: Surroundings) -> bool:
    return node.op == "ReduceMean" and any(
        _feeds_root(one, around) for n in node.outputs for one in around.consumers.get(n, [])
    )


def _epsilon(node: Node, around: Surroundings) -> bool:
    return at(*NORMALISATIONS)(node, around) or _feeds_root(node, around)


def _with_epsilon(change: Callable[[float], float]) -> Callable[[Site], Values]:
    def changed(site: Site) -> Values:
        if site.node.op != "Add":
            return site.clean(epsilon=change(float(site.node.attribute("epsilon", 1e-5))))
        small = [at_ for at_, one in enumerate(site.inputs) if one.size == 1]
        return (
            site.replaced(small[-1], np.full_like(site.inputs[small[-1]], change(float(site.inputs[small[-1]].item()))))
            if small
            else site.clean()
        )

    return changed


FAMILY.add("epsilon-missing", "a normalisation leaves its epsilon out", _epsilon)(_with_epsilon(lambda _: 0.0))
FAMILY.add("epsilon-tenfold", "a normalisation takes ten times its epsilon", _epsilon)(_with_epsilon(lambda e: 10 * e))
FAMILY.add("epsilon-of-another", "a normalisation takes 1e-3 for its epsilon", _epsilon)(
    _with_epsilon(lambda e: 1e-3 if e < 1e-3 else 1e-5)
)


def _outside_root(node: Node, around: Surroundings) -> bool:
    return node.op in ("BatchNormalization", "LayerNormalization") or (
        node.op == "Sqrt" and _after_epsilon(node, around)
    )


def _after_epsilon(node: Node, around: Surroundings) -> bool:
    maker = around.producers.get(node.inputs[0])
    return maker is not None and maker.op == "Add"


@FAMILY.add("epsilon-outside-root", "epsilon is added to the root instead of the variance", _outside_root)
def _eps_outside(site: Site) -> Values:
    if site.node.op == "Sqrt":
        return [site.rounded(np.sqrt(np.maximum(site.x - 1e-5, 0)) + 1e-5)]
    epsilon = float(site.node.attribute("epsilon", 1e-5))
    if site.node.op == "BatchNormalization":
        variance = site.inputs[4]
        return site.replaced(4, np.maximum((np.sqrt(variance) + epsilon) ** 2 - epsilon, 0))
    axis = int(site.node.attribute("axis", -1)) % site.x.ndim
    root = np.sqrt(site.x.var(axis=tuple(range(axis, site.x.ndim)), keepdims=True))
    bias = site.inputs[2] if len(site.inputs) > 2 and site.inputs[2] is not None else 0.0
    scaled = (site.wide()[0] - bias) * np.sqrt(root**2 + epsilon) / (root + epsilon)
    return [site.rounded(scaled + bias), *site.clean()[1:]]


@FAMILY.add(
    "variance-of-sample", "a variance divides by n - 1",
    lambda node, around: _variance(node, around) or node.op in ("LayerNormalization", "InstanceNormalization"),
)  # fmt: skip
def _sample_variance(site: Site) -> Values:
    if site.node.op == "ReduceMean":
        axes = reduced_axes(site.node, site.inputs) or ()
        count = int(np.prod([site.x.shape[axis] for axis in axes]))
        return first(site.wide(), lambda value: site.rounded(value * count / max(count - 1, 1)))
    axis = int(site.node.attribute("axis", -1)) % site.x.ndim if site.node.op == "LayerNormalization" else 2
    count = int(np.prod(site.x.shape[axis:]))
    bias: Any = site.inputs[2] if len(site.inputs) > 2 and site.inputs[2] is not None else 0.0
    if site.node.op == "InstanceNormalization":
        bias = bias.reshape(1, -1, *[1] * (site.x.ndim - 2))
    shrink = np.sqrt((count - 1) / count) if count > 1 else 1.0
    return first(site.wide(), lambda value: site.rounded((value - bias) * shrink + bias))


@FAMILY.add("statistics-of-batch", "batch normalisation takes the statistics of the batch", at("BatchNormalization"))
def _batch_statistics(site: Site) -> Values:
    axes = (0, *range(2, site.x.ndim))
    return site.clean([*site.inputs[:3], site.x.mean(axis=axes), site.x.var(axis=axes)])


@FAMILY.add("mean-left-in", "layer normalisation does not subtract the mean", at("LayerNormalization"))
def _mean_left(site: Site) -> Values:
    axis = int(site.node.attribute("axis", -1)) % site.x.ndim
    lines = tuple(range(axis, site.x.ndim))
    root = np.sqrt(site.x.var(axis=lines, keepdims=True) + float(site.node.attribute("epsilon", 1e-5)))
    shift = site.x.mean(axis=lines, keepdims=True) / root * site.inputs[1]
    return first(site.wide(), lambda value: site.rounded(value + shift))


@FAMILY.add("last-summand-dropped", "the last element of a reduced axis is left out", at(*SUMS))
def _last_summand(site: Site) -> Values:
    axes = reduced_axes(site.node, site.inputs)
    if not axes or site.x.shape[axes[-1]] < 2 or not is_wide(site.x):
        return site.clean()
    cut: Any = [slice(None)] * site.x.ndim
    cut[axes[-1]] = slice(0, -1)
    return site.replaced(0, site.x[tuple(cut)])


@FAMILY.add("pool-last-dropped", "a pooling window misses its last position", at("GlobalAveragePool", "GlobalMaxPool"))
def _pool_dropped(site: Site) -> Values:
    lines = site.x.reshape(*site.x.shape[:2], -1)
    if lines.shape[-1] < 2:
        return site.clean()
    short = site.replaced(0, lines[..., :-1])
    return first(short, lambda value: value.reshape(*site.x.shape[:2], *[1] * (site.x.ndim - 2)))


@FAMILY.add("mean-divides-by-one-less", "a mean divides by n - 1", at("ReduceMean", "GlobalAveragePool", "AveragePool"))
def _mean_count(site: Site) -> Values:
    if site.node.op == "ReduceMean":
        count = int(np.prod([site.x.shape[axis] for axis in reduced_axes(site.node, site.inputs) or ()]))
    else:
        count = int(np.prod(site.node.attribute("kernel_shape") or site.x.shape[2:]))
    return first(site.wide(), lambda value: site.rounded(value * count / (count - 1))) if count > 1 else site.clean()


@FAMILY.add(
    "mean-counts-padding", "a mean over windows counts padding, or leaves it out where it counts", at("AveragePool")
)
def _counts_padding(site: Site) -> Values:
    return site.clean(count_include_pad=1 - int(site.node.attribute("count_include_pad", 0)))


@FAMILY.add("max-pads-with-zero", "a largest element over windows takes padding for zero", at("MaxPool"))
def _max_zero(site: Site) -> Values:
    pads = list(site.node.attribute("pads") or [])
    axes = len(pads) // 2
    if not any(pads) or len(site.node.outputs) > 1:
        return site.clean()
    wide = np.pad(site.x, [(0, 0), (0, 0), *zip(pads[:axes], pads[axes:], strict=True)])
    return site.replaced(0, wide, pads=[0] * len(pads))


@FAMILY.add("softmax-over-wrong-axis", "softmax runs over the last axis but one", at("Softmax", "LogSoftmax"))
def _softmax_axis(site: Site) -> Values:
    axis = int(site.node.attribute("axis", -1)) % max(site.x.ndim, 1)
    if site.x.ndim < 2:
        return site.clean()
    return site.clean(axis=axis - 1 if axis else 1)


@FAMILY.add("softmax-without-maximum", "softmax does not subtract the largest element", at("Softmax"))
def _softmax_plain(site: Site) -> Values:
    axis = int(site.node.attribute("axis", -1))
    inner = site.device.arithmetic
    terms = inner.result(np.exp(site.x))
    return [site.rounded(terms / inner.result(terms.sum(axis=axis, keepdims=True)))]


@FAMILY.add("softmax-drops-last", "the sum of softmax misses its last term", at("Softmax"))
def _softmax_short(site: Site) -> Values:
    axis = int(site.node.attribute("axis", -1))
    found = site.wide()[0]
    if found.shape[axis] < 2:
        return site.clean()
    last = np.take(found, [-1], axis=axis)
    return [site.rounded(np.where(last < 1, found / (1 - last), found))]
