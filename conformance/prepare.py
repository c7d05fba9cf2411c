"""What has to be known before a run: the files, the plan, how children are started. No device is opened here."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from conformance import plan as planning
from conformance.adapters.runtime import adapter_class
from conformance.checks import check_module, check_names
from conformance.checks.support.port import Requested, Target
from conformance.errors import HarnessError, UsageError
from conformance.execution.protocol import Deadlines
from conformance.execution.stores import unsealed
from conformance.execution.worker import Launch
from conformance.profile.loader import LoadedBench, LoadedProfile, load_bench, load_device
from conformance.verdict import Standing, Waiver

if TYPE_CHECKING:
    from pathlib import Path

DROPPED_PREFIXES = ("CONFORMANCE_", "PYTEST_")
"""Environment variables that are the parent's own business; a child inherits the others."""


def prepare(profile: str, bench: str | None = None) -> tuple[LoadedProfile, LoadedBench | None]:
    """Load and validate the files of a run, the adapter's own options included; ProfileError with every defect."""
    loaded = load_device(profile)
    runtime = loaded.profile.runtime
    try:
        adapter_class(runtime.adapter).read_options(runtime_options(loaded))
    except UsageError as error:
        raise loaded.error(("runtime",), str(error).removeprefix("runtime: ")) from error
    return loaded, load_bench(bench) if bench is not None else None


def runtime_options(loaded: LoadedProfile) -> dict[str, Any]:
    """Return the `runtime:` mapping as adapters take it, with the binding of the one unit and absolute paths."""
    options = {
        key: value for key, value in loaded.profile.runtime.as_options().items() if key not in ("adapter", "deadlines")
    }
    if "library" in options:
        options["library"] = str((loaded.folder / options["library"]).resolve())
    binding = loaded.profile.device.binding
    if binding is not None:
        given = binding.model_dump(exclude_none=True)
        flat = {**given.pop("metadata", {}), **{key: str(value) for key, value in given.items()}}
        if flat:
            options["binding"] = flat
    return options


def make_plan(
    loaded: LoadedProfile, *, level: str = "full", selection: str = "", progress: Any = None
) -> tuple[planning.Plan, planning.Context]:
    """Plan a run; UsageError where nothing is selected."""
    from conformance.reference.suite import load_suite

    context = planning.Context(loaded, target_of(loaded), lambda: load_suite(progress))
    plan = planning.build(
        loaded,
        context,
        check_module,
        check_names(),
        lambda requirement, why: Requested(requirement.id, str(requirement.level), dict(requirement.params), why),
        level=level,
        selection=selection,
    )
    return plan, context


def target_of(loaded: LoadedProfile) -> Target:
    """Return what the checks need to know about the device under test."""
    profile = loaded.profile
    hardware = str(profile.device.hardware or "")
    return Target(
        provider=profile.runtime.provider or profile.runtime.device or "",
        on_host_cpu=hardware == "cpu",
        takes_zero_size=bool(profile.declares.shapes and profile.declares.shapes.zero_size),
        is_host_cpu_allowed=loaded.category.caps.host_cpu == "allowed",
        hardware=hardware,
        driver=profile.device.driver or "",
        binding=dict(runtime_options(loaded).get("binding", {})),
    )


def make_launch(loaded: LoadedProfile, bench: LoadedBench | None, scratch: Path) -> Launch:
    """Return how children of a run are started. The inputs are an empty file for `fill_and_seal`, which the caller closes."""
    if sys.platform != "linux":
        raise HarnessError("running devices needs Linux (child subreaper, memfd); use transport ssh from elsewhere")
    deadlines = loaded.deadlines
    environment = {key: value for key, value in os.environ.items() if not key.startswith(DROPPED_PREFIXES)}
    environment["ORT_DISABLE_TELEMETRY"] = "1"
    if bench is not None and bench.bench.bench.env:
        environment |= bench.bench.bench.env
    try:
        scratch.mkdir(parents=True)
    except OSError as error:
        raise HarnessError(f"{scratch}: cannot be made: {error.strerror}; give another --out") from error
    return Launch(
        python=str(bench.python) if bench is not None and bench.python is not None else sys.executable,
        adapter=loaded.profile.runtime.adapter,
        runtime=runtime_options(loaded),
        deadlines=Deadlines(open_s=deadlines["open_s"], compile_s=deadlines["compile_s"], run_s=deadlines["run_s"]),
        scratch=scratch,
        env=environment,
        memory_mb=loaded.category.caps.host_memory_mb,
        inputs_fd=unsealed("inputs"),
    )


def count_workers(bench: LoadedBench | None) -> int:
    """Return how many children share the untimed cases of a device that is the host's CPU."""
    asked = bench.bench.bench.workers if bench is not None else None
    return asked or min(4, len(os.sched_getaffinity(0)))


def waivers_of(bench: LoadedBench | None) -> list[Waiver]:
    """Return the waivers that the lab signed."""
    given = bench.bench.waivers if bench is not None else ()
    return [Waiver(one.case, one.reason, one.owner, one.expires, one.issued, one.requirement) for one in given]


def standing_of(loaded: LoadedProfile) -> Standing:
    """Return what category and profile say about the device as a whole."""
    head, device = loaded.category.category, loaded.profile.device
    why = "" if head.certifiable else f"the category {head.name} is never certifiable"
    if device.adjacent_type is not None:
        return Standing(head.certifiable, why, f"adjacent: {device.adjacent_type}")
    return Standing(head.certifiable, why, "none: a pseudo-category" if not head.certifiable else f"named: {head.name}")


def device_name(loaded: LoadedProfile) -> str:
    """Return the name by which one device is locked: adapter, provider and the unit it is bound to."""
    runtime, binding = loaded.profile.runtime, loaded.profile.device.binding
    unit = binding.model_dump_json(exclude_none=True) if binding is not None else ""
    return f"{runtime.adapter}:{target_of(loaded).provider}:{runtime.device or ''}:{unit}"
