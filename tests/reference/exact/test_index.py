"""The rows of the exact probes say what their recipes say, in the same order."""

from __future__ import annotations

import pytest

from conformance.errors import HarnessError
from conformance.reference.exact import recipes
from conformance.reference.exact.index import find, load_rows


def test_rows_are_the_recipes_without_the_way_to_make_them():
    rows, wanted = load_rows(), recipes()
    assert len(rows) == len(wanted)
    for row, one in zip(rows, wanted, strict=True):
        assert (row.case_id, tuple(row.uses), row.types) == (one.case_id, one.uses, one.types)
        assert (row.opset_imports, row.needs) == (one.opset_imports, one.needs)
        assert (row.advisory, row.keeps_zero_sign) == (one.advisory, one.keeps_zero_sign)


def test_a_recipe_is_found_by_its_id():
    first = recipes()[0]
    assert find(first.case_id) is first
    with pytest.raises(HarnessError, match="no exact probe is called 'exact/nothing'"):
        find("exact/nothing")
