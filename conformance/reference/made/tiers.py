"""Which tier judges a case: by the class that `operator_bounds` assigns to its operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
from onnx import helper

from conformance.reference.operator_bounds.table import find_entry, refine

if TYPE_CHECKING:
    from conformance.reference.recipes import Tier

_FLOATS = frozenset(
    {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE, *range(17, 21), 23, 24, 27, 28}
)  # fmt: skip
_TIERS: dict[str, Tier] = {
    "exact": "exact", "integer": "exact", "dot": "bound", "ulp": "bound", "function": "bound", "magnitude": "bound",
    "body": "bound", "discrete": "discrete", "rate": "rate", "spread": "spread", "control": "spread",
}  # fmt: skip


def tier_of(node: onnx.NodeProto, output: onnx.ValueInfoProto) -> Tier:
    """Return the tier of a node by its class; a tier-2 class without a bound for these very inputs falls to tier 3 later."""
    number = output.type.tensor_type.elem_type
    entry = refine(
        find_entry(node.domain, node.op_type),
        node.op_type,
        _reader(node),
        _name(number),
        is_float=number in _FLOATS,
    )
    return _TIERS[entry.kind]


def _reader(node: onnx.NodeProto) -> Any:
    held = {one.name: one for one in node.attribute}

    def attribute(name: str, default: Any = None) -> Any:
        if name not in held:
            return default
        value = helper.get_attribute_value(held[name])
        return value.decode() if isinstance(value, bytes) else value

    return attribute


def _name(number: int) -> str:
    from conformance.reference.entries import TYPE_OF_ONNX

    return TYPE_OF_ONNX.get(number, "")
