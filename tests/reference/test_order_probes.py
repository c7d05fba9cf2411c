"""The probes of determinism: what planning says of them is what they are, and their bits depend on the order of additions."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from conformance.reference.models import examine
from conformance.reference.order_probes import ROWS, has_rows, recipes, result_names
from conformance.reference.recipes import Recipe, carry_out

EACH = pytest.mark.parametrize("recipe", recipes(), ids=lambda one: one.case_id)


@EACH
def test_what_is_told_for_planning_is_what_the_model_holds(recipe: Recipe) -> None:
    proto = onnx.load_model_from_string(carry_out(recipe).model)
    onnx.checker.check_model(proto, full_check=True)
    facts = examine(proto)
    by_key = {use.key: use for use in facts.uses}
    assert by_key == {use.key: use for use in recipe.uses}
    assert (facts.types, facts.opset_imports) == (recipe.types, recipe.opset_imports)
    assert [one.name for one in proto.graph.output] == result_names(recipe)
    shapes = [info.type.tensor_type.shape.dim[0].dim_param for info in [*proto.graph.input, *proto.graph.output]]
    assert set(shapes) == ({"N"} if has_rows(recipe) else {""})


@EACH
def test_inputs_depend_on_the_challenge_and_on_nothing_else(recipe: Recipe) -> None:
    public, again, other = carry_out(recipe), carry_out(recipe), carry_out(recipe, "lot 7")
    for at in range(2):
        x = public.datasets[at]["x"]
        assert x.tobytes() == again.datasets[at]["x"].tobytes()
        assert not np.array_equal(x, other.datasets[at]["x"])
        assert (x.shape[0] == ROWS) == has_rows(recipe)
    assert public.model == again.model
    assert public.datasets[0]["x"].tobytes() != public.datasets[1]["x"].tobytes()


@EACH
def test_a_sum_of_its_data_has_other_bits_in_another_order(recipe: Recipe) -> None:
    x = carry_out(recipe).datasets[0]["x"].reshape(-1)[:8192].astype(np.float32)
    totals = {np.add.accumulate(part)[-1].tobytes() for part in (x, x[::-1], np.sort(x))}
    assert len(totals) == 3
