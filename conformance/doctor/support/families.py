"""Families of accelerators by the driver they share: where its nodes, modules and libraries are.

A device of no family here is examined all the same, by what its profile and bench file name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from conformance.doctor.port import Host


class Family(NamedTuple):
    """What the devices of one driver have in common on Linux."""

    name: str
    pci_vendor: str
    """As sysfs spells it."""
    providers: tuple[str, ...]
    """Beginnings of the names of execution providers that need this driver."""
    vendors: tuple[str, ...]
    """Words by which profiles name the vendor, in small letters."""
    nodes: tuple[str, ...]
    """Patterns of device nodes; a run needs one of each."""
    modules: tuple[str, ...]
    """Kernel modules, one of which drives it."""
    library: str
    """The library that reads power and temperature, as the loader knows it; empty where the kernel's hwmon shows them."""
    library_name: str
    get_driver: str
    """What to do where the driver is missing."""


FAMILIES = (
    Family(
        "NVIDIA",
        "0x10de",
        ("CUDA", "Tensorrt", "NvTensorRT"),
        ("nvidia",),
        ("dev/nvidiactl", "dev/nvidia[0-9]*", "dev/nvidia-uvm"),
        ("nvidia",),
        "libnvidia-ml.so.1",
        "NVML",
        "install the NVIDIA driver on the host; in a container, start it with `--gpus all`",
    ),
    Family(
        "AMD",
        "0x1002",
        ("ROCM", "MIGraphX"),
        ("amd", "advanced micro devices"),
        ("dev/kfd", "dev/dri/renderD*"),
        ("amdgpu",),
        "libamd_smi.so",
        "AMD SMI",
        "install the amdgpu driver on the host; in a container, start it with `--device /dev/kfd --device /dev/dri`",
    ),
    Family(
        "Intel",
        "0x8086",
        (),
        ("intel",),
        ("dev/dri/renderD*",),
        ("xe", "i915"),
        "",
        "",
        "boot a kernel with the driver xe or i915; in a container, start it with `--device /dev/dri`",
    ),
)
INTEL_NPU = Family(
    "Intel NPU",
    "0x8086",
    (),
    ("intel",),
    ("dev/accel/accel*",),
    ("intel_vpu",),
    "",
    "",
    "boot a kernel with the driver intel_vpu (6.3 or later); in a container, start it with `--device /dev/accel`",
)


def family_of(provider: str, vendor: str, hardware: str) -> Family | None:
    """Return the family of a device that is no CPU: by its execution provider, then by its vendor; None where unknown."""
    if hardware == "cpu":
        return None
    for family in FAMILIES:
        if family.providers and provider.startswith(family.providers):
            return family
    words = vendor.lower()
    found = next((one for one in FAMILIES if any(name in words.split() or name == words for name in one.vendors)), None)
    if found is None or hardware not in ("gpu", "npu"):
        return None
    if hardware == "npu":
        return INTEL_NPU if found.name == "Intel" else None
    return found


def cards_of(host: Host, family: Family) -> list[str]:
    """Return the PCI addresses of display controllers (class 03) and accelerators (class 12) of a family's vendor."""
    return [
        path.parent.name
        for path in host.paths("sys/bus/pci/devices/*/vendor")
        if host.text(path) == family.pci_vendor
        and host.text(path.parent / "class").removeprefix("0x")[:2] in ("03", "12")
    ]
