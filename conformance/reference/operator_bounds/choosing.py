"""Where a choice is decided: no rounding that a device may do can turn it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.numerics.bounded import format_of

if TYPE_CHECKING:
    from conformance.reference.operator_bounds.call import Call
    from conformance.tensors import Array

ROUNDINGS = 16.0
"""Units of roundoff within which an overlap of two boxes is not decided: four differences, products and a quotient."""


def decided(call: Call) -> Any:
    """Return whether each element of a choice is decided, or one truth value for all."""
    if call.node.op == "NonMaxSuppression":
        return _is_suppression_decided(call)
    return _is_extreme_decided(call)


def _is_extreme_decided(call: Call) -> Array:
    """ArgMax and ArgMin: on exact inputs always; else where the extreme is apart from the next by more than both may be off."""
    x, error = call.inputs[0], call.errors[0]
    shape = call.outputs[0].shape
    if error is None:
        return np.ones(shape, dtype=bool)
    axis = int(call.attribute("axis", 0))
    sign = 1.0 if call.node.op == "ArgMax" else -1.0
    best = np.take_along_axis(sign * x, np.expand_dims(np.argmax(sign * x, axis), axis), axis)
    index = np.expand_dims(np.argmax(sign * x, axis), axis)
    own = np.take_along_axis(error, index, axis)
    rivals = (sign * x + error >= best - own).sum(axis=axis, keepdims=True)
    return np.asarray(rivals == 1).reshape(shape)


def _is_suppression_decided(call: Call) -> bool:
    """NonMaxSuppression: no score near the threshold or its neighbour, and no overlap near the threshold."""
    boxes, scores = call.inputs[0], call.inputs[1]
    given = [np.asarray(one).reshape(-1) if one is not None else np.zeros(0) for one in call.inputs[2:]]
    given += [np.zeros(0)] * (3 - len(given))
    overlap = float(given[1][0]) if given[1].size else 0.0
    roundoff = format_of(call.input_kinds[0]).roundoff if call.input_kinds[0] else 2.0**-24
    roundoff = max(roundoff, call.mode_of(call.input_kinds[0]).operands.roundoff)
    if call.errors[1] is not None:
        ordered = np.sort(scores, axis=-1)
        if np.any(np.diff(ordered, axis=-1) <= 2 * np.max(call.errors[1])):
            return False
        if given[2].size and np.any(np.abs(scores - float(given[2][0])) <= np.max(call.errors[1])):
            return False
    for batch in boxes:
        shares = _overlaps(batch, center=bool(call.attribute("center_point_box", 0)))
        away = np.abs(shares - overlap)[~np.eye(len(batch), dtype=bool)]
        if np.any((away <= ROUNDINGS * roundoff) & (away > 0)):
            return False
    return True


def _overlaps(boxes: Array, *, center: bool) -> Array:
    """Return intersection over union of every pair of boxes [n, 4]."""
    if center:
        low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    else:
        low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    common = np.maximum(np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None]), 0).prod(axis=-1)
    areas = (high - low).prod(axis=-1)
    union = areas[:, None] + areas[None] - common
    return np.asarray(np.where(union > 0, common / np.where(union > 0, union, 1.0), 0.0))
