"""How errors of an operator's inputs reach its outputs.

`moves` runs the operator on the errors; `choice` leaves indices to choosing.py; `extreme` takes the largest error of what
is compared; `elementwise` evaluates at the corners of the box of errors (exact for what rises or falls in each argument,
and to first order otherwise); `linear` is the operator on |x| + error, less that on |x|. Where an error may change a
decision, nothing follows.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.reference.operator_bounds.call import Call, Underived
from conformance.reference.operator_bounds.contractions import plain

if TYPE_CHECKING:
    from conformance.tensors import Array


def carry(call: Call, how: str, weigh: Any = None) -> list[Any]:
    """Return per output what the inputs' errors make it off, None where nothing; Underived where that cannot be said."""
    if all(one is None for one in call.errors):
        return [None] * len(call.outputs)
    if how == "choice":  # whether it is decided is looked at by itself (choosing.py)
        return [None] * len(call.outputs)
    with np.errstate(all="ignore"):
        if how == "moves":
            return [_absolute(one) for one in call.compute(_errors(call, 1.0))]
        if how == "extreme":
            high, low = call.compute(_errors(call, 1.0)), call.compute(_errors(call, -1.0))
            return [_largest(a, b) for a, b in zip(high, low, strict=True)]
        if how == "elementwise":
            return _corners(call)
        if how == "linear":
            return [_linear(call, weigh or plain)]
    raise Underived(f"{call.node.op}: the errors of its inputs may change what it chooses")


def _errors(call: Call, sign: float) -> list[Any]:
    found = []
    for value, error in zip(call.inputs, call.errors, strict=True):
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            found.append(np.zeros_like(value) if error is None else sign * np.asarray(error))
        else:
            found.append(value)
    return found


def _absolute(value: Any) -> Any:
    return np.abs(value) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else None


def _largest(high: Any, low: Any) -> Any:
    if not isinstance(high, np.ndarray) or high.dtype.kind != "f":
        raise Underived("the errors of the inputs may change an index")
    return np.maximum(np.abs(high), np.abs(low))


def _corners(call: Call) -> list[Any]:
    moving = [at for at, one in enumerate(call.errors) if one is not None]
    if len(moving) > 4:
        raise Underived("too many inputs with errors")
    if call.node.op in ("Div", "Reciprocal"):
        below, error = call.inputs[-1], call.errors[-1]
        if error is not None and bool(np.any(np.abs(below) <= error)):
            raise Underived("a divisor may be zero")
    _check_steps(call)
    worst: list[Any] = [None] * len(call.outputs)
    for signs in product((-1.0, 1.0), repeat=len(moving)):
        given = list(call.inputs)
        for at, sign in zip(moving, signs, strict=True):
            given[at] = given[at] + sign * call.errors[at]
        for at, (here, there) in enumerate(zip(call.outputs, call.compute(given), strict=True)):
            worst[at] = _more(worst[at], _distance(here, there))
    if call.node.op in ("Sin", "Cos"):  # a wave within the box is not seen at its corners; the slope is at most 1
        worst[0] = np.maximum(worst[0], np.minimum(call.errors[0], 2.0))
    return worst


def _check_steps(call: Call) -> None:
    """Refuse boxes in which a function jumps where its corners may not show it."""
    if call.node.op == "Mod":
        raise Underived("the errors of the inputs may change a quotient by one")
    if call.node.op == "Pow" and call.errors[1] is not None:
        least = call.inputs[0] if call.errors[0] is None else call.inputs[0] - call.errors[0]
        if np.any(least < 0):
            raise Underived("the error of the exponent may make a negative power undefined")
    if call.node.op == "Tan" and np.any(call.errors[0] >= np.abs(np.cos(call.inputs[0])) / 2):
        raise Underived("the error of the input may cross a pole")


def _distance(here: Array, there: Array) -> Array:
    if here.dtype.kind != "f":
        if not np.array_equal(here, there):
            raise Underived("the errors of the inputs may change a comparison")
        return np.zeros(here.shape)
    distance = np.abs(there - here)
    distance = np.where((here == there) | (np.isnan(here) & np.isnan(there)), 0.0, distance)
    return np.where(np.isnan(distance), np.inf, distance)


def _more(one: Any, other: Array) -> Array:
    return other if one is None else np.maximum(one, other)


def _linear(call: Call, weigh: Any) -> Array:
    wide = [
        value if error is None else np.abs(value) + error for value, error in zip(call.inputs, call.errors, strict=True)
    ]
    difference = weigh(call, wide) - weigh(call, call.inputs)
    return np.where(np.isnan(difference), 0.0, np.abs(difference))
