"""Values on the wire: every ONNX tensor type there and back to the bit, and what a hostile sender may try."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from conformance.errors import HarnessError
from conformance.tensors import (
    BITS_OF_PACKED,
    DTYPES,
    ONNX_TYPE_OF,
    TYPE_NAMES,
    EmptyRef,
    SequenceRef,
    StringsRef,
    TensorRef,
    ValueRef,
    element_of,
    equal_bits,
    from_ref,
    pack_bits,
    to_ref,
    type_name,
    unpack_bits,
)

WIRE = msgspec.msgpack.Decoder(ValueRef)


def over_the_wire(value: Any) -> Any:
    """Encode, send, decode."""
    return from_ref(WIRE.decode(msgspec.msgpack.encode(to_ref(value))))


def every_byte(name: str) -> np.ndarray[Any, Any]:
    """An array of a type whose bytes take every value that the type can hold."""
    dtype = DTYPES[name]
    if name == "bool":
        return np.array([True, False])
    if name in BITS_OF_PACKED:
        return np.arange(1 << BITS_OF_PACKED[name], dtype=np.uint8).view(dtype)
    return np.arange(256 * dtype.itemsize, dtype=np.uint8).repeat(1).view(dtype)


# -- there and back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DTYPES)
def test_every_type_survives_to_the_bit(name: str) -> None:
    array = every_byte(name)
    back = over_the_wire(array)
    assert back.dtype == array.dtype
    assert back.tobytes() == array.tobytes()
    assert type_name(back) == name


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1, 1), (2, 3)])
def test_every_type_keeps_its_shape(name: str, shape: tuple[int, ...]) -> None:
    array = np.zeros(shape, DTYPES[name])
    back = over_the_wire(array)
    assert back.shape == shape
    assert back.dtype == DTYPES[name]


def test_views_that_are_not_contiguous_travel_in_row_major_order() -> None:
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    for view in (base.T, base[::-1, ::2], np.broadcast_to(base[:1], (3, 6))):
        assert np.array_equal(over_the_wire(view), view)


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(
        dtype=st.sampled_from([np.float32, np.float16, np.int64, np.uint8]),
        shape=hnp.array_shapes(min_dims=0, min_side=0),
    )
)
def test_any_array_survives(array: np.ndarray[Any, Any]) -> None:
    assert equal_bits(over_the_wire(array), array)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"))))
def test_any_text_survives(items: list[str]) -> None:
    array = np.array(items, dtype=object)
    assert over_the_wire(array).tolist() == items


def test_strings_come_from_every_way_of_holding_them() -> None:
    for held in (
        np.array([["a", "ü"]], dtype=object),
        np.array([["a", "ü"]]),
        np.array([[b"a", "ü".encode()]], dtype=object),
    ):
        back = over_the_wire(held)
        assert back.dtype == object
        assert back.tolist() == [["a", "ü"]]
        assert type_name(held) == "string"
    assert over_the_wire(np.array("lone", dtype=object)).shape == ()


def test_sequences_and_empty_optionals_survive_nested() -> None:
    value = [np.array([1.5], np.float32), [], [None, np.array(["x"], dtype=object)]]
    back = over_the_wire(value)
    assert equal_bits(back, [np.array([1.5], np.float32), [], [None, np.array(["x"], dtype=object)]])
    assert over_the_wire(None) is None


def test_what_came_from_bytes_cannot_be_written_to() -> None:
    back = over_the_wire(np.zeros(4, np.float32))
    with pytest.raises(ValueError, match="read-only"):
        back[0] = 1


def test_place_may_take_a_tensor_or_leave_it() -> None:
    kept: list[Any] = []

    def place(array: Any) -> TensorRef | None:
        if array.nbytes < 8:
            return None
        kept.append(array)
        return TensorRef("int64", array.shape, None, "box", 8, array.nbytes)

    refs = to_ref([np.zeros(1, np.int8), np.arange(2, dtype=np.int64)], place)
    assert isinstance(refs, SequenceRef)
    small, large = refs.items
    assert isinstance(small, TensorRef)
    assert small.data == b"\0"
    assert isinstance(large, TensorRef)
    assert (large.store, large.data) == ("box", None)
    store = memoryview(b"\xff" * 8 + kept[0].tobytes() + b"\xff" * 8)
    assert from_ref(large, {"box": store}).tolist() == [0, 1]  # type: ignore[union-attr]


def test_numpy_types_without_an_onnx_counterpart_are_refused() -> None:
    with pytest.raises(HarnessError, match="numpy type datetime64"):
        to_ref(np.array(["2026-01-01"], dtype="datetime64[D]"))


def test_the_type_numbers_are_onnx_own() -> None:
    ours = {"float32": "FLOAT", "float64": "DOUBLE", "float8e4m3fn": "FLOAT8E4M3FN"}
    for name in TYPE_NAMES:
        upstream = ours.get(name, name.upper())
        assert ONNX_TYPE_OF[name] == onnx.TensorProto.DataType.Value(upstream)
    known = set(onnx.TensorProto.DataType.values()) - {onnx.TensorProto.UNDEFINED}
    assert known == set(ONNX_TYPE_OF.values()), "this version of onnx has tensor types that are not carried here"


# -- hostile references -----------------------------------------------------------------------------------------------

STORE = {"box": memoryview(bytes(64))}


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        (TensorRef("float33", (1,), b"0000"), "unknown tensor type 'float33'"),
        (TensorRef("string", (1,), b"0000"), "unknown tensor type 'string'"),
        (TensorRef("float32", (-1,), b""), "negative dimension"),
        (TensorRef("float32", (-1, -1), b"0000"), "negative dimension"),
        (TensorRef("float32", (2,), b"0000"), "4 bytes do not make a float32 tensor of shape [2]"),
        (TensorRef("float32", (0,), b"0000"), "4 bytes do not make"),
        (TensorRef("float32", (1 << 40, 1 << 40), b""), "0 bytes do not make"),
        (TensorRef("uint8", (0, 1 << 62), b""), "shape"),
        (TensorRef("uint8", (1,) * 70, b"0"), "shape"),
        (TensorRef("float32", (1,), None, "box", 61, 4), "lies outside its store"),
        (TensorRef("float32", (1,), None, "box", -4, 4), "lies outside its store"),
        (TensorRef("float32", (1,), None, "box", 68, -4), "lies outside its store"),
        (TensorRef("float32", (1 << 60,), None, "box", 0, 1 << 62), "lies outside its store"),
        (TensorRef("float32", (1,), None, "elsewhere", 0, 4), "lies outside its store"),
        (TensorRef("float32", (2,), None, "box", 0, 4), "4 bytes do not make"),
        (StringsRef((2,), ["a"]), "1 strings do not make a tensor of shape [2]"),
        (SequenceRef([EmptyRef(), TensorRef("float32", (1,), b"")]), "0 bytes do not make"),
    ],
)
def test_an_impossible_reference_is_an_error_and_never_a_fault(ref: ValueRef, message: str) -> None:
    with pytest.raises(HarnessError) as caught:
        from_ref(ref, STORE)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_region_without_any_store_is_refused() -> None:
    with pytest.raises(HarnessError, match="lies outside its store"):
        from_ref(TensorRef("uint8", (1,), None, "box", 0, 1))


@pytest.mark.parametrize("shape", [(-1, -1), (-1,)])
def test_a_negative_dimension_of_strings_is_refused(shape: tuple[int, ...]) -> None:
    """`reshape` would take -1 for 'whatever fits'."""
    with pytest.raises(HarnessError):
        from_ref(StringsRef(shape, ["a"]))


# -- equality to the bit ----------------------------------------------------------------------------------------------


def test_equal_bits_tells_signed_zeros_and_payloads_apart() -> None:
    assert not equal_bits(np.array([0.0], np.float32), np.array([-0.0], np.float32))
    quiet, other = np.array([[0x7FC00000], [0x7FC00001]], np.uint32).view(np.float32)
    assert equal_bits(quiet, quiet.copy())
    assert not equal_bits(quiet, other)


def test_equal_bits_needs_the_same_kind_shape_and_type() -> None:
    one = np.array([1], np.float32)
    assert not equal_bits(one, one.reshape(1, 1))
    assert not equal_bits(one, one.view(np.int32))
    assert not equal_bits(one, None)
    assert equal_bits(None, None)
    assert not equal_bits([one], one)
    assert not equal_bits([one], [one, one])
    assert not equal_bits([one], [one + 1])
    assert equal_bits([one, None], [one.copy(), None])
    assert not equal_bits(np.array(["a"], dtype=object), np.array(["b"], dtype=object))


@pytest.mark.parametrize("at", [0, 299_999, 599_999])
def test_equal_bits_sees_one_bit_anywhere_in_a_large_array(at: int) -> None:
    left = np.zeros(600_000, np.uint8)
    right = left.copy()
    assert equal_bits(left, right)
    right[at] = 1
    assert not equal_bits(left, right)


# -- packed types -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BITS_OF_PACKED)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 17])
def test_packed_types_survive_packing(name: str, count: int) -> None:
    mask = (1 << BITS_OF_PACKED[name]) - 1
    raw = (np.arange(count, dtype=np.uint8) * 3 + 1) & mask
    array = unpack_bits(pack_bits(raw.view(DTYPES[name]), name), name, (count,))
    assert array.dtype == DTYPES[name]
    assert (array.view(np.uint8) & mask).tolist() == raw.tolist()


@pytest.mark.parametrize("name", BITS_OF_PACKED)
def test_packing_is_onnx_own(name: str) -> None:
    """The same bytes as onnx writes into `raw_data` for the same values."""
    values = np.arange(5, dtype=np.uint8) % (1 << (BITS_OF_PACKED[name] - 1))
    array = values.astype(np.int8).astype(DTYPES[name])
    written = onnx.numpy_helper.from_array(array, "x")
    assert written.data_type == ONNX_TYPE_OF[name]
    assert pack_bits(array, name).tobytes() == written.raw_data
    assert unpack_bits(np.frombuffer(written.raw_data, np.uint8), name, (5,)).tolist() == array.tolist()


def test_negative_int4_is_two_complement_with_the_first_element_low() -> None:
    assert pack_bits(np.array([-1, 2, -8], dtype=ml_dtypes.int4), "int4").tolist() == [0x2F, 0x08]


@pytest.mark.parametrize(
    ("kind", "element"),
    [("tensor(float)", "float32"), ("tensor(double)", "float64"), ("tensor(int64)", "int64"), ("float32", "float32")],
)
def test_the_element_type_is_read_however_it_is_spelled(kind: str, element: str) -> None:
    assert element_of(kind) == element
