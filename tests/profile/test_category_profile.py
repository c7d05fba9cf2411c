"""Category profiles: what one must say, and the mistakes that an author can make."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conformance.errors import ProfileError
from conformance.profile.loader import load_category

if TYPE_CHECKING:
    from collections.abc import Callable

CASES = {"test_each_mistake_has_its_line": "category"}
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


def test_each_mistake_has_its_line(write: Callable[..., str], old: str, new: str, line: str) -> None:
    assert CATEGORY.count(old) >= 1
    with pytest.raises(ProfileError) as error:
        load_category(write(CATEGORY.replace(old, new, 1)))
    assert any(line in each for each in error.value.defects), error.value.defects
    assert len(error.value.defects) == 1, error.value.defects


def test_a_check_that_comes_later_may_be_named(write: Callable[..., str]) -> None:
    text = CATEGORY.replace("area: latency\n", "area: latency\n    check: forecast\n    params: {anything: [1]}\n")
    assert load_category(write(text)).requirements[1].check == "forecast"


@pytest.mark.parametrize(
    ("line", "host_cpu"),
    [("", "forbidden"), ("  host_cpu: forbidden\n", "forbidden"), ("  host_cpu: allowed\n", "allowed")],
)
def test_the_host_s_cpu_is_no_device_unless_the_category_says_so(
    write: Callable[..., str], line: str, host_cpu: str
) -> None:
    assert load_category(write(CATEGORY + line)).caps.host_cpu == host_cpu


def test_whether_the_host_may_be_the_device_is_one_of_two_words(write: Callable[..., str]) -> None:
    with pytest.raises(ProfileError) as error:
        load_category(write(CATEGORY + "  host_cpu: sometimes\n"))
    (line,) = error.value.defects
    assert "'sometimes'" in line
    assert "allowed" in line
    assert "forbidden" in line


def test_a_derived_category_may_except_nothing_that_its_base_asks(write: Callable[..., str]) -> None:
    head = "conformance: 1\nextends: builtin:host-reference\ncategory: {name: weaker, version: '1.0'}\nrequirements:\n"
    with pytest.raises(ProfileError, match="loosens requirements.*excepts.*may only take away from it"):
        load_category(write(head + "  - {id: NUM-004, excepts: ['exact/*MatMul*']}\n", "a.yaml"))
    with pytest.raises(ProfileError, match="has no parameter 'except'"):
        load_category(write(head + "  - {id: NUM-004, params: {scope: declared, except: ['exact/*']}}\n", "b.yaml"))
    stricter = load_category(write(head + "  - {id: NUM-004, excepts: []}\n", "c.yaml"))
    assert next(one for one in stricter.requirements if one.id == "NUM-004").excepts == ()
