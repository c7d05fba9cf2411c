"""What a recipe's outputs are judged by: its twin's bound, the bound along its body, or Monte Carlo arithmetic inside its body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from conformance.errors import HarnessError
from conformance.numerics.limits import Exact, Rate, Unbounded
from conformance.reference.contrib.lowering import LOWERINGS, OPERATORS, expand
from conformance.reference.contrib.twins import twin_of
from conformance.reference.entries import TYPE_OF_ONNX
from conformance.reference.evaluate import NARROW, widen
from conformance.reference.interpreter import Interpreter
from conformance.reference.montecarlo.runs import spreads
from conformance.reference.operator_bounds.bounding import bounds_of
from conformance.reference.wide_operators import OPERATORS as WIDE

if TYPE_CHECKING:
    from conformance.numerics.modes import PrecisionMode
    from conformance.tensors import Array

BOUNDED = frozenset({"FusedConv", "FusedGemm", "GatherBlockQuantized"})
"""Operators without a twin whose bodies have a sharp bound."""
RATED = frozenset({"QLinearAdd", "QLinearMul"})
FLOATING = frozenset({"float32", "float64", "float16", "bfloat16"})


def holds_vendor_operators(model: bytes) -> bool:
    """Return whether a node of the model has a body here."""
    return any((one.domain, one.op_type) in LOWERINGS for one in onnx.load_model_from_string(model).graph.node)


def limits_of(model: bytes, inputs: dict[str, Array], mode: PrecisionMode, kind: str, seed: int) -> list[Any]:
    """Return the limit of each graph output in order: a Bound, Rate, Exact or Spread.

    `kind` is the type that the mode is declared for. Outputs that no bound holds for get Monte Carlo arithmetic inside the
    body; integer outputs are exact, or quantised results.
    """
    graph = onnx.load_model_from_string(model).graph
    ops = {one.op_type for one in graph.node}
    found: list[Any] = [None] * len(graph.output)
    standard = twin_of(model, inputs)
    if standard is None and ops <= BOUNDED:
        standard = in_standard_operators(model, inputs)
    if standard is not None:
        found = [
            None if isinstance(one, Unbounded) else one for one in bounds_of(standard, dict(inputs), mode, kind=kind)
        ]
    if all(one is not None for one in found):
        return found
    wide = widen(model)
    kinds = {info.name: TYPE_OF_ONNX[info.type.tensor_type.elem_type] for info in graph.output}
    whole = [name for name, one in kinds.items() if one not in FLOATING]
    reference = Interpreter(wide, (*WIDE, *OPERATORS)).run(inputs) if whole else {}
    scatter = spreads(expand(wide, inputs), inputs, mode, seed, kinds) if len(whole) < len(kinds) else {}
    for at, name in enumerate(kinds):
        if found[at] is None and name in whole:
            form = Rate if ops <= RATED else Exact
            found[at] = form(name=name, expected=np.asarray(reference[name]))
        elif found[at] is None:
            found[at] = scatter[name]
    return found


def in_standard_operators(model: bytes, inputs: dict[str, Array]) -> bytes | None:
    """Return the model with bodies in place of its vendor nodes, in its own types; None where a constant is not exact in them."""
    proto = onnx.load_model_from_string(model)
    graph = proto.graph
    narrow = [info.type.tensor_type.elem_type for info in graph.input] + [one.data_type for one in graph.initializer]
    kinds = {one for one in narrow if one in NARROW}
    if len(kinds) > 1:
        return None
    try:
        result = expand(proto, inputs)
    except HarnessError:
        return None
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kinds.pop()) if kinds else np.dtype(np.float64)
    for tensor in result.graph.initializer:
        if tensor.data_type == TensorProto.DOUBLE:
            value = numpy_helper.to_array(tensor)
            if not np.array_equal(value.astype(dtype).astype(np.float64), value):
                return None
            tensor.CopyFrom(numpy_helper.from_array(value.astype(dtype), tensor.name))
    return bytes(result.SerializeToString(deterministic=True))
