"""Defects of layout: axes, orders, offsets and indices; what moves data and computes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.selftest.defects.family import Family, at, first
from conformance.selftest.simulate import is_wide

if TYPE_CHECKING:
    from conformance.reference.interpreter import Node, Values
    from conformance.selftest.injection import Site, Surroundings

FAMILY = Family("layout")


@FAMILY.add("square-not-transposed", "a transposition that keeps the shape is left out", at("Transpose"))
def _not_transposed(site: Site) -> Values:
    return first(site.clean(), lambda value: site.x if value.shape == site.x.shape else value)


@FAMILY.add(
    "square-axes-swapped",
    "height and width of a square result are swapped",
    at("Conv", "MaxPool", "AveragePool", "Resize"),
)
def _swapped(site: Site) -> Values:
    return first(
        site.clean(),
        lambda value: np.swapaxes(value, -1, -2) if value.ndim == 4 and value.shape[-1] == value.shape[-2] else value,
    )


@FAMILY.add("reshape-by-columns", "a reshape reads column by column", at("Reshape", "Flatten"))
def _by_columns(site: Site) -> Values:
    return first(site.clean(), lambda value: site.x.reshape(value.shape, order="F"))


@FAMILY.add("concat-order", "the parts of a concatenation change places", at("Concat"))
def _concat(site: Site) -> Values:
    return site.clean(list(reversed(site.inputs)))


@FAMILY.add("slice-off-by-one", "a slice starts one element early where it can", at("Slice"))
def _slice(site: Site) -> Values:
    if len(site.inputs) < 3:
        return site.clean()
    starts, ends = np.array(site.inputs[1]), np.array(site.inputs[2])
    moves = (starts > 0) & (ends > 0) & (ends < 2**30)
    given = list(site.inputs)
    given[1], given[2] = starts - moves, ends - moves
    return site.clean(given)


@FAMILY.add("gather-off-by-one", "an index takes the element after the one it names", at("Gather"))
def _gather(site: Site) -> Values:
    size = site.x.shape[int(site.node.attribute("axis", 0))]
    return site.replaced(1, (np.asarray(site.inputs[1]) + 1) % size)


@FAMILY.add(
    "negative-index", "a negative index counts from the first element", at("Gather", "GatherElements", "GatherND")
)
def _negative(site: Site) -> Values:
    return site.replaced(
        1, np.abs(np.asarray(site.inputs[1])) % max(site.x.shape[int(site.node.attribute("axis", 0))], 1)
    )


@FAMILY.add("split-order", "the parts of a split change places", at("Split"))
def _split(site: Site) -> Values:
    found = site.clean()
    return list(reversed(found)) if len({one.shape for one in found}) == 1 else found


@FAMILY.add("pad-mode", "padding by reflection or edge is done with zeros, and zeros are done by the edge", at("Pad"))
def _pad(site: Site) -> Values:
    other = "edge" if str(site.node.attribute("mode", "constant")) == "constant" else "constant"
    return site.clean(mode=None) if not site.x.size else _with_mode(site, other)


def _with_mode(site: Site, mode: str) -> Values:
    found = site.clean()
    pads = np.asarray(site.inputs[1]).reshape(2, -1)
    if len(site.inputs) > 3 or pads.shape[1] != site.x.ndim or pads.min() < 0:
        return found
    return [np.pad(site.x, list(zip(*pads.tolist(), strict=True)), mode=mode)]  # type: ignore[call-overload]


@FAMILY.add("depth-to-space-order", "depth to space takes columns for rows", at("DepthToSpace"))
def _depth(site: Site) -> Values:
    return site.clean(mode="CRD" if str(site.node.attribute("mode", "DCR")) == "DCR" else "DCR")


@FAMILY.add("resize-half-pixel", "resizing takes another convention of coordinates", at("Resize"))
def _resize(site: Site) -> Values:
    own = str(site.node.attribute("coordinate_transformation_mode", "half_pixel"))
    return site.clean(coordinate_transformation_mode="half_pixel" if own == "asymmetric" else "asymmetric")


@FAMILY.add("resize-aligned-corners", "resizing aligns the corners", at("Resize"))
def _aligned(site: Site) -> Values:
    return site.clean(coordinate_transformation_mode="align_corners")


@FAMILY.add("resize-nearest", "resizing takes the nearest element instead of interpolating", at("Resize"))
def _nearest(site: Site) -> Values:
    is_nearest = str(site.node.attribute("mode", "nearest")) == "nearest"
    return site.clean(nearest_mode="floor") if is_nearest else site.clean(mode="nearest")


@FAMILY.add(
    "ties-to-last",
    "of equal largest elements the last is taken for the first, or the first for the last",
    at("ArgMax", "ArgMin"),
)
def _ties(site: Site) -> Values:
    return site.clean(select_last_index=1 - int(site.node.attribute("select_last_index", 0)))


@FAMILY.add("top-k-unsorted", "the k largest come in the order of the tensor", at("TopK"))
def _unsorted(site: Site) -> Values:
    axis = int(site.node.attribute("axis", -1))
    values, indices = site.clean()[:2]
    order = np.argsort(indices, axis=axis, kind="stable")
    return [np.take_along_axis(values, order, axis), np.take_along_axis(indices, order, axis)]


def _broadcasts(node: Node, around: Surroundings) -> bool:
    return node.op in ("Add", "Mul", "Sub", "Div") and (
        around.has_weights(node, 0) or around.has_weights(node, 1) or not around.weights
    )


@FAMILY.add("broadcast-axis", "a vector is broadcast along the other axis of a square", _broadcasts)
def _broadcast(site: Site) -> Values:
    a, b = site.inputs[:2]
    for at_, (one, other) in enumerate(((b, a), (a, b))):
        is_vector = is_wide(one) and one.size == one.shape[-1] if isinstance(one, np.ndarray) and one.ndim else False
        if is_vector and one.size > 1 and other.ndim >= 2 and other.shape[-1] == other.shape[-2] == one.size:
            return site.replaced(1 - at_, one.reshape(-1, 1))
    return site.clean()


@FAMILY.add("scatter-order", "a scatter writes its updates in reverse", at("ScatterElements", "ScatterND"))
def _scatter(site: Site) -> Values:
    given: list[Any] = [site.x, *(np.flip(one, axis=0) for one in site.inputs[1:3])]
    return site.clean(given) if str(site.node.attribute("reduction", "none")) == "none" else site.clean()


@FAMILY.add("cumulative-exclusive", "a running sum leaves out its own element, or takes it in", at("CumSum"))
def _cumulative(site: Site) -> Values:
    return site.clean(exclusive=1 - int(site.node.attribute("exclusive", 0)))


@FAMILY.add("triangle-diagonal", "a triangle is cut one diagonal off", at("Trilu"))
def _triangle(site: Site) -> Values:
    k = np.asarray(site.inputs[1] if len(site.inputs) > 1 and site.inputs[1] is not None else 0)
    return site.clean([site.x, k + 1])
