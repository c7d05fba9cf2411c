"""Windows that slide over a tensor: the index arithmetic of convolutions and pools, on int64, written out from their texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.reference.entries import Attribute
    from conformance.tensors import Array


class Window(NamedTuple):
    """A window over spatial axes, each setting one number per axis; `pads` begins first, then ends, as ONNX orders them."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]

    @classmethod
    def of(
        cls,
        kernel: Sequence[int],
        strides: Sequence[int] = (),
        dilations: Sequence[int] = (),
        pads: Sequence[int] = (),
    ) -> Window:
        """Return a window; what is left out is 1, or 0 for the pads."""
        axes = len(kernel)
        return cls(
            tuple(kernel),
            tuple(strides) or (1,) * axes,
            tuple(dilations) or (1,) * axes,
            tuple(pads) or (0,) * 2 * axes,
        )

    @property
    def attributes(self) -> dict[str, Attribute]:
        """Return it as ONNX attributes."""
        return {
            "kernel_shape": list(self.kernel),
            "strides": list(self.strides),
            "dilations": list(self.dilations),
            "pads": list(self.pads),
        }

    def padded_for(self, sizes: Sequence[int], *, lower: bool) -> Window:
        """Return the window with the pads of auto_pad SAME_UPPER (or SAME_LOWER): the output is size/stride, rounded up.

        An odd padding has its larger part at the end, with `lower` at the beginning.
        """
        begins, ends = [], []
        for size, kernel, stride, dilation in zip(sizes, self.kernel, self.strides, self.dilations, strict=True):
            total = max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
            begin = -(-total // 2) if lower else total // 2
            begins.append(begin)
            ends.append(total - begin)
        return self._replace(pads=(*begins, *ends))


def slide(x: Array, window: Window, fill: int) -> Array:
    """Return the windows over `x` [N, C, *spatial] as [N, C, *out, *kernel], `fill` where they lie on padding."""
    spatial = x.ndim - 2
    pads = [(0, 0), (0, 0), *zip(window.pads[:spatial], window.pads[spatial:], strict=True)]
    found = np.pad(x, pads, constant_values=fill)
    for axis in range(spatial):
        size, at = found.shape[2 + 2 * axis], 2 + 2 * axis
        reach = window.dilations[axis] * (window.kernel[axis] - 1) + 1
        count = (size - reach) // window.strides[axis] + 1
        where = (
            np.arange(count)[:, None] * window.strides[axis] + np.arange(window.kernel[axis]) * window.dilations[axis]
        )
        found = np.take(found, where, axis=at)  # the axis becomes two: position, place in the window
    order = [0, 1, *range(2, 2 + 2 * spatial, 2), *range(3, 3 + 2 * spatial, 2)]
    return np.transpose(found, order)


def convolve(x: Array, weights: Array, window: Window, groups: int, fill: int = 0) -> Array:
    """Return the convolution (ONNX's, a correlation) of int64 `x` [N, C, *s] with `weights` [M, C/groups, *kernel]."""
    spatial = x.ndim - 2
    windows = slide(x, window, fill)
    outputs = []
    for which in range(groups):
        channels = weights.shape[1]
        part = windows[:, which * channels : (which + 1) * channels]
        rows = len(weights) // groups
        filters = weights[which * rows : (which + 1) * rows]
        inner = [1, *range(2 + spatial, 2 + 2 * spatial)]
        outputs.append(np.moveaxis(np.tensordot(part, filters, axes=(inner, list(range(1, 2 + spatial)))), -1, 1))
    return np.concatenate(outputs, axis=1)


def spread(x: Array, weights: Array, window: Window, groups: int, extra: Sequence[int]) -> Array:
    """Return the transposed convolution of int64 `x` [N, C, *s] with `weights` [C, M/groups, *kernel].

    Every input is laid out over its window in the output; `pads` are cut off, `extra` (output_padding) is added at the end.
    """
    spatial = x.ndim - 2
    rows, per_group = weights.shape[1], len(weights) // groups
    full = [
        window.strides[a] * (x.shape[2 + a] - 1) + extra[a] + (window.kernel[a] - 1) * window.dilations[a] + 1
        for a in range(spatial)
    ]
    out = np.zeros((len(x), rows * groups, *full), np.int64)
    for where in np.ndindex(*window.kernel):
        steps = tuple(
            slice(
                where[a] * window.dilations[a],
                where[a] * window.dilations[a] + window.strides[a] * x.shape[2 + a],
                window.strides[a],
            )
            for a in range(spatial)
        )
        for which in range(groups):
            part = x[:, which * per_group : (which + 1) * per_group]
            filters = weights[(slice(which * per_group, (which + 1) * per_group), slice(None), *where)]
            target = (slice(None), slice(which * rows, (which + 1) * rows), *steps)
            out[target] += np.moveaxis(np.tensordot(part, filters, axes=(1, 0)), -1, 1)
    kept = tuple(slice(window.pads[a], full[a] - window.pads[spatial + a]) for a in range(spatial))
    return out[(slice(None), slice(None), *kept)]
