"""Every operator has a class, with where it comes from."""

from __future__ import annotations

import numpy as np
import onnx.defs
import pytest
from onnx import TensorProto
from operator_bounds_making import make_model

from conformance.errors import HarnessError
from conformance.reference.operator_bounds.bounding import class_of
from conformance.reference.operator_bounds.table import CLASSES, TABLE, find_entry

DEFINED = sorted({(one.domain, one.name) for one in onnx.defs.get_all_schemas_with_history()})


def test_every_operator_that_onnx_defines_is_named() -> None:
    assert len(DEFINED) > 200
    assert [one for one in DEFINED if one not in TABLE] == []


def test_no_entry_names_an_operator_that_onnx_does_not_define() -> None:
    assert [one for one in TABLE if one not in DEFINED] == []


@pytest.mark.parametrize("key", sorted(TABLE))
def test_every_entry_has_a_class_a_reason_and_what_its_class_needs(key: tuple[str, str]) -> None:
    entry = TABLE[key]
    assert entry.kind in CLASSES
    assert len(entry.why) >= 4
    assert (entry.law is not None) == (entry.kind in ("dot", "ulp", "function", "magnitude"))
    assert entry.carry in ("moves", "extreme", "elementwise", "linear", "choice", "none")


def test_an_operator_without_a_class_is_an_error() -> None:
    with pytest.raises(HarnessError, match="no class of bounds is assigned to com.example.Frobnicate"):
        find_entry("com.example", "Frobnicate")


X = np.ones((1, 1, 4, 4), dtype=np.float32)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (make_model("Resize", {"x": X, "r": X[0, 0, 0], "s": X[0, 0, 0]}, mode="nearest"), "exact"),
        (make_model("Resize", {"x": X, "r": X[0, 0, 0], "s": X[0, 0, 0]}, mode="linear"), "magnitude"),
        (make_model("Cast", {"x": X}, "float16", to=TensorProto.FLOAT16), "ulp"),
        (make_model("Cast", {"x": X}, "int8", to=TensorProto.INT8), "integer"),
        (make_model("Cast", {"x": X}, "float8e5m2", to=TensorProto.FLOAT8E5M2), "exact"),
        (make_model("Add", {"x": X, "z": X}), "ulp"),
        (make_model("Add", {"x": X.astype(np.int32), "z": X.astype(np.int32)}, "int32"), "integer"),
        (make_model("Mod", {"x": X, "z": X}, fmod=1), "exact"),
        (make_model("Softmax", {"x": X}), "body"),
    ],
)
def test_attributes_and_types_change_the_class(model: bytes, expected: str) -> None:
    assert class_of(model) == ("exact" if expected == "integer" and b"Cast" in model else expected)
