"""Values as they are held in memory and as they travel: every ONNX tensor type, sequences and empty optionals.

In memory a tensor is a numpy array (with `ml_dtypes` for bfloat16, fp8, int4 and their kin, one element per byte or
more), a sequence a list, an empty optional `None`. Strings are object arrays of `str`. On the wire a tensor is a
`TensorRef`: a type name, a shape, and bytes that are either inline or a region of a shared store. Nothing here is pickled.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import ml_dtypes
import msgspec
import numpy as np
import numpy.typing as npt

from conformance.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable

Array: TypeAlias = npt.NDArray[Any]
Value: TypeAlias = Array | list["Value"] | None

DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float8e4m3fn": np.dtype(ml_dtypes.float8_e4m3fn),
    "float8e4m3fnuz": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "float8e5m2": np.dtype(ml_dtypes.float8_e5m2),
    "float8e5m2fnuz": np.dtype(ml_dtypes.float8_e5m2fnuz),
    "float8e8m0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "float4e2m1": np.dtype(ml_dtypes.float4_e2m1fn),
    "float6e2m3": np.dtype(ml_dtypes.float6_e2m3fn),
    "float6e3m2": np.dtype(ml_dtypes.float6_e3m2fn),
    "int2": np.dtype(ml_dtypes.int2),
    "int4": np.dtype(ml_dtypes.int4),
    "int8": np.dtype(np.int8),
    "int16": np.dtype(np.int16),
    "int32": np.dtype(np.int32),
    "int64": np.dtype(np.int64),
    "uint2": np.dtype(ml_dtypes.uint2),
    "uint4": np.dtype(ml_dtypes.uint4),
    "uint8": np.dtype(np.uint8),
    "uint16": np.dtype(np.uint16),
    "uint32": np.dtype(np.uint32),
    "uint64": np.dtype(np.uint64),
    "bool": np.dtype(np.bool_),
    "complex64": np.dtype(np.complex64),
    "complex128": np.dtype(np.complex128),
}
"""ONNX tensor types by name (ONNX's own, lower case) and how each is held; `string` is held as objects."""

TYPE_NAMES: tuple[str, ...] = (*DTYPES, "string")
_BLOCK = 1 << 18
_NAME_OF: dict[np.dtype[Any], str] = {dtype: name for name, dtype in DTYPES.items()}

ONNX_TYPE_OF: dict[str, int] = {
    "float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "string": 8, "bool": 9,
    "float16": 10, "float64": 11, "uint32": 12, "uint64": 13, "complex64": 14, "complex128": 15, "bfloat16": 16,
    "float8e4m3fn": 17, "float8e4m3fnuz": 18, "float8e5m2": 19, "float8e5m2fnuz": 20, "uint4": 21, "int4": 22,
    "float4e2m1": 23, "float8e8m0": 24, "uint2": 25, "int2": 26,
    "float6e2m3": 27, "float6e3m2": 28,
}  # fmt: skip
"""TensorProto.DataType by name (onnx.proto3), kept here so that the child need not load onnx."""

BITS_OF_PACKED: dict[str, int] = {"int4": 4, "uint4": 4, "float4e2m1": 4, "int2": 2, "uint2": 2}
"""Types that ONNX stores several to a byte; in memory here they take one byte each."""


class TensorRef(msgspec.Struct, tag="tensor", frozen=True):
    """A tensor on the wire: `data` inline, or `nbytes` at `offset` of the store called `store`."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes | None = None
    store: str = ""
    offset: int = 0
    nbytes: int = 0


class StringsRef(msgspec.Struct, tag="strings", frozen=True):
    """A string tensor on the wire, row-major."""

    shape: tuple[int, ...]
    items: list[str]


class SequenceRef(msgspec.Struct, tag="sequence", frozen=True):
    """A sequence on the wire."""

    items: list[ValueRef]


class EmptyRef(msgspec.Struct, tag="empty", frozen=True):
    """An optional that holds nothing."""


ValueRef: TypeAlias = TensorRef | StringsRef | SequenceRef | EmptyRef


def element_of(kind: str) -> str:
    """Return the element type of a tensor type, however it is spelled: `tensor(float)`, ONNX's own, is `float32`."""
    inner = kind.strip().removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(inner, inner)


def type_name(array: Array) -> str:
    """Return the ONNX type name of an array, `string` for object arrays; HarnessError for anything else."""
    if array.dtype.kind in "OUST":
        return "string"
    try:
        return _NAME_OF[array.dtype]
    except KeyError:
        raise HarnessError(f"numpy type {array.dtype} has no ONNX tensor type") from None


def to_ref(value: Value, place: Callable[[Array], TensorRef | None] | None = None) -> ValueRef:
    """Turn a value into its wire form. `place` may put a tensor into a shared store and return where; None means inline."""
    if value is None:
        return EmptyRef()
    if isinstance(value, list):
        return SequenceRef([to_ref(item, place) for item in value])
    name = type_name(value)
    if name == "string":
        return StringsRef(value.shape, [_text(item) for item in value.reshape(-1).tolist()])
    if place is not None:
        placed = place(value)
        if placed is not None:
            return placed
    return TensorRef(name, value.shape, value.tobytes())


def from_ref(ref: ValueRef, stores: dict[str, memoryview] | None = None) -> Value:
    """Rebuild a value; tensors are views of the bytes they came from (read-only where those are).

    Raises HarnessError when the bytes do not fit shape and type, or a region leaves its store.
    """
    if isinstance(ref, EmptyRef):
        return None
    if isinstance(ref, SequenceRef):
        return [from_ref(item, stores) for item in ref.items]
    if isinstance(ref, StringsRef):
        array = np.empty(len(ref.items), dtype=object)
        array[:] = ref.items
        return _shaped(array, ref.shape)
    dtype = DTYPES.get(ref.dtype)
    if dtype is None:
        raise HarnessError(f"unknown tensor type '{ref.dtype}' on the wire")
    if len(ref.shape) > 64 or any(not 0 <= dim < 1 << 62 for dim in ref.shape):
        raise HarnessError(f"impossible shape: negative dimension in shape {list(ref.shape)} on the wire")
    if ref.data is not None:
        raw: bytes | memoryview = ref.data
    else:
        store = (stores or {}).get(ref.store)
        if store is None or ref.offset < 0 or ref.nbytes < 0 or ref.offset + ref.nbytes > len(store):
            raise HarnessError(f"tensor region {ref.store}:{ref.offset}+{ref.nbytes} lies outside its store")
        raw = store[ref.offset : ref.offset + ref.nbytes]
    if len(raw) != math.prod(ref.shape) * dtype.itemsize:
        raise HarnessError(f"{len(raw)} bytes do not make a {ref.dtype} tensor of shape {list(ref.shape)}")
    try:
        return np.frombuffer(raw, dtype=dtype).reshape(ref.shape)
    except ValueError as error:
        raise HarnessError(f"impossible shape {list(ref.shape)[:8]} on the wire: {error}") from error


def _shaped(array: Array, shape: tuple[int, ...]) -> Array:
    if len(shape) > 64 or any(dim < 0 for dim in shape) or array.size != math.prod(shape):
        raise HarnessError(f"{array.size} strings do not make a tensor of shape {list(shape)[:8]}")
    try:
        return array.reshape(shape)
    except ValueError as error:  # no element, and dimensions beyond what numpy holds
        raise HarnessError(f"impossible shape {list(shape)[:8]} on the wire: {error}") from error


def _text(item: object) -> str:
    """Return text that travels: what is no Unicode is spelled, so that a wrong answer stays one instead of an error."""
    if isinstance(item, bytes):
        return item.decode("utf-8", "backslashreplace")
    return unicode_only(str(item))


def unicode_only(text: str) -> str:
    """Return text that UTF-8 can carry: lone surrogates are spelled as escapes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def equal_bits(left: Value, right: Value) -> bool:
    """Return whether two values are the same to the bit (NaN payloads and signed zeros included)."""
    if left is None or right is None:
        return left is right
    if isinstance(left, list) or isinstance(right, list):
        return (
            isinstance(left, list)
            and isinstance(right, list)
            and len(left) == len(right)
            and all(equal_bits(a, b) for a, b in zip(left, right, strict=True))
        )
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    if left.dtype.kind in "OUST":
        return bool(left.tolist() == right.tolist())
    if left.nbytes <= _BLOCK:
        return left.tobytes() == right.tobytes()
    a, b = left.reshape(-1).view(np.uint8), right.reshape(-1).view(np.uint8)
    return all(np.array_equal(a[at : at + _BLOCK], b[at : at + _BLOCK]) for at in range(0, a.size, _BLOCK))


def pack_bits(array: Array, name: str) -> Array:
    """Return the bytes of a sub-byte tensor as ONNX stores them: row-major, first element in the low bits (uint8, 1-D)."""
    bits = BITS_OF_PACKED[name]
    flat = array.reshape(-1).view(np.uint8) & np.uint8((1 << bits) - 1)
    per_byte = 8 // bits
    padded = np.zeros(-(-flat.size // per_byte) * per_byte, dtype=np.uint8)
    padded[: flat.size] = flat
    packed = np.zeros(padded.size // per_byte, dtype=np.uint8)
    for position in range(per_byte):
        packed |= padded[position::per_byte] << np.uint8(bits * position)
    return packed


def unpack_bits(packed: Array, name: str, shape: tuple[int, ...]) -> Array:
    """Inverse of `pack_bits`: one element per byte, of the `ml_dtypes` type, in the given shape."""
    bits = BITS_OF_PACKED[name]
    per_byte = 8 // bits
    count = math.prod(shape)
    spread = np.empty(packed.size * per_byte, dtype=np.uint8)
    for position in range(per_byte):
        spread[position::per_byte] = (packed >> np.uint8(bits * position)) & np.uint8((1 << bits) - 1)
    return spread[:count].view(DTYPES[name]).reshape(shape)
