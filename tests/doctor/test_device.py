"""Examinations of what belongs to the device: drivers, compile caches, an inference server."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from conformance.doctor import caches, drivers, server
from conformance.doctor.port import EVERY, Finding, State
from conformance.doctor.support.asking import Environment, Installed
from conformance.doctor.support.families import FAMILIES, family_of
from conformance.doctor.support.subject import Subject
from tests.doctor.conftest import Tree

NVIDIA, AMD, INTEL = FAMILIES
LIBRARIES = "usr/lib/x86_64-linux-gnu"
DRIVER = {
    "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build",
    "sys/module/nvidia/version": "580.95.05",
}
NVML = {f"{LIBRARIES}/libnvidia-ml.so.1": "-> libnvidia-ml.so.580.95.05", f"{LIBRARIES}/libnvidia-ml.so.580.95.05": ""}


def by_name(findings: object) -> dict[str, Finding]:
    return {one.name: one for one in findings}  # type: ignore[attr-defined]


# -- drivers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "vendor", "hardware", "name"),
    [
        ("CUDAExecutionProvider", "Acme", "gpu", "NVIDIA"),
        ("AcmeExecutionProvider", "NVIDIA Corporation", "gpu", "NVIDIA"),
        ("MIGraphXExecutionProvider", "AMD", "", "AMD"),
        ("OpenVINOExecutionProvider", "Intel", "npu", "Intel NPU"),
        ("OpenVINOExecutionProvider", "Intel", "gpu", "Intel"),
        ("OpenVINOExecutionProvider", "Intel", "cpu", ""),
        ("QNNExecutionProvider", "Qualcomm", "npu", ""),
        ("AcmeExecutionProvider", "Damdam", "gpu", ""),
    ],
)
def test_the_family_of_a_device(provider: str, vendor: str, hardware: str, name: str) -> None:
    found = family_of(provider, vendor, hardware)
    assert (found.name if found else "") == name


def test_a_driver_with_its_library_is_fine(tree: Tree) -> None:
    found = by_name(drivers.examine(tree(DRIVER | NVML), Subject.load("cuda")))
    assert [one.state for one in found.values()] == [State.OK, State.OK]
    assert found["NVIDIA driver"].found == "loaded, 580.95.05"
    assert found["NVML"].found.endswith("libnvidia-ml.so.1, 580.95.05")


def test_no_driver_is_no_device(tree: Tree) -> None:
    (found,) = drivers.examine(tree(), Subject.load("cuda"))
    assert (found.state, found.needed_by) == (State.MISSING, (EVERY,))


def test_a_driver_without_its_library_measures_no_power(tree: Tree) -> None:
    found = by_name(drivers.examine(tree(DRIVER), Subject.load("cuda")))["NVML"]
    assert (found.state, found.needed_by) == (State.MISSING, ("power", "thermal"))
    assert "NVIDIA_DRIVER_CAPABILITIES" in found.remedy


def test_a_library_of_another_version_than_the_module_is_wrong(tree: Tree) -> None:
    files = DRIVER | {"proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.10.01  x"}
    found = by_name(drivers.examine(tree(files | NVML), Subject.load("cuda")))["NVML"]
    assert (found.state, found.found) == (State.WRONG, "the library is 580.95.05, the kernel module 570.10.01")
    assert found.needed_by == (EVERY,)


def test_libraries_are_found_where_the_loader_looks(tree: Tree) -> None:
    files = {"opt/vendor/libamd_smi.so": "", "etc/ld.so.conf.d/vendor.conf": "# ours\n/opt/vendor"}
    host = tree(files | {"sys/module/amdgpu/": ""})
    assert [one.state for one in drivers.look_at_family(host, AMD, is_device=True)] == [State.OK, State.OK]
    other = tree({"srv/libnvidia-ml.so.1": ""}, LD_LIBRARY_PATH="relative:/srv")
    assert drivers.look_at_library(other, NVIDIA, "", ()).state is State.OK


def test_meters_of_the_kernel_are_those_of_the_driver(tree: Tree) -> None:
    files = {"sys/module/xe/": "", "sys/class/hwmon/hwmon1/name": "xe"}
    assert list(drivers.look_at_family(tree(files), INTEL, is_device=True))[1].state is State.MISSING
    host = tree({"sys/class/hwmon/hwmon1/energy1_input": "5"})
    assert list(drivers.look_at_family(host, INTEL, is_device=True))[1].found == "hwmon: energy1_input"


def test_without_a_profile_the_cards_of_the_host_are_looked_at(tree: Tree) -> None:
    assert [one.state for one in drivers.examine(tree(), Subject())] == [State.OK]
    card = "sys/bus/pci/devices/0000:65:00.0"
    (found,) = drivers.examine(tree({f"{card}/vendor": "0x10de", f"{card}/class": "0x030200"}), Subject())
    assert (found.name, found.state, found.needed_by) == ("NVIDIA driver", State.MISSING, ())


def bound(tmp_path: Path) -> Subject:
    path = tmp_path / "bound.yaml"
    path.write_text('conformance: 1\nextends: builtin:cuda\ndevice: {binding: {pci_address: "0000:65:00.0"}}\n')
    return Subject.load(str(path))


@pytest.mark.parametrize(("width", "state"), [("16", State.OK), ("4", State.LIMITS)])
def test_the_unit_sits_where_the_profile_says_with_all_its_lanes(
    tree: Tree, tmp_path: Path, width: str, state: State
) -> None:
    card = "sys/bus/pci/devices/0000:65:00.0"
    host = tree({f"{card}/current_link_width": width, f"{card}/max_link_width": "16"})
    found = by_name(drivers.examine(host, bound(tmp_path)))["unit"]
    assert (found.state, found.found) == (state, f"at 0000:65:00.0, {width} of 16 PCIe lanes")


def test_a_unit_that_is_not_there_is_missing(tree: Tree, tmp_path: Path) -> None:
    assert by_name(drivers.examine(tree(), bound(tmp_path)))["unit"].state is State.MISSING


# -- compile caches ---------------------------------------------------------------------------------------------------


def test_options_that_name_a_cache_are_known_by_their_names(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "conformance: 1\nextends: builtin:cuda\n"
        "runtime:\n"
        "  options: {trt_engine_cache_path: /var/engines, trt_engine_cache_enable: true, device_id: 0, keep: /var/k}\n"
        "  session_options: {ep.context_file_path: /var/context.onnx}\n"
        "  cache_option: keep\n"
    )
    assert caches.options_of(Subject.load(str(path))) == {
        "trt_engine_cache_path": "/var/engines",
        "keep": "/var/k",
        "ep.context_file_path": "/var/context.onnx",
    }


def cached(tmp_path: Path, place: str, when: float) -> Subject:
    """Return a device of the NVIDIA family whose runtime was installed at a time, with a cache in `place`."""
    path = tmp_path / "p.yaml"
    path.write_text(f"conformance: 1\nextends: builtin:cuda\nruntime: {{options: {{cache_dir: '{place}'}}}}\n")
    subject = Subject.load(str(path))
    made = {"onnxruntime-gpu": Installed(version="1.31.1", when=when, tops=("onnxruntime",))}
    subject.__dict__["environment"] = Environment(python="3.11.2", distributions=made)
    return subject


def filled(tmp_path: Path, when: float) -> Path:
    folder = tmp_path / "engines"
    folder.mkdir()
    for name, at in (("new.engine", when + 500), ("old.engine", when)):
        (folder / name).touch()
        os.utime(folder / name, (at, at))
    return folder


def test_an_empty_cache_and_a_relative_one_are_fine(tree: Tree, tmp_path: Path) -> None:
    for place, told in ((str(tmp_path / "none"), "empty or not there"), ("engines", "'engines' is relative")):
        (found,) = caches.examine(tree(), cached(tmp_path, place, 0))
        assert found.state is State.OK
        assert told in found.found


def test_a_cache_older_than_the_runtime_is_wrong(tree: Tree, tmp_path: Path) -> None:
    folder = filled(tmp_path, 1000.0)
    (found,) = caches.examine(tree(), cached(tmp_path, str(folder), when=1200.0))
    assert (found.state, found.needed_by) == (State.WRONG, (EVERY,))
    assert "holds 2 files" in found.found
    assert "younger is onnxruntime-gpu 1.31.1" in found.found
    assert found.remedy == f"rm -r -- {folder}"


def test_a_cache_older_than_the_driver_is_wrong(tree: Tree, tmp_path: Path) -> None:
    folder = filled(tmp_path, 1000.0)  # the driver's library of the tree is of now
    (found,) = caches.examine(tree(NVML), cached(tmp_path, str(folder), when=100.0))
    assert found.state is State.WRONG
    assert "younger is the driver's libnvidia-ml.so.1" in found.found


def test_a_cache_that_is_younger_than_both_limits(tree: Tree, tmp_path: Path) -> None:
    folder = filled(tmp_path, 1000.0)
    (found,) = caches.examine(tree(), cached(tmp_path, str(folder), when=100.0))
    assert found.state is State.LIMITS


def test_profiles_without_a_cache_have_nothing_to_look_at(tree: Tree) -> None:
    assert list(caches.examine(tree(), Subject())) == []
    assert list(caches.examine(tree(), Subject.load("cuda"))) == []


# -- inference server -------------------------------------------------------------------------------------------------


def served(tmp_path: Path, url: str, more: str = "") -> Subject:
    (tmp_path / "lab.yaml").write_text(f"conformance: 1\nbench: {{server: {{url: '{url}'{more}}}}}\n")
    return Subject.load("triton", str(tmp_path / "lab.yaml"))


def test_a_server_that_takes_connections_is_fine_and_its_token_has_to_be_set(tree: Tree, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        subject = served(tmp_path, f"http://127.0.0.1:{port}", ", token_env: LAB_TOKEN")
        found = by_name(server.examine(tree(), subject))
        assert (found["server"].state, found["token"].state) == (State.OK, State.MISSING)
        assert by_name(server.examine(tree(LAB_TOKEN="x"), subject))["token"].state is State.OK  # noqa: S106 - no secret
    gone = by_name(server.examine(tree(), subject))["server"]
    assert gone.state is State.MISSING
    assert "connection refused" in gone.found


def test_a_runtime_that_needs_a_server_wants_a_bench_file(tree: Tree) -> None:
    (found,) = server.examine(tree(), Subject.load("triton"))
    assert (found.state, found.needed_by) == (State.MISSING, (EVERY,))
    assert "--bench" in found.remedy
    assert list(server.examine(tree(), Subject.load("cuda"))) == []
    assert list(server.examine(tree(), Subject())) == []


@pytest.mark.parametrize(("url", "family"), [("http://127.0.0.1:1", "NVIDIA"), ("http://box.example:1", "")])
def test_drivers_matter_where_the_server_is_on_this_host(tree: Tree, tmp_path: Path, url: str, family: str) -> None:
    (tmp_path / "gpu.yaml").write_text("conformance: 1\nextends: builtin:triton\ndevice: {hardware: gpu}\n")
    (tmp_path / "lab.yaml").write_text(f"conformance: 1\nbench: {{server: {{url: '{url}'}}}}\n")
    subject = Subject.load(str(tmp_path / "gpu.yaml"), str(tmp_path / "lab.yaml"))
    assert (subject.family.name if subject.family else "") == family
    assert bool(list(drivers.examine(tree(), subject))) is bool(family)
    assert Subject.load(str(tmp_path / "gpu.yaml")).is_elsewhere
