"""A case before it is carried out: an operator, its attributes, and how its inputs are drawn; and the model that it becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

from conformance.reference.entries import OperatorUse
from conformance.reference.recipes import Made, Recipe
from conformance.tensors import DTYPES, ONNX_TYPE_OF

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.reference.recipes import Tier
    from conformance.tensors import Array

DOMAIN = "com.microsoft"
ONNX_OPSET = 17
"""What a model imports of ONNX besides: no node of it."""
OURS = frozenset({"SimplifiedLayerNormalization"})
"""Operators of this family that ONNX Runtime registers under ONNX's own domain."""


class Given(NamedTuple):
    """One input of the node."""

    name: str
    value: Array
    """Floating-point values are rounded to the case's type; integers go in as they are."""
    is_weight: bool = False
    """Held by the model rather than fed."""


Inputs = "list[Given | None]"


class Draft(NamedTuple):
    """A case for every type of `kinds`."""

    op: str
    name: str
    """The last part of the case id."""
    inputs: Callable[[np.random.Generator], list[Given | None]]
    """In the order of the node; None where an optional one is left out."""
    attributes: dict[str, Any]
    outputs: tuple[str, ...] = ("output",)
    """Names in the order of the node, empty where one is not taken; `name:int32` is of that type, others of the case's."""
    tier: Tier = "spread"
    kinds: tuple[str, ...] = ("float32", "float16", "bfloat16")
    others: tuple[str, ...] = ()
    """Element types besides the case's own."""


def build(draft: Draft, kind: str, rng: np.random.Generator) -> Made:
    """Return the model of a draft for a type, with one set of inputs."""
    given = draft.inputs(rng)
    while given and given[-1] is None:
        given.pop()
    tensors = {one.name: _typed(one.value, kind) for one in given if one is not None}
    fed = [one.name for one in given if one is not None and not one.is_weight]
    names = [name.partition(":")[0] for name in draft.outputs]
    node = helper.make_node(
        draft.op,
        ["" if one is None else one.name for one in given],
        names,
        domain="" if draft.op in OURS else DOMAIN,
        **draft.attributes,
    )
    infos = [helper.make_tensor_value_info(name, _number(tensors[name]), tensors[name].shape) for name in fed]
    graph = helper.make_graph(
        [node],
        "made",
        infos,
        [_output(text, kind) for text in draft.outputs if text],
        [numpy_helper.from_array(value, name) for name, value in tensors.items() if name not in fed],
    )
    imports = [helper.make_opsetid("", ONNX_OPSET), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    return Made(model.SerializeToString(deterministic=True), [{name: tensors[name] for name in fed}])


def recipes_of(draft: Draft, *, is_first: bool) -> list[Recipe]:
    """Return the recipes of a draft, one for each type; the first draft of an operator is run on the smoke level.

    An operator of another domain than ONNX's has since_version 1, that of the operator set which it came with.
    """
    found = []
    for kind in draft.kinds:
        types = tuple(sorted({kind, *draft.others}))
        use = OperatorUse(DOMAIN, draft.op, 1, None, dict(draft.attributes), types)
        found.append(
            Recipe(
                case_id=f"operators/{use.key}/{kind}/made/{draft.name}",
                uses=(use,),
                types=types,
                opset_imports={"ai.onnx": ONNX_OPSET, DOMAIN: 1},
                tier=draft.tier,
                kind="float32" if kind in ("int8", "uint8") else kind,  # their scales
                make=_maker(draft, kind),
                smoke=is_first,
                outputs=tuple(text.partition(":")[0] for text in draft.outputs if text),
            )
        )
    return found


def _maker(draft: Draft, kind: str) -> Callable[[np.random.Generator], Made]:
    return lambda rng: build(draft, kind, rng)


def _typed(value: Array, kind: str) -> Array:
    is_subject = value.dtype == np.float64
    return value.astype(DTYPES[kind]) if is_subject else value


def _number(value: Array) -> int:
    return int(helper.np_dtype_to_tensor_dtype(value.dtype))


def _output(text: str, kind: str) -> onnx.ValueInfoProto:
    name, _, own = text.partition(":")
    return helper.make_value_info(name, helper.make_tensor_type_proto(ONNX_TYPE_OF[own or kind], None))
