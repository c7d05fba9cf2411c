"""Category profiles: what one must say, and the mistakes that an author can make."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conformance.errors import ProfileError
from conformance.profile.loader import load_category

if TYPE_CHECKING:
    from collections.abc import Callable

CATEGORY = """\
conformance: 1
category:
  name: pilot
  version: "1"
  title: {en: Pilot, zh: 试点}
  certifiable: false
  status: draft
  subtypes: [{name: small, title: {en: Small, zh: 小}}]
  adjacent_types: [{name: near, title: {en: Near, zh: 近}, documents: [Datasheet]}]
requirements:
  - id: OP-001
    level: MUST
    title: {en: Operators, zh: 算子}
    area: operators
    check: operators
    params: {scope: declared}
    status: draft
    origin: [G5]
    since: "1"
  - id: LAT-001
    level: SHOULD
    title: {en: Latency, zh: 时延}
    area: latency
    applies_when: {field: device.subtype, equals: small}
    status: anticipated
    origin: [ours]
    since: "1"
caps:
  allowed_host_ops: [Shape]
  minimum_types: [float32]
  minimum_operators: [Add]
  minimum_opsets: {ai.onnx: [13, 17]}
  coarsest_precision: {float32: {input: tf32}}
  weakest_determinism: bounded
  deadlines: {open_s: 60, compile_s: 120, run_s: 60}
  host_memory_mb: 4096
"""


def test_a_category_says_what_it_says(write: Callable[..., str]) -> None:
    category = load_category(write(CATEGORY))
    assert category.category.title.zh == "试点"
    operators, latency = category.requirements
    assert (operators.check, operators.params) == ("operators", {"scope": "declared"})
    assert (latency.check, latency.params) == (None, {})
    assert [str(term) for term in category.caps.allowed_host_ops] == ["Shape"]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("id: LAT-001", "id: OP-001", "20:9: 'OP-001' is given twice"),
        ("id: LAT-001", "id: latency", "it must match"),
        ("level: SHOULD", "level: should", "21:12: 'level' cannot be the text 'should'; did you mean 'SHOULD'?"),
        (", zh: 时延", "", "22:5: the key 'zh' is missing in 'requirements[1].title'"),
        ("since: \"1\"\n  - id: LAT", "since: 1\n  - id: LAT", "'since' must be a text, found the number 1; quote it"),
        ("origin: [ours]", "origin: []", "'origin' is empty: at least 1 must be given"),
        ("scope: declared", "scope: declred", "16:21: scope cannot be 'declred'; did you mean 'declared'?"),
        ("scope: declared", "scpe: declared", "16:20: the check operators has no parameter 'scpe'; did you mean 'scope'?"),
        ("    params: {scope: declared}\n", "", "15:12: the check operators needs the parameter 'scope': declared or minimum"),
        ("    check: operators\n", "", "params belong to a check, and none is named"),
        ("check: operators", "check: Operators", "lower-case letters, digits and single hyphens"),
        ("equals: small", "equals: smal", "the category has no device.subtype 'smal'; did you mean 'small'?"),
        ("field: device.subtype", "field: device.subtpe", "24:27: a device profile has no field 'device.subtpe'; did you mean 'device.subtype'?"),
        ("subtypes: [{name: small", "subtypes: [{name: small, title: {en: S, zh: 小}}, {name: small", "'small' is given twice"),
        ("[{name: near", "[{name: near, title: {en: N, zh: 近}}, {name: near", "'near' is given twice"),
        ("allowed_host_ops: [Shape]", "allowed_host_ops: [Shape, MatMul]", "29:29: 'MatMul' is a contraction: no category lets the host compute it"),
        ("allowed_host_ops: [Shape]", "allowed_host_ops: [Shpe]", "has no operator 'Shpe'; did you mean 'Shape'?"),
        ("minimum_operators: [Add]", "minimum_operators: [ai.onnx.ml.Scaler]", "minimum_opsets does not list the domain ai.onnx.ml"),
        ("run_s: 60}", "run: 60}", "unknown key 'run'; did you mean 'run_s'?"),
        ("host_memory_mb: 4096", "host_memory_mb: 4GB", "'host_memory_mb' must be a whole number, found the text '4GB'"),
        ("certifiable: false", "certifiable: no", "'certifiable' must be true or false, found the text 'no'; write false"),
        ("weakest_determinism: bounded", "weakest_determinism: bound", "did you mean 'bounded'?"),
        ("status: draft\n  subtypes", "status: drafted\n  subtypes", "7:11: 'status' cannot be the text 'drafted'; did you mean 'draft'?"),
    ],
)  # fmt: skip
def test_each_mistake_has_its_line(write: Callable[..., str], old: str, new: str, line: str) -> None:
    assert CATEGORY.count(old) >= 1
    with pytest.raises(ProfileError) as error:
        load_category(write(CATEGORY.replace(old, new, 1)))
    assert any(line in each for each in error.value.defects), error.value.defects
    assert len(error.value.defects) == 1, error.value.defects


def test_a_check_that_comes_later_may_be_named(write: Callable[..., str]) -> None:
    text = CATEGORY.replace("area: latency\n", "area: latency\n    check: latency\n    params: {anything: [1]}\n")
    assert load_category(write(text)).requirements[1].check == "latency"
