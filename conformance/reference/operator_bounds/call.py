"""One operator at work: what a law gets to see of a node, its values and the declared precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from conformance.numerics.bounded import format_of
from conformance.numerics.formats import FORMATS, quantum
from conformance.numerics.modes import native

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.numerics.formats import Format
    from conformance.numerics.modes import PrecisionMode
    from conformance.reference.interpreter import Node, Values
    from conformance.tensors import Array

FLOATS = frozenset(
    {"float32", "float64", "float16", "bfloat16", "float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz"}
    | {"float8e8m0", "float4e2m1", "float6e2m3", "float6e3m2"}
)
WIDENED = frozenset({"float32", "float64", "float16", "bfloat16"})


class Underived(Exception):
    """No bound follows here, and why: tier 3 judges the case."""


class Local(NamedTuple):
    """What an operator itself may be off, its inputs being right: see `numerics.bounded.Bound` for the fields."""

    unit: Any
    limit: Any
    law: str
    terms: float = 0.0
    products: int = 0
    drift: Any = None
    exempt: Any = None
    is_leaning_tested: bool = True


class Call(NamedTuple):
    """A node with its values in float64, the tensor types that they have in the model, and the declared precision."""

    node: Node
    inputs: Values
    outputs: Values
    compute: Callable[[Values], Values]
    input_kinds: list[str]
    """Tensor types by position; '' where an input is left out."""
    output_kinds: list[str]
    mode: PrecisionMode
    kind: str
    """The tensor type that the mode is declared for; any other type is computed as it is."""
    errors: list[Any]
    """What each input may be off, per element; None: nothing."""
    version: int
    """The opset that the model imports for the operator's domain."""

    def mode_of(self, kind: str) -> PrecisionMode:
        """Return how tensors of a type are computed."""
        return self.mode if kind == self.kind or kind not in WIDENED else native(kind)

    def form(self, at: int = 0) -> Format:
        """Return the format that an output is stored in: its type's, or the declared one where that is coarser."""
        kind = self.output_kinds[at]
        own, declared = format_of(kind), self.mode_of(kind).results
        return declared if declared.bits < own.bits else own

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute of the node."""
        return self.node.attribute(name, default)

    @property
    def operand_bits(self) -> int:
        """The significant bits that a contraction keeps of its operands."""
        bits = [min(format_of(one).bits, self.mode_of(one).operands.bits) for one in self.input_kinds if one in FLOATS]
        return min(bits, default=53)

    def is_float(self, at: int = 0) -> bool:
        """Whether an output is floating-point."""
        return self.output_kinds[at] in FLOATS


def last_place(values: Array, form: Format) -> Array:
    """Return a unit in the last place at each value, that of zero being the smallest subnormal."""
    with np.errstate(all="ignore"):
        return np.where(values == 0, form.step, quantum(np.where(np.isfinite(values), values, 1.0), form))


def entry_error(values: Array, kind: str, mode: PrecisionMode) -> Any:
    """Return what a graph input or weight may be off before the first operator sees it; None where nothing.

    A device that stores narrow tensors narrows wider ones on entry, once; one that flushes subnormals may do so there.
    """
    found = np.zeros(values.shape)
    own = format_of(kind)
    is_narrowed = mode.results.bits < own.bits and mode.operands.bits < own.bits
    with np.errstate(all="ignore"):
        if is_narrowed:
            found = last_place(values, mode.operands) / 2
        if mode.flushes:
            nmin = max(own.nmin, mode.operands.nmin) if is_narrowed else own.nmin
            found = np.where((np.abs(values) < nmin) & (values != 0), np.abs(values), found)
    found = np.where(np.isfinite(values), found, 0.0)
    return found if found.any() else None


def accumulator(mode: PrecisionMode) -> Format:
    """Return the format in which a mode adds up."""
    return FORMATS[mode.accumulate]
