"""The tables: every row makes cases, no id twice, and what they make is what a schema takes."""

from __future__ import annotations

import pytest

from conformance.reference.made import counting, listing
from conformance.reference.made.rows import Row, fixed, given


@pytest.fixture(scope="module")
def items() -> list[listing.Item]:
    """Every case of the tables."""
    return list(listing.items())


def test_no_id_is_given_twice(items: list[listing.Item]) -> None:
    """A case id names one case for ever."""
    assert listing.find_duplicates(items) == []


def test_ids_are_ascii_of_five_parts(items: list[listing.Item]) -> None:
    """`operators/<version>/<type>/made/<row>`."""
    for item in items:
        area, version, kind, made, row = item.case_id.split("/")
        assert (area, kind, row) == ("operators", item.kind, item.row.name)
        assert version.endswith(f"-{item.since}")
        assert made == ("made-expanded" if item.is_expanded else "made")
        assert item.case_id.isascii()
        assert " " not in item.case_id


def test_every_row_makes_a_case(items: list[listing.Item]) -> None:
    """A row that no schema takes would be a test that never runs."""
    used = {(item.row.op, item.row.name) for item in items}
    assert [(row.op, row.name) for row in listing.rows() if (row.op, row.name) not in used] == []


def test_a_version_is_carried_out_where_it_is_in_force(items: list[listing.Item]) -> None:
    """The opset of a case selects the version of its id, for the function body too."""
    for item in items:
        schema = listing.schema_of(item.row.op, item.opset, item.row.domain)
        assert schema.since_version == item.since, item.case_id


def test_axes_are_an_attribute_or_an_input_by_version(items: list[listing.Item]) -> None:
    """ReduceMean took its axes as an attribute up to version 13."""
    of = {
        item.since: item.row
        for item in items
        if item.case_id.endswith("/float32/made/first-axis") and item.row.op == "ReduceMean"
    }
    assert "axes" in of[13].attributes
    assert len(of[18].inputs) == 2


@pytest.mark.parametrize(
    ("row", "kind", "wanted"),
    [
        (Row("Add", "x", (given(2), given(2))), "float32", True),
        (Row("Add", "x", (given(2), given(2))), "float8e5m2", False),
        (Row("Add", "x", (given(2), given(2)), {"axis": 1}), "float32", False),
        (Row("Add", "x", (given(2),)), "float32", False),
        (Row("Add", "x", (given(2), None)), "float32", False),
        (Row("Add", "x", (given(2), fixed(1, "int32"))), "float32", False),
        (Row("Add", "x", (given(2), given(2), given(2))), "float32", False),
        (Row("Add", "x", (given(2), given(2)), outputs=2), "float32", False),
    ],
)
def test_only_what_a_schema_takes(row: Row, kind: str, wanted: bool) -> None:
    """Types, attributes, the number of inputs and outputs, and what may be left out."""
    assert listing.takes(listing.schema_of("Add", 14, ""), row, kind) is wanted


def test_the_denominator_names_what_has_no_case() -> None:
    """Each version is covered or has a reason; only ensembles of trees and support vectors wait for a generator."""
    found = counting.denominator()
    uncovered = found["uncovered"]
    assert found["operator versions covered"] + len(uncovered) == found["operator versions"]
    assert found["operator versions covered"] >= 365
    assert {one for one, why in uncovered.items() if "yet" in why} == {
        "ai.onnx.ml.SVMClassifier-1",
        "ai.onnx.ml.SVMRegressor-1",
        "ai.onnx.ml.TreeEnsemble-5",
        "ai.onnx.ml.TreeEnsembleClassifier-1",
        "ai.onnx.ml.TreeEnsembleClassifier-3",
    }
    assert "drawn at random" in uncovered["ai.onnx.Bernoulli-22"]
