"""Environments of Python: wheels that overwrite each other, a child's interpreter, the runtime's provider and plugin."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from conformance import __version__
from conformance.doctor import packages, runtime, wheels
from conformance.doctor.port import EVERY, Finding, Host, State
from conformance.doctor.support import asking, environment
from conformance.doctor.support.asking import Environment, Installed
from conformance.doctor.support.subject import Subject
from tests.doctor.conftest import Install

PLAIN = {"onnxruntime/__init__.py": "plain", "onnxruntime/capi/state.so": "plain library", "onnxruntime/LICENSE": "MIT"}
GPU = {"onnxruntime/__init__.py": "gpu", "onnxruntime/capi/state.so": "library for gpu", "onnxruntime/LICENSE": "MIT"}
OTHERS = ("msgspec", "numpy", "ml_dtypes")


def surveyed(site: Path, modules: tuple[str, ...] = ("onnxruntime",)) -> Environment:
    """Return what a survey of one folder finds, as the doctor gets it."""
    return msgspec.convert(environment.survey(list(modules), [str(site)]), Environment)


def subject_with(found: Environment, profile: str | None = None) -> Subject:
    """Return a subject whose environment is known beforehand."""
    subject = Subject.load(profile)
    subject.__dict__["environment"] = found
    return subject


def look_at_wheels(found: Environment, profile: str | None = None) -> list[Finding]:
    return list(wheels.examine(Host(), subject_with(found, profile)))


# -- wheels -----------------------------------------------------------------------------------------------------------


def test_one_runtime_and_others_beside_it_are_fine(site: Path, install: Install) -> None:
    install("onnxruntime", "1.32.0", PLAIN)
    install("onnxruntime-qnn", "2.7.0", {"onnxruntime_qnn/__init__.py": "a plugin"})
    (found,) = look_at_wheels(surveyed(site))
    assert found.state is State.OK
    assert found.found == "2 distributions, none overwrites another; runtime: onnxruntime 1.32.0"


@pytest.mark.parametrize("second", ["onnxruntime-gpu", "onnxruntime-openvino"])
def test_two_builds_of_the_runtime_overwrite_each_other(site: Path, install: Install, second: str) -> None:
    install("onnxruntime", "1.32.0", PLAIN)
    install("pip", "26.0", {"pip/__init__.py": ""})
    install(second, "1.31.1", GPU)
    (found,) = look_at_wheels(surveyed(site), "cuda")
    assert (found.state, found.needed_by) == (State.WRONG, (EVERY,))
    assert found.found == (
        f"onnxruntime 1.32.0 and {second} 1.31.1 both bring 2 files, such as onnxruntime/__init__.py; "
        f"those of {second} lie there"
    )
    python = sys.executable
    assert found.remedy == (
        f"{python} -m pip uninstall -y onnxruntime {second} && {python} -m pip install --no-deps {second}==1.31.1"
    )


def test_the_build_to_keep_is_the_one_that_has_the_provider() -> None:
    both = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")
    assert wheels._choose(both, "CPUExecutionProvider") == "onnxruntime"
    assert wheels._choose(both, "OpenVINOExecutionProvider") == "onnxruntime-openvino"
    assert wheels._choose(both, "CUDAExecutionProvider") == "onnxruntime-gpu"


def test_what_lies_there_may_be_of_neither(site: Path, install: Install) -> None:
    install("onnxruntime", "1.32.0", PLAIN)
    install("onnxruntime-gpu", "1.31.1", GPU)
    (site / "onnxruntime" / "__init__.py").write_text("plain")
    (found,) = look_at_wheels(surveyed(site))
    assert found.found.endswith("what lies there is a mixture")


def test_files_of_equal_contents_are_no_conflict(site: Path, install: Install) -> None:
    install("acme-core", "1.0", {"acme/__init__.py": "", "acme/core.py": "1"})
    install("acme-tools", "1.0", {"acme/__init__.py": "", "acme/tools.py": "2"})
    assert [one.state for one in look_at_wheels(surveyed(site))] == [State.OK]


def test_conflicts_beside_the_runtime_only_limit(site: Path, install: Install) -> None:
    install("acme-core", "1.0", {"tests/__init__.py": "1"})
    install("acme-tools", "1.0", {"tests/__init__.py": "2"})
    (found,) = look_at_wheels(surveyed(site))
    assert (found.state, found.needed_by) == (State.LIMITS, ())


def test_a_runtime_whose_files_went_with_another_build_is_broken(site: Path, install: Install) -> None:
    install("onnxruntime", "1.32.0", PLAIN)
    (site / "onnxruntime" / "capi" / "state.so").unlink()
    (found,) = look_at_wheels(surveyed(site))
    assert found.state is State.WRONG
    assert found.found.startswith("1 of 3 files that onnxruntime 1.32.0 lists are not there")
    assert found.remedy.endswith("--force-reinstall --no-deps onnxruntime==1.32.0")


def test_a_distribution_recorded_in_two_versions_is_told(site: Path, install: Install) -> None:
    install("onnxruntime", "1.31.0", PLAIN)
    install("onnxruntime", "1.32.0", PLAIN)
    (found,) = look_at_wheels(surveyed(site))
    assert (found.state, found.name) == (State.WRONG, "onnxruntime")
    assert "recorded more than once" in found.found


def test_environments_without_pip_get_the_command_of_uv() -> None:
    made = Environment(executable="/env/bin/python", distributions={"numpy": Installed(version="2.0", when=0)})
    assert made.pip("uninstall -y onnxruntime") == "uv pip uninstall --python /env/bin/python onnxruntime"


def test_this_environment_has_no_conflict() -> None:
    assert {one.state for one in look_at_wheels(Subject().environment)} <= {State.OK, State.LIMITS}


# -- another interpreter ----------------------------------------------------------------------------------------------


def test_another_interpreter_is_asked_with_the_environment_of_a_child(site: Path, install: Install) -> None:
    install("acme-runtime", "3.2", {"acme_runtime/__init__.py": "raise SystemExit('imported')"})
    environ = os.environ | {"PYTHONPATH": str(site)}
    found = asking.survey_of(sys.executable, ["acme_runtime", "acme_other"], environ)
    assert found.problem == ""
    assert found.distributions["acme-runtime"].version == "3.2"
    assert found.modules == {"acme_runtime": True, "acme_other": False}
    assert not list(site.rglob("*.pyc"))


def test_variables_of_the_bench_file_count_for_this_interpreter_too(
    site: Path, install: Install, tmp_path: Path
) -> None:
    install("acme-runtime", "3.2", {"acme_runtime/__init__.py": ""})
    (tmp_path / "lab.yaml").write_text(f"conformance: 1\nbench: {{env: {{PYTHONPATH: '{site}'}}}}\n")
    assert "acme-runtime" in Subject.load(None, str(tmp_path / "lab.yaml")).environment.distributions


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("#!/bin/sh\nsleep 60", "it gave no answer within 0.2 s"),
        ("#!/bin/sh\necho broken venv >&2\nexit 3", "broken venv"),
        ("#!/bin/sh\nexit 3", "it ended with 3"),
        ("#!/bin/sh\necho 'conformance-survey:{'", "it ended with 0"),
        ("no program", "it cannot be started: exec format error"),
    ],
)
def test_an_interpreter_that_does_not_answer_costs_a_deadline(tmp_path: Path, script: str, said: str) -> None:
    python = tmp_path / "python"
    python.write_text(script)
    python.chmod(0o755)
    deadline_s = 0.2 if "sleep" in script else 10.0
    assert asking.ask(str(python), "pass", [], {"PATH": os.environ["PATH"]}, deadline_s) == (None, said)


def test_an_answer_of_another_form_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ask", lambda *_: ({"python": 3}, ""))
    assert asking.survey_of("python", [], {}).problem.startswith("it answered strangely")
    assert asking.providers_of("python", {}) == ([], "it answered strangely")


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Subject]:
    """A subject whose bench file names another interpreter, with the answer that it would give."""

    def make(python: str = "3.11.2", **versions: str) -> Subject:
        (tmp_path / "python").touch()
        (tmp_path / "lab.yaml").write_text("conformance: 1\nbench: {python: python}\n")
        found = {name: Installed(version=version, when=0) for name, version in versions.items()}
        subject = Subject.load(None, str(tmp_path / "lab.yaml"))
        subject.__dict__["environment"] = Environment(python=python, executable="/env/python", distributions=found)
        return subject

    return make


def by_name(findings: object) -> dict[str, Finding]:
    return {one.name: one for one in findings}  # type: ignore[attr-defined]


def test_an_environment_with_all_that_the_child_needs_is_fine(bench: Callable[..., Subject]) -> None:
    versions = {"resonance-conformance": __version__, "msgspec": "0.22.0", "numpy": "2.4.6", "ml-dtypes": "0.6.0"}
    found = list(packages.examine(Host(), bench(**versions)))
    assert [one.state for one in found] == [State.OK] * 2


def test_what_the_childs_environment_lacks_is_installed_without_dependencies(
    bench: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "_source", lambda: "/src/resonance")
    found = by_name(packages.examine(Host(), bench(pip="26.0", numpy="1.26.4", msgspec="0.22.0")))["packages"]
    assert found.state is State.MISSING
    assert "numpy 1.26.4 (2.0 or later), ml_dtypes not installed (0.5 or later)" in found.found
    assert found.remedy == "/env/python -m pip install --no-deps /src/resonance 'numpy>=2.0' 'ml_dtypes>=0.5'"


def test_another_version_of_this_package_measures_otherwise(bench: Callable[..., Subject]) -> None:
    versions = {"resonance-conformance": "0.0.1", "msgspec": "0.22.0", "numpy": "2.4.6", "ml-dtypes": "0.6.0"}
    assert by_name(packages.examine(Host(), bench(**versions)))["packages"].state is State.WRONG


def test_this_package_on_the_path_has_no_version(bench: Callable[..., Subject]) -> None:
    subject = bench(msgspec="0.22.0", numpy="2.4.6", ml_dtypes="0.6.0")
    made = msgspec.structs.replace(subject.environment, modules={"conformance": True})
    assert packages.look_at_needed(made).state is State.LIMITS


def test_what_to_install_is_where_this_package_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    class Made:
        def read_text(self, name: str) -> str | None:
            return {"direct_url.json": texts.pop()}[name]

    texts = [None, '{"url": "https://host/x.whl"}', '{"url": "file:///src/a%20b", "dir_info": {"editable": true}}']
    monkeypatch.setattr(packages.metadata, "distribution", lambda name: Made())
    assert packages._source() == "'/src/a b'"
    assert [packages._source(), packages._source()] == [f"resonance-conformance=={__version__}"] * 2


def test_an_old_interpreter_and_a_broken_one_are_told(bench: Callable[..., Subject]) -> None:
    assert by_name(packages.examine(Host(), bench(python="3.9.2")))["python"].state is State.MISSING
    broken = bench()
    broken.__dict__["environment"] = Environment(executable="/env/python", problem="it gave no answer within 10 s")
    (found,) = packages.examine(Host(), broken)
    assert (found.state, found.found) == (State.MISSING, "/env/python: it gave no answer within 10 s")


def test_a_device_on_another_host_is_examined_there(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text("conformance: 1\nbench: {transport: ssh, ssh: {host: board7, user: lab}}\n")
    subject = Subject.load("reference-cpu", str(tmp_path / "lab.yaml"))
    (found,) = packages.examine(Host(), subject)
    assert found.state is State.LIMITS
    assert found.remedy == "ssh lab@board7 conformance doctor reference-cpu.yaml"
    assert [list(one.examine(Host(), subject)) for one in (wheels, runtime)] == [[], []]


def test_what_the_child_needs_is_what_the_package_declares() -> None:
    assert [packages.least_version(name) for name in OTHERS] == ["0.19", "2.0", "0.5"]
    assert packages.least_version("nothing-of-this-name") == "0"


# -- the runtime ------------------------------------------------------------------------------------------------------


def look_at_runtime(profile: str, modules: dict[str, bool], **versions: str) -> dict[str, Finding]:
    found = {name: Installed(version=version, when=0) for name, version in versions.items()}
    made = Environment(python="3.11.2", executable="/env/python", distributions=found, modules=modules)
    return by_name(runtime.examine(Host(), subject_with(made, profile)))


def test_the_reference_device_has_its_provider() -> None:
    (found,) = runtime.examine(Host(), Subject.load("reference-cpu"))
    assert (found.state, found.found) == (State.OK, "offers CPUExecutionProvider")


def test_a_build_without_the_provider_names_the_package_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "providers_of", lambda *_: (["CPUExecutionProvider"], ""))
    found = look_at_runtime("cuda", {"onnxruntime": True}, onnxruntime="1.32.0", pip="26.0")["onnxruntime"]
    assert found.state is State.MISSING
    assert found.remedy == ("/env/python -m pip uninstall -y onnxruntime && /env/python -m pip install onnxruntime-gpu")


def test_a_runtime_that_is_not_there_or_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = look_at_runtime("cuda", {"onnxruntime": False}, pip="26.0")["onnxruntime"]
    assert (absent.state, absent.remedy) == (State.MISSING, "/env/python -m pip install onnxruntime-gpu")
    monkeypatch.setattr(runtime, "providers_of", lambda *_: ([], "ImportError: libcudnn.so.9"))
    broken = look_at_runtime("cuda", {"onnxruntime": True})["onnxruntime"]
    assert (broken.state, broken.found) == (State.WRONG, "cannot be imported: ImportError: libcudnn.so.9")


def test_a_plugin_module_is_installed_by_its_known_name_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "providers_of", lambda *_: (["CPUExecutionProvider"], ""))
    there = look_at_runtime("qnn-htp", {"onnxruntime": True, "onnxruntime_qnn": True})
    assert {one.state for one in there.values()} == {State.OK}
    known = look_at_runtime("qnn-htp", {"onnxruntime": True}, pip="26.0")["module"]
    assert (known.state, known.remedy) == (State.MISSING, "/env/python -m pip install onnxruntime-qnn")
    unknown = look_at_runtime("openvino-native", {})["module"]
    assert unknown.state is State.MISSING
    assert "pip install" not in unknown.remedy


@pytest.mark.parametrize(
    ("head", "state"),
    [
        (b"\x7fELF" + bytes(14) + struct.pack("<H", 62), State.OK),
        (b"\x7fELF" + bytes(14) + struct.pack("<H", 183), State.WRONG),
        (b"MZ" + bytes(30), State.WRONG),
        (b"", State.WRONG),
        (None, State.MISSING),
    ],
)
def test_a_plugin_library_is_one_for_this_machine(tmp_path: Path, head: bytes | None, state: State) -> None:
    path = tmp_path / "libacme.so"
    if head is not None:
        path.write_bytes(head)
    assert runtime.look_at_library(path, "x86_64").state is state
