"""Tensors of the Open Inference Protocol v2: its names of types, what goes out, and answers that are checked before use.

Source: https://github.com/open-inference/open-inference-protocol, and Triton's `extension_binary_data.md` for raw tensors:
little-endian, row-major, strings each behind its length in four bytes. No memory is asked for on the word of a server: a
claimed shape has to fit the data that came.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from conformance.adapters.runtime.port import BAD_ANSWER, Unavailable
from conformance.records import TensorInfo
from conformance.tensors import DTYPES, type_name

if TYPE_CHECKING:
    from conformance.tensors import Array, Value

DATATYPES = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64", "int8": "INT8",
    "int16": "INT16", "int32": "INT32", "int64": "INT64", "float16": "FP16", "bfloat16": "BF16", "float32": "FP32",
    "float64": "FP64", "string": "BYTES",
}  # fmt: skip
"""ONNX's names of types to the protocol's. What is not here, the protocol has no name for."""
NAMES = {datatype: name for name, datatype in DATATYPES.items()}
_MOST_DIMENSIONS = 64
_LONGEST_NAME = 4000
_SHOWN = 200


class ServerMetadata(msgspec.Struct):
    """Answer of `GET v2`."""

    name: str
    version: str = ""
    extensions: list[str] = []


class TensorMetadata(msgspec.Struct):
    """An input or output of a model."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct):
    """Answer of `GET v2/models/NAME`."""

    name: str = ""
    inputs: list[TensorMetadata] | None = None
    outputs: list[TensorMetadata] | None = None


class IndexEntry(msgspec.Struct):
    """One model of the repository."""

    name: str
    state: str | None = ""
    reason: str | None = ""


class Refused(Exception):
    """What a server said no to, or said wrongly; `kind` is its own status, such as `HTTP 400`, or one of the port's."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def bad(message: str) -> Refused:
    """Return the fault of an answer that cannot be an answer."""
    return Refused(BAD_ANSWER, message)


def shown(text: object, limit: int = _SHOWN) -> str:
    """Return a server's text on one line and not too long."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else f"{line[:limit]}…"


def to_tensor(name: str, value: Value) -> tuple[str, Array]:
    """Return the protocol's type of an input with its array; Unavailable where the protocol has no such thing."""
    if not isinstance(value, np.ndarray):
        kind = "an empty optional" if value is None else "a sequence"
        raise Unavailable(f"input {name} is {kind}: the Open Inference Protocol carries tensors only")
    datatype = DATATYPES.get(type_name(value))
    if datatype is None:
        raise Unavailable(f"input {name} is {type_name(value)}: the Open Inference Protocol has no such type")
    return datatype, value


def to_raw(name: str, array: Array) -> bytes:
    """Return a tensor's bytes as the binary encoding has them."""
    if array.dtype.kind not in "OUST":
        return array.tobytes()
    parts: list[bytes] = []
    for item in array.reshape(-1).tolist():
        text = item if isinstance(item, bytes) else _encoded(name, str(item))
        parts += (struct.pack("<I", len(text)), text)
    return b"".join(parts)


def to_json(name: str, array: Array) -> list[Any]:
    """Return a tensor's elements as JSON has them, row-major; Unavailable for what JSON has no way to say."""
    kind = type_name(array)
    if kind == "string":
        return [_text(name, item) for item in array.reshape(-1).tolist()]
    if kind == "bfloat16":
        raise Unavailable(f"input {name} is bfloat16, which the protocol's JSON has no form for")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise Unavailable(f"input {name} holds NaN or infinity, and JSON has neither")
    elements: list[Any] = array.reshape(-1).tolist()
    return elements


def _text(name: str, item: object) -> str:
    if isinstance(item, bytes):
        try:
            return item.decode()
        except UnicodeDecodeError:
            raise Unavailable(f"input {name} holds bytes that are no UTF-8, and JSON has only texts") from None
    _encoded(name, str(item))
    return str(item)


def _encoded(name: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Unavailable(f"input {name} holds what is no Unicode text") from None


def from_raw(name: str, datatype: str, shape: object, raw: bytes | memoryview) -> Array:
    """Return an output from its bytes; Refused where they do not fit type and shape."""
    kind, dimensions = _claimed(name, datatype, shape)
    if kind == "string":
        return _shaped(name, _strings(name, raw), dimensions)
    dtype = DTYPES[kind]
    wanted = math.prod(dimensions) * dtype.itemsize
    if len(raw) != wanted:
        raise bad(
            f"output {name}: {len(raw)} bytes came, {datatype} of shape {_told(dimensions)} needs {_count(wanted)}"
        )
    if kind == "bool" and (np.frombuffer(raw, dtype=np.uint8) > 1).any():
        raise bad(f"output {name}: a byte of a BOOL tensor is neither 0 nor 1")
    return _shaped(name, np.frombuffer(raw, dtype=dtype).copy(), dimensions)


def _strings(name: str, raw: bytes | memoryview) -> Array:
    items: list[str | bytes] = []
    at = 0
    while at < len(raw):
        length = int.from_bytes(raw[at : at + 4], "little")
        if at + 4 + length > len(raw):
            raise bad(f"output {name}: a string of {length} bytes reaches beyond the end of the tensor")
        text = bytes(raw[at + 4 : at + 4 + length])
        items.append(_decoded(text))
        at += 4 + length
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def _decoded(text: bytes) -> str | bytes:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text


def from_json(name: str, datatype: str, shape: object, data: object) -> Array:
    """Return an output from JSON's elements, nested or not; Refused where they do not fit type and shape.

    Unavailable where null stands for a floating-point number: the server had one that JSON has no way to say.
    """
    kind, dimensions = _claimed(name, datatype, shape)
    elements = _flattened(name, data)
    if len(elements) != math.prod(dimensions):
        wanted = _count(math.prod(dimensions))
        raise bad(f"output {name}: {len(elements)} elements came, shape {_told(dimensions)} needs {wanted}")
    if kind == "string":
        if not all(isinstance(item, str | bytes) for item in elements):
            raise bad(f"output {name}: an element of a BYTES tensor is no text")
        array = np.empty(len(elements), dtype=object)
        array[:] = [_decoded(item) if isinstance(item, bytes) else item for item in elements]
        return _shaped(name, array, dimensions)
    return _shaped(name, _numbers(name, datatype, kind, elements), dimensions)


def _numbers(name: str, datatype: str, kind: str, elements: list[Any]) -> Array:
    dtype = DTYPES[kind]
    found = set(map(type, elements))
    if kind == "bool":
        wanted: set[type] = {bool}
    elif dtype.kind in "iu":
        wanted = {int}
    else:
        wanted = {int, float}
        if type(None) in found:
            raise Unavailable(f"output {name}: null came where a {datatype} is due: JSON has neither NaN nor infinity")
    if found - wanted:
        kinds = ", ".join(sorted(one.__name__ for one in found - wanted))
        raise bad(f"output {name}: an element of a {datatype} tensor is a {kinds}")
    if dtype.kind in "iu" and elements:
        limits = np.iinfo(dtype)
        if min(elements) < limits.min or max(elements) > limits.max:
            raise bad(f"output {name}: an element does not fit {datatype}")
    if dtype.kind not in "biu":
        try:
            wide = np.array(elements, dtype=np.float64)
        except OverflowError:
            raise bad(f"output {name}: an element does not fit {datatype}") from None
        with np.errstate(over="ignore"):
            return wide.astype(dtype)
    return np.array(elements, dtype=dtype)


def _flattened(name: str, data: object) -> list[Any]:
    if not isinstance(data, list):
        raise bad(f"output {name} has no data")
    for _ in range(_MOST_DIMENSIONS):
        rows = sum(isinstance(row, list) for row in data)
        if not rows:
            return data
        if rows != len(data):
            raise bad(f"output {name}: its data are a list of lists and of other things")
        data = [item for row in data for item in row]
    raise bad(f"output {name}: its data are nested too deeply")


def _claimed(name: str, datatype: str, shape: object) -> tuple[str, tuple[int, ...]]:
    kind = NAMES.get(datatype)
    if kind is None:
        raise bad(f"output {name}: the protocol has no type '{shown(datatype, 40)}'")
    if not isinstance(shape, list | tuple) or len(shape) > _MOST_DIMENSIONS:
        raise bad(f"output {name}: its shape is none: {shown(shape, 60)}")
    if not all(type(dim) is int and 0 <= dim < 1 << 62 for dim in shape):
        raise bad(f"output {name}: its shape is none: {shown(list(shape), 60)}")
    return kind, tuple(shape)


def _shaped(name: str, array: Array, shape: tuple[int, ...]) -> Array:
    if array.size != math.prod(shape):
        raise bad(f"output {name}: {array.size} elements came, shape {_told(shape)} needs {_count(math.prod(shape))}")
    try:
        return array.reshape(shape)
    except ValueError as error:  # no element, and dimensions beyond what numpy holds
        raise bad(f"output {name}: impossible shape {_told(shape)}: {error}") from None


def _told(shape: tuple[int, ...]) -> str:
    return shown(list(shape), 60)


def _count(number: int) -> str:
    return str(number) if number < 1 << 64 else "more than 2^64"


def tensor_info(name: str, datatype: str, shape: list[int]) -> TensorInfo:
    """Return a tensor of a model's metadata; -1 is a dimension that is not fixed. Refused for a name beyond reason."""
    if len(name) > _LONGEST_NAME:
        raise bad(f"the model's metadata have a tensor with a name of {len(name)} characters")
    kind = NAMES.get(datatype, "undefined")
    dimensions = tuple(dim if dim >= 0 else None for dim in shape)
    return TensorInfo(name=name, type=f"tensor({kind})", shape=dimensions)
