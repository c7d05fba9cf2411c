"""What the families of defects share: collecting them, and telling where they apply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from conformance.selftest.injection import Defect, Site, Surroundings, always

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.numerics.modes import PrecisionMode
    from conformance.reference.interpreter import Node, Values
    from conformance.tensors import Array

CONTRACTIONS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class Family:
    """Defects of one family, in the order in which they are written."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.defects: list[Defect] = []

    def add(
        self,
        name: str,
        says: str,
        applies: Callable[[Node, Surroundings], bool],
        *,
        level: Literal["node", "output", "behaviour"] = "node",
        is_defect: Callable[[PrecisionMode], bool] = always,
        remembers: bool = False,
    ) -> Callable[[Callable[[Site], Values]], Callable[[Site], Values]]:
        """Return a decorator that adds what it decorates as a defect."""

        def decorate(change: Callable[[Site], Values]) -> Callable[[Site], Values]:
            self.defects.append(Defect(name, self.name, says, applies, change, level, is_defect, remembers))
            return change

        return decorate


def at(*operators: str, **attributes: Any) -> Callable[[Node, Surroundings], bool]:
    """Return whether a node is one of these operators of ONNX, with these values of attributes where they are named."""

    def applies(node: Node, around: Surroundings) -> bool:  # noqa: ARG001
        if node.op not in operators or node.domain not in ("", "ai.onnx"):
            return False
        return all(node.attribute(name) == value for name, value in attributes.items())

    return applies


def with_weights(*operators: str, position: int = 1) -> Callable[[Node, Surroundings], bool]:
    """Return whether a node is one of these operators and reads a weight, or an input of the whole graph, there."""
    plain = at(*operators)

    def applies(node: Node, around: Surroundings) -> bool:
        if not plain(node, around) or len(node.inputs) <= position or not node.inputs[position]:
            return False
        return around.has_weights(node, position) or node.inputs[position] not in around.producers

    return applies


def has_output(node: Node, around: Surroundings) -> bool:
    """Return whether a node makes an output of the whole model."""
    return any(name in around.outputs for name in node.outputs)


def is_float32(mode: PrecisionMode) -> bool:
    """Whether float32 is declared throughout."""
    return (mode.input, mode.accumulate, mode.output) == ("float32", "float32", "float32")


def sums_in_float32(mode: PrecisionMode) -> bool:
    """Whether sums to nearest in float32 are declared."""
    return mode.accumulate == "float32" and mode.accumulate_rounding == "nearest"


def first(values: Values, change: Callable[[Array], Array]) -> Values:
    """Return outputs with the first one changed, where it is a tensor with elements."""
    value = values[0]
    if not isinstance(value, np.ndarray) or not value.size:
        return values
    return [change(value), *values[1:]]
