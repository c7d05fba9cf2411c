"""When a requirement applies: the truth table of all, any and not, the leaves, and conditions that cannot be meant."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from conformance.profile.conditions import Condition, annotation_of, evaluate, field_names, read_field
from conformance.profile.device import DeviceProfile
from conformance.profile.loader import load_category

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.profile.loader import LoadedProfile

YES = {"field": "device.vendor", "equals": "Acme"}
NO = {"field": "device.vendor", "equals": "Other"}


@pytest.fixture
def profile(load: Callable[[str], LoadedProfile], minimal: str) -> DeviceProfile:
    more = "  shapes: {dynamic: true, max_rank: 6}\n  operators: [Add]\n  allowed_host_ops: []\n"
    text = minimal.replace("[float32]", "[float32, int8]").replace("model: A1", "model: A1, hardware: npu")
    return load(text + more).profile


def holds(condition: dict[str, Any], profile: DeviceProfile) -> bool:
    return evaluate(Condition.model_validate(condition), profile)[0]


@pytest.mark.parametrize(("left", "right"), list(itertools.product((True, False), repeat=2)))
def test_truth_table(profile: DeviceProfile, left: bool, right: bool) -> None:
    pair = [YES if left else NO, YES if right else NO]
    assert holds({"all": pair}, profile) is (left and right)
    assert holds({"any": pair}, profile) is (left or right)
    assert holds({"not": pair[0]}, profile) is (not left)
    assert holds({"not": {"all": pair}}, profile) is (not (left and right))
    assert holds({"not": {"any": pair}}, profile) is (not (left or right))
    assert holds({"all": [{"not": pair[0]}, {"any": pair}]}, profile) is (not left and right)
    assert holds({"any": [{"all": pair}, {"not": {"any": pair}}]}, profile) is (left == right)


@pytest.mark.parametrize(
    ("leaf", "expected", "why"),
    [
        ({"field": "device.hardware", "equals": "npu"}, True, "device.hardware is npu"),
        ({"field": "device.hardware", "equals": "gpu"}, False, "device.hardware is npu, not gpu"),
        ({"field": "device.hardware", "one_of": ["gpu", "npu"]}, True, "device.hardware is npu"),
        ({"field": "device.hardware", "one_of": ["gpu", "cpu"]}, False, "device.hardware is npu, not gpu or cpu"),
        ({"field": "device.subtype", "equals": "pcie-card"}, False, "device.subtype is not given"),
        ({"field": "device.subtype", "present": False}, True, "device.subtype is not given"),
        ({"field": "device.subtype", "present": True}, False, "device.subtype is not given"),
        ({"field": "device.vendor", "present": True}, True, "device.vendor is given"),
        ({"field": "declares.shapes.dynamic", "equals": True}, True, "declares.shapes.dynamic is True"),
        ({"field": "declares.shapes.dynamic", "equals": False}, False, "declares.shapes.dynamic is True, not False"),
        ({"field": "declares.shapes.max_rank", "at_least": 6}, True, "declares.shapes.max_rank is 6, at least 6"),
        ({"field": "declares.shapes.max_rank", "at_least": 7}, False, "declares.shapes.max_rank is 6, below 7"),
        ({"field": "declares.shapes.max_rank", "equals": 6}, True, "declares.shapes.max_rank is 6"),
        ({"field": "declares.types", "equals": "int8"}, True, "declares.types holds float32, int8, with int8"),
        (
            {"field": "declares.types", "one_of": ["int4", "bool"]},
            False,
            "declares.types holds float32, int8, not int4 or bool",
        ),
        ({"field": "declares.opsets.ai.onnx", "at_least": 21}, True, "declares.opsets.ai.onnx is 13, 21, at least 21"),
        ({"field": "declares.opsets.ai.onnx.ml", "present": True}, False, "declares.opsets.ai.onnx.ml is not given"),
        ({"field": "declares.allowed_host_ops", "present": True}, False, "declares.allowed_host_ops is not given"),
        ({"field": "declares.power", "present": True}, False, "declares.power is not given"),
        ({"field": "declares.power.max_w", "at_least": 5}, False, "declares.power.max_w is not given"),
        ({"field": "declares.latency", "present": False}, True, "declares.latency is not given"),
    ],
)
def test_leaves_say_why(profile: DeviceProfile, leaf: dict[str, Any], expected: bool, why: str) -> None:
    assert evaluate(Condition.model_validate(leaf), profile) == (expected, why)


def test_the_reason_names_the_facts_that_decide(profile: DeviceProfile) -> None:
    hardware = {"field": "device.hardware", "equals": "npu"}
    gpu = {"field": "device.hardware", "equals": "gpu"}

    def why(condition: dict[str, Any]) -> str:
        return evaluate(Condition.model_validate(condition), profile)[1]

    assert why({"all": [YES, hardware]}) == "device.vendor is Acme and device.hardware is npu"
    assert why({"all": [YES, gpu]}) == "device.hardware is npu, not gpu"
    assert why({"any": [NO, hardware]}) == "device.hardware is npu"
    assert why({"any": [NO, gpu]}) == "device.vendor is Acme, not Other and device.hardware is npu, not gpu"
    assert why({"not": gpu}) == "device.hardware is npu, not gpu"
    assert evaluate(None, profile) == (True, "it applies to every device of the category")


@pytest.mark.parametrize(
    ("condition", "what"),
    [
        ({}, "a condition is one of all, any, not or field; found none"),
        ({"all": [YES], "any": [YES]}, "found all and any"),
        ({"equals": "x"}, "a condition is one of all, any, not or field; found none"),
        ({"all": [YES], "equals": "x"}, "'equals' needs a field"),
        ({"field": "device.vendor"}, "a field needs one test of equals, one_of, at_least, present; found none"),
        ({"field": "device.vendor", "equals": "x", "present": True}, "found equals and present"),
        ({"field": "device.vendr", "equals": "x"}, "no field 'device.vendr'; did you mean 'device.vendor'?"),
        ({"field": "vendor", "equals": "x"}, "no field 'vendor'"),
        ({"field": "device.vendor.name", "equals": "x"}, "no field 'device.vendor.name'"),
        ({"field": "declares.latency.p99_ms", "at_least": 1}, "no field 'declares.latency.p99_ms'"),
        ({"field": "declares.power", "equals": "x"}, "only present can be asked of it"),
        ({"field": "device.vendor", "at_least": 1}, "'device.vendor' is not a number: use equals or one_of"),
        ({"field": "device.hardware", "equals": "gpuu"}, "'device.hardware' is never gpuu; did you mean 'gpu'?"),
        ({"field": "device.hardware", "one_of": ["gpu", "tpu"]}, "is never tpu"),
        ({"field": "device.vendor", "equals": 3}, "'device.vendor' is a text, so it is never 3"),
        ({"field": "declares.shapes.max_rank", "equals": "six"}, "is a number or true/false, so it is never six"),
    ],
)
def test_conditions_that_cannot_be_meant_are_refused(condition: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError) as error:
        Condition.model_validate(condition)
    (item,) = error.value.errors()
    assert any(what in str(message) for _, message in item["ctx"]["defects"])


@pytest.mark.parametrize("key", ["all", "any", "one_of", "alle"])
def test_empty_lists_and_unknown_keys_are_refused(key: str) -> None:
    condition: dict[str, Any] = {key: []}
    if key == "one_of":
        condition["field"] = "device.vendor"
    with pytest.raises(ValidationError) as error:
        Condition.model_validate(condition)
    assert error.value.errors()[0]["type"] == ("extra_forbidden" if key == "alle" else "too_short")


def test_every_field_of_the_model_can_be_named(profile: DeviceProfile) -> None:
    names = field_names(DeviceProfile)
    assert {"device.vendor", "runtime.deadlines.open_s", "declares.power.idle_w", "declares.types"} <= set(names)
    for name in names:
        assert annotation_of(DeviceProfile, name) is not None
        read_field(profile, name)


def test_shipped_conditions_apply_as_meant(profile: DeviceProfile) -> None:
    for name in ("accelerator-card", "intelligent-sensor", "inspection-terminal", "inference-server"):
        for requirement in load_category(name).requirements:
            applies, why = evaluate(requirement.applies_when, profile)
            assert why
            if requirement.id == "DOC-003":
                assert not applies, "the device is of no adjacent type"
            if requirement.id == "SHP-001":
                assert applies
