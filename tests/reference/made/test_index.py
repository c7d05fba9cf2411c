"""The rows that plans read: what the models really hold, kept in a cache that is made again when it is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.errors import HarnessError
from conformance.reference.made import index

CASES = (
    "operators/ai.onnx.Add-14/float16/made/broadcast",
    "operators/ai.onnx.Softmax-13/float32/made/axis-1",
    "operators/ai.onnx.Softmax-13/float32/made-expanded/axis-1",
    "operators/ai.onnx.Add-14/float32/made/subnormal",
    "operators/ai.onnx.MatMul-13/float32/made/k-0",
)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Only these cases, and a cache of their own."""
    chosen = {name: index._items()[name] for name in CASES}
    monkeypatch.setattr(index, "_items", lambda: chosen)
    monkeypatch.setattr(index, "_contributed", dict)
    monkeypatch.setenv("CONFORMANCE_CACHE", str(tmp_path))
    return tmp_path


def test_rows_say_what_the_models_hold(few: Path) -> None:
    """Operators, types and needs; the body of Softmax holds what it is made of."""
    rows = {one.case_id: one for one in index.load_entries()}
    assert list(rows) == list(CASES)
    add, softmax, body, subnormal, empty = rows.values()
    assert (add.uses[0].key, add.types, add.opset_imports) == ("ai.onnx.Add-14", ("float16",), {"ai.onnx": 14})
    assert (add.subject, add.tier, add.outputs, add.smoke, add.kind) == ("float16", "bound", ["y0"], True, "node")
    assert add.sets == ["normal", "positive", "wide", "cancelling"]
    assert [use.op_type for use in softmax.uses] == ["Softmax"]
    assert {use.op_type for use in body.uses} >= {"Exp", "Div", "Sub"}
    assert (body.expanded, body.tier, softmax.expanded) == (True, softmax.tier, False)
    assert subnormal.needs_subnormals
    assert empty.needs_zero_size
    assert not empty.smoke
    assert index.find(CASES[0]).uses == tuple(add.uses)


def test_a_damaged_cache_is_made_again(few: Path) -> None:
    """Read where it is whole, made again where a byte is off."""
    whole = index.load_entries()
    path = next((few / "made").glob("*.msgpack"))
    data = path.read_bytes()
    path.write_bytes(data[:-9] + b"\xff" * 9)
    assert index.load_entries() == whole
    assert path.read_bytes() == data


def test_an_unknown_case_is_an_error() -> None:
    """Its id is told."""
    with pytest.raises(HarnessError, match="no generated case is called 'operators/x'"):
        index.find("operators/x")
