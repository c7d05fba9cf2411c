"""The runtime that the profile names: whether it is installed where the child runs, and offers the provider.

No session is made. onnxruntime is imported in a process of its own, with a deadline, because only the library itself knows
its providers. A plugin's library and module are looked for, and not loaded.
"""

from __future__ import annotations

import platform
import shlex
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.doctor.port import EVERY, Finding, Host, State
from conformance.doctor.support.asking import providers_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.doctor.support.subject import Subject

TITLE = "runtime"
PACKAGES = {
    "CUDAExecutionProvider": "onnxruntime-gpu",
    "TensorrtExecutionProvider": "onnxruntime-gpu",
    "OpenVINOExecutionProvider": "onnxruntime-openvino",
    "MIGraphXExecutionProvider": "onnxruntime-migraphx",
    "ROCMExecutionProvider": "onnxruntime-rocm",
    "CANNExecutionProvider": "onnxruntime-cann",
}
"""Distributions on the package index that hold an in-tree provider for Linux."""
MODULES = {"onnxruntime_ep_openvino": "onnxruntime-ep-openvino", "onnxruntime_qnn": "onnxruntime-qnn"}
"""Distributions that hold a plugin module: those that are extras of this package. No other name is guessed."""
MACHINES = {"x86_64": 62, "aarch64": 183, "riscv64": 243, "ppc64le": 21}
"""e_machine of the ELF header (System V ABI)."""
NOT_RUN = "the device is not found: every case is NOT_RUN"


def examine(host: Host, subject: Subject) -> Iterator[Finding]:  # noqa: ARG001 - the port has it
    """Look for library, module and provider."""
    if not subject.is_known or subject.ssh or subject.environment.problem:
        return
    if "library" in subject.options:
        yield look_at_library(Path(subject.options["library"]), platform.machine())
    if "module" in subject.options:
        yield _look_at_module(subject, subject.options["module"])
    if subject.adapter == "onnxruntime":
        yield _look_at_onnxruntime(subject)


def look_at_library(path: Path, machine: str) -> Finding:
    """Look whether a file is a shared library for this machine; its first bytes say so."""
    try:
        with path.open("rb") as stream:
            head = stream.read(20)
    except OSError as error:
        return Finding(
            name="library",
            state=State.MISSING,
            found=f"{path}: {(error.strerror or 'cannot be read').lower()}",
            means=NOT_RUN,
            remedy="write the path of the vendor's library, relative to the profile, into runtime.library",
            needed_by=(EVERY,),
        )
    kind = struct.unpack_from("<H", head, 18)[0] if len(head) == 20 and head[:4] == b"\x7fELF" else None
    if kind is None or (machine in MACHINES and kind != MACHINES[machine]):
        told = "is no shared library of Linux" if kind is None else f"is made for another machine than {machine}"
        return Finding(
            name="library",
            state=State.WRONG,
            found=f"{path} {told}",
            means=NOT_RUN,
            remedy=f"get the vendor's library for linux-{machine}; `file {shlex.quote(str(path))}` says what this one is",
            needed_by=(EVERY,),
        )
    return Finding(name="library", state=State.OK, found=str(path), needed_by=(EVERY,))


def _look_at_module(subject: Subject, module: str) -> Finding:
    found, top = subject.environment, module.split(".", maxsplit=1)[0]
    if found.modules.get(module):
        versions = [f"{name} {one.version}" for name, one in found.distributions.items() if top in one.tops]
        return Finding(
            name="module",
            state=State.OK,
            found=f"{module}{' of ' + ', '.join(versions) if versions else ''}",
            needed_by=(EVERY,),
        )
    return Finding(
        name="module",
        state=State.MISSING,
        found=f"{module} is not installed in {found.executable}",
        means=NOT_RUN,
        remedy=found.pip(f"install {MODULES[module]}")
        if module in MODULES
        else f"install the vendor's package that holds {top}, or name its folder: `bench: {{env: {{PYTHONPATH: …}}}}`",
        needed_by=(EVERY,),
    )


def _look_at_onnxruntime(subject: Subject) -> Finding:
    found = subject.environment
    if not found.modules.get("onnxruntime"):
        return Finding(
            name="onnxruntime",
            state=State.MISSING,
            found=f"not installed in {found.executable}",
            means=NOT_RUN,
            remedy=found.pip(f"install {PACKAGES.get(subject.provider, 'onnxruntime')}"),
            needed_by=(EVERY,),
        )
    offered, problem = providers_of(subject.python, subject.child_environ)
    if problem:
        return Finding(
            name="onnxruntime",
            state=State.WRONG,
            found=f"cannot be imported: {problem}",
            means=NOT_RUN,
            remedy=f"{shlex.quote(found.executable)} -c 'import onnxruntime'   (shows why)",
            needed_by=(EVERY,),
        )
    is_plugin = "library" in subject.options or "module" in subject.options
    if is_plugin or subject.provider in offered:
        of = "a plugin brings the provider" if is_plugin else f"offers {subject.provider}"
        return Finding(name="onnxruntime", state=State.OK, found=of, needed_by=(EVERY,))
    package = PACKAGES.get(subject.provider)
    plain = [name for name in ("onnxruntime",) if name in found.distributions]
    instead = f"{found.pip('uninstall -y ' + ' '.join(plain))} && " if plain and package else ""
    return Finding(
        name="onnxruntime",
        state=State.MISSING,
        found=f"this build offers {', '.join(offered)}, not {subject.provider}",
        means=NOT_RUN,
        remedy=f"{instead}{found.pip('install ' + package)}"
        if package
        else f"install the vendor's build of onnxruntime with {subject.provider}, in the environment that `bench: {{python: …}}` names",
        needed_by=(EVERY,),
    )
