"""How a probe becomes a recipe: one node, its inputs drawn when it runs, its outputs known exactly.

A probe module says for an operator, opset and type what is drawn and what must come out; here are the model around it, the
opsets in which each version of an operator is in force, and integers as data.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx
from onnx import defs, helper

from conformance.numerics.formats import FORMATS
from conformance.reference.models import find_use
from conformance.reference.recipes import Made, Needs, Recipe
from conformance.tensors import BITS_OF_PACKED, DTYPES, ONNX_TYPE_OF, pack_bits, type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from conformance.reference.entries import Attribute
    from conformance.tensors import Array

FIRST_OPSET = 13
"""Versions of operators that were superseded before this opset are not probed."""
FLOATS = ("float32", "float16", "bfloat16", "float64")
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
COMMON = ("float32", "int64", "int8")
"""The types in which every version of an operator is probed."""
NARROWEST = 8
"""Significant bits that every declared precision has: bfloat16's."""
MOST = 2**NARROWEST
"""Up to here every integer is exact in any declared precision: sums that stay below need nothing to be declared."""
_SPELLING = {"float32": "float", "float64": "double"}


class Drawn(NamedTuple):
    """What one node is fed and must give, in the order of its inputs and outputs; None where an input is left out."""

    inputs: Sequence[Array | None]
    outputs: Sequence[Array]


@cache
def opsets(op: str) -> tuple[int, ...]:
    """Return, for each version of an ONNX operator in force at opset 13 or later, the first such opset from 13 on."""
    found: list[int] = []
    seen = set()
    for opset in range(FIRST_OPSET, defs.onnx_opset_version() + 1):
        if not defs.has(op, opset):
            continue
        schema = defs.get_schema(op, opset)
        if schema.since_version not in seen and not schema.deprecated:
            seen.add(schema.since_version)
            found.append(opset)
    return tuple(found)


def find_version(op: str, opset: int) -> int:
    """Return the version of an operator in force at an opset."""
    return int(defs.get_schema(op, opset).since_version)


@cache
def takes(op: str, opset: int, kind: str, position: int = 0) -> bool:
    """Return whether the operator takes a type as the input at a position."""
    return f"tensor({_SPELLING.get(kind, kind)})" in _taken(op, opset, position)


@cache
def _taken(op: str, opset: int, position: int) -> frozenset[str]:
    inputs = defs.get_schema(op, opset).inputs
    return frozenset(inputs[min(position, len(inputs) - 1)].types) if inputs else frozenset()


@cache
def gives(op: str, opset: int, kind: str) -> bool:
    """Return whether the operator may give a type as its first output."""
    return f"tensor({_SPELLING.get(kind, kind)})" in frozenset(defs.get_schema(op, opset).outputs[0].types)


def each(op: str, kinds: Sequence[str], position: int = 0) -> Iterator[tuple[int, str]]:
    """Yield the opsets of the operator's versions with the types of these that each takes.

    All types for the oldest and the newest version; those between, which mostly lengthen the list of types, with a few.
    """
    every = opsets(op)
    for opset in every:
        taken = [kind for kind in kinds if takes(op, opset, kind, position)]
        if opset not in (every[0], every[-1]):
            taken = [kind for kind in taken if kind in COMMON] or taken[:1]
        yield from ((opset, kind) for kind in taken)


def probe(
    op: str,
    opset: int,
    kind: str,
    name: str,
    draw: Callable[[np.random.Generator], Drawn],
    *,
    types: Sequence[str] = (),
    attributes: dict[str, Attribute] | None = None,
    held: Sequence[int] = (),
    needs: Needs | None = None,
    advisory: str = "",
    keeps_zero_sign: bool = False,
) -> Recipe:
    """Return the recipe of one node of an ONNX operator.

    `kind` is the element type that the case is about, `types` the others of its inputs and outputs; the inputs at the
    positions `held` are initialisers, for what devices take as constants only (axes, shapes, weights).
    """
    given = attributes or {}
    every = tuple(sorted({kind, *types}))
    use = find_use(op, opset, every, given)
    is_float = kind in FORMATS
    return Recipe(
        case_id=f"exact/{use.key}/{kind}/{name}",
        uses=(use,),
        types=every,
        opset_imports={"ai.onnx": opset},
        tier="exact",
        kind=kind if is_float else next((one for one in every if one in FLOATS), ""),
        make=lambda rng: _make(op, opset, given, held, draw(rng)),
        advisory=advisory,
        needs=needs or Needs(result_bits=NARROWEST, operand_bits=NARROWEST, sum_bits=NARROWEST),
        keeps_zero_sign=keeps_zero_sign,
    )


def _make(op: str, opset: int, attributes: dict[str, Attribute], held: Sequence[int], drawn: Drawn) -> Made:
    names = ["" if one is None else f"x{at}" for at, one in enumerate(drawn.inputs)]
    node = helper.make_node(op, names, [f"y{at}" for at in range(len(drawn.outputs))], **attributes)  # type: ignore[arg-type]
    inputs = {f"x{at}": np.ascontiguousarray(one) for at, one in enumerate(drawn.inputs) if one is not None}
    inputs = {name: one.reshape(drawn.inputs[int(name[1:])].shape) for name, one in inputs.items()}  # type: ignore[union-attr]
    outputs = {f"y{at}": np.asarray(one) for at, one in enumerate(drawn.outputs)}
    constants = {f"x{at}" for at in held}
    graph = helper.make_graph(
        [node],
        "probe",
        [_info(name, one) for name, one in inputs.items() if name not in constants],
        [_info(name, one) for name, one in outputs.items()],
        [_tensor(name, one) for name, one in inputs.items() if name in constants],
    )
    imports = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=helper.find_min_ir_version_for(imports))
    feeds = {name: one for name, one in inputs.items() if name not in constants}
    return Made(model.SerializeToString(deterministic=True), [feeds], [dict(outputs)])


def _info(name: str, value: Array) -> Any:
    return helper.make_tensor_value_info(name, ONNX_TYPE_OF[type_name(value)], value.shape)


def _tensor(name: str, value: Array) -> onnx.TensorProto:
    kind = type_name(value)
    raw = pack_bits(value, kind) if kind in BITS_OF_PACKED else value
    return onnx.TensorProto(
        name=name, dims=value.shape, data_type=ONNX_TYPE_OF[kind], raw_data=np.ascontiguousarray(raw).tobytes()
    )


def bits_of(kind: str) -> int:
    """Return the significant bits of a floating-point type."""
    return FORMATS[kind].bits


def of(kind: str, values: Any) -> Array:
    """Return values as an array of a type, integers of any size exactly: for integers as they are, modulo 2**bits."""
    dtype = DTYPES[kind]
    array = np.asarray(values)
    if dtype.kind in "iu" and array.dtype == object:  # Python integers, which may be larger than any type
        mask = 2 ** (8 * dtype.itemsize) - 1
        unsigned = np.array([int(one) & mask for one in array.reshape(-1)], dtype=np.uint64).reshape(array.shape)
        return unsigned.astype(dtype.str.replace("i", "u")).view(dtype)
    with np.errstate(over="ignore"):  # infinity beyond the range is what is wanted
        return array.astype(dtype)


def axes(*values: int) -> Array:
    """Return int64 values, as axes, shapes and positions are given."""
    return np.array(values, np.int64)


def integers(rng: np.random.Generator, shape: Sequence[int], most: int, *, positive: bool = False) -> Array:
    """Return int64 values, none 0, of magnitude up to `most`; both signs unless `positive`."""
    sizes = rng.integers(1, most + 1, size=tuple(shape))
    signs = 1 if positive else rng.choice(np.array([-1, 1]), size=tuple(shape))
    return np.asarray(sizes * signs, np.int64)


def distinct(rng: np.random.Generator, kind: str, shape: Sequence[int]) -> Array:
    """Return values that tell places apart: all different where a type has that many below 256, in random order.

    int32 and int64 get values that float32 and float64 do not hold, bool a random pattern.
    """
    count = int(np.prod(shape, dtype=np.int64))
    order = rng.permutation(count)
    if kind == "bool":
        return rng.integers(0, 2, size=tuple(shape)).astype(np.bool_)
    if kind == "string":
        texts = np.empty(count, dtype=object)
        texts[:] = [f"t{one}" for one in order]
        return texts.reshape(tuple(shape))
    if kind in ("int64", "uint64"):
        return of(kind, (2**53 + 1 + 2 * order.astype(np.int64)).reshape(tuple(shape)))
    if kind in ("int32", "uint32"):
        return of(kind, (2**24 + 1 + 2 * order).reshape(tuple(shape)))
    low = 0 if kind in UNSIGNED else -128
    return of(kind, (order % 256 + low).reshape(tuple(shape)))
