"""Which file a name means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conformance.errors import ProfileError
from conformance.profile.catalog import display_of, resolve_profile, shipped

if TYPE_CHECKING:
    from collections.abc import Callable


def test_shipped_profiles_are_found_by_name() -> None:
    assert {
        "accelerator-card",
        "host-reference",
        "inference-server",
        "inspection-terminal",
        "intelligent-sensor",
    } == set(shipped("categories"))
    assert {"reference-cpu", "misbehaving", "openvino-plugin-f32", "cuda"} <= set(shipped("devices"))
    path = resolve_profile("reference-cpu")
    assert path.is_file()
    assert display_of(path) == "profiles/devices/reference-cpu.yaml"


def test_a_path_is_a_path(write: Callable[..., str]) -> None:
    assert resolve_profile("sub/x.yaml") == Path("sub/x.yaml")
    assert resolve_profile("x.YML") == Path("x.YML")
    assert resolve_profile("sub/x") == Path("sub/x")
    assert resolve_profile(write("", "plain")) == Path("plain")


def test_a_file_of_the_same_name_does_not_hide_a_built_in(write: Callable[..., str], tmp_path: Path) -> None:
    write("", "reference-cpu")
    assert resolve_profile("reference-cpu").suffix == ".yaml"
    (tmp_path / "a-folder").mkdir()
    with pytest.raises(ProfileError, match="is no file and no built-in profile"):
        resolve_profile("a-folder")


@pytest.mark.parametrize(
    ("reference", "what"),
    [
        ("reference-cp", "did you mean 'reference-cpu'?"),
        ("", "names no file"),
        ("a\0b", "names no file"),
        ("x" * 5000, "is no file and no built-in profile"),
        ("\x1b[31m", r"'\x1b[31m' is no file"),
    ],
)
def test_a_name_that_means_nothing(reference: str, what: str) -> None:
    with pytest.raises(ProfileError) as error:
        resolve_profile(reference)
    assert what in str(error.value)
    assert len(str(error.value)) < 400
