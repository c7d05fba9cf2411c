"""Defects at special values: NaN, infinities, signed zeros, the ends of ranges; and integers that are cut short."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.selftest.defects.family import Family, at, first
from conformance.selftest.defects.formats import computes
from conformance.selftest.simulate import is_wide

if TYPE_CHECKING:
    from conformance.reference.interpreter import Node, Values
    from conformance.selftest.injection import Site, Surroundings

FAMILY = Family("special values")
CHOOSERS = ("Relu", "Clip", "Max", "Min", "MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin")
INTEGERS = (
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Neg",
    "Abs",
    "Mod",
    "ReduceSum",
    "CumSum",
    "Cast",
    "Max",
    "Min",
    "Where",
    "Identity",
    "Clip",
)


@FAMILY.add("nan-dropped", "what chooses among values takes NaN for the smallest", at(*CHOOSERS))
def _nan(site: Site) -> Values:
    given = [np.where(np.isnan(one), -np.inf, one) if is_wide(one) else one for one in site.inputs]
    return site.clean(given)


@FAMILY.add("infinity-saturates", "infinite results become the largest finite value", computes)
def _saturates(site: Site) -> Values:
    most = site.device.mode.results.largest
    return first(site.clean(), lambda value: np.clip(value, -most, most) if is_wide(value) else value)


@FAMILY.add("negative-zero-lost", "the sign of zero is lost", lambda node, around: node.op not in ("Constant", "Shape"))  # noqa: ARG005
def _zero(site: Site) -> Values:
    return first(site.clean(), lambda value: value + 0.0 if is_wide(value) else value)


@FAMILY.add("nan-becomes-zero", "NaN results become zero", computes)
def _nan_zero(site: Site) -> Values:
    return first(site.clean(), lambda value: np.where(np.isnan(value), 0.0, value) if is_wide(value) else value)


@FAMILY.add(
    "float16-range",
    "results beyond 65504 overflow, undeclared",
    computes,
    is_defect=lambda mode: mode.results.largest > 1e5,
)
def _range(site: Site) -> Values:
    return first(
        site.clean(),
        lambda value: np.where(np.abs(value) >= 65520, np.copysign(np.inf, value), value) if is_wide(value) else value,
    )


def _integers(node: Node, around: Surroundings) -> bool:  # noqa: ARG001
    return node.op in INTEGERS


@FAMILY.add("int64-narrowed", "int64 goes through int32", _integers)
def _int64(site: Site) -> Values:
    if not any(isinstance(one, np.ndarray) and one.dtype == np.int64 for one in site.inputs):
        return site.clean()
    return first(
        site.clean(), lambda value: value.astype(np.int32).astype(np.int64) if value.dtype == np.int64 else value
    )


@FAMILY.add("integers-through-float32", "integers go through float32", _integers)
def _through_float(site: Site) -> Values:
    def change(value: Any) -> Any:
        if value.dtype.kind not in "iu" or value.dtype.itemsize < 4:
            return value
        limits = np.iinfo(value.dtype)
        rounded = value.astype(np.float32).astype(np.float64)
        return np.where(rounded >= limits.max, limits.max, np.clip(rounded, limits.min, None).astype(np.int64)).astype(
            value.dtype
        )

    return first(site.clean(), change)


@FAMILY.add("integer-division-floors", "integer division rounds down instead of toward zero", at("Div"))
def _floors(site: Site) -> Values:
    a, b = site.inputs
    if a.dtype.kind != "i" or not np.all(b):
        return site.clean()
    return [np.floor_divide(a, b)]


@FAMILY.add(
    "unsigned-compared-signed",
    "unsigned integers are compared as signed ones",
    at("Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Max", "Min"),
)
def _signed(site: Site) -> Values:
    if not all(isinstance(one, np.ndarray) and one.dtype.kind == "u" for one in site.inputs):
        return site.clean()
    signed = [one.view(f"i{one.dtype.itemsize}") for one in site.inputs]
    return first(site.clean(signed), lambda value: value if value.dtype == np.bool_ else value.view(site.x.dtype))


@FAMILY.add("shift-arithmetic", "a shift to the right copies the highest bit", at("BitShift", direction="RIGHT"))
def _shift(site: Site) -> Values:
    x, by = site.inputs
    return [(x.view(f"i{x.dtype.itemsize}") >> by.astype(f"i{x.dtype.itemsize}")).view(x.dtype)]


@FAMILY.add("round-half-up", "Round takes halves up instead of to even", at("Round"))
def _round(site: Site) -> Values:
    return first(site.clean(), lambda _: np.floor(site.x + 0.5))
