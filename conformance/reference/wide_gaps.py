"""Further operators of the reference evaluator that fall short when an operator is run alone in float64.

onnx 1.23's DequantizeLinear wants scale and zero point of the type that it was written for; its ConvTranspose loses its
groups; its Softplus overflows; its LRN goes over as many channels as there are samples in the batch; its LpNormalization
sums x itself, not |x|, where p is odd. They are done again here. `wide_operators.py` holds those that whole models need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from onnx.reference.op_run import OpRun

from conformance.errors import HarnessError
from conformance.reference.wide_operators import ConvTranspose as PlainConvTranspose
from conformance.reference.wide_sampling import SAMPLING

if TYPE_CHECKING:
    from conformance.tensors import Array


class DequantizeLinear(OpRun):
    """(x − zero point)·scale in float64: per tensor, per axis or per block of an axis."""

    def _run(
        self,
        x: Array,
        scale: Array,
        zero: Array | None = None,
        axis: int | None = None,
        block_size: int | None = None,
        output_dtype: int | None = None,  # noqa: ARG002 - widened like everything else
    ) -> tuple[Array]:
        wide = x.astype(np.float64)
        scale = np.asarray(scale, dtype=np.float64)
        base = np.zeros(scale.shape) if zero is None else np.asarray(zero).astype(np.float64)
        at = 1 if axis is None else axis
        scale, base = (_spread(one, wide, at, block_size or 0) for one in (scale, base))
        return ((wide - base) * scale,)


def _spread(value: Array, like: Array, axis: int, block: int) -> Array:
    """Return scales or zero points in a shape that meets the tensor's."""
    if value.size == 1 and not block:
        return value.reshape(())
    if block:
        grown = np.repeat(value, block, axis=axis)
        kept: Any = [slice(None)] * like.ndim
        kept[axis] = slice(0, like.shape[axis])
        cut: Array = grown[tuple(kept)]
        return cut
    shape = [1] * like.ndim
    shape[axis] = value.size
    whole: Array = value.reshape(shape)
    return whole


class Softplus(OpRun):
    """log(1 + exp(x)) without overflow (onnx 1.23's is infinite from 710 on)."""

    def _run(self, x: Array) -> tuple[Array]:
        return (np.logaddexp(x, 0.0).astype(x.dtype),)


class LRN(OpRun):
    """x/(bias + α/size · Σx²)^β, the sum over neighbouring channels."""

    def _run(
        self,
        x: Array,
        alpha: float | None = None,
        beta: float | None = None,
        bias: float | None = None,
        size: int | None = None,
    ) -> tuple[Array]:
        width, channels = size or 1, x.shape[1]
        sums = np.zeros_like(x)
        for at in range(channels):
            first, last = at - (width - 1) // 2, at - (-(width - 1) // 2)
            sums[:, at] = (x[:, max(0, first) : min(channels - 1, last) + 1] ** 2).sum(axis=1)
        return (x / (float(bias or 0) + float(alpha or 0) / width * sums) ** float(beta or 0),)


class LpNormalization(OpRun):
    """x over (Σ|x|^p)^(1/p) along an axis, 0 where that is 0."""

    def _run(self, x: Array, axis: int | None = None, p: int | None = None) -> tuple[Array]:
        power = 2 if p is None else p
        norm = (np.abs(x) ** power).sum(axis=-1 if axis is None else axis, keepdims=True) ** (1.0 / power)
        return (np.where(norm == 0, 0.0, x / np.where(norm == 0, 1.0, norm)),)


class ConvTranspose(PlainConvTranspose):
    """Transposed convolution, group by group."""

    def _run(self, x: Array, w: Array, b: Array | None = None, **attributes: Any) -> tuple[Array, ...]:  # type: ignore[override]
        groups = attributes.get("group") or 1
        run = cast("Any", super())._run
        if groups == 1 or x.shape[1] % groups:
            return tuple(run(x, w, b, **attributes))
        if attributes.get("output_shape") and attributes.get("auto_pad") not in (None, "NOTSET"):
            raise HarnessError("a transposed convolution with groups, output_shape and auto_pad has no reference")
        parts = [
            run(one, weights, None, **{**attributes, "group": 1})[0]
            for one, weights in zip(np.split(x, groups, axis=1), np.split(w, groups, axis=0), strict=True)
        ]
        total = np.concatenate(parts, axis=1)
        return (total if b is None else total + b.reshape(1, -1, *[1] * (x.ndim - 2)),)


GAPS: tuple[type[OpRun], ...] = (ConvTranspose, DequantizeLinear, LRN, LpNormalization, Softplus, *SAMPLING)
"""Given to the interpreter before `OPERATORS`: what comes first wins."""
