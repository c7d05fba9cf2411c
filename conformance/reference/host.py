"""What a generated suite depends on, as one digest: two hosts share a cache only if all of it is the same.

Expected outputs are computed by numpy's and the BLAS library's own kernels, which are chosen by CPU feature; on a host
without AVX-512 the bytes of dozens of cases differ.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

from conformance.errors import HarnessError

GENERATOR = ("entries.py", "generate.py", "models.py")
"""The modules that decide what a cache holds: their own text is its format number, which nobody can forget to raise."""

KERNEL_CHOICE = ("NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES", "OPENBLAS_CORETYPE", "MKL_CBWR")
"""Environment variables by which a user changes the kernels."""

CPU_LINES = ("model name", "flags", "Features", "CPU implementer", "CPU part")


def suite_key() -> str:
    """Return the cache key: `<onnx version>-<24 hex digits>`."""
    versions = {name: _version(name) for name in ("onnx", "numpy", "ml_dtypes")}
    parts = [f"format {_generator_digest()}", f"python {sys.version_info.major}.{sys.version_info.minor}"]
    parts += [f"{name} {version}" for name, version in versions.items()]
    # ONNX encodes the images of the ImageDecoder cases with Pillow where it is installed, and ships them where not.
    parts.append(f"pillow {_version('pillow', 'none')}")
    parts += [f"machine {platform.machine()}", *cpu_features()]
    parts += [f"{name}={os.environ.get(name, '')}" for name in KERNEL_CHOICE]
    digest = hashlib.blake2b("\n".join(parts).encode(), digest_size=12).hexdigest()
    return f"{versions['onnx']}-{digest}"


def cpu_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """Return the lines of the first processor that name its model and features, else what `platform` knows."""
    try:
        with cpuinfo.open(encoding="utf-8", errors="replace") as file:
            found = []
            for line in file:
                if not line.strip():
                    break
                if line.partition(":")[0].strip() in CPU_LINES:
                    found.append(line.strip())
    except OSError:
        found = []
    return found or [f"processor {platform.processor()}"]


def _generator_digest() -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in GENERATOR:
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()


def _version(package: str, otherwise: str = "") -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        if otherwise:
            return otherwise
        raise HarnessError(f"the package {package} is not installed: reinstall resonance-conformance") from None
