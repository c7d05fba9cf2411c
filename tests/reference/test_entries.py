"""How an operator's attributes are asked about."""

from __future__ import annotations

import pytest

from conformance.reference.entries import OperatorUse

USE = OperatorUse(
    domain="ai.onnx",
    op_type="Thing",
    since_version=3,
    next_version=None,
    attributes={"mode": "cubic", "to": 10, "axis": -1, "alpha": 0.5, "ratio": 1.0, "pads": [1, 2], "names": ["a", "b"]},
    types=("float16",),
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mode", "cubic"),
        ("to", "float16"),
        ("to", "10"),
        ("axis", "-1"),
        ("alpha", "0.5"),
        ("ratio", "1"),
        ("ratio", "1.0"),
        ("pads", "1,2"),
        ("pads", "[1,2]"),
        ("pads", "[1, 2]"),
        ("names", "a,b"),
    ],
)
def test_an_attribute_reads_as(name: str, text: str) -> None:
    assert USE.attribute_is(name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [("mode", "cub"), ("to", "float32"), ("axis", "float32"), ("pads", "1"), ("absent", "0"), ("absent", "")],
)
def test_an_attribute_does_not_read_as(name: str, text: str) -> None:
    assert not USE.attribute_is(name, text)


def test_an_unknown_type_number_is_undefined() -> None:
    use = OperatorUse("ai.onnx", "Cast", 13, None, {"to": 99}, ())
    assert use.attribute_is("to", "undefined")
    assert use.key == "ai.onnx.Cast-13"
