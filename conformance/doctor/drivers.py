"""Drivers: the kernel module of the device, the library that reads its power and temperature, and whether both agree."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from conformance.doctor.port import EVERY, Finding, Host, State
from conformance.doctor.support.families import FAMILIES, cards_of
from conformance.doctor.support.libraries import find_library, loader_folders, version_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.doctor.support.families import Family
    from conformance.doctor.support.subject import Subject

TITLE = "drivers"
METERS = ("power", "thermal")
_NVIDIA_VERSION = re.compile(r"Kernel Module(?: for \S+)?\s+(\d+(?:\.\d+)+)")


def examine(host: Host, subject: Subject) -> Iterator[Finding]:
    """Look at the driver of the device; at those of all known families where nothing is known about the device."""
    if subject.is_elsewhere or subject.is_host_cpu:
        return
    yield from _look_at_unit(host, subject)
    if subject.family is not None:
        yield from look_at_family(host, subject.family, is_device=True)
        return
    if subject.is_known:
        return
    seen = [one for one in FAMILIES if is_loaded(host, one) or cards_of(host, one)]
    for family in seen:
        yield from look_at_family(host, family, is_device=False)
    if not seen:
        names = ", ".join(one.name for one in FAMILIES)
        yield Finding(name="accelerators", state=State.OK, found=f"no card and no driver of {names}")


def is_loaded(host: Host, family: Family) -> bool:
    """Return whether a kernel module of a family is there."""
    return any(host.path(f"sys/module/{name}").exists() for name in family.modules)


def look_at_family(host: Host, family: Family, *, is_device: bool) -> Iterator[Finding]:
    """Look at the kernel module and at the library of the meters."""
    name = f"{family.name} driver"
    if not is_loaded(host, family):
        yield Finding(
            name=name,
            state=State.MISSING,
            found=f"the kernel module {' or '.join(family.modules)} is not loaded",
            means="the runtime finds no device: every case is NOT_RUN",
            remedy=family.get_driver,
            needed_by=(EVERY,) if is_device else (),
        )
        return
    version = module_version(host, family)
    yield Finding(
        name=name, state=State.OK, found=f"loaded{', ' + version if version else ''}", needed_by=(EVERY,) * is_device
    )
    if family.library:
        yield look_at_library(host, family, version, METERS if is_device else ())
    else:
        yield _look_at_kernel_meters(host, family, METERS if is_device else ())


def module_version(host: Host, family: Family) -> str:
    """Return the version of a family's kernel module, empty where it carries none."""
    found = _NVIDIA_VERSION.search(host.text("proc/driver/nvidia/version")) if family.name == "NVIDIA" else None
    if found:
        return found[1]
    return next(filter(None, (host.text(f"sys/module/{name}/version") for name in family.modules)), "")


def look_at_library(host: Host, family: Family, driver: str, needed_by: tuple[str, ...]) -> Finding:
    """Look for the library of the meters, and whether its version is the kernel module's: NVML refuses another one."""
    path = find_library(loader_folders(host, host.environ.get("LD_LIBRARY_PATH", "")), family.library)
    if path is None:
        capability = "; in a container, add `-e NVIDIA_DRIVER_CAPABILITIES=compute,utility`" * (family.name == "NVIDIA")
        return Finding(
            name=family.library_name,
            state=State.MISSING,
            found=f"{family.library} is nowhere where the loader looks",
            means="power and temperature of the device are UNMEASURED",
            remedy=f"install the part of the {family.name} driver that holds {family.library}{capability}",
            needed_by=needed_by,
        )
    version = version_of(path)
    if family.name == "NVIDIA" and version and driver and version != driver:
        return Finding(
            name=family.library_name,
            state=State.WRONG,
            found=f"the library is {version}, the kernel module {driver}",
            means="NVML and CUDA refuse to start: `Driver/library version mismatch`",
            remedy="sudo reboot",
            needed_by=(EVERY,) if needed_by else (),
        )
    return Finding(
        name=family.library_name,
        state=State.OK,
        found=f"{path}{', ' + version if version else ''}",
        needed_by=needed_by,
    )


def _look_at_kernel_meters(host: Host, family: Family, needed_by: tuple[str, ...]) -> Finding:
    """Look whether hwmon has a chip of the driver that shows power or energy."""
    chips = [path.parent for path in host.paths("sys/class/hwmon/hwmon*/name") if host.text(path) in family.modules]
    inputs = [one.name for chip in chips for one in sorted((*chip.glob("energy*_input"), *chip.glob("power*_*")))]
    if inputs:
        return Finding(
            name=f"{family.name} meters", state=State.OK, found=f"hwmon: {', '.join(inputs)}", needed_by=needed_by
        )
    return Finding(
        name=f"{family.name} meters",
        state=State.MISSING,
        found="hwmon shows no power and no energy of this driver",
        means="the device's power is UNMEASURED",
        remedy="name a meter in the bench file, or boot a newer kernel, whose driver shows them",
        needed_by=needed_by,
    )


def _look_at_unit(host: Host, subject: Subject) -> Iterator[Finding]:
    """Look whether the unit that the profile is bound to sits where it says, and with all its PCIe lanes."""
    binding = subject.profile.profile.device.binding if subject.profile is not None else None
    address = binding.pci_address if binding is not None else None
    if address is None:
        return
    folder = host.path(f"sys/bus/pci/devices/{address.lower()}")
    if not folder.exists():
        yield Finding(
            name="unit",
            state=State.MISSING,
            found=f"nothing sits at {address} of the PCI bus",
            means="the device is not found: every case is NOT_RUN",
            remedy="write the unit's address, which `lspci -D` shows, into device.binding.pci_address",
            needed_by=(EVERY,),
        )
        return
    width, most = host.text(folder / "current_link_width"), host.text(folder / "max_link_width")
    is_narrow = width.isdigit() and most.isdigit() and 0 < int(width) < int(most)
    yield Finding(
        name="unit",
        state=State.LIMITS if is_narrow else State.OK,
        found=f"at {address}" + (f", {width} of {most} PCIe lanes" if width.isdigit() and most.isdigit() else ""),
        means="transfers take longer than the card could: latency is the slot's" if is_narrow else "",
        remedy="seat the card anew, or move it to a slot with all its lanes" if is_narrow else "",
        needed_by=("latency",) if is_narrow else (EVERY,),
    )
