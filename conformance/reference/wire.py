"""ONNX models written byte by byte: no library that checks what it writes would write the models that must be refused.

Field numbers are those of onnx.proto (onnx 1.23); the encoding is Protocol Buffers' own
(https://protobuf.dev/programming-guides/encoding/). It needs no import of onnx, which takes longer than all of this.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

Field: TypeAlias = "int | float | bytes | str"
Dims: TypeAlias = "Sequence[int] | None"

FLOAT, INT32, INT64, STRING, BOOL = 1, 6, 7, 8, 9
"""TensorProto.DataType."""
IR_VERSION, OPSET = 8, 13
_VARINT, _BYTES, _FIXED32 = 0, 2, 5
_ATTRIBUTE_TYPES = {"f": (1, 2), "i": (2, 3), "s": (3, 4), "t": (4, 5), "g": (5, 6), "floats": (6, 7), "ints": (7, 8)}
"""Kind of attribute → (AttributeProto.AttributeType, field number)."""


def varint(number: int) -> bytes:
    """Return an integer of 64 bits as a varint; negative ones as their two's complement, in ten bytes."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, value: Field) -> bytes:
    """Return one field: an integer as varint, a float as fixed32, text and messages with their length."""
    if isinstance(value, int):
        return varint(number << 3 | _VARINT) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | _FIXED32) + struct.pack("<f", value)
    body = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | _BYTES) + varint(len(body)) + body


def fields(number: int, values: Sequence[Field]) -> bytes:
    """Return a repeated field."""
    return b"".join(field(number, value) for value in values)


def value_info(name: str, kind: int | None = FLOAT, dims: Dims = None) -> bytes:
    """Return a ValueInfoProto of a tensor; without `kind` it has no type, without `dims` no shape."""
    if kind is None:
        return field(1, name)
    shape = b"" if dims is None else field(2, fields(1, [field(1, dim) for dim in dims]))
    return field(1, name) + field(2, field(1, field(1, kind) + shape))


def attribute(name: str, kind: str, value: Field | Sequence[Field]) -> bytes:
    """Return an AttributeProto; `kind` is the name of the field that holds the value."""
    type_number, number = _ATTRIBUTE_TYPES[kind]
    held = field(number, value) if isinstance(value, int | float | bytes | str) else fields(number, value)
    return field(1, name) + held + field(20, type_number)


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], *attributes: bytes, domain: str = "") -> bytes:
    """Return a NodeProto."""
    named = field(7, domain) if domain else b""
    return fields(1, inputs) + fields(2, outputs) + field(4, op) + fields(5, attributes) + named


def tensor(name: str, dims: Sequence[int], kind: int = FLOAT, content: bytes = b"") -> bytes:
    """Return a TensorProto; `content` is whatever fields hold its data."""
    return fields(1, dims) + field(2, kind) + field(8, name) + content


def raw(data: bytes) -> bytes:
    """Return the content of a tensor as raw bytes."""
    return field(9, data)


def external(**entries: str) -> bytes:
    """Return the content of a tensor whose data lies in a file."""
    return fields(13, [field(1, key) + field(2, value) for key, value in entries.items()]) + field(14, 1)


def graph(
    nodes: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes], initialisers: Sequence[bytes] = ()
) -> bytes:
    """Return a GraphProto."""
    return fields(1, nodes) + field(2, "g") + fields(5, initialisers) + fields(11, inputs) + fields(12, outputs)


def opset(version: int, domain: str = "") -> bytes:
    """Return an OperatorSetIdProto."""
    return (field(1, domain) if domain else b"") + field(2, version)


def model(
    body: bytes | None,
    opsets: Sequence[bytes] | None = None,
    *,
    ir: int | None = IR_VERSION,
    functions: Sequence[bytes] = (),
) -> bytes:
    """Return a ModelProto; without `body` it has no graph, with an empty list no opset import."""
    imports = [opset(OPSET)] if opsets is None else opsets
    head = b"" if ir is None else field(1, ir)
    return head + (b"" if body is None else field(7, body)) + fields(8, imports) + fields(25, functions)
