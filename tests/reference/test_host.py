"""A cache belongs to one host and one set of versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conformance.errors import HarnessError
from conformance.reference import host

if TYPE_CHECKING:
    from pathlib import Path


def test_the_key_is_stable_and_names_the_onnx_version() -> None:
    key = host.suite_key()
    assert key == host.suite_key()
    version, _, digest = key.rpartition("-")
    assert version == host._version("onnx")
    assert len(digest) == 24


@pytest.mark.parametrize("variable", host.KERNEL_CHOICE)
def test_a_different_choice_of_kernels_is_another_cache(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(variable, raising=False)
    key = host.suite_key()
    monkeypatch.setenv(variable, "AVX512F")
    assert host.suite_key() != key


@pytest.mark.parametrize("package", ["onnx", "numpy", "ml_dtypes", "pillow"])
def test_another_version_is_another_cache(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    key = host.suite_key()
    real = host._version
    monkeypatch.setattr(host, "_version", lambda name, *rest: "9.9" if name == package else real(name, *rest))
    assert host.suite_key() != key


def test_another_cpu_or_generator_is_another_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    key = host.suite_key()
    with monkeypatch.context() as patch:
        patch.setattr(host, "cpu_features", lambda: ["flags : sse2"])
        assert host.suite_key() != key
    monkeypatch.setattr(host, "_generator_digest", lambda: "0")
    assert host.suite_key() != key


def test_features_of_the_first_processor_count(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(
        "processor\t: 0\nmodel name\t: A\nflags\t\t: fpu avx2\ncpu MHz\t: 1\n\nprocessor\t: 1\nmodel name\t: B\n"
    )
    assert host.cpu_features(info) == ["model name\t: A", "flags\t\t: fpu avx2"]


def test_without_cpuinfo_the_platform_speaks(tmp_path: Path) -> None:
    (line,) = host.cpu_features(tmp_path / "absent")
    assert line.startswith("processor ")


def test_a_missing_package_is_named() -> None:
    with pytest.raises(HarnessError, match="nonesuch-package is not installed"):
        host._version("nonesuch-package")
    assert host._version("nonesuch-package", "none") == "none"
