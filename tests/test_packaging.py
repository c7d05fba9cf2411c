"""Profiles and fixtures are found from a wheel, an sdist, an editable install and a checkout. No network is needed.

Each way is built with the project's own back end and installed by pip into an empty environment; the dependencies come
from the environment of the tests, through a path file that sorts after everything else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

WAYS = ["wheel", "sdist", "editable", "checkout"]
SHIPPED = ("conformance", "profiles", "fixtures", "pyproject.toml", "README.md", "LICENSE")
PROBE = """
import json
from pathlib import Path
import conformance
from conformance.paths import data_folder
from conformance.reference.probes import probe_model
print(json.dumps({
    "package": str(Path(conformance.__file__).parent),
    "profiles": str(data_folder("profiles")),
    "devices": sorted(path.stem for path in (data_folder("profiles") / "devices").glob("*.yaml")),
    "categories": sorted(path.stem for path in (data_folder("profiles") / "categories").glob("*.yaml")),
    "probe": len(probe_model("matmul_relu", 13)),
}))
"""


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run a command that must succeed and return what it printed."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Path:
    """A copy of what is shipped, so that building leaves nothing in the checkout."""
    copy = tmp_path_factory.mktemp("sources")
    for name in SHIPPED:
        source = checkout / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, copy / name)
    return copy


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, sources: Path) -> dict[str, Path]:
    """A wheel and an sdist, built with hatchling."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-t", "wheel", "-d", out, cwd=sources)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


def environment(folder: Path) -> Path:
    """Make an environment without this package whose other imports come from the tests' own; return its interpreter."""
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = (folder / "lib").glob("python*/site-packages")
    (site / "zz_dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return folder / "bin" / "python"


@pytest.fixture(scope="session")
def pythons(tmp_path_factory: pytest.TempPathFactory, built: dict[str, Path], sources: Path) -> dict[str, Path]:
    """One interpreter per way of installing."""
    found = {}
    for way in WAYS:
        python = environment(tmp_path_factory.mktemp(way) / "env")
        targets: dict[str, list[str | Path]] = {"editable": ["-e", sources]}
        targets |= {kind: [path] for kind, path in built.items()}
        if way in targets:
            # --ignore-installed: the path file makes pip see the tests' own installation, which is not this one.
            options = ["--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed"]
            pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", python, "install", "-q", *options]
            run(*pip, *targets[way], cwd=tmp_path_factory.getbasetemp())
        found[way] = python
    return found


def where(way: str, python: Path, sources: Path) -> tuple[Path, dict[str, str]]:
    """Return the folder to start in and the environment; a checkout is used from its own folder."""
    dropped = ("PYTHON", "COV", "PYTEST_")
    env = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    return (sources if way == "checkout" else python.parent), env


@pytest.mark.parametrize("way", WAYS)
def test_profiles_and_fixtures_are_found(way: str, pythons: dict[str, Path], sources: Path, checkout: Path) -> None:
    cwd, env = where(way, pythons[way], sources)
    told = json.loads(run(pythons[way], "-c", PROBE, cwd=cwd, env=env))
    is_installed = way in ("wheel", "sdist")
    package = pythons[way].parent.parent if is_installed else sources
    assert Path(told["package"]).is_relative_to(package), "another installation was imported"
    assert Path(told["profiles"]).is_relative_to(package)
    for kind in ("devices", "categories"):
        assert told[kind] == sorted(path.stem for path in (checkout / "profiles" / kind).glob("*.yaml"))
    assert told["probe"] > 0


@pytest.mark.parametrize("way", WAYS)
def test_the_main_job_runs(way: str, pythons: dict[str, Path], sources: Path, tmp_path: Path) -> None:
    """The child is started with the interpreter of the installation, and finds what it needs there."""
    cwd, env = where(way, pythons[way], sources)
    told = run(
        *(pythons[way], "-m", "conformance", "run", "--case", "interface/session/*", "--out", tmp_path / "out"),
        cwd=cwd,
        env=env | ({"PYTHONPATH": str(sources)} if way == "checkout" else {}),
    )
    assert "CLEAN-PARTIAL" in told
    assert (tmp_path / "out" / "run.json").is_file()


def test_an_installation_has_the_command(pythons: dict[str, Path]) -> None:
    for way in ("wheel", "sdist", "editable"):
        command = pythons[way].parent / "conformance"
        assert run(command, "--version", cwd=pythons[way].parent).startswith("conformance, version ")


def test_the_wheel_holds_the_package_and_its_data_and_nothing_else(built: dict[str, Path], checkout: Path) -> None:
    names = zipfile.ZipFile(built["wheel"]).namelist()
    tops = {name.split("/", 1)[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"conformance"}
    assert "conformance/py.typed" in names
    for folder in ("profiles", "fixtures"):
        shipped = {f"conformance/_data/{path.relative_to(checkout)}" for path in (checkout / folder).rglob("*.[yo]*")}
        assert shipped <= set(names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests/")]


def test_the_sdist_can_be_built_from(built: dict[str, Path]) -> None:
    with tarfile.open(built["sdist"]) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"pyproject.toml", "README.md", "LICENSE", "conformance/cli.py"} <= names
    assert "profiles/devices/reference-cpu.yaml" in names
    assert "fixtures/make_probe_models.py" in names


def test_the_distribution_is_called_as_documented(built: dict[str, Path]) -> None:
    metadata = zipfile.ZipFile(built["wheel"])
    (name,) = [one for one in metadata.namelist() if one.endswith(".dist-info/METADATA")]
    text = metadata.read(name).decode()
    assert "\nName: resonance-conformance\n" in text
    assert "\nRequires-Python: >=3.11\n" in text
    assert "\nLicense-Expression: Apache-2.0\n" in text
