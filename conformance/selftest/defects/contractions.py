"""Defects of contractions: terms lost or counted twice, weights in the wrong place, biases, windows off by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.selftest.defects.family import CONTRACTIONS, Family, at, with_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.reference.interpreter import Node, Values
    from conformance.selftest.injection import Site, Surroundings
    from conformance.tensors import Array

FAMILY = Family("contractions")
WEIGHTED = with_weights(*CONTRACTIONS)
WINDOWED = ("Conv", "MaxPool", "AveragePool")


def scaled_terms(site: Site, chosen: slice, factor: float) -> Values:
    """Return the contraction with some of its terms, told along the summed axis of the second operand, times a factor."""
    w = np.array(site.inputs[1])
    if site.node.op in ("Conv", "ConvTranspose"):
        lines = w.reshape(*w.shape[: 1 if site.node.op == "Conv" else 2], -1)
        lines[..., chosen] *= factor
        return site.replaced(1, lines.reshape(w.shape))
    axis = -1 if site.node.attribute("transB", 0) or w.ndim == 1 else -2
    np.moveaxis(w, axis, -1)[..., chosen] *= factor
    return site.replaced(1, w)


@FAMILY.add("last-term-dropped", "the last product of every sum is left out", at(*CONTRACTIONS))
def _last_dropped(site: Site) -> Values:
    return scaled_terms(site, slice(-1, None), 0.0)


@FAMILY.add("first-term-twice", "the first product of every sum is counted twice", at(*CONTRACTIONS))
def _first_twice(site: Site) -> Values:
    return scaled_terms(site, slice(0, 1), 2.0)


@FAMILY.add("tail-dropped", "products beyond the last multiple of 16 are left out", at(*CONTRACTIONS))
def _tail_dropped(site: Site) -> Values:
    w = site.inputs[1]
    axis = -1 if site.node.attribute("transB", 0) or w.ndim == 1 else -2
    is_conv = site.node.op == "Conv"
    count = int(np.prod(w.shape[1:])) if is_conv else w.shape[axis]
    if site.node.op == "ConvTranspose" or count < 16 or count % 16 == 0:
        return site.clean()
    return scaled_terms(site, slice(count - count % 16, None), 0.0)


@FAMILY.add("weights-transposed", "a square weight matrix is read by columns", at("MatMul", "Gemm"))
def _transposed(site: Site) -> Values:
    w = site.inputs[1]
    if w.ndim < 2 or w.shape[-1] != w.shape[-2]:
        return site.clean()
    return site.replaced(1, np.swapaxes(w, -1, -2))


@FAMILY.add("kernel-mirrored", "the kernel of a convolution is mirrored", at("Conv", "ConvTranspose"))
def _mirrored(site: Site) -> Values:
    w = site.inputs[1]
    return site.replaced(1, np.flip(w, axis=tuple(range(2, w.ndim))))


@FAMILY.add("kernel-axes-swapped", "height and width of a square kernel are swapped", at("Conv", "ConvTranspose"))
def _kernel_swapped(site: Site) -> Values:
    w = site.inputs[1]
    is_square = w.ndim >= 4 and w.shape[-1] == w.shape[-2]
    return site.replaced(1, np.swapaxes(w, -1, -2)) if is_square else site.clean()


def _weight(change: Callable[[Site, Array], None]) -> Callable[[Site], Values]:
    """Return a defect that changes a copy of the weights in place."""

    def changed(site: Site) -> Values:
        w = np.array(site.inputs[1])
        if not w.size:
            return site.clean()
        change(site, w)
        return site.replaced(1, w)

    return changed


@FAMILY.add("channel-zeroed", "the weights of one output channel are zero", WEIGHTED)
@_weight
def _channel_zeroed(site: Site, w: Array) -> None:
    axis = {"Conv": 0, "ConvTranspose": 1}.get(site.node.op, -2 if site.node.attribute("transB", 0) else -1)
    lines = np.moveaxis(w, axis, 0)
    lines[int(site.draw().integers(len(lines)))] = 0


@FAMILY.add("weight-exponent-bit", "one bit in the exponent of one large weight is flipped", WEIGHTED)
@_weight
def _exponent_bit(site: Site, w: Array) -> None:
    w.reshape(-1)[_large(site, w)] *= 0.25


@FAMILY.add("weight-sign-bit", "the sign of one large weight is flipped", WEIGHTED)
@_weight
def _sign_bit(site: Site, w: Array) -> None:
    w.reshape(-1)[_large(site, w)] *= -1


@FAMILY.add("weight-high-bit", "the highest stored bit of one large weight is flipped", WEIGHTED)
@_weight
def _high_bit(site: Site, w: Array) -> None:
    at_ = _large(site, w)
    value = w.reshape(-1)[at_]
    half = 2.0 ** (np.frexp(value)[1] - 2)
    w.reshape(-1)[at_] = value + np.copysign(half if abs(value) < 3 * half else -half, value)


def _large(site: Site, w: Array) -> int:
    """Return the index of one of the larger quarter of the weights."""
    order = np.argsort(np.abs(w.reshape(-1)))
    return int(site.draw().choice(order[-max(w.size // 4, 1) :]))


def _has_bias(node: Node, around: Surroundings) -> bool:  # noqa: ARG001
    return node.op in ("Conv", "ConvTranspose", "Gemm") and len(node.inputs) > 2 and bool(node.inputs[2])


@FAMILY.add("bias-skipped", "the bias is not added", _has_bias)
def _bias_skipped(site: Site) -> Values:
    return site.replaced(2, np.zeros_like(site.inputs[2]))


@FAMILY.add("bias-twice", "the bias is added twice", _has_bias)
def _bias_twice(site: Site) -> Values:
    return site.replaced(2, site.inputs[2] * 2)


@FAMILY.add("bias-shifted", "each channel gets the bias of its neighbour", _has_bias)
def _bias_shifted(site: Site) -> Values:
    return site.replaced(2, np.roll(site.inputs[2], 1, axis=-1))


@FAMILY.add("alpha-ignored", "Gemm takes alpha for 1", at("Gemm"))
def _alpha(site: Site) -> Values:
    return site.clean(alpha=1.0)


@FAMILY.add("beta-ignored", "Gemm takes beta for 1", at("Gemm"))
def _beta(site: Site) -> Values:
    return site.clean(beta=1.0)


@FAMILY.add("groups-shifted", "each group of a convolution reads its neighbour's channels", at("Conv"))
def _groups(site: Site) -> Values:
    groups = int(site.node.attribute("group", 1))
    return site.replaced(0, np.roll(site.x, site.x.shape[1] // groups, axis=1)) if groups > 1 else site.clean()


@FAMILY.add("padding-shifted", "padding is one more before and one less after", at(*WINDOWED))
def _padding(site: Site) -> Values:
    pads = list(site.node.attribute("pads") or [])
    axes = len(pads) // 2
    if not any(pads[axes:]):
        return site.clean()
    moved = [min(after, 1) for after in pads[axes:]]
    low = [one + by for one, by in zip(pads[:axes], moved, strict=True)]
    return site.clean(pads=[*low, *[one - by for one, by in zip(pads[axes:], moved, strict=True)]])


@FAMILY.add("padding-repeats-edge", "a convolution pads with the edge instead of zeros", at("Conv"))
def _pad_value(site: Site) -> Values:
    pads = list(site.node.attribute("pads") or [])
    axes = len(pads) // 2
    if not any(pads):
        return site.clean()
    wide = np.pad(site.x, [(0, 0), (0, 0), *zip(pads[:axes], pads[axes:], strict=True)], mode="edge")
    return site.replaced(0, wide, pads=[0] * len(pads))


@FAMILY.add("stride-offset", "windows start one element late", at(*WINDOWED))
def _stride(site: Site) -> Values:
    strides = list(site.node.attribute("strides") or [1])
    if site.x.ndim < 3 or max(strides) == 1 or site.x.shape[-1] < 2:
        return site.clean()
    return site.replaced(0, np.concatenate([site.x[..., 1:], site.x[..., -1:]], axis=-1))


@FAMILY.add("dilation-ignored", "a dilated convolution takes neighbouring elements", at("Conv"))
def _dilation(site: Site) -> Values:
    spread = list(site.node.attribute("dilations") or [1])
    if max(spread) == 1:
        return site.clean()
    axes = len(spread)
    pads = list(site.node.attribute("pads") or [0] * 2 * axes)
    more = [(size - 1) * (by - 1) for size, by in zip(site.inputs[1].shape[2:], spread, strict=True)]
    after = [one - by for one, by in zip(pads[axes:], more, strict=True)]
    wide = site.x
    if min(after) < 0:
        cut: Any = (
            slice(None),
            slice(None),
            *[slice(0, size + min(one, 0)) for size, one in zip(wide.shape[2:], after, strict=True)],
        )
        wide = wide[cut]
    return site.replaced(0, wide, dilations=[1] * axes, pads=[*pads[:axes], *[max(one, 0) for one in after]])


@FAMILY.add("corner-product-zero", "the last tile of a matrix product is not computed", at("MatMul", "Gemm", "Conv"))
def _corner(site: Site) -> Values:
    found = np.array(site.clean()[0])
    if found.ndim < 2:
        return [found]
    found[..., -1:, -(found.shape[-1] % 8 or 1) :] = 0
    return [found]
