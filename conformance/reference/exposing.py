"""A model that shows what it computes on its way: the results of its nodes as further outputs of its graph.

With it, the first node is found at which two runs of a device, or a device and the reference, part company. A runtime may
fuse and reorder less where every result has to be given out, so a difference can be gone in the exposed model: what it shows is
a hint for whoever looks for the cause, and no judgement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import onnx
from onnx import shape_inference

from conformance.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Result(NamedTuple):
    """One tensor that a node of the graph gives."""

    name: str
    """The tensor's name, unique in the graph."""
    node: str
    """The node as a reader finds it: `Softmax 'attention/softmax'`, or the operator alone where the node has no name."""


def results(model: bytes) -> list[Result]:
    """Return every tensor that can be exposed, the graph's own outputs among them, in the order in which they are computed.

    Left out are results of which neither the model nor shape inference knows the type (those of operators that ONNX does not
    define), and whatever lies inside the bodies of `If`, `Loop` and `Scan`.
    """
    proto = onnx.load_model_from_string(model)
    typed = _types(proto).keys()
    return [
        Result(name, _label(node)) for node in proto.graph.node for name in node.output if name in typed
    ]  # ONNX wants the nodes of a graph sorted topologically


def expose(model: bytes, names: Sequence[str]) -> bytes:
    """Return the model with these tensors as graph outputs, after its own and in the order given; its own are not repeated.

    HarnessError for a name that no node gives, or whose type nobody knows.
    """
    proto = onnx.load_model_from_string(model)
    types = _types(proto)
    given = {name for node in proto.graph.node for name in node.output}
    known = {info.name for info in proto.graph.output}
    for name in names:
        if name not in given:
            raise HarnessError(f"'{name}' cannot be exposed: no node of the model gives it")
        if name not in types:
            raise HarnessError(f"'{name}' cannot be exposed: its type is not known")
        if name not in known:
            proto.graph.output.append(types[name])
            known.add(name)
    return bytes(proto.SerializeToString(deterministic=True))


def _types(proto: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """Return what is known of each result: by the model itself, or by shape inference."""
    inferred = shape_inference.infer_shapes(proto).graph
    given = {name for node in proto.graph.node for name in node.output}
    return {
        info.name: info
        for info in [*inferred.value_info, *proto.graph.output]
        if info.name in given and info.name and _has_type(info)
    }


def _has_type(info: onnx.ValueInfoProto) -> bool:
    kind = info.type.WhichOneof("value")
    return kind is not None and (kind != "tensor_type" or info.type.tensor_type.elem_type != onnx.TensorProto.UNDEFINED)


def _label(node: onnx.NodeProto) -> str:
    return f"{node.op_type} '{node.name}'" if node.name else node.op_type
