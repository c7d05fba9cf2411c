"""Arithmetic on 8-bit integers with scales: QLinearAdd and QLinearMul.

C = saturate(round((scaleA·(A − zeroA) ⊕ scaleB·(B − zeroB)) / scaleC) + zeroC), ties to even
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import helper

from conformance.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.reference.contrib.body import Body


def _binary(body: Body, op_type: str) -> None:
    """Inputs A, scaleA, zeroA, B, scaleB, zeroB, scaleC, zeroC."""
    kind = body.value(0).dtype
    if kind not in (np.uint8, np.int8):
        raise HarnessError(f"no reference for {body.node.op_type} of {kind}")
    sides = []
    for at in (0, 3):
        zero = int(body.value(at + 2).reshape(-1)[0]) if body.has(at + 2) else 0
        centred = body.constant(body.value(at).astype(np.int64) - zero)
        sides.append(body.op("Mul", centred, body.name(at + 1)))
    steps = body.op("Round", body.op("Div", body.op(op_type, *sides), body.name(6)))
    zero = int(body.value(7).reshape(-1)[0]) if body.has(7) else 0
    shifted = body.op("Add", steps, body.constant(float(zero))) if zero else steps
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    clipped = body.op("Clip", shifted, body.constant(float(low)), body.constant(float(high)))
    body.give(0, body.op("Cast", clipped, to=helper.np_dtype_to_tensor_dtype(kind)))


def _add(body: Body) -> None:
    _binary(body, "Add")


def _multiply(body: Body) -> None:
    _binary(body, "Mul")


LOWERINGS: dict[str, Callable[[Body], None]] = {"QLinearAdd": _add, "QLinearMul": _multiply}
