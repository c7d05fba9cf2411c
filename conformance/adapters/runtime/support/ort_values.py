"""ONNX Runtime's values and names beside ours: typed OrtValues for what numpy lacks, and how a session declares tensors."""

from __future__ import annotations

import ctypes
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.adapters.runtime.port import Unavailable
from conformance.records import TensorInfo
from conformance.tensors import BITS_OF_PACKED, DTYPES, ONNX_TYPE_OF, pack_bits, type_name, unpack_bits

if TYPE_CHECKING:
    from conformance.tensors import Array, Value

PLAIN = frozenset(name for name in DTYPES if DTYPES[name].isbuiltin == 1) - {"complex64", "complex128"}
"""Tensor types that ONNX Runtime binds from and to numpy by itself; all others need typed OrtValues."""
_RUNTIME_NAMES = {"float": "float32", "double": "float64"}
_NAME_OF_ONNX = {number: name for name, number in ONNX_TYPE_OF.items()}


def to_ort_value(make: Any, value: Value) -> Any:
    """Make a typed OrtValue over an array, by the class `make`; sub-byte types are packed as ONNX stores them."""
    if not isinstance(value, np.ndarray):
        raise Unavailable("sequences and optionals cannot be mixed with types that numpy lacks")
    name = type_name(value)
    if name in PLAIN:
        return make.ortvalue_from_numpy(value)
    if name in BITS_OF_PACKED:
        packed = pack_bits(value, name)
        typed = make.ortvalue_from_shape_and_type(list(value.shape), ONNX_TYPE_OF[name])
        if packed.size:
            ctypes.memmove(typed.data_ptr(), packed.ctypes.data, packed.nbytes)
        return typed
    raw = value.view(np.uint16 if value.itemsize == 2 else np.uint8)
    return make.ortvalue_from_numpy_with_onnx_type(raw, ONNX_TYPE_OF[name])


def from_ort_value(typed: Any) -> Value:
    """Return what a typed OrtValue holds; Unavailable for a sequence or an optional."""
    if not typed.is_tensor():
        raise Unavailable("a sequence or optional among outputs whose types numpy lacks")
    name = _NAME_OF_ONNX[typed.element_type()]
    if name in PLAIN or name == "string":
        plain: Array = typed.numpy()
        return plain
    shape = tuple(typed.shape())
    count = math.prod(shape)
    if name in BITS_OF_PACKED:
        size = -(-count * BITS_OF_PACKED[name] // 8)
        return unpack_bits(_copy_bytes(typed, size), name, shape)
    return _copy_bytes(typed, count * DTYPES[name].itemsize).view(DTYPES[name]).reshape(shape)


def _copy_bytes(typed: Any, size: int) -> Array:
    raw = np.empty(size, dtype=np.uint8)
    if size:
        ctypes.memmove(raw.ctypes.data, typed.data_ptr(), size)
    return raw


def info_of(argument: Any) -> TensorInfo:
    """Return an input or output as the session declares it."""
    shape = argument.shape
    # The runtime gives [] for a scalar and for an unknown rank alike: either way the shape is not known.
    return TensorInfo(name=argument.name, type=named(argument.type), shape=tuple(shape) if shape else None)


def named(text: str) -> str:
    """`tensor(float)` → `tensor(float32)`: ONNX's names for the two types that the runtime calls otherwise."""
    head, _, rest = text.rpartition("(")
    element = rest.rstrip(")")
    return f"{head}({_RUNTIME_NAMES.get(element, element)}{')' * text.count(')')}" if head else text


def element_type(text: str) -> str:
    """`tensor(float32)` → `float32`."""
    return text.rpartition("(")[2].rstrip(")")


def is_plain(text: str) -> bool:
    """Whether values of a declared type pass as numpy arrays."""
    element = element_type(text)
    return element in PLAIN or element == "string"
