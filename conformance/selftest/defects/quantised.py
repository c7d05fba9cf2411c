"""Defects of quantised arithmetic: saturation, zero points, scales and rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.selftest.defects.family import Family, at, first

if TYPE_CHECKING:
    from conformance.reference.interpreter import Values
    from conformance.selftest.injection import Site
    from conformance.tensors import Array

FAMILY = Family("quantised")
QUANTISES = at("QuantizeLinear")
DEQUANTISES = at("DequantizeLinear")


def along(site: Site, given: Any) -> Array:
    """Return a scale or zero point, shaped so that it broadcasts against the quantised tensor."""
    values: Array = np.asarray(given, dtype=np.float64)
    x = site.x
    if values.ndim == x.ndim and values.size > 1:
        for axis, (size, whole) in enumerate(zip(values.shape, x.shape, strict=True)):
            if size != whole:  # blocks along one axis
                values = np.repeat(values, -(-whole // size), axis=axis).take(range(whole), axis=axis)
        return values
    if values.size == 1:
        return values.reshape(())
    axis = int(site.node.attribute("axis", 1)) % x.ndim
    shape = [1] * x.ndim
    shape[axis] = -1
    return values.reshape(shape)


def quantised(site: Site, clean: Array, rounding: Any, *, wraps: bool = False, least: int | None = None) -> Array:
    """Return what QuantizeLinear gives with another rounding or another treatment of what lies outside the range."""
    if clean.dtype.kind not in "iu":
        return clean
    limits = np.iinfo(clean.dtype)
    zero = site.inputs[2] if len(site.inputs) > 2 and site.inputs[2] is not None else 0
    scaled = rounding(np.asarray(site.x, dtype=np.float64) / along(site, site.inputs[1])) + along(site, zero)
    if wraps:
        span = float(limits.max) - limits.min + 1
        scaled = np.mod(scaled - limits.min, span) + limits.min
    found: Array = np.clip(scaled, limits.min if least is None else least, limits.max).astype(clean.dtype)
    return found


@FAMILY.add("quantise-wraps", "what lies beyond the range of int8 wraps round", QUANTISES)
def _wraps(site: Site) -> Values:
    return first(site.clean(), lambda value: quantised(site, value, np.rint, wraps=True))


@FAMILY.add("quantise-half-away", "quantising rounds halves away from zero", QUANTISES)
def _half_away(site: Site) -> Values:
    def rounding(values: Array) -> Array:
        return np.copysign(np.floor(np.abs(values) + 0.5), values)

    return first(site.clean(), lambda value: quantised(site, value, rounding))


@FAMILY.add("quantise-truncates", "quantising truncates toward zero", QUANTISES)
def _truncates(site: Site) -> Values:
    return first(site.clean(), lambda value: quantised(site, value, np.trunc))


@FAMILY.add("quantise-symmetric", "quantising to int8 never gives -128", QUANTISES)
def _symmetric(site: Site) -> Values:
    return first(
        site.clean(), lambda value: quantised(site, value, np.rint, least=-127) if value.dtype == np.int8 else value
    )


@FAMILY.add("quantise-zero-point-ignored", "quantising leaves the zero point out", QUANTISES)
def _quantise_zero(site: Site) -> Values:
    return site.replaced(2, np.zeros_like(site.inputs[2])) if len(site.inputs) > 2 else site.clean()


@FAMILY.add("zero-point-ignored", "dequantising leaves the zero point out", DEQUANTISES)
def _zero(site: Site) -> Values:
    if len(site.inputs) < 3 or site.inputs[2] is None:
        return site.clean()
    return site.replaced(2, np.zeros_like(site.inputs[2]))


@FAMILY.add("scale-per-tensor", "every channel is scaled as the first one is", at("DequantizeLinear", "QuantizeLinear"))
def _per_tensor(site: Site) -> Values:
    scale = np.asarray(site.inputs[1])
    return site.replaced(1, np.full_like(scale, scale.reshape(-1)[0])) if scale.size > 1 else site.clean()


@FAMILY.add(
    "scale-shifted", "each channel or block is scaled as its neighbour is", at("DequantizeLinear", "QuantizeLinear")
)
def _shifted(site: Site) -> Values:
    scale = np.asarray(site.inputs[1])
    return site.replaced(1, np.roll(scale.reshape(-1), 1).reshape(scale.shape)) if scale.size > 1 else site.clean()


@FAMILY.add("signed-for-unsigned", "uint8 is read as int8", at("DequantizeLinear", "MatMulInteger", "ConvInteger"))
def _signed(site: Site) -> Values:
    if site.x.dtype != np.uint8:
        return site.clean()
    wrong = site.x.astype(np.int16)
    given = np.where(wrong > 127, wrong - 256, wrong)
    if site.node.op != "DequantizeLinear":
        return site.replaced(0, given.astype(np.int8)) if len(site.inputs) < 3 else site.clean()
    zero = site.inputs[2] if len(site.inputs) > 2 and site.inputs[2] is not None else 0
    return [site.rounded((given - along(site, zero)) * along(site, site.inputs[1]))]


@FAMILY.add(
    "int8-sums-saturate", "sums of products of int8 saturate at sixteen bits", at("MatMulInteger", "ConvInteger")
)
def _saturate(site: Site) -> Values:
    return first(site.clean(), lambda value: np.clip(value, -(2**15), 2**15 - 1).astype(value.dtype))


@FAMILY.add(
    "integer-zero-point-ignored", "products of integers leave the zero point out", at("MatMulInteger", "ConvInteger")
)
def _integer_zero(site: Site) -> Values:
    return (
        site.replaced(2, np.zeros_like(site.inputs[2]))
        if len(site.inputs) > 2 and site.inputs[2] is not None
        else site.clean()
    )


@FAMILY.add(
    "dynamic-range-without-zero", "dynamic quantisation does not stretch its range to zero", at("DynamicQuantizeLinear")
)
def _dynamic(site: Site) -> Values:
    low, high = float(np.min(site.x)), float(np.max(site.x))
    if low <= 0 <= high or low == high:
        return site.clean()
    scale = (high - low) / 255
    y = np.clip(np.rint((site.x - low) / scale), 0, 255).astype(np.uint8)
    return [y, np.asarray(scale), np.asarray(np.clip(np.rint(-low / scale), 0, 255), dtype=np.uint8)]


@FAMILY.add(
    "requantise-off-by-one",
    "results of quantised products are one step high now and then",
    at("QLinearMatMul", "QLinearConv", "QuantizeLinear"),
)
def _off_by_one(site: Site) -> Values:
    def change(value: Array) -> Array:
        if value.dtype not in (np.int8, np.uint8):
            return value
        hit = site.draw().random(value.shape) < 0.02
        return np.where(hit & (value < np.iinfo(value.dtype).max), value + 1, value).astype(value.dtype)

    return first(site.clean(), change)
