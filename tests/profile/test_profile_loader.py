"""The door of the room: digests, sources, categories by path, check, init and schemas."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conformance.errors import ProfileError
from conformance.paths import data_folder
from conformance.profile.catalog import shipped
from conformance.profile.loader import check_profile, init_profile, load_category, load_device

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.profile.loader import LoadedProfile


def test_the_digest_is_of_what_is_said(load: Callable[[str], LoadedProfile], minimal: str) -> None:
    digest = load(minimal).digest
    assert (
        load("# a comment\n" + minimal.replace("vendor: Acme, model: A1", "model: A1, vendor: Acme")).digest == digest
    )
    assert load(minimal.replace("[float32]", "[float32, int8]")).digest != digest
    assert load(minimal.replace("host-reference", "accelerator-card")).digest != digest


def test_sources_are_the_files_as_they_are(write: Callable[..., str], minimal: str) -> None:
    loaded = load_device(write(minimal))
    assert loaded.sources[0] == ("p.yaml", hashlib.sha256(minimal.encode()).hexdigest())
    category = shipped("categories")["host-reference"]
    assert loaded.sources[1] == (
        "profiles/categories/host-reference.yaml", hashlib.sha256(category.read_bytes()).hexdigest(),
    )  # fmt: skip
    assert loaded.path == Path("p.yaml")
    assert loaded.folder == Path.cwd()


def test_others_can_point_at_a_key(load: Callable[[str], LoadedProfile], minimal: str) -> None:
    loaded = load(minimal)
    assert str(loaded.positions["runtime", "provider"]) == "p.yaml:3:43"
    error = loaded.error(("runtime", "provider"), "is not there")
    assert error.defects == ["p.yaml:3:43: is not there"]
    assert loaded.error(("runtime", "options", "x"), "y").defects == ["p.yaml:3:1: y"]


PILOT = "conformance: 1\nextends: builtin:host-reference\ncategory: {name: pilot, version: '2'}\n"


def test_a_category_file_beside_the_profile(write: Callable[..., str], minimal: str) -> None:
    write(PILOT, "cats/pilot.yaml")
    loaded = load_device(write(minimal.replace("host-reference", "cats/pilot.yaml")))
    assert loaded.category.category.name == "pilot"
    assert not loaded.category.category.certifiable
    assert [name for name, _ in loaded.sources] == [
        "p.yaml", "cats/pilot.yaml", "profiles/categories/host-reference.yaml",
    ]  # fmt: skip


def test_the_category_of_a_base_is_found_from_the_base(write: Callable[..., str], minimal: str) -> None:
    write(PILOT, "sub/pilot.yaml")
    write(minimal.replace("host-reference", "./pilot.yaml"), "sub/base.yaml")
    loaded = load_device(write("conformance: 1\nextends: sub/base.yaml\n"))
    assert loaded.category.category.name == "pilot"


@pytest.mark.parametrize(
    ("pilot", "reference", "what"),
    [
        (
            PILOT.replace("name: pilot", "name: host-reference"),
            "pilot.yaml",
            "takes the name of the built-in 'host-reference'",
        ),
        (PILOT, "../pilot.yaml", "leaves the folder of this file"),
        (PILOT, "/pilot.yaml", "is not a path relative to this file"),
        (PILOT, "other.yaml", "other.yaml: cannot be read"),
        (PILOT + "caps: {allowed_host_ops: [Shape]}\n", "pilot.yaml", "loosens caps.allowed_host_ops"),
    ],
)
def test_nobody_sets_his_own_bar(
    write: Callable[..., str], minimal: str, pilot: str, reference: str, what: str
) -> None:
    write(pilot, "pilot.yaml")
    with pytest.raises(ProfileError) as error:
        load_device(write(minimal.replace("host-reference", reference)))
    assert what in str(error.value)


def test_a_category_of_ones_own_must_extend_a_shipped_one(write: Callable[..., str], minimal: str) -> None:
    text = shipped("categories")["host-reference"].read_text(encoding="utf-8")
    # Even from a folder that looks like the shipped one.
    write(text.replace("name: host-reference", "name: mine"), "profiles/categories/mine.yaml")
    with pytest.raises(ProfileError, match="must extend a built-in one, as builtin:accelerator-card"):
        load_device(write(minimal.replace("host-reference", "profiles/categories/mine.yaml")))


def test_check_tells_the_three_files_apart(write: Callable[..., str], minimal: str) -> None:
    assert check_profile(write(minimal))[0] == "device profile: Acme A1"
    assert "operators none" in check_profile("p.yaml")[3]
    assert "operators 1 terms less 1 exclusions" in check_profile(
        write(minimal + "  operators: {include: [Add], exclude: [Sub]}\n")
    )[3]  # fmt: skip
    assert check_profile(write(PILOT))[0] == "category profile: pilot 2 (published, not certifiable)"
    assert check_profile(write("conformance: 1\nbench: {lab: L}\n")) == [
        "bench file: L, transport local", "interpreter of the child: this one", "waivers: 0",
    ]  # fmt: skip
    card = check_profile("cuda")
    assert any(line.startswith("no check yet: IF-002, ") for line in card)
    assert card[-1].startswith("digest: ")
    assert not any(line.startswith("no check yet") for line in check_profile("reference-cpu"))


@pytest.mark.parametrize("text", ["", "[", "a", "conformance: 1\n", "conformance: 1\ncategory: {}\ndevice: {}\n"])
def test_check_reports_defects_of_whatever_it_is(write: Callable[..., str], text: str) -> None:
    with pytest.raises(ProfileError):
        check_profile(write(text))


@pytest.mark.parametrize("category", sorted(shipped("categories")))
def test_a_new_profile_is_valid_as_it_stands(write: Callable[..., str], category: str) -> None:
    text = init_profile(category)
    loaded = load_device(write(text))
    assert loaded.profile.device.category == category
    assert set(load_category(category).caps.minimum_types) <= set(loaded.profile.declares.types)
    check_profile("p.yaml")


@pytest.mark.parametrize("category", sorted(shipped("categories")))
def test_what_a_new_profile_shows_in_comments_is_valid_too(write: Callable[..., str], category: str) -> None:
    """Uncomment each example; the few that exclude each other or need a file are left."""
    lines = [
        re.sub(r"^( +)# ( *(?:- [{]|[a-z0-9_]+:).*)$", r"\1\2", line) for line in init_profile(category).splitlines()
    ]
    left = ("  library:", "  operators: all", "  subtype:")
    text = "\n".join(line for line in lines if not line.startswith(left))
    if "float16" not in text.split("types:")[1].split("]")[0]:
        text = text.replace("types: [", "types: [float16, ", 1)
    loaded = load_device(write(text))
    declares = loaded.profile.declares
    assert declares.operators is not None
    assert declares.operators.exclude
    assert declares.power is not None
    assert declares.latency
    assert declares.precision


def test_an_unknown_category_for_a_new_profile() -> None:
    with pytest.raises(
        ProfileError, match="there is no built-in category 'acelerator-card'; did you mean 'accelerator-card'"
    ):
        init_profile("acelerator-card")
    with pytest.raises(ProfileError, match="is no file and no built-in category; did you mean 'host-reference'"):
        load_category("host-referenz")


def test_loading_a_profile_needs_neither_numpy_nor_onnx() -> None:
    code = (
        "import sys\nfrom conformance.profile.loader import load_device\nload_device('reference-cpu')\n"
        "print(sorted(m for m in ('numpy', 'onnx', 'onnxruntime', 'ml_dtypes', 'pytest', 'rich') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_claims_of_terms_need_no_pydantic() -> None:
    code = "import sys, conformance.profile.terms\nprint('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("value", ["true", "1.0", "'1'", "2"])
def test_the_version_of_the_format_is_the_number_one(value: str, tmp_path: Path) -> None:
    text = (data_folder("profiles") / "devices" / "cuda.yaml").read_text(encoding="utf-8")
    (tmp_path / "p.yaml").write_text(text.replace("conformance: 1", f"conformance: {value}"))

    with pytest.raises(ProfileError, match=r"p\.yaml:2:14: "):
        load_device(str(tmp_path / "p.yaml"))
