"""Convolutions and pooling as rows of windows, so that a simulated device multiplies and adds them in an order of its own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from conformance.reference.interpreter import Node
    from conformance.tensors import Array


class Unfolded(NamedTuple):
    """A convolution as one matrix product per group."""

    rows: Array
    """[group, batch * positions, K]"""
    kernels: Array
    """[group, K, channels per group]"""
    shape: tuple[int, ...]
    """Batch, then the spatial size of the output."""


def padding(node: Node, sizes: tuple[int, ...], reach: list[int], steps: list[int]) -> list[tuple[int, int]]:
    """Return how much is added before and after each spatial axis of these sizes, `auto_pad` worked out."""
    how = str(node.attribute("auto_pad", "NOTSET"))
    axes = len(sizes)
    if how in ("SAME_UPPER", "SAME_LOWER"):
        need = [
            max((-(-size // step) - 1) * step + by - size, 0)
            for size, by, step in zip(sizes, reach, steps, strict=True)
        ]
        low = [one // 2 if how == "SAME_UPPER" else one - one // 2 for one in need]
        return [(one, all_ - one) for one, all_ in zip(low, need, strict=True)]
    edges = list(node.attribute("pads") or [0] * (2 * axes))
    return list(zip(edges[:axes], edges[axes:], strict=True))


def windows(x: Array, reach: list[int], steps: list[int], spread: list[int]) -> Array:
    """Return every window of x [N, C, *spatial] as [N, C, *positions, *kernel]."""
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(2, x.ndim)))
    every: Any = [slice(None)] * 2 + [slice(None, None, one) for one in (*steps, *spread)]
    found: Array = view[tuple(every)]
    return found


def unfold(node: Node, x: Array, w: Array) -> Unfolded:
    """Return a Conv of x [N, C, *spatial] and w [M, C / group, *kernel] as rows and kernels."""
    axes = x.ndim - 2
    steps = list(node.attribute("strides") or [1] * axes)
    spread = list(node.attribute("dilations") or [1] * axes)
    reach = [(size - 1) * by + 1 for size, by in zip(w.shape[2:], spread, strict=True)]
    edges = padding(node, x.shape[2:], reach, steps)
    return fold(windows(np.pad(x, [(0, 0), (0, 0), *edges]), reach, steps, spread), w, int(node.attribute("group", 1)))


def unfold_transposed(node: Node, x: Array, w: Array) -> Unfolded | None:
    """Return a ConvTranspose as the convolution of x with zeros between its elements; None where its padding is automatic."""
    axes = x.ndim - 2
    if node.attribute("output_shape") or node.attribute("auto_pad", "NOTSET") != "NOTSET":
        return None
    steps = list(node.attribute("strides") or [1] * axes)
    spread = list(node.attribute("dilations") or [1] * axes)
    more = list(node.attribute("output_padding") or [0] * axes)
    pads = list(node.attribute("pads") or [0] * (2 * axes))
    reach = [(size - 1) * by + 1 for size, by in zip(w.shape[2:], spread, strict=True)]
    apart = np.zeros((*x.shape[:2], *[(s - 1) * by + 1 for s, by in zip(x.shape[2:], steps, strict=True)]))
    apart[(slice(None), slice(None), *[slice(None, None, by) for by in steps])] = x
    edges = [
        (by - 1 - low, by - 1 - high + extra)
        for by, low, high, extra in zip(reach, pads[:axes], pads[axes:], more, strict=True)
    ]
    wide = np.pad(apart, [(0, 0), (0, 0), *[(max(low, 0), max(high, 0)) for low, high in edges]])
    cut = [slice(max(-low, 0), size - max(-high, 0)) for (low, high), size in zip(edges, wide.shape[2:], strict=True)]
    wide = wide[(slice(None), slice(None), *cut)]
    groups = int(node.attribute("group", 1))
    flipped = np.flip(w, axis=tuple(range(2, w.ndim)))
    split = flipped.reshape(groups, w.shape[0] // groups, *w.shape[1:]).swapaxes(1, 2)
    kernels = split.reshape(groups * w.shape[1], w.shape[0] // groups, *w.shape[2:])
    return fold(windows(wide, reach, [1] * axes, spread), kernels, groups)


def fold(view: Array, w: Array, groups: int) -> Unfolded:
    """Return windows [N, C, *positions, *kernel] and weights as one product per group."""
    axes = (view.ndim - 2) // 2
    batch, channels, *sizes = view.shape[: 2 + axes]
    split = view.reshape(batch, groups, channels // groups, *view.shape[2:])
    order = (1, 0, *range(3, 3 + axes), 2, *range(3 + axes, 3 + 2 * axes))
    rows = split.transpose(order).reshape(groups, batch * math.prod(sizes), -1)
    kernels = w.reshape(groups, w.shape[0] // groups, -1).transpose(0, 2, 1)
    return Unfolded(rows, kernels, (batch, *sizes))


def refold(product: Array, shape: tuple[int, ...]) -> Array:
    """Return the products [group, batch * positions, channels] as a tensor [N, C, *positions]."""
    groups, _, channels = product.shape
    batch, *sizes = shape
    return np.moveaxis(product.reshape(groups, batch, *sizes, channels), (0, -1), (1, 2)).reshape(
        batch, groups * channels, *sizes
    )
