"""Defects of formats and rounding: a device that computes in fewer bits than it declares, or rounds as it should not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.numerics.formats import FORMATS, round_to
from conformance.selftest.arithmetic import narrow
from conformance.selftest.defects.family import CONTRACTIONS, Family, at, is_float32, sums_in_float32
from conformance.selftest.simulate import MOVES, OPERATORS, is_wide

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.numerics.formats import Format
    from conformance.reference.interpreter import Node, Values
    from conformance.selftest.injection import Site, Surroundings
    from conformance.tensors import Array

FAMILY = Family("formats")
SUMS = tuple(sorted(set(OPERATORS) - {*CONTRACTIONS, "BatchNormalization"}))


def computes(node: Node, around: Surroundings) -> bool:  # noqa: ARG001
    """Return whether a node rounds anything."""
    return node.op not in MOVES


def _under(changed: dict[str, Any]) -> Callable[[Site], Values]:
    def change(site: Site) -> Values:
        return [site.rounded(one) if is_wide(one) else one for one in site.clean(precision=changed)]

    return change


for _name, _format in (("bfloat16", "bfloat16"), ("tf32", "tf32"), ("float16", "float16"), ("e4m3", "float8e4m3")):
    FAMILY.add(
        f"{_name}-operands",
        f"contractions read their operands as {_format}, undeclared",
        at(*CONTRACTIONS),
        is_defect=is_float32,
    )(_under({"input": _format}))
FAMILY.add(
    "float16-accumulation", "contractions add in float16, undeclared", at(*CONTRACTIONS), is_defect=sums_in_float32
)(_under({"accumulate": "float16"}))
FAMILY.add(
    "bfloat16-accumulation", "contractions add in bfloat16, undeclared", at(*CONTRACTIONS), is_defect=sums_in_float32
)(_under({"accumulate": "bfloat16"}))
FAMILY.add(
    "float16-sums", "reductions and normalisations add in float16, undeclared", at(*SUMS), is_defect=sums_in_float32
)(_under({"accumulate": "float16"}))
FAMILY.add(
    "truncating-accumulation",
    "sums of contractions are truncated toward zero, undeclared",
    at(*CONTRACTIONS),
    is_defect=lambda mode: is_float32(mode) and sums_in_float32(mode),
)(_under({"accumulate_rounding": "toward-zero"}))


@FAMILY.add("bfloat16-results", "every result is stored as bfloat16, undeclared", computes, is_defect=is_float32)
def _bfloat16_results(site: Site) -> Values:
    return _each(site.clean(), lambda value: narrow(value, FORMATS["bfloat16"]))


@FAMILY.add("float16-results", "every result is stored as float16, undeclared", computes, is_defect=is_float32)
def _float16_results(site: Site) -> Values:
    return _each(site.clean(), lambda value: narrow(value, FORMATS["float16"]))


@FAMILY.add("truncated-results", "results are truncated toward zero", computes)
def _truncated(site: Site) -> Values:
    return _each(site.wide(), lambda value: round_to(value, site.device.mode.results, "toward-zero"))


@FAMILY.add("half-away-results", "ties are rounded away from zero instead of to even", computes)
def _half_away(site: Site) -> Values:
    return _each(site.wide(), lambda value: half_away(value, site.device.mode.output))


@FAMILY.add("truncated-casts", "Cast truncates toward zero", at("Cast"))
def _truncated_casts(site: Site) -> Values:
    return _each(site.wide(), lambda value: round_to(value, site.device.mode.results, "toward-zero"))


def _keeps_subnormals(mode: Any) -> bool:
    return not mode.flushes


@FAMILY.add("flushed-results", "subnormal results become zero, undeclared", computes, is_defect=_keeps_subnormals)
def _flushed_results(site: Site) -> Values:
    least = site.device.mode.results.nmin
    return _each(site.clean(), lambda value: np.where(np.abs(value) < least, np.copysign(0.0, value), value))


@FAMILY.add("flushed-operands", "subnormal inputs are read as zero, undeclared", computes, is_defect=_keeps_subnormals)
def _flushed_operands(site: Site) -> Values:
    least = site.device.mode.operands.nmin

    def flush(value: Array) -> Array:
        return np.where(np.abs(value) < least, np.copysign(0.0, value), value)

    return site.clean([flush(one) if is_wide(one) else one for one in site.inputs])


@FAMILY.add(
    "split-sum-in-float16",
    "a contraction is done in four parts whose sums are stored as float16 and added",
    at("MatMul", "Gemm"),
    is_defect=lambda mode: sums_in_float32(mode) and mode.output != "bfloat16",
)
def _split_sums(site: Site) -> Values:
    a, b = site.inputs[:2]
    inner = -2 if site.node.attribute("transA", 0) else -1
    count = a.shape[inner]
    if min(a.ndim, b.ndim) < 2 or count < 4:
        return site.clean()
    total: Any = None
    for part in np.array_split(np.arange(count), 4):
        own = np.zeros_like(a)
        chosen: Any = (..., part, slice(None)) if inner == -2 else (..., part)
        own[chosen] = a[chosen]
        bias = site.inputs[2:] if total is None else []
        piece = narrow(site.wide([own, b, *bias])[0], FORMATS["float16"])
        total = piece if total is None else total + piece
    return [site.rounded(total)]


@FAMILY.add("int8-weights", "weights of contractions are kept in eight bits per tensor, undeclared", at(*CONTRACTIONS))
def _int8_weights(site: Site) -> Values:
    w = site.inputs[1]
    step = np.abs(w).max(initial=0) / 127
    return site.replaced(1, np.rint(w / step) * step) if step else site.clean()


@FAMILY.add(
    "low-bits-noisy", "results carry random errors of 2 to the -18 of their size", computes, is_defect=is_float32
)
def _noisy(site: Site) -> Values:
    draw = site.draw()
    return _each(site.clean(), lambda value: site.rounded(value * (1 + draw.uniform(-1, 1, value.shape) * 2.0**-18)))


@FAMILY.add(
    "emulated-float32", "float32 products are made of two bfloat16 parts each, the lowest product left out",
    at(*CONTRACTIONS), is_defect=is_float32,
)  # fmt: skip
def _emulated(site: Site) -> Values:
    high = [narrow(one, FORMATS["bfloat16"]) for one in site.inputs[:2]]
    low = [narrow(one - top, FORMATS["bfloat16"]) for one, top in zip(site.inputs[:2], high, strict=True)]
    bias = site.inputs[2:]
    total = site.wide([high[0], high[1], *bias])[0] + site.wide([high[0], low[1]])[0] + site.wide([low[0], high[1]])[0]
    return [site.rounded(total)]


def half_away(values: Array, name: str) -> Array:
    """Return values rounded to a format by name, ties away from zero."""
    form = FORMATS[name]
    with np.errstate(invalid="ignore"):
        return _half_away_from(values, form)


def _half_away_from(values: Array, form: Format) -> Array:
    nearest = narrow(values, form)
    toward = round_to(values, form, "toward-zero")
    unit = _neighbour(toward, values, form.bits, form.min_exponent)
    is_tie = np.isfinite(nearest) & (np.abs(values - toward) * 2 == unit)
    return np.where(is_tie, toward + np.copysign(unit, values), nearest)


def _neighbour(toward: Array, values: Array, bits: int, least: int) -> Array:
    exponents = np.frexp(np.where(toward == 0, values, toward))[1] - 1
    return np.asarray(np.ldexp(1.0, np.maximum(exponents, least) - bits + 1))


def _each(values: Values, change: Callable[[Array], Array]) -> Values:
    return [change(one) if is_wide(one) and one.size else one for one in values]
