"""Permissions: whether this user may read the host's meters and use the device's nodes."""

from __future__ import annotations

import grp
import os
import shlex
from typing import TYPE_CHECKING

from conformance.doctor.port import EVERY, Finding, Host, State
from conformance.doctor.support.guest import is_guest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conformance.doctor.support.families import Family
    from conformance.doctor.support.subject import Subject

TITLE = "permissions"
NOT_RUN = "the runtime finds no device that it can open: every case is NOT_RUN"
NO_SENSORS = "a virtual machine shows none: name a meter outside it in the bench file, or measure on the bare host"
ENERGY = "sys/class/powercap/*/energy_uj"
OWN_PROCESSES = 2
"""kernel.perf_event_paranoid up to which a user may count events of his own processes."""


def examine(host: Host, subject: Subject) -> Iterator[Finding]:
    """Look at RAPL, hwmon, device nodes and perf."""
    if subject.may_be_host_cpu:
        needed = subject.is_host_cpu
        yield look_at_rapl(host, ("power",) if needed else ())
        yield look_at_thermometers(host, ("thermal",) if needed else ())
    if subject.family is not None:
        yield look_at_nodes(host, subject.family)
    yield look_at_perf(host)


def look_at_rapl(host: Host, needed_by: tuple[str, ...]) -> Finding:
    """Look whether the energy counters of the CPU can be read (root alone may, since CVE-2020-8694)."""
    counters = host.paths(ENERGY)
    if not counters:
        return Finding(
            name="RAPL",
            state=State.MISSING,
            found="no energy counter below /sys/class/powercap",
            means="the power of the host's CPU is UNMEASURED",
            remedy=NO_SENSORS if is_guest(host) else "sudo modprobe intel_rapl_msr",
            needed_by=needed_by,
        )
    problems = {path.parent.name: why for path in counters if (why := host.read(path)[1])}
    if problems:
        name, why = next(iter(problems.items()))
        return Finding(
            name="RAPL",
            state=State.MISSING,
            found=f"{len(problems)} of {len(counters)} energy counters cannot be read ({name}/energy_uj: {why})",
            means="the power of the host's CPU is UNMEASURED",
            remedy="sudo chmod a+r /sys/class/powercap/*/energy_uj",
            needed_by=needed_by,
        )
    zones = ", ".join(dict.fromkeys(host.text(path.parent / "name") or path.parent.name for path in counters))
    return Finding(name="RAPL", state=State.OK, found=f"{len(counters)} energy counters: {zones}", needed_by=needed_by)


def look_at_thermometers(host: Host, needed_by: tuple[str, ...]) -> Finding:
    """Look whether the host shows temperatures, by hwmon or by thermal zones."""
    inputs = [*host.paths("sys/class/hwmon/hwmon*/temp*_input"), *host.paths("sys/class/thermal/thermal_zone*/temp")]
    readable = [path for path in inputs if host.text(path)]
    if not readable:
        told = f"none of {len(inputs)} can be read" if inputs else "none in hwmon or among the thermal zones"
        return Finding(
            name="thermometers",
            state=State.MISSING,
            found=told,
            means="the temperature of the host's CPU is UNMEASURED",
            remedy=NO_SENSORS if is_guest(host) else "sudo modprobe coretemp || sudo modprobe k10temp",
            needed_by=needed_by,
        )
    names = (host.text(path.parent / ("name" if path.name != "temp" else "type")) for path in readable)
    chips = ", ".join(dict.fromkeys(filter(None, names)))
    return Finding(name="thermometers", state=State.OK, found=f"{len(readable)}: {chips}", needed_by=needed_by)


def look_at_nodes(host: Host, family: Family) -> Finding:
    """Look whether one node of each kind is there and may be read and written. They are not opened."""
    name = "device nodes"
    nodes = {pattern: host.paths(pattern) for pattern in family.nodes}
    absent = [f"/{pattern}" for pattern, found in nodes.items() if not found]
    if absent:
        is_driven = any(host.path(f"sys/module/{module}").exists() for module in family.modules)
        return Finding(
            name=name,
            state=State.MISSING,
            found=f"there is no {', no '.join(absent)}",
            means=NOT_RUN,
            remedy="sudo nvidia-modprobe -c 0 -u" if is_driven and family.name == "NVIDIA" else family.get_driver,
            needed_by=(EVERY,),
        )
    closed = [found for found in nodes.values() if not any(os.access(node, os.R_OK | os.W_OK) for node in found)]
    if closed:
        return Finding(
            name=name,
            state=State.MISSING,
            found=f"this user may not read and write {', '.join(str(found[0]) for found in closed)}",
            means=NOT_RUN,
            remedy=" && ".join(dict.fromkeys(_grant(found[0]) for found in closed)),
            needed_by=(EVERY,),
        )
    told = ", ".join(str(node) for found in nodes.values() for node in found)
    return Finding(name=name, state=State.OK, found=f"{told} may be used", needed_by=(EVERY,))


def _grant(node: Path) -> str:
    """Return what gives this user a node: membership of its group, where that has rights and is nobody's own."""
    try:
        status = node.stat()
        group = grp.getgrgid(status.st_gid).gr_name
    except (OSError, KeyError):
        return f"sudo chmod a+rw {shlex.quote(str(node))}"
    if group != "root" and status.st_mode & 0o060 == 0o060:
        return f"sudo usermod -aG {group} $USER && exec newgrp {group}"
    return f"sudo chmod a+rw {shlex.quote(str(node))}"


def look_at_perf(host: Host) -> Finding:
    """Look whether a user may count events (Documentation/admin-guide/perf-security.rst of the kernel)."""
    text = host.text("proc/sys/kernel/perf_event_paranoid")
    level = int(text) if text.lstrip("-").isdigit() else None
    if level is None:
        return Finding(name="perf", state=State.LIMITS, found="this kernel has no perf events", means=_NO_PERF)
    if level <= OWN_PROCESSES or os.geteuid() == 0:
        who = "of all processes" if level <= 0 or os.geteuid() == 0 else "of own processes"
        return Finding(name="perf", state=State.OK, found=f"events {who} may be counted (perf_event_paranoid {level})")
    return Finding(
        name="perf",
        state=State.LIMITS,
        found=f"closed to users (perf_event_paranoid {level})",
        means=_NO_PERF,
        remedy="sudo sysctl kernel.perf_event_paranoid=2",
    )


_NO_PERF = "a late inference cannot be traced to its cause with perf; no requirement rests on it"
