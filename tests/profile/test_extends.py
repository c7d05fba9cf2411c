"""Inheritance: what is merged, what may only be tightened, and which files may be extended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conformance.errors import ProfileError
from conformance.profile.extends import MAX_CHAIN
from conformance.profile.loader import load_category, load_device
from conformance.profile.tightening import loosenings, value_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CASES = {"test_only_tightening_is_allowed": "tightening"}
BASE = """\
conformance: 1
device: {vendor: Acme, model: A1, category: accelerator-card, hardware: npu, documents: [a.pdf]}
runtime: {adapter: onnxruntime, provider: AcmeEP, options: {a: 1, b: 2}, deadlines: {run_s: 10}}
declares:
  opsets: {ai.onnx: [13, 21]}
  types: [float32, float16]
  operators:
    include: [Add, "Resize[mode=cubic]"]
    exclude: [Loop, {term: If, reason: later}]
  precision:
    float16: {accumulate: float16, transforms: winograd}
  shapes: {dynamic: true, max_rank: 6}
  determinism: bitwise-run
  allowed_host_ops: [Shape, Size]
  latency:
    - {model: resnet-tiny, scenario: back-to-back, p99_ms: 5}
    - {model: resnet-tiny, scenario: back-to-back, batch: 8, p99_ms: 9}
  power: {idle_w: 15, max_w: 75, supply_v: [11.4, 12.6], states: [{name: eco, cap_w: 40}]}
  thermal: {ambient_c: [0, 55], throttle_c: 95, max_c: 105, cooling: passive}
  documentation: {datasheet: a.pdf, languages: [en]}
"""
HEAD = "conformance: 1\nextends: base.yaml\n"


@pytest.fixture
def derive(write: Callable[..., str]) -> Callable[[str], str]:
    def _derive(text: str) -> str:
        write(BASE, "base.yaml")
        return write(HEAD + text, "derived.yaml")

    return _derive


def lines_of(reference: str) -> list[str]:
    with pytest.raises(ProfileError) as error:
        load_device(reference)
    return error.value.defects


def test_values_are_merged_and_keep_their_places(derive: Callable[[str], str]) -> None:
    name = derive(
        "device: {model: A1-eco, firmware: '2'}\n"
        "runtime: {options: {b: 3}}\n"
        "declares:\n"
        "  power: {max_w: 60}\n"
        "  latency:\n"
        "    - {model: resnet-tiny, scenario: back-to-back, batch: 8, p99_ms: 8}\n"
        "    - {model: vit-tiny, scenario: offline, p99_ms: 1}\n"
    )
    loaded = load_device(name)
    profile = loaded.profile
    assert (profile.device.vendor, profile.device.model, profile.device.firmware) == ("Acme", "A1-eco", "2")
    assert profile.runtime.options == {"a": 1, "b": 3}
    assert profile.declares.power is not None
    assert (profile.declares.power.idle_w, profile.declares.power.max_w) == (15, 60)
    assert [(item.model, item.batch, item.p99_ms) for item in profile.declares.latency] == [
        ("resnet-tiny", 1, 5),
        ("resnet-tiny", 8, 8),
        ("vit-tiny", 1, 1),
    ]
    assert [source for source, _ in loaded.sources[:2]] == ["derived.yaml", "base.yaml"]
    places = {path: str(place) for path, place in loaded.positions.items()}
    assert places["device", "vendor"] == "base.yaml:2:18"
    assert places["device", "model"] == "derived.yaml:3:17"
    assert places["declares", "latency", 1, "p99_ms"] == "derived.yaml:8:70"


def test_a_defect_in_a_base_is_reported_where_it_stands(write: Callable[..., str]) -> None:
    write(BASE.replace("max_w: 75", "max_w: 7"), "base.yaml")
    assert lines_of(write(HEAD + "device: {modle: x}\n", "derived.yaml")) == [
        "base.yaml:18:19: idle_w is 15, above max_w, which is 7",
        "base.yaml:18:85: cap_w is 40, above max_w, which is 7",
    ]


def test_a_derived_profile_is_checked_like_any_other(derive: Callable[[str], str]) -> None:
    assert lines_of(derive("device: {modle: x}\n")) == ["derived.yaml:3:10: unknown key 'modle'; did you mean 'model'?"]
    assert lines_of(derive("declares: {thermal: {max_c: 90}}\n")) == [
        "base.yaml:19:45: throttle_c is 95, above max_c, which is 90 (with what derived.yaml changes)"
    ]
    assert lines_of(derive("device: &a {modle: x}\n")) == [
        "derived.yaml:3:9: the anchor '&a' is not allowed: write the value out where it is needed"
    ]


def test_only_tightening_is_allowed(derive: Callable[[str], str], old: str, new: str, line: str) -> None:
    """`old` is a file that tightens, `new` one that loosens."""
    load_device(derive(old + "\n"))
    found = lines_of(derive(new + "\n"))
    assert len(found) == 1, found
    assert found[0].startswith("derived.yaml:3:")
    assert f": loosens {line}" in found[0]
    assert " at base.yaml:" in found[0]
    assert "a deriving file may " in found[0]


def test_a_default_is_not_a_way_around(derive: Callable[[str], str], write: Callable[..., str]) -> None:
    # Nothing declared means the type's own precision and `bounded`: both can be loosened, and may not be.
    write(BASE.replace("  determinism: bitwise-run\n", ""), "base.yaml")
    found = lines_of(
        write(HEAD + "declares: {determinism: none, precision: {float16: {output: float8e4m3}}}\n", "d.yaml")
    )
    assert any("loosens declares.determinism: none here, bounded at base.yaml:4:1" in line for line in found)
    assert any("loosens declares.precision.float16.output: float8e4m3 here, float16" in line for line in found)


def test_a_chain_of_three(write: Callable[..., str]) -> None:
    write(BASE, "base.yaml")
    write(HEAD + "declares: {power: {max_w: 70}}\n", "middle.yaml")
    name = write("conformance: 1\nextends: ./middle.yaml\ndeclares: {power: {max_w: 60}}\n", "top.yaml")
    loaded = load_device(name)
    assert loaded.profile.declares.power is not None
    assert loaded.profile.declares.power.max_w == 60
    assert [source for source, _ in loaded.sources][:3] == ["top.yaml", "middle.yaml", "base.yaml"]
    write("conformance: 1\nextends: middle.yaml\ndeclares: {power: {max_w: 72}}\n", "top.yaml")
    assert lines_of("top.yaml") == [
        "top.yaml:3:27: loosens declares.power.max_w: 72 here, 70 at middle.yaml:3:27; "
        "a deriving file may only lower it"
    ]


def test_a_shipped_profile_can_be_extended(write: Callable[..., str]) -> None:
    text = "conformance: 1\nextends: builtin:reference-cpu\ndevice: {model: Mine}\n"
    loaded = load_device(write(text))
    assert loaded.profile.runtime.provider == "CPUExecutionProvider"
    assert loaded.sources[1][0] == "profiles/devices/reference-cpu.yaml"
    found = lines_of(write(text.replace("reference-cpu", "referencecpu")))
    assert found == ["p.yaml:2:10: there is no 'builtin:referencecpu'; did you mean 'builtin:reference-cpu'?"]


@pytest.mark.parametrize(
    ("reference", "what"),
    [
        ("derived.yaml", "closes a loop: a file cannot extend itself"),
        ("./sub/../derived.yaml", "closes a loop"),
        ("loop.yaml", "closes a loop"),
        ("../outside.yaml", "'../outside.yaml' leaves the folder of this file: keep the files in one folder"),
        ("sub/../../outside.yaml", "leaves the folder"),
        ("link.yaml", "'link.yaml' leaves the folder of this file"),
        ("/etc/hostname.yaml", "is not a path relative to this file"),
        ("~/x.yaml", "is not a path relative to this file"),
        ("base", "'base' is no path of a .yaml file; write builtin:base for a built-in"),
        ("none.yaml", "extends 'none.yaml': project/none.yaml: cannot be read: No such file or directory"),
        ("sub/", "is not a regular file"),
        ('"a\\0.yaml"', "is not allowed in text"),
        ("broken.yaml", "broken.yaml:2:1: is not YAML"),
        ("empty.yaml", "empty.yaml:1:1: the file holds no mapping"),
        ("5", "'extends' must be a text, found the number 5"),
        ("[base.yaml]", "'extends' must be a text, found a list"),
    ],
)
def test_what_may_not_be_extended(write: Callable[..., str], tmp_path: Path, reference: str, what: str) -> None:
    write(BASE, "project/base.yaml")
    write("conformance: 1\nextends: derived.yaml\n", "project/loop.yaml")
    write("a: [\n", "project/broken.yaml")
    write("", "project/empty.yaml")
    write(BASE, "outside.yaml")
    (tmp_path / "project" / "sub").mkdir()
    (tmp_path / "project" / "link.yaml").symlink_to(tmp_path / "outside.yaml")
    name = write(f"conformance: 1\nextends: {reference}\n", "project/derived.yaml")
    found = lines_of(name)
    assert any(what in line for line in found), found


def test_a_link_to_a_profile_has_the_folder_of_its_target(write: Callable[..., str], tmp_path: Path) -> None:
    write(BASE, "real/base.yaml")
    write(HEAD + "device: {model: B}\n", "real/derived.yaml")
    (tmp_path / "seen.yaml").symlink_to(tmp_path / "real" / "derived.yaml")
    assert load_device("seen.yaml").profile.device.model == "B"


def test_long_chains_are_refused(write: Callable[..., str]) -> None:
    write(BASE, "0.yaml")
    for level in range(1, MAX_CHAIN + 2):
        write(f"conformance: 1\nextends: ./{level - 1}.yaml\n", f"{level}.yaml")
    assert load_device(f"{MAX_CHAIN}.yaml").profile.device.vendor == "Acme"
    assert f"extends is followed through at most {MAX_CHAIN} files" in lines_of(f"{MAX_CHAIN + 1}.yaml")[0]


CATEGORY = """\
conformance: 1
extends: builtin:accelerator-card
category: {name: pilot, version: "7"}
"""


def test_a_category_is_tightened_item_by_item(write: Callable[..., str]) -> None:
    shipped = load_category("accelerator-card")
    text = CATEGORY + (
        "requirements:\n"
        "  - {id: LAT-002, level: MUST}\n"
        "  - {id: PLT-001, level: MAY, title: {en: Pilot, zh: 试点}, area: pilot, status: draft, "
        "origin: [ours], since: '7'}\n"
        "caps: {allowed_host_ops: [Shape], host_memory_mb: 8192, minimum_types: "
        "[float32, float16, int8, uint8, int32, int64, bool, bfloat16], "
        "coarsest_precision: {float32: {input: float32}}}\n"
    )
    derived = load_category(write(text))
    assert len(derived.requirements) == len(shipped.requirements) + 1
    levels = {requirement.id: requirement.level for requirement in derived.requirements}
    assert levels["LAT-002"] == "MUST"
    assert derived.caps.coarsest_precision["float32"].accumulate_rounding == "toward-zero"


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ("requirements: [{id: OP-001, level: SHOULD}]", "loosens requirements[3].level: SHOULD here, MUST at"),
        ("requirements: [{id: OP-001, check: placement, params: {}}]", "(with what p.yaml changes)"),
        (
            "requirements: [{id: OP-002, params: {scope: declared}}]",
            "loosens requirements[4].params: {scope: declared} here",
        ),
        (
            "requirements: [{id: OP-001, applies_when: {field: device.driver, present: true}}]",
            "loosens requirements[3].applies_when: given here, always at",
        ),
        (
            "requirements: [{id: SHP-001, applies_when: {field: device.driver, present: true}}]",
            "].applies_when: given here, given at",
        ),
        (
            "requirements: [{id: DOC-001, check: session}]",
            ".check: session here, no check yet at",  # else anything could show anything
        ),
        ("caps: {allowed_host_ops: [Shape, NonZero]}", "loosens caps.allowed_host_ops: [Shape, NonZero] here"),
        ("caps: {minimum_types: [float32]}", "loosens caps.minimum_types: [float32] here"),
        ("caps: {minimum_opsets: {ai.onnx: [14, 17]}}", "loosens caps.minimum_opsets"),
        ("caps: {minimum_operators: [Add]}", "loosens caps.minimum_operators: [Add] here"),
        ("caps: {weakest_determinism: none}", "loosens caps.weakest_determinism: none here, bounded at"),
        ("caps: {deadlines: {run_s: 300}}", "loosens caps.deadlines.run_s: 300 here, 120 at"),
        ("caps: {host_cpu: allowed}", "loosens caps.host_cpu: allowed here, forbidden at"),
        ("caps: {host_memory_mb: 99999}", "loosens caps.host_memory_mb: 99999 here, 16384 at"),
        (
            "caps: {coarsest_precision: {float32: {input: bfloat16}}}",
            "loosens caps.coarsest_precision.float32.input: bfloat16 here, tf32",
        ),
    ],
)
def test_a_category_may_not_be_loosened(write: Callable[..., str], more: str, what: str) -> None:
    with pytest.raises(ProfileError) as error:
        load_category(write(CATEGORY + more + "\n"))
    assert any(what in line for line in error.value.defects), error.value.defects
    assert any("profiles/categories/accelerator-card.yaml:" in line for line in error.value.defects)


@pytest.mark.parametrize(
    ("base", "more", "host_cpu"),
    [
        ("host-reference", "", "allowed"),
        ("host-reference", "caps: {host_cpu: allowed}\n", "allowed"),
        ("host-reference", "caps: {host_cpu: forbidden}\n", "forbidden"),
        ("accelerator-card", "", "forbidden"),
        ("accelerator-card", "caps: {host_cpu: forbidden}\n", "forbidden"),
    ],
)
def test_a_category_may_forbid_the_host_s_cpu(write: Callable[..., str], base: str, more: str, host_cpu: str) -> None:
    text = CATEGORY.replace("accelerator-card", base) + more
    assert load_category(write(text)).caps.host_cpu == host_cpu


def test_a_category_that_never_spoke_of_the_host_s_cpu_forbids_it(write: Callable[..., str], checkout: Path) -> None:
    shipped = (checkout / "profiles" / "categories" / "accelerator-card.yaml").read_text(encoding="utf-8")
    assert "  host_cpu: forbidden\n" in shipped
    write(shipped.replace("  host_cpu: forbidden\n", ""), "base.yaml")
    text = CATEGORY.replace("builtin:accelerator-card", "base.yaml")
    assert load_category(write(text)).caps.host_cpu == "forbidden"
    with pytest.raises(ProfileError, match="loosens caps.host_cpu: allowed here, forbidden at"):
        load_category(write(text + "caps: {host_cpu: allowed}\n"))


def test_subtypes_may_only_be_taken_away(write: Callable[..., str]) -> None:
    head = 'conformance: 1\nextends: builtin:accelerator-card\ncategory: {name: pilot, version: "7", subtypes: '
    kept = load_category(write(head + "[{name: pcie-card, title: {en: Card, zh: 卡}}]}\n"))
    assert [subtype.name for subtype in kept.category.subtypes] == ["pcie-card"]
    with pytest.raises(ProfileError, match=r"loosens category.subtypes\[0\]: 'toaster' here, left out at"):
        load_category(write(head + "[{name: toaster, title: {en: T, zh: 烤}}]}\n"))


def test_a_reference_category_cannot_be_made_certifiable(write: Callable[..., str]) -> None:
    text = "conformance: 1\nextends: builtin:host-reference\ncategory: {name: pilot, certifiable: true}\n"
    with pytest.raises(ProfileError, match=r"loosens category.certifiable: true here, false at"):
        load_category(write(text))


def test_an_item_without_a_key_is_the_models_to_refuse(derive: Callable[[str], str]) -> None:
    found = lines_of(derive("declares: {latency: [{model: [a]}, 5]}\n"))
    assert any("'model' must be a text, found a list" in line for line in found), found
    assert any("must be a mapping, found the number 5" in line for line in found), found


def test_a_loop_of_links_is_no_traceback(write: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    found = lines_of(write("conformance: 1\nextends: loop.yaml\n", "derived.yaml"))
    assert len(found) == 1
    assert found[0].startswith("derived.yaml:2:10: extends 'loop.yaml': loop.yaml: cannot be read: ")


def test_a_dropped_item_is_a_loosening(write: Callable[..., str]) -> None:
    """Files cannot drop an item of a list that merges; a comparison of two models sees it all the same."""
    whole = load_device(write(BASE)).profile
    declares = whole.declares.model_copy(update={"latency": whole.declares.latency[:1]})
    (found,) = loosenings(whole, whole.model_copy(update={"declares": declares}))
    assert found.path == ("declares", "latency")
    assert value_text(found.was) == "'resnet-tiny back-to-back 8 float32'"


def test_a_repeated_item_in_one_file_is_a_repetition(write: Callable[..., str]) -> None:
    text = CATEGORY + "requirements: [{id: LAT-002, level: MUST}, {id: LAT-002, level: MUST}]\n"
    with pytest.raises(ProfileError, match="is missing in 'requirements"):
        load_category(write(text))
