"""Shared libraries that the provider needs: onnxruntime drops a provider whose libraries are absent, and computes on the CPU.

The files are read, not loaded: what they ask for is looked up where the loader of the child would look.
"""

from __future__ import annotations

import platform
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from conformance.doctor.port import EVERY, Finding, Host, State
from conformance.doctor.support.elf import wanted_by
from conformance.doctor.support.libraries import find_library, loader_folders

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.doctor.support.subject import Subject

TITLE = "libraries"
IN_TREE = {
    "CUDAExecutionProvider": "libonnxruntime_providers_cuda.so",
    "TensorrtExecutionProvider": "libonnxruntime_providers_tensorrt.so",
    "OpenVINOExecutionProvider": "libonnxruntime_providers_openvino.so",
    "MIGraphXExecutionProvider": "libonnxruntime_providers_migraphx.so",
    "ROCMExecutionProvider": "libonnxruntime_providers_rocm.so",
    "CANNExecutionProvider": "libonnxruntime_providers_cann.so",
}
"""Files beside onnxruntime's own in `onnxruntime/capi`, by the provider that they hold."""
OF_NVIDIA = ("CUDAExecutionProvider", "TensorrtExecutionProvider")
INSTALL = "install what holds them, or name its folder in the bench file: `bench: {env: {LD_LIBRARY_PATH: …}}`"
OF_THE_HOST = ("libpython", "libonnxruntime.so", "ld-linux")
"""Beginnings of names that are in the process already."""


def examine(host: Host, subject: Subject) -> Iterator[Finding]:
    """Look what the provider's library needs and which of it the child would not find."""
    if not subject.is_known or subject.ssh or platform.machine() not in ("x86_64", "aarch64"):
        return
    library = library_of(subject)
    if library is not None and library.is_file():
        runtime = subject.environment.places.get("onnxruntime", "")
        found = look_at_needs(host, library, subject.child_environ, runtime)
        if found.remedy == INSTALL and subject.provider in OF_NVIDIA:
            get = subject.environment.pip("install 'onnxruntime-gpu[cuda,cudnn]'")
            found = msgspec.structs.replace(found, remedy=f"{get}, then ask the doctor again: it names their folders")
        yield found


def library_of(subject: Subject) -> Path | None:
    """Return the file that holds the provider, None where it is not known or inside onnxruntime's own library."""
    if "library" in subject.options:
        return Path(subject.options["library"])
    place = subject.environment.places.get("onnxruntime")
    if subject.adapter != "onnxruntime" or "module" in subject.options or not place:
        return None
    name = IN_TREE.get(subject.provider)
    return Path(place) / "capi" / name if name else None


def look_at_needs(host: Host, library: Path, environ: dict[str, str], runtime: str) -> Finding:
    """Look for each library that one needs. `runtime` is onnxruntime's folder, beside which NVIDIA's wheels lie."""
    wanted = wanted_by(library)
    if wanted is None:
        return Finding(
            name=library.name,
            state=State.LIMITS,
            found="cannot be read as a library of this machine",
            needed_by=(EVERY,),
        )
    own = [Path(folder.replace("$ORIGIN", str(library.parent))) for folder in wanted.folders]
    places = [*own, library.parent, *loader_folders(host, environ.get("LD_LIBRARY_PATH", ""))]
    absent = [
        name for name in wanted.libraries if not name.startswith(OF_THE_HOST) and find_library(places, name) is None
    ]
    if not absent:
        told = f"finds all {len(wanted.libraries)} libraries that it needs"
        return Finding(name=library.name, state=State.OK, found=told, needed_by=(EVERY,))
    if any(name.startswith("libc.so") for name in absent):  # another layout of the system, not a library that is absent
        return Finding(
            name=library.name,
            state=State.LIMITS,
            found="the loader of this system looks in folders that are not known here",
            means="whether the provider finds its libraries is unknown",
            remedy=f"ldd {shlex.quote(str(library))}",
            needed_by=(EVERY,),
        )
    beside = sorted({str(path.parent) for name in absent for path in _beside(runtime, name)})
    return Finding(
        name=library.name,
        state=State.MISSING,
        found=f"needs {', '.join(absent)}, which the loader does not find",
        means="the provider is dropped without an error, and the host's CPU computes in its place: placement is a FAIL",
        remedy=f"write into the bench file: bench: {{env: {{LD_LIBRARY_PATH: '{':'.join(beside)}'}}}}"
        if beside
        else INSTALL,
        needed_by=(EVERY,),
    )


def _beside(runtime: str, name: str) -> list[Path]:
    """Return where a library lies among the wheels beside the runtime: `nvidia/cudnn/lib`, `tensorrt_libs`."""
    if not runtime:
        return []
    site = Path(runtime).parent
    return [path for pattern in (f"nvidia/*/lib/{name}", f"*_libs/{name}") for path in site.glob(pattern)]
