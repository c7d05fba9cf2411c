"""Operators of the reference evaluator that fall short, done again in numpy, in whatever precision they are given.

onnx 1.23 computes Erf in float32, takes the statistics of the batch for BatchNormalization below opset 14, and goes through
convolutions with groups, transposed convolutions and pooling element by element, which takes minutes.
"""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_average_pool import AveragePool_19
from onnx.reference.ops.op_conv_transpose import ConvTranspose as OwnConvTranspose
from onnx.reference.ops.op_max_pool import MaxPool as OwnMaxPool

from conformance.errors import HarnessError

if TYPE_CHECKING:
    from conformance.tensors import Array


class Erf(OpRun):
    """Erf in float64 (onnx 1.23's gives float32 accuracy)."""

    def _run(self, x: Array) -> tuple[Array]:
        return (np.array([math.erf(one) for one in x.reshape(-1).tolist()], dtype=x.dtype).reshape(x.shape),)


class BatchNormalization(OpRun):
    """Batch normalisation by the given statistics (onnx 1.23's takes those of the batch below opset 14)."""

    def _run(
        self,
        x: Array,
        scale: Array,
        bias: Array,
        mean: Array,
        var: Array,
        epsilon: float | None = None,
        momentum: float | None = None,  # noqa: ARG002 - for training
        training_mode: int | None = None,
        spatial: int | None = None,  # noqa: ARG002 - opset 7 only
    ) -> tuple[Array]:
        if training_mode:
            raise HarnessError("a reference model that trains cannot be evaluated")
        shape = (1, -1, *[1] * (x.ndim - 2))
        scale, bias, mean, var = (one.reshape(shape) for one in (scale, bias, mean, var))
        return (scale * (x - mean) / np.sqrt(var + epsilon) + bias,)


class Conv(OpRun):
    """Two-dimensional convolution by one product over unfolded windows; groups side by side."""

    def _run(
        self,
        x: Array,
        w: Array,
        b: Array | None = None,
        auto_pad: str | None = None,
        dilations: list[int] | None = None,
        group: int | None = None,
        kernel_shape: list[int] | None = None,  # noqa: ARG002 - told by the weights
        pads: list[int] | None = None,
        strides: list[int] | None = None,
    ) -> tuple[Array]:
        axes = x.ndim - 2
        steps, spread = strides or [1] * axes, dilations or [1] * axes
        span = [(size - 1) * by + 1 for size, by in zip(w.shape[2:], spread, strict=True)]
        if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            need = [
                max((-(-size // step) - 1) * step + reach - size, 0)
                for size, step, reach in zip(x.shape[2:], steps, span, strict=True)
            ]
            low = [one // 2 if auto_pad == "SAME_UPPER" else one - one // 2 for one in need]
            pads = [*low, *[one - at for one, at in zip(need, low, strict=True)]]
        edges = pads or [0] * (2 * axes)
        x = np.pad(x, [(0, 0), (0, 0), *zip(edges[:axes], edges[axes:], strict=True)])
        windows = np.lib.stride_tricks.sliding_window_view(x, span, axis=tuple(range(2, x.ndim)))
        every: list[Any] = [slice(None)] * 2 + [slice(None, None, one) for one in (*steps, *spread)]
        windows = windows[tuple(every)]
        groups = group or 1
        batch, channels, *sizes = windows.shape[: 2 + axes]
        split = windows.reshape(batch, groups, channels // groups, *windows.shape[2:])
        order = (1, 0, *range(3, 3 + axes), 2, *range(3 + axes, 3 + 2 * axes))
        rows = split.transpose(order).reshape(groups, batch * math.prod(sizes), -1)
        kernels = w.reshape(groups, w.shape[0] // groups, -1).transpose(0, 2, 1)
        product = (rows @ kernels).reshape(groups, batch, *sizes, -1)
        result = np.moveaxis(product, (0, -1), (1, 2)).reshape(batch, w.shape[0], *sizes)
        return (result if b is None else result + b.reshape(1, -1, *[1] * axes),)


class ConvTranspose(OwnConvTranspose):
    """Transposed convolution, one product per kernel element; with groups, output_shape or auto_pad onnx's own."""

    def _run(
        self,
        x: Array,
        w: Array,
        b: Array | None = None,
        auto_pad: str | None = None,
        dilations: list[int] | None = None,
        group: int | None = None,
        kernel_shape: list[int] | None = None,
        output_padding: list[int] | None = None,
        output_shape: list[int] | None = None,
        pads: list[int] | None = None,
        strides: list[int] | None = None,
    ) -> tuple[Array]:
        if output_shape or (group or 1) != 1 or auto_pad not in (None, "NOTSET"):
            own: Any = cast("Any", super())._run(
                x, w, b, auto_pad, dilations, group, kernel_shape, output_padding, output_shape, pads, strides
            )
            return tuple(own)
        axes = x.ndim - 2
        steps, spread, more = strides or [1] * axes, dilations or [1] * axes, output_padding or [0] * axes
        edges = pads or [0] * (2 * axes)
        rows = list(zip(x.shape[2:], w.shape[2:], steps, spread, more, strict=True))
        whole = [(size - 1) * step + (reach - 1) * by + 1 + extra for size, reach, step, by, extra in rows]
        total = np.zeros((len(x), w.shape[1], *whole), dtype=x.dtype)
        for place in product(*map(range, w.shape[2:])):
            where = [
                slice(at * by, at * by + (size - 1) * step + 1, step)
                for at, (size, _, step, by, _) in zip(place, rows, strict=True)
            ]
            taken: Any = (slice(None), slice(None), *where)
            element: Any = (slice(None), slice(None), *place)
            total[taken] += np.moveaxis(np.tensordot(x, w[element], (1, 0)), -1, 1)
        kept = [slice(low, size - high) for low, high, size in zip(edges[:axes], edges[axes:], whole, strict=True)]
        crop: Any = (slice(None), slice(None), *kept)
        return (total[crop] if b is None else total[crop] + b.reshape(1, -1, *[1] * axes),)


class GlobalMaxPool(OpRun):
    """The largest of all positions (onnx 1.23's loses a dimension where there is one spatial axis)."""

    def _run(self, x: Array) -> tuple[Array]:
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


class MaxPool(OwnMaxPool):
    """The largest of each window; with padding, dilation or ceil_mode onnx's own."""

    def _run(  # type: ignore[override]
        self,
        x: Array,
        auto_pad: str | None = None,
        ceil_mode: int | None = None,
        dilations: list[int] | None = None,
        kernel_shape: list[int] | None = None,
        pads: list[int] | None = None,
        storage_order: int | None = None,
        strides: list[int] | None = None,
    ) -> tuple[Array, ...]:
        if kernel_shape and len(self.output) == 1 and _is_plain(pads, dilations, ceil_mode, auto_pad):
            return (_windows(x, kernel_shape, strides).max(axis=tuple(range(-len(kernel_shape), 0))),)
        own: Any = cast("Any", super())._run(
            x, auto_pad, ceil_mode, dilations, kernel_shape, pads, storage_order, strides
        )
        return tuple(own)


class AveragePool(AveragePool_19):
    """The mean of each window; with padding, dilation or ceil_mode onnx's own."""

    def _run(  # type: ignore[override]
        self,
        x: Array,
        auto_pad: str | None = None,
        ceil_mode: int | None = None,
        dilations: list[int] | None = None,
        kernel_shape: list[int] | None = None,
        pads: list[int] | None = None,
        strides: list[int] | None = None,
        count_include_pad: int | None = None,
    ) -> tuple[Array, ...]:
        if kernel_shape and _is_plain(pads, dilations, ceil_mode, auto_pad):
            return (_windows(x, kernel_shape, strides).mean(axis=tuple(range(-len(kernel_shape), 0))),)
        own: Any = cast("Any", super())._run(
            x,
            auto_pad=auto_pad,
            ceil_mode=ceil_mode,
            dilations=dilations,
            kernel_shape=kernel_shape,
            pads=pads,
            strides=strides,
            count_include_pad=count_include_pad,
        )
        return tuple(own)


def _windows(x: Array, kernel_shape: list[int], strides: list[int] | None) -> Array:
    """Return every window of x [N, C, *spatial], its elements in the last axes; no padding."""
    axes = len(kernel_shape)
    view: Array = np.lib.stride_tricks.sliding_window_view(x, tuple(kernel_shape), axis=tuple(range(2, x.ndim)))
    steps: Any = (slice(None), slice(None), *(slice(None, None, step) for step in strides or [1] * axes))
    windows: Array = view[steps]
    return windows


def _is_plain(pads: list[int] | None, dilations: list[int] | None, ceil_mode: int | None, auto_pad: str | None) -> bool:
    is_dense = all(one == 1 for one in dilations or ())
    return not any(pads or ()) and is_dense and not ceil_mode and auto_pad in (None, "NOTSET")


OPERATORS: tuple[type[OpRun], ...] = (AveragePool, BatchNormalization, Conv, ConvTranspose, Erf, GlobalMaxPool, MaxPool)
