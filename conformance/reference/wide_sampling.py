"""Sampling, deformable convolution, padding and means in numpy, whole tensors at a time, in the precision they are given.

onnx 1.23 rounds the coordinates of GridSample to float32, knows its modes only by their newer names, and goes through
GridSample and DeformConv element by element, which takes seconds; its Mean takes no broadcasting, its Pad no negative pads.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_pad import Pad_18

if TYPE_CHECKING:
    from conformance.tensors import Array

_CUBIC = -0.75
"""The coefficient that the operator's text gives (Keys 1981, doi:10.1109/TASSP.1981.1163711)."""


class GridSample(OpRun):
    """Sampling at normalised coordinates, over any number of spatial axes."""

    def _run(
        self,
        x: Array,
        grid: Array,
        mode: str | None = None,
        padding_mode: str | None = None,
        align_corners: int | None = None,
    ) -> tuple[Array]:
        how = {"bilinear": "linear", "bicubic": "cubic"}.get(mode or "linear", mode or "linear")
        padding, sizes = padding_mode or "zeros", x.shape[2:]
        borders = [(0.0, size - 1.0) if align_corners else (-0.5, size - 0.5) for size in sizes]
        taps = []
        for axis, (size, border) in enumerate(zip(sizes, borders, strict=True)):
            place = grid[..., len(sizes) - 1 - axis]  # x, the last axis, comes first
            place = (place + 1) / 2 * (size - 1) if align_corners else ((place + 1) * size - 1) / 2
            place = np.rint(place) if how == "nearest" else place
            taps.append(_taps(_brought_in(place, size, border, padding), how))
        total = np.zeros((*x.shape[:2], *grid.shape[1:-1]), dtype=np.result_type(x.dtype, grid.dtype))
        for chosen in product(*taps):
            weight: Any = np.ones(grid.shape[:-1])
            for _, share in chosen:
                weight = weight * share
            total += _picked(x, [at for at, _ in chosen], borders, padding) * weight[:, None]
        return (total.astype(x.dtype),)


def _brought_in(place: Array, size: int, border: tuple[float, float], padding: str) -> Array:
    """Return coordinates outside the image as the padding mode puts them."""
    outside = (place < border[0]) | (place > border[1])
    if padding == "border":
        return np.where(outside, np.clip(place, 0, size - 1), place)
    return np.where(outside, _reflected(place, border), place) if padding == "reflection" else place


def _reflected(place: Array, border: tuple[float, float]) -> Array:
    low, high = border
    period = 2 * (high - low)
    if period == 0:
        return np.full_like(place, low)
    far = np.mod(place - low, period)
    return low + np.minimum(far, period - far)


def _taps(place: Array, how: str) -> list[tuple[Array, Any]]:
    """Return the whole coordinates that a sample is made of, each with its weight."""
    first = np.floor(place)
    start, share = first.astype(np.int64), place - first
    if how == "nearest":
        return [(place.astype(np.int64), 1.0)]
    if how == "linear":
        return [(start, 1 - share), (start + 1, share)]
    return [(start + at, _keys(np.abs(share - at))) for at in (-1, 0, 1, 2)]


def _keys(distance: Array) -> Array:
    near = ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance**2 + 1
    far = ((_CUBIC * distance - 5 * _CUBIC) * distance + 8 * _CUBIC) * distance - 4 * _CUBIC
    return np.where(distance <= 1, near, far)


def _picked(x: Array, places: list[Array], borders: list[tuple[float, float]], padding: str) -> Array:
    """Return x [N, C, *spatial] at whole coordinates, each [N, *out], as [N, C, *out]."""
    inside = np.ones(places[0].shape, dtype=bool)
    indices = []
    for place, size, border in zip(places, x.shape[2:], borders, strict=True):
        if padding == "reflection":
            outside = (place < border[0]) | (place > border[1])
            place = np.where(outside, _reflected(place.astype(np.float64), border), place).astype(np.int64)  # noqa: PLW2901
        inside &= (place >= 0) & (place < size)
        indices.append(np.clip(place, 0, size - 1))
    images = np.arange(len(x)).reshape(-1, *[1] * (places[0].ndim - 1))
    chosen: Any = (images, slice(None), *indices)
    found = np.moveaxis(x[chosen], -1, 1)
    return np.where(inside[:, None], found, 0) if padding == "zeros" else found


class DeformConv(OpRun):
    """Two-dimensional deformable convolution: bilinear samples, zero outside, then one product per group."""

    def _run(
        self,
        x: Array,
        w: Array,
        offset: Array,
        b: Array | None = None,
        mask: Array | None = None,
        dilations: list[int] | None = None,
        group: int | None = None,
        kernel_shape: list[int] | None = None,
        offset_group: int | None = None,
        pads: list[int] | None = None,
        strides: list[int] | None = None,
    ) -> tuple[Array]:
        tall, wide = kernel_shape or w.shape[2:]
        spread, step, edges = dilations or [1, 1], strides or [1, 1], pads or [0, 0, 0, 0]
        shared, groups = offset_group or 1, group or 1
        batch, channels, rows, columns = len(x), x.shape[1], *offset.shape[2:]
        moved = offset.reshape(batch, shared, tall, wide, 2, rows, columns)
        down = np.arange(rows)[:, None] * step[0] - edges[0] + np.arange(tall)[:, None, None, None] * spread[0]
        along = np.arange(columns) * step[1] - edges[1] + np.arange(wide)[None, :, None, None] * spread[1]
        places = down + moved[:, :, :, :, 0], along + moved[:, :, :, :, 1]
        parts = x.reshape(batch * shared, channels // shared, *x.shape[2:])
        taps = [_taps(one.reshape(batch * shared, tall, wide, rows, columns), "linear") for one in places]
        samples: Any = 0.0
        for (top, upper), (left, share) in product(*taps):
            samples = samples + _picked(parts, [top, left], [(0.0, 0.0)] * 2, "zeros") * (upper * share)[:, None]
        if mask is not None:
            samples = samples * mask.reshape(batch * shared, 1, tall, wide, rows, columns)
        samples = samples.reshape(batch, groups, channels // groups, tall, wide, rows, columns)
        weights = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
        result = np.einsum("ngcijhw,gocij->ngohw", samples, weights).reshape(batch, -1, rows, columns)
        return ((result if b is None else result + b.reshape(1, -1, 1, 1)).astype(x.dtype),)


class Mean(OpRun):
    """The mean of tensors that broadcast."""

    def _run(self, *values: Array) -> tuple[Array]:
        total: Any = values[0]
        for one in values[1:]:
            total = total + one
        return (np.asarray(total / len(values), dtype=values[0].dtype),)


class Pad(Pad_18):
    """Padding whose negative widths cut; the others are onnx's own."""

    def _run(self, data: Array, pads: Array, *rest: Any, **attributes: Any) -> tuple[Array]:
        widths = np.asarray(pads)
        axes = rest[1] if len(rest) > 1 and rest[1] is not None else np.arange(data.ndim)
        if (widths < 0).any():
            cut, half = [slice(None)] * data.ndim, len(widths) // 2
            for at, axis in enumerate(np.asarray(axes).reshape(-1).tolist()):
                low, high = min(0, int(widths[at])), min(0, int(widths[half + at]))
                cut[axis] = slice(-low, data.shape[axis] + high)
            data, pads = data[tuple(cut)], np.maximum(widths, 0)
        run = cast("Any", super())._run
        return (run(data, pads, *rest, **attributes)[0],)


SAMPLING: tuple[type[OpRun], ...] = (DeformConv, GridSample, Mean, Pad)
