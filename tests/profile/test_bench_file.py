"""Bench files: the lab's settings, waivers, and the interpreter of the child."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conformance.errors import ProfileError
from conformance.profile.loader import load_bench

if TYPE_CHECKING:
    from collections.abc import Callable

CASES = {"test_each_mistake_has_its_line": "bench"}
BENCH = """\
conformance: 1
bench:
  lab: Lab 1
  operator: 张伟
  unit_serial: "0007"
  ambient_c: 23.5
  workers: 2
  env: {SECRET_TOKEN: hidden, B: ""}
waivers:
  - case: operators/ai.onnx.Add-*/*
    requirement: OP-001
    reason: Known, fixed in firmware 2
    owner: Acme
    issued: 2026-01-01
    expires: 2026-12-31
    reference: ISSUE-7
"""


def test_a_bench_file_says_what_it_says(write: Callable[..., str]) -> None:
    loaded = load_bench(write(BENCH, "bench.yaml"))
    assert loaded.bench.bench.workers == 2
    assert loaded.python is None
    assert loaded.bench.waivers[0].expires == date(2026, 12, 31)
    assert loaded.sources[0][0] == "bench.yaml"
    assert len(loaded.sources[0][1]) == 64


def test_the_stamp_of_a_run_keeps_values_of_the_environment_out(write: Callable[..., str]) -> None:
    settings = load_bench(write(BENCH, "bench.yaml")).bench.bench.settings()
    assert settings == {
        "lab": "Lab 1", "operator": "张伟", "unit_serial": "0007", "ambient_c": "23.5", "transport": "local",
        "workers": "2", "env": "B, SECRET_TOKEN",
    }  # fmt: skip


def test_an_empty_bench_is_a_bench(write: Callable[..., str]) -> None:
    loaded = load_bench(write("conformance: 1\n"))
    assert loaded.bench.bench.transport == "local"
    assert loaded.bench.waivers == ()
    assert loaded.bench.bench.settings() == {"transport": "local"}


def test_the_interpreter_is_found_beside_the_file_and_links_are_kept(write: Callable[..., str], tmp_path: Path) -> None:
    name = write("conformance: 1\nbench: {python: env/bin/python}\n", "lab/bench.yaml")
    with pytest.raises(
        ProfileError, match=r"bench.yaml:2:17: there is no interpreter 'env/bin/python' beside this file"
    ):
        load_bench(name)
    link = tmp_path / "lab" / "env" / "bin" / "python"
    link.parent.mkdir(parents=True)
    link.symlink_to(sys.executable)
    assert load_bench(name).python == link
    absolute = write(f"conformance: 1\nbench: {{python: {sys.executable}}}\n", "other.yaml")
    assert load_bench(absolute).python == Path(sys.executable)


def test_each_mistake_has_its_line(write: Callable[..., str], old: str, new: str, line: str) -> None:
    assert old in BENCH
    with pytest.raises(ProfileError) as error:
        load_bench(write(BENCH.replace(old, new, 1)))
    assert any(line in each for each in error.value.defects), error.value.defects


def test_a_bench_file_that_is_no_yaml_or_is_not_there(write: Callable[..., str]) -> None:
    with pytest.raises(ProfileError, match="is not YAML"):
        load_bench(write("bench: [", "b.yaml"))
    with pytest.raises(ProfileError, match=r"none.yaml: cannot be read: No such file"):
        load_bench("none.yaml")
