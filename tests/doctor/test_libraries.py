"""What shared libraries need, read from real files: onnxruntime's own, and a copy that asks for another library."""

from __future__ import annotations

import os
from pathlib import Path

import onnxruntime
import pytest

from conformance.doctor import libraries
from conformance.doctor.port import EVERY, Host, State
from conformance.doctor.support.asking import Environment
from conformance.doctor.support.elf import wanted_by
from conformance.doctor.support.subject import Subject
from tests.doctor.conftest import Tree

REAL = Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_shared.so"


@pytest.fixture
def provider(tmp_path: Path) -> Path:
    """A site-packages folder with onnxruntime's CUDA provider: a library that needs cuDNN in the place of libgcc."""
    path = tmp_path / "site" / "onnxruntime" / "capi" / "libonnxruntime_providers_cuda.so"
    path.parent.mkdir(parents=True)
    path.write_bytes(REAL.read_bytes().replace(b"libgcc_s.so.1", b"libcudnn.so.9"))
    return path


def test_what_a_library_needs_is_read_from_its_file(provider: Path) -> None:
    real, made = wanted_by(REAL), wanted_by(provider)
    assert real is not None
    assert made is not None
    assert "libc.so.6" in real.libraries
    assert set(made.libraries) - set(real.libraries) == {"libcudnn.so.9"}
    state = next(REAL.parent.glob("onnxruntime_pybind11_state*.so"))
    assert (found := wanted_by(state)) is not None
    assert found.folders == ("$ORIGIN",)


@pytest.mark.parametrize("keep", [0, 4, 40, 63, 64, 200, 2000])
def test_a_broken_file_is_no_library(tmp_path: Path, keep: int) -> None:
    (tmp_path / "cut.so").write_bytes(REAL.read_bytes()[:keep])
    assert wanted_by(tmp_path / "cut.so") is None
    assert wanted_by(tmp_path / "none.so") is None


def test_a_provider_that_finds_everything_is_fine() -> None:
    found = libraries.look_at_needs(Host(), REAL, dict(os.environ), "")
    assert found.state is State.OK


def test_a_provider_without_its_library_falls_back_in_silence(provider: Path) -> None:
    found = libraries.look_at_needs(Host(), provider, {}, "")
    assert (found.state, found.needed_by) == (State.MISSING, (EVERY,))
    assert found.found == "needs libcudnn.so.9, which the loader does not find"


def test_wheels_beside_the_runtime_are_named_for_the_bench_file(provider: Path) -> None:
    runtime = str(provider.parent.parent)
    folder = provider.parents[2] / "nvidia" / "cudnn" / "lib"
    folder.mkdir(parents=True)
    (folder / "libcudnn.so.9").touch()
    found = libraries.look_at_needs(Host(), provider, {}, runtime)
    assert found.remedy == f"write into the bench file: bench: {{env: {{LD_LIBRARY_PATH: '{folder}'}}}}"
    assert libraries.look_at_needs(Host(), provider, {"LD_LIBRARY_PATH": str(folder)}, runtime).state is State.OK


def test_a_system_with_other_folders_is_no_defect_of_the_provider(tree: Tree, provider: Path) -> None:
    assert libraries.look_at_needs(tree(), provider, {}, "").state is State.LIMITS
    (provider.parent / "text.so").write_text("no library")
    assert libraries.look_at_needs(tree(), provider.parent / "text.so", {}, "").state is State.LIMITS


def test_the_library_is_the_plugins_or_the_in_tree_providers(provider: Path, tmp_path: Path) -> None:
    subject = Subject.load("cuda")
    subject.__dict__["environment"] = Environment(places={"onnxruntime": str(provider.parent.parent)})
    assert libraries.library_of(subject) == provider
    (found,) = libraries.examine(Host(), subject)
    assert found.state is State.MISSING
    assert "'onnxruntime-gpu[cuda,cudnn]'" in found.remedy
    assert libraries.library_of(Subject.load("reference-cpu")) is None
    assert list(libraries.examine(Host(), Subject())) == []
    plugin = tmp_path / "plugin.yaml"
    plugin.write_text("conformance: 1\nextends: builtin:cuda\nruntime: {library: ep/libacme.so}\n")
    assert libraries.library_of(Subject.load(str(plugin))) == tmp_path / "ep" / "libacme.so"
