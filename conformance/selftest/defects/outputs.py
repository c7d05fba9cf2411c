"""Defects that show in what a model or a node puts out, whatever computes it: rows, elements, scales, and what is stale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.selftest.defects.family import Family, first, has_output
from conformance.selftest.defects.formats import computes
from conformance.selftest.simulate import is_wide

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.reference.interpreter import Values
    from conformance.selftest.injection import Site
    from conformance.tensors import Array

FAMILY = Family("outputs")
LEVEL: Any = {"level": "output"}


def _of_floats(change: Callable[[Array], Array], *, least: int = 2) -> Callable[[Site], Values]:
    """Return a change of the first output, where it is a floating-point tensor of so many elements at least."""

    def changed(site: Site) -> Values:
        def own(value: Array) -> Array:
            return site.rounded(change(np.array(value))) if is_wide(value) and value.size >= least else value

        return first(site.clean(), own)

    return changed


def _rows(change: Callable[[Array], None]) -> Callable[[Site], Values]:
    """Return a change, in place, of an output with more than one row."""

    def changed(site: Site) -> Values:
        def own(value: Array) -> Array:
            value = np.array(value)
            if value.ndim and len(value) > 1:
                change(value)
            return value

        return first(site.clean(), own)

    return changed


def _repeat(value: Array) -> None:
    value[-1] = value[0]


def _swap(value: Array) -> None:
    value[[0, -1]] = value[[-1, 0]]


def _blank(value: Array) -> None:
    value[-1] = 0


def _third(value: Array) -> None:
    if len(value) == 3:
        value[2] = value[1]


FAMILY.add("row-repeated", "the last row is the first once more", has_output, **LEVEL)(_rows(_repeat))
FAMILY.add("rows-swapped", "the first and the last row change places", has_output, **LEVEL)(_rows(_swap))
FAMILY.add("last-row-zero", "the last row is zero", has_output, **LEVEL)(_rows(_blank))
FAMILY.add("batch-of-three", "in batches of three the third row is the second", has_output, **LEVEL)(_rows(_third))
FAMILY.add("scale-one-percent", "outputs are 1 % too large", has_output, **LEVEL)(
    _of_floats(lambda value: value * 1.01)
)
FAMILY.add("small-bias", "a hundredth of their size is added to outputs", has_output, **LEVEL)(
    _of_floats(lambda value: value + 0.01 * np.sqrt(np.mean(np.square(value[np.isfinite(value)]))))
)
FAMILY.add("last-column-zero", "the last column is zero", has_output, **LEVEL)(
    _of_floats(
        lambda value: (
            np.concatenate([value[..., :-1], np.zeros_like(value[..., -1:])], axis=-1) if value.ndim else value
        )
    )
)


@FAMILY.add(
    "one-element-in-4096",
    "one element of each 4,096, or of a smaller tensor, is off by a fiftieth of their size",
    computes,
)
def _sparse(site: Site) -> Values:
    def change(value: Array) -> Array:
        flat = np.array(value).reshape(-1)
        finite = flat[np.isfinite(flat)]
        size = np.sqrt(np.mean(np.square(finite))) if finite.size else 0.0
        begin = int(site.draw().integers(min(flat.size, 4096)))
        flat[begin::4096] += 0.02 * size
        return site.rounded(flat).reshape(value.shape)

    return first(site.clean(), lambda value: change(value) if is_wide(value) else value)


@FAMILY.add("one-element-wrong", "one element of an output is off by a tenth of itself", has_output, **LEVEL)
def _one(site: Site) -> Values:
    def change(value: Array) -> Array:
        at = int(site.draw().choice(np.argsort(np.abs(value.reshape(-1)))[-max(value.size // 2, 1) :]))
        value.reshape(-1)[at] *= 1.1
        return value

    return _of_floats(change)(site)


@FAMILY.add("transposed-back-wrongly", "the last two axes of a square output are swapped", has_output, **LEVEL)
def _transposed(site: Site) -> Values:
    return first(
        site.clean(),
        lambda value: np.swapaxes(value, -1, -2) if value.ndim >= 2 and value.shape[-1] == value.shape[-2] else value,
    )


@FAMILY.add(
    "layout-of-channels", "an output is written channel by channel where positions come first", has_output, **LEVEL
)
def _channels(site: Site) -> Values:
    return first(
        site.clean(),
        lambda value: (
            np.moveaxis(value, 1, -1).reshape(value.shape) if value.ndim >= 3 and value.shape[1] > 1 else value
        ),
    )


@FAMILY.add(
    "small-values-inverted",
    "columns of small values beside columns of large ones have their sign turned",
    has_output,
    **LEVEL,
)
def _inverted(site: Site) -> Values:
    def change(value: Array) -> Array:
        if value.ndim < 2 or value.shape[-1] < 2:
            return value
        sizes = np.abs(value).reshape(-1, value.shape[-1]).max(axis=0)
        return np.where(sizes < 0.02 * sizes.max(), -value, value)

    return _of_floats(change)(site)


@FAMILY.add(
    "output-of-earlier-run", "an output is that of the run before", has_output, level="behaviour", remembers=True
)
def _stale(site: Site) -> Values:
    found = site.clean()
    return list(site.memory.setdefault("outputs", found))


@FAMILY.add(
    "tail-of-earlier-run",
    "the last quarter of an output is that of the run before",
    has_output,
    level="behaviour",
    remembers=True,
)
def _tail(site: Site) -> Values:
    found = site.clean()
    before = site.memory.setdefault("outputs", found)

    def change(value: Array) -> Array:
        value = np.array(value)
        start = value.size - max(value.size // 4, 1)
        if before[0].shape == value.shape:
            value.reshape(-1)[start:] = before[0].reshape(-1)[start:]
        return value

    return first(found, change)


@FAMILY.add(
    "state-added-up", "an accumulator is not cleared between runs", has_output, level="behaviour", remembers=True
)
def _uncleared(site: Site) -> Values:
    found = site.clean()
    before = site.memory.get("outputs")
    site.memory["outputs"] = found
    if before is None or not is_wide(found[0]) or before[0].shape != found[0].shape:
        return found
    return [site.rounded(found[0] + before[0]), *found[1:]]
