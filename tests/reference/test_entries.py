"""Rows survive the disk unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from conformance.reference.entries import Attribute, OperatorUse, SuiteEntry

if TYPE_CHECKING:
    from conformance.reference.suite import Suite


def test_a_row_survives_its_encoding(whole: Suite) -> None:
    for entry in whole.entries[::97]:
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(entry), type=SuiteEntry) == entry


def test_attributes_keep_their_kinds() -> None:
    attributes: dict[str, Attribute] = {
        "mode": "cubic",
        "axis": -1,
        "ratio": 1.0,
        "pads": [1, 2],
        "scales": [1.0, 0.5],
        "names": ["a"],
    }
    use = OperatorUse("ai.onnx.ml", "Thing", 3, None, attributes, ("float16",))
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(use), type=OperatorUse)
    assert repr(again.attributes) == repr(attributes)
    assert again.key == "ai.onnx.ml.Thing-3"


def test_type_attributes_stay_numbers(whole: Suite) -> None:
    (use,) = next(entry.uses for entry in whole.entries if entry.name == "test_cast_FLOAT_to_FLOAT16")
    assert use.attributes["to"] == 10
    assert set(use.types) == {"float16", "float32"}
