"""Whether the host is a guest of a hypervisor, which hides what it does with the hardware."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conformance.doctor.port import Host


def is_guest(host: Host) -> bool:
    """Return whether the processors say that a hypervisor runs them (bit 31 of CPUID leaf 1), or the firmware does."""
    flags = next((line for line in host.text("proc/cpuinfo").splitlines() if line.startswith("flags")), "")
    return "hypervisor" in flags.split() or host.path("sys/hypervisor/type").exists()
