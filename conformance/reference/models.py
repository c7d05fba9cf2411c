"""What a model is made of: operators with the versions in force, element types, graph inputs that are fed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
import onnx
from onnx import defs, shape_inference

from conformance.errors import HarnessError
from conformance.records import TensorInfo
from conformance.reference.entries import TYPE_OF_ONNX, OperatorUse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from conformance.reference.entries import Attribute

_SPELLING = {"float32": "float", "float64": "double"}


@dataclass
class Facts:
    """What `examine` finds in a model."""

    uses: list[OperatorUse]
    types: tuple[str, ...]
    opset_imports: dict[str, int]
    output_infos: tuple[TensorInfo, ...]
    subject_type: str
    """Element type of the first fed input that has one, else of the first output."""
    dynamic_shapes: bool

    @property
    def first(self) -> OperatorUse:
        """The operator of a model's only node."""
        return self.uses[0]


@dataclass
class _Scan:
    functions: set[tuple[str, str]]
    uses: dict[bytes, OperatorUse] = field(default_factory=dict)
    types: set[str] = field(default_factory=set)


def examine(model: onnx.ModelProto) -> Facts:
    """Return the operators, types and interface of a model; HarnessError for an operator that its domain does not have.

    An operator of a domain that ONNX does not define has since_version 0, and the attributes that its node names.
    """
    inferred = shape_inference.infer_shapes(model)
    graph = inferred.graph
    imports = _imports(model.opset_import)
    scan = _Scan({(_domain(function.domain), function.name) for function in model.functions})
    _scan_graph(graph, {}, imports, scan)
    for function in inferred.functions:
        _scan_nodes(function.node, {}, _imports(function.opset_import), scan)
    fed = set(fed_inputs(graph))
    inputs = [info for info in graph.input if info.name in fed]
    kinds = [name for info in [*inputs, *graph.output] for name in _types_in(info.type)]
    return Facts(
        uses=list(scan.uses.values()),
        types=tuple(sorted(scan.types)),
        opset_imports=imports,
        output_infos=tuple(
            TensorInfo(name=i.name, type=spell(i.type), shape=_shape(i.type)) for i in model.graph.output
        ),
        subject_type=kinds[0] if kinds else "none",
        dynamic_shapes=any(_is_dynamic(info.type) for info in inputs),
    )


def fed_inputs(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the graph inputs that a caller gives: those without an initialiser, in graph order."""
    held = {tensor.name for tensor in graph.initializer} | {tensor.values.name for tensor in graph.sparse_initializer}
    return [info.name for info in graph.input if info.name not in held]


def spell(proto: onnx.TypeProto) -> str:
    """Return a type in ONNX's own spelling: `tensor(float)`, `seq(tensor(int64))`, `optional(seq(tensor(float)))`."""
    kind = proto.WhichOneof("value")
    if kind == "tensor_type":
        return f"tensor({_spelled(proto.tensor_type.elem_type)})"
    if kind == "sparse_tensor_type":
        return f"sparse_tensor({_spelled(proto.sparse_tensor_type.elem_type)})"
    if kind == "sequence_type":
        return f"seq({spell(proto.sequence_type.elem_type)})"
    if kind == "optional_type":
        return f"optional({spell(proto.optional_type.elem_type)})"
    if kind == "map_type":
        return f"map({_spelled(proto.map_type.key_type)},{spell(proto.map_type.value_type)})"
    return ""


def _spelled(number: int) -> str:
    name = TYPE_OF_ONNX.get(number, "undefined")
    return _SPELLING.get(name, name)


def _types_in(proto: onnx.TypeProto) -> list[str]:
    """Return the element types of a type, innermost: one, or two for a map, none where nothing is known."""
    kind = proto.WhichOneof("value")
    if kind == "sequence_type":
        return _types_in(proto.sequence_type.elem_type)
    if kind == "optional_type":
        return _types_in(proto.optional_type.elem_type)
    if kind == "map_type":
        return [*_named(proto.map_type.key_type), *_types_in(proto.map_type.value_type)]
    if kind == "sparse_tensor_type":
        return _named(proto.sparse_tensor_type.elem_type)
    return _named(proto.tensor_type.elem_type) if kind else []


def _named(number: int) -> list[str]:
    return [TYPE_OF_ONNX[number]] if number in TYPE_OF_ONNX else []


def _shape(proto: onnx.TypeProto) -> tuple[int | str | None, ...] | None:
    if proto.WhichOneof("value") != "tensor_type" or not proto.tensor_type.HasField("shape"):
        return None
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or None) for dim in proto.tensor_type.shape.dim
    )


def _is_dynamic(proto: onnx.TypeProto) -> bool:
    shape = _shape(proto)
    return shape is None or any(not isinstance(dim, int) for dim in shape)


def _imports(imports: Iterable[Any]) -> dict[str, int]:
    return {_domain(item.domain): item.version for item in imports}


def _domain(domain: str) -> str:
    return domain or "ai.onnx"


def _scan_graph(graph: onnx.GraphProto, outer: dict[str, list[str]], imports: dict[str, int], scan: _Scan) -> None:
    known = dict(outer)
    for info in [*graph.input, *graph.output, *graph.value_info]:
        known[info.name] = _types_in(info.type)
    for tensor in graph.initializer:
        known[tensor.name] = _named(tensor.data_type)
    for sparse in graph.sparse_initializer:
        known[sparse.values.name] = _named(sparse.values.data_type)
    for names in known.values():
        scan.types.update(names)
    _scan_nodes(graph.node, known, imports, scan)


def _scan_nodes(
    nodes: Iterable[onnx.NodeProto], known: dict[str, list[str]], imports: dict[str, int], scan: _Scan
) -> None:
    for node in nodes:
        types = {kind for a in node.attribute if a.type == onnx.AttributeProto.TENSOR for kind in _named(a.t.data_type)}
        scan.types.update(types)
        for name in [*node.input, *node.output]:
            types.update(known.get(name, ()))
        domain = _domain(node.domain)
        if (domain, node.op_type) not in scan.functions:
            use = _use(node, domain, imports.get(domain, 1), types)
            scan.uses.setdefault(msgspec.msgpack.encode(use), use)
        # After the node itself, so that the first use of a one-node model is that node.
        for attribute in node.attribute:
            for subgraph in _subgraphs(attribute):
                _scan_graph(subgraph, known, imports, scan)


def _use(node: onnx.NodeProto, domain: str, opset: int, types: set[str]) -> OperatorUse:
    named = {a.name: value for a in node.attribute if (value := _plain(a)) is not None}
    return find_use(node.op_type, opset, types, named, domain=domain)


def find_use(
    op: str, opset: int, types: Iterable[str], attributes: dict[str, Attribute], *, domain: str = "ai.onnx"
) -> OperatorUse:
    """Return the use of an operator in a model of that opset, the defaults of its schema filled in.

    HarnessError where the installed onnx defines no such operator at that opset.
    """
    since, following, defaults = _version(op, domain, opset)
    return OperatorUse(domain, op, since, following, defaults | attributes, tuple(sorted(types)))


def _subgraphs(attribute: onnx.AttributeProto) -> Iterator[onnx.GraphProto]:
    if attribute.type == onnx.AttributeProto.GRAPH:
        yield attribute.g
    yield from attribute.graphs


def _plain(attribute: onnx.AttributeProto) -> Attribute | None:
    kinds = onnx.AttributeProto
    if attribute.type in (kinds.INT, kinds.FLOAT, kinds.INTS, kinds.FLOATS):
        value: Any = onnx.helper.get_attribute_value(attribute)
        return list(value) if attribute.type in (kinds.INTS, kinds.FLOATS) else value
    if attribute.type == kinds.STRING:
        return attribute.s.decode("utf-8", "replace")
    if attribute.type == kinds.STRINGS:
        return [item.decode("utf-8", "replace") for item in attribute.strings]
    return None


@cache
def _history() -> dict[tuple[str, str], list[int]]:
    versions: dict[tuple[str, str], list[int]] = {}
    for schema in defs.get_all_schemas_with_history():
        versions.setdefault((_domain(schema.domain), schema.name), []).append(schema.since_version)
    return {key: sorted(set(found)) for key, found in versions.items()}


@cache
def _domains() -> frozenset[str]:
    """Return the domains that ONNX defines; operators of any other are a vendor's, with no schema to ask."""
    return frozenset(domain for domain, _ in _history())


@cache
def _version(op_type: str, domain: str, opset: int) -> tuple[int, int | None, dict[str, Attribute]]:
    """Return since_version, the next version and the attribute defaults of an operator at an opset version."""
    versions = _history().get((domain, op_type), [])
    since = max((version for version in versions if version <= opset), default=None)
    if since is None and domain not in _domains():
        return 0, None, {}
    if since is None:
        raise HarnessError(f"onnx {onnx.__version__} defines no operator {domain}.{op_type} at opset {opset}")
    schema = defs.get_schema(op_type, opset, "" if domain == "ai.onnx" else domain)
    defaults = {}
    for name, attribute in schema.attributes.items():
        value = _plain(attribute.default_value)
        if value is not None:
            defaults[name] = value
    return since, min((version for version in versions if version > since), default=None), defaults
