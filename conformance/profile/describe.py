"""What a profile says, in a few lines for people: the answer of `conformance check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.profile.bench import BenchFile
    from conformance.profile.category import CategoryHead, CategoryProfile
    from conformance.profile.device import DeviceProfile


def describe_device(profile: DeviceProfile, category: CategoryProfile, digest: str) -> list[str]:
    """Return the lines for a device profile: who, through what, which claims, and which MUSTs have no check yet."""
    device, runtime, declares = profile.device, profile.runtime, profile.declares
    opsets = ", ".join(f"{domain} {low} to {high}" for domain, (low, high) in declares.opsets.items())
    operators = "none"
    if declares.operators is not None:
        include, exclude = declares.operators.include, declares.operators.exclude
        operators = "all" if isinstance(include, str) else f"{len(include)} terms"
        operators += f" less {len(exclude)} exclusions" if exclude else ""
    musts = [requirement for requirement in category.requirements if requirement.level == "MUST"]
    unchecked = [requirement.id for requirement in musts if requirement.check is None]
    lines = [
        f"device profile: {device.vendor} {device.model}",
        f"category: {_head(category.category)}",
        f"runtime: {' '.join(part for part in (runtime.adapter, runtime.provider, runtime.module) if part)}",
        f"declares: opsets {opsets}; {len(declares.types)} types; operators {operators}",
        f"requirements: {len(category.requirements)}, of which {len(musts)} MUST",
    ]
    if unchecked:
        lines.append(f"no check yet: {', '.join(unchecked)} (these MUSTs stay open where they apply)")
    return [*lines, f"digest: {digest}"]


def describe_category(category: CategoryProfile) -> list[str]:
    """Return the lines for a category profile."""
    levels = [requirement.level for requirement in category.requirements]
    counts = ", ".join(f"{levels.count(level)} {level}" for level in ("MUST", "SHOULD", "MAY"))
    title = category.category.title
    return [
        f"category profile: {_head(category.category)}",
        f"title: {title.en} · {title.zh}",
        f"requirements: {len(levels)} ({counts})",
    ]


def _head(head: CategoryHead) -> str:
    return f"{head.name} {head.version} ({head.status}{'' if head.certifiable else ', not certifiable'})"


def describe_bench(bench: BenchFile, python: Path | None) -> list[str]:
    """Return the lines for a bench file."""
    transport = f"transport {bench.bench.transport}{f' to {bench.bench.ssh.name}' if bench.bench.ssh else ''}"
    remote = bench.bench.python or "python3"
    return [
        f"bench file: {bench.bench.lab or 'lab not named'}, {transport}",
        f"interpreter of the child: {remote if bench.bench.ssh else python or 'this one'}",
        f"waivers: {len(bench.waivers)}",
    ]
