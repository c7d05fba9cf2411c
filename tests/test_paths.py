"""Where shipped data lies and where the cache goes."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from conformance import paths
from conformance.errors import HarnessError


def test_a_checkout_has_its_folders_beside_the_package(checkout: Path) -> None:
    assert (paths.data_folder("profiles") / "devices" / "reference-cpu.yaml").is_file()
    assert paths.data_folder("fixtures").name == "fixtures"


def test_a_wheels_own_copy_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that an installed package never reads a folder that happens to be called `profiles` in site-packages."""
    package = tmp_path / "conformance"
    for folder in (package / "_data" / "profiles", tmp_path / "profiles"):
        folder.mkdir(parents=True)
    monkeypatch.setattr(paths, "PACKAGE", package)
    assert paths.data_folder("profiles") == package / "_data" / "profiles"
    (package / "_data" / "profiles").rmdir()
    assert paths.data_folder("profiles") == tmp_path / "profiles"


def test_a_missing_folder_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "PACKAGE", tmp_path / "conformance")
    with pytest.raises(HarnessError, match="'profiles' is missing: reinstall resonance-conformance"):
        paths.data_folder("profiles")


def test_the_cache_goes_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFORMANCE_CACHE", str(tmp_path / "own" / "deep"))
    assert paths.cache_folder() == tmp_path / "own" / "deep"
    assert paths.cache_folder().is_dir()
    monkeypatch.setenv("CONFORMANCE_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert paths.cache_folder() == tmp_path / "xdg" / "resonance-conformance"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert paths.cache_folder() == tmp_path / "home" / ".cache" / "resonance-conformance"


def test_a_cache_that_cannot_be_made_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CONFORMANCE_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(HarnessError, match="cannot make the cache folder .*; set CONFORMANCE_CACHE"):
        paths.cache_folder()


def test_an_empty_home_is_not_the_root_of_the_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CONFORMANCE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "")
    monkeypatch.setattr("pwd.getpwuid", lambda _: SimpleNamespace(pw_dir=str(tmp_path)))

    assert paths.cache_folder() == tmp_path / ".cache" / "resonance-conformance"


def test_a_pipe_in_the_place_of_a_file_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")

    assert paths.read_file(tmp_path / "file") == b"x"
    for name in ("pipe", "."):
        with pytest.raises(OSError):
            paths.read_file(tmp_path / name)
