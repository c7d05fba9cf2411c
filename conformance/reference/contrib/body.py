"""What one vendor operator stands for, written in ONNX's own operators.

A *body* is a short list of standard nodes with the operator's inputs and outputs. It is made for concrete inputs: shapes,
lengths, positions and packed weights are data that no rounding touches, so they are read here and stand in the body as
constants; every floating-point input stays an input. One description then serves three ends: evaluated in float64 it is the
reference, expanded into a model it lets Monte Carlo arithmetic perturb every product and sum inside (tier 3), and a single
contraction in it is what the operator's bound is taken from (tier 2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper, numpy_helper

from conformance.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from conformance.tensors import Array

OPSET = 23
"""The version of ONNX's operators that a body is written in."""


class Body:
    """The standard nodes that a node stands for, as they are put together."""

    def __init__(self, node: onnx.NodeProto, values: Sequence[Array | None]) -> None:
        self.node = node
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._values = list(values)
        self._names = list(node.input)
        self._attributes = {one.name: one for one in node.attribute}
        self._prefix = next(name for name in node.output if name)

    # -- the node -----------------------------------------------------------------------------------------------------

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute of the node, or the default of its schema."""
        if name not in self._attributes:
            return default
        value = helper.get_attribute_value(self._attributes[name])
        return value.decode() if isinstance(value, bytes) else value

    def has(self, index: int) -> bool:
        """Return whether an optional input is given."""
        return index < len(self._names) and bool(self._names[index]) and self._values[index] is not None

    def name(self, index: int) -> str:
        """Return the name of an input that must be there; HarnessError where it is not."""
        self.value(index)
        return str(self._names[index])

    def value(self, index: int) -> Array:
        """Return the data of an input that must be there; HarnessError where it is not."""
        value = self._values[index] if self.has(index) else None
        if value is None:
            raise HarnessError(f"{self.node.op_type} lacks input {index}")
        return value

    def shape(self, index: int) -> tuple[int, ...]:
        """Return the shape of an input."""
        return tuple(int(size) for size in self.value(index).shape)

    def wants(self, index: int) -> bool:
        """Return whether the model takes an output."""
        return index < len(self.node.output) and bool(self.node.output[index])

    # -- building -----------------------------------------------------------------------------------------------------

    def constant(self, value: Any, dtype: Any = np.float64) -> str:
        """Return the name of a constant; float64 unless another type is named."""
        name = f"{self._prefix}/constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, dtype=dtype), name))
        return name

    def integers(self, *values: int) -> str:
        """Return the name of a constant vector of int64."""
        return self.constant(values, np.int64)

    def op(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Append a standard node and return the name of its first output."""
        return self.ops(op_type, *inputs, outputs=1, **attributes)[0]

    def ops(self, op_type: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """Append a standard node and return the names of its outputs."""
        names = [f"{self._prefix}/{op_type}_{len(self.nodes)}" + (f"_{at}" if at else "") for at in range(outputs)]
        self.nodes.append(helper.make_node(op_type, inputs, names, **attributes))
        return names

    def give(self, index: int, name: str) -> None:
        """Name a value as an output of the operator, where the model takes it."""
        if self.wants(index):
            self.nodes.append(helper.make_node("Identity", [name], [self.node.output[index]]))

    def reshape(self, name: str, *shape: int) -> str:
        """Return a value in another shape."""
        return self.op("Reshape", name, self.integers(*shape))

    def transpose(self, name: str, *order: int) -> str:
        """Return a value with its axes in that order."""
        return self.op("Transpose", name, perm=list(order))

    def cut(self, name: str, axis: int, start: int, stop: int, step: int = 1) -> str:
        """Return the elements start, start + step, … below stop along an axis."""
        return self.op("Slice", name, *map(self.integers, (start, stop, axis, step)))

    def take(self, name: str, index: Array, axis: int) -> str:
        """Return the elements at those indices along an axis."""
        return self.op("Gather", name, self.constant(index, np.int64), axis=axis)

    def join(self, *names: str, axis: int) -> str:
        """Return values one after another along an axis."""
        return self.op("Concat", *names, axis=axis)

    def scaled(self, name: str, factor: float) -> str:
        """Return a value times a number; the value itself where the number is one."""
        return name if factor == 1.0 else self.op("Mul", name, self.constant(factor))

    def plus(self, name: str, index: int) -> str:
        """Return a value plus an optional input; the value itself where that is left out."""
        return self.op("Add", name, self.name(index)) if self.has(index) else name
