"""What is shipped: catalogues with origins and two languages, and devices that load and claim what they should."""

from __future__ import annotations

import re

import pytest

from conformance.profile.catalog import shipped
from conformance.profile.category import CHECK_PARAMETERS
from conformance.profile.loader import load_category, load_device
from conformance.profile.vocabulary import CONTRACTIONS

CATEGORIES = sorted(shipped("categories"))
DEVICES = sorted(shipped("devices"))
CHINESE = re.compile("[\u4e00-\u9fff]")


@pytest.mark.parametrize("name", CATEGORIES)
def test_requirements_have_origin_and_two_languages(name: str) -> None:
    category = load_category(name)
    assert category.category.name == name
    titles = [requirement.title for requirement in category.requirements]
    titles += [subtype.title for subtype in category.category.subtypes]
    titles += [adjacent.title for adjacent in category.category.adjacent_types]
    titles.append(category.category.title)
    for title in titles:
        assert CHINESE.search(title.zh), title
        assert not CHINESE.search(title.en), title
    for requirement in category.requirements:
        for origin in requirement.origin:
            assert re.fullmatch(r"G([1-9]|1[0-2])|ours|[A-Z].* .*", origin) or origin == "DMTF Redfish", origin
    assert any(requirement.level == "MUST" for requirement in category.requirements)


@pytest.mark.parametrize("name", CATEGORIES)
def test_no_category_lets_the_host_do_the_work(name: str) -> None:
    assert not {term.op for term in load_category(name).caps.allowed_host_ops} & CONTRACTIONS


def test_an_accelerator_is_another_thing_than_the_host() -> None:
    forbids = [name for name in CATEGORIES if load_category(name).caps.host_cpu == "forbidden"]
    assert forbids == ["accelerator-card"], "the other categories are of whole machines"


def test_the_host_reference_is_never_certifiable_and_has_a_check_for_everything() -> None:
    category = load_category("host-reference")
    assert not category.category.certifiable
    assert [(item.id, item.level, item.check) for item in category.requirements] == [
        ("IF-001", "MUST", "session"), ("PL-001", "MUST", "placement"), ("OP-001", "MUST", "operators"),
        ("OP-003", "MUST", "made"),
        ("SES-001", "MUST", "interface"), ("SES-002", "MUST", "lifecycle"), ("SES-003", "MUST", "offers"),
        ("SHP-001", "MUST", "interface"), ("NUM-001", "MUST", "models"), ("NUM-003", "MAY", "packs"),
        ("DET-001", "MUST", "determinism"), ("NUM-004", "MUST", "exact"), ("NUM-005", "SHOULD", "exact"),
        ("LAT-001", "MAY", "latency"), ("PWR-001", "MAY", "power"), ("THM-001", "MAY", "thermal"),
        ("MR-001", "MUST", "must-reject"),
    ]  # fmt: skip


def test_the_accelerator_card_has_the_checks_that_exist_and_says_what_is_open() -> None:
    requirements = load_category("accelerator-card").requirements
    assert {item.check for item in requirements if item.check} == set(CHECK_PARAMETERS)
    scopes = [item.params["scope"] for item in requirements if item.check == "operators"]
    assert scopes == ["declared", "minimum"]
    open_areas = {item.area for item in requirements if item.level == "MUST" and item.check is None}
    assert "documentation" in open_areas
    assert not {"operators", "models", "numerics", "determinism", "latency", "power", "thermal"} & open_areas


def test_each_hardware_type_that_is_named_has_a_category_with_subtypes_and_neighbours() -> None:
    for name in CATEGORIES:
        head = load_category(name).category
        assert bool(head.subtypes) == bool(head.adjacent_types) == (name != "host-reference")
        assert all(adjacent.documents for adjacent in head.adjacent_types)
    fused = load_category("intelligent-sensor").requirements
    assert any(item.area == "sensor-fusion" for item in fused)


@pytest.mark.parametrize("name", DEVICES)
def test_devices_load(name: str) -> None:
    loaded = load_device(name)
    assert loaded.profile.device.key.isascii()
    assert loaded.profile.runtime.as_options()["adapter"] in {"onnxruntime", "onnx-backend", "misbehaving", "oip"}


def test_devices_stand_for_what_they_are_meant_to_show() -> None:
    reference = load_device("reference-cpu").profile
    assert (reference.runtime.provider, reference.device.hardware) == ("CPUExecutionProvider", "cpu")
    f32, default = load_device("openvino-plugin-f32").profile, load_device("openvino-plugin-default").profile
    assert f32.runtime.module == default.runtime.module == "onnxruntime_ep_openvino"
    assert f32.runtime.options == {"INFERENCE_PRECISION_HINT": "f32"}
    assert default.runtime.options is None
    assert default.declares.precision is None, "float32 is claimed, whatever the default computes in"
    for name in ("cuda", "webgpu-no-adapter", "qnn-htp"):
        loaded = load_device(name)
        assert loaded.category.category.name == "accelerator-card"
        assert loaded.profile.device.hardware in {"gpu", "npu"}
        missing = set(loaded.category.caps.minimum_types) - set(loaded.profile.declares.types)
        assert not missing
