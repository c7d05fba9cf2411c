"""What has to be known before a run: the files, the plan, how children are started. No device is opened here."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from conformance import plan as planning
from conformance.adapters.runtime import PACKAGE, adapter_class
from conformance.checks import check_module, check_names
from conformance.checks.support.port import Requested, Target
from conformance.errors import HarnessError, UsageError
from conformance.execution.hooks import Commands
from conformance.execution.protocol import Deadlines
from conformance.execution.ssh import Address, Remote
from conformance.execution.stores import unsealed
from conformance.execution.worker import Launch
from conformance.levels import FULL
from conformance.profile.loader import LoadedBench, LoadedProfile, load_bench, load_device
from conformance.records import GivenDocument
from conformance.registry import builtin_names
from conformance.verdict import Standing, Waiver

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.execution.sampler import Config

DROPPED_PREFIXES = ("CONFORMANCE_", "PYTEST_")
"""Environment variables that are the parent's own business; a child inherits the others."""


def prepare(profile: str, bench: str | None = None) -> tuple[LoadedProfile, LoadedBench | None]:
    """Load and validate the files of a run, the adapter's own options included; ProfileError with every defect."""
    loaded = load_device(profile)
    lab = load_bench(bench) if bench is not None else None
    check_options(loaded, is_remote=lab is not None and lab.bench.bench.ssh is not None)
    return loaded, lab


def check_options(loaded: LoadedProfile, *, is_remote: bool = False) -> None:
    """Validate what only the adapter can: its own options. ProfileError with the line of `runtime:` where they are wrong."""
    try:
        options = runtime_options(loaded, is_remote=is_remote)
        adapter_class(loaded.profile.runtime.adapter).read_options(options)
    except UsageError as error:
        raise loaded.error(("runtime",), str(error).removeprefix("runtime: ")) from error


def runtime_options(loaded: LoadedProfile, *, is_remote: bool = False) -> dict[str, Any]:
    """Return the `runtime:` mapping as adapters take it, with the binding of the one unit and absolute paths.

    A library is a path on the device's host: UsageError where that is another one and the path starts from the profile.
    """
    options = {
        key: value for key, value in loaded.profile.runtime.as_options().items() if key not in ("adapter", "deadlines")
    }
    if "library" in options and is_remote:
        if not options["library"].startswith("/"):
            told = (
                f"runtime.library is '{options['library']}', relative to the profile, and the device is on another host"
            )
            raise UsageError(f"{told}: write the absolute path on that host")
    elif "library" in options:
        options["library"] = str((loaded.folder / options["library"]).resolve())
    if "files" in options.get("publish", {}):
        files = {path: _inside(loaded, source) for path, source in options["publish"]["files"].items()}
        options["publish"] = options["publish"] | {"files": files}
    binding = loaded.profile.device.binding
    if binding is not None:
        given = binding.model_dump(exclude_none=True)
        flat = {**given.pop("metadata", {}), **{key: str(value) for key, value in given.items()}}
        if flat:
            options["binding"] = flat
    return options


def _inside(loaded: LoadedProfile, name: str) -> str:
    """Return the absolute path of a file that goes to the device. UsageError outside the profile's folder: it is the lab's."""
    path = (loaded.folder / name).resolve()
    if not path.is_relative_to(loaded.folder):
        raise UsageError(
            f"runtime.publish.files: '{name}' lies outside the profile's folder, and only what is in it is sent"
        )
    return str(path)


def server_options(loaded: LoadedProfile, bench: LoadedBench | None) -> dict[str, Any]:
    """Return the server of the bench file as adapters take it, paths absolute; empty where the runtime needs none.

    UsageError where it needs one and the bench file names none, or names a file that is not there.
    """
    runtime = loaded.profile.runtime
    if not adapter_class(runtime.adapter).needs_server:
        return {}
    server = bench.bench.bench.server if bench is not None else None
    if bench is None or server is None:
        where = f"{bench.path} names none: add" if bench is not None else "give --bench FILE with"
        example = "bench: {server: {url: http://127.0.0.1:8000}}"
        raise UsageError(f"{loaded.path.name}: the runtime {runtime.adapter} needs a server; {where} {example}")
    given: dict[str, Any] = server.model_dump(exclude_none=True)
    for key in ("token_file", "ca_file", "client_certificate", "client_key", "repository"):
        if key in given:
            path = (bench.path.resolve().parent / given[key]).absolute()
            if not path.exists():
                raise UsageError(f"{bench.path}: bench.server.{key}: there is no '{given[key]}' beside this file")
            given[key] = str(path)
    return {"server": given}


def meters_of(bench: LoadedBench | None) -> list[Config]:
    """Return the lab's meters, as `execution.sampling` reads them. UsageError where one is described wrongly."""
    if bench is None or not bench.bench.bench.telemetry:
        return []
    from conformance.execution.sampling import read_meters

    given = [one.plain() for one in bench.bench.bench.telemetry]
    try:
        return read_meters(given, bench.path.resolve().parent)
    except UsageError as error:
        raise UsageError(f"{bench.path}: {error}") from error


def make_plan(
    loaded: LoadedProfile,
    *,
    level: str = FULL,
    selection: str = "",
    progress: Any = None,
    bench: LoadedBench | None = None,
    challenge: str = "",
) -> tuple[planning.Plan, planning.Context]:
    """Plan a run; UsageError where nothing is selected."""
    from conformance.reference.sealed import without_collection
    from conformance.reference.suite import load_suite

    context = planning.Context(loaded, target_of(loaded, bench), lambda: load_suite(progress), challenge, level)
    with without_collection():  # it would take half of the time, and every object stays
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


def target_of(loaded: LoadedProfile, bench: LoadedBench | None = None) -> Target:
    """Return what the checks need to know about the device under test, and the lab about its unit."""
    profile = loaded.profile
    hardware = str(profile.device.hardware or "")
    adapter = adapter_class(profile.runtime.adapter)
    return Target(
        provider=profile.runtime.provider or profile.runtime.device or "",
        on_host_cpu=hardware == "cpu",
        has_telemetry=bool(bench is not None and bench.bench.bench.telemetry),
        takes_dynamic_shapes=bool(profile.declares.shapes and profile.declares.shapes.dynamic),
        takes_zero_size=bool(profile.declares.shapes and profile.declares.shapes.zero_size),
        is_host_cpu_allowed=loaded.category.caps.host_cpu == "allowed",
        hardware=hardware,
        unit_serial=(bench.bench.bench.unit_serial or "") if bench is not None else "",
        driver=profile.device.driver or "",
        binding=dict(runtime_options(loaded).get("binding", {})),
        features=frozenset(map(str, adapter.features(adapter.read_options(runtime_options(loaded))))),
        unsayable=dict(adapter.unsayable) if profile.runtime.adapter in builtin_names(PACKAGE) else {},
    )


def make_launch(loaded: LoadedProfile, bench: LoadedBench | None, scratch: Path) -> Launch:
    """Return how children of a run are started. The inputs are an empty file for `fill_and_seal`, which the caller closes."""
    if sys.platform != "linux":
        raise HarnessError("running devices needs Linux (child subreaper, memfd)")
    deadlines = loaded.deadlines
    environment = {key: value for key, value in os.environ.items() if not key.startswith(DROPPED_PREFIXES)}
    own = {"ORT_DISABLE_TELEMETRY": "1"} | ((bench.bench.bench.env or {}) if bench is not None else {})
    remote = remote_of(bench, own)
    try:
        scratch.mkdir(parents=True)
    except OSError as error:
        raise HarnessError(f"{scratch}: cannot be made: {error.strerror}; give another --out") from error
    return Launch(
        python=remote.python if remote else str(bench.python) if bench and bench.python else sys.executable,
        adapter=loaded.profile.runtime.adapter,
        runtime=runtime_options(loaded, is_remote=remote is not None) | server_options(loaded, bench),
        deadlines=Deadlines(open_s=deadlines["open_s"], compile_s=deadlines["compile_s"], run_s=deadlines["run_s"]),
        scratch=scratch,
        env=environment | own,
        memory_mb=loaded.category.caps.host_memory_mb,
        inputs_fd=unsealed("inputs"),
        remote=remote,
    )


def remote_of(bench: LoadedBench | None, env: dict[str, str]) -> Remote | None:
    """Return the host that holds the device, where the bench file names another one. Of our environment it gets `env` only."""
    if bench is None or bench.bench.bench.ssh is None:
        return None
    lab, given = bench.bench.bench, bench.bench.bench.ssh
    paths = (given.identity_file, given.known_hosts_file, given.config_file)
    files = [None if path is None else str(bench.folder / path) for path in paths]
    return Remote(Address(given.host, given.user, given.port, *files), lab.python or "python3", lab.workdir or "", env)


def count_workers(bench: LoadedBench | None) -> int:
    """Return how many children share the untimed cases of a device that is the host's CPU.

    Only one where the lab resets the device: a reset takes it from all of them.
    """
    if bench is not None and bench.bench.bench.hooks is not None:
        return 1
    asked = bench.bench.bench.workers if bench is not None else None
    return asked or min(4, len(os.sched_getaffinity(0)))


def commands_of(bench: LoadedBench | None) -> Commands:
    """Return the lab's commands that bring a device back; none where the bench file has none."""
    hooks = bench.bench.bench.hooks if bench is not None else None
    if bench is None or hooks is None:
        return Commands()
    return Commands(hooks.reset or (), hooks.power_cycle or (), bench.folder, hooks.settle_s, hooks.timeout_s)


def waivers_of(bench: LoadedBench | None) -> list[Waiver]:
    """Return the waivers that the lab signed."""
    given = bench.bench.waivers if bench is not None else ()
    return [Waiver(one.case, one.reason, one.owner, one.expires, one.issued, one.requirement) for one in given]


def standing_of(loaded: LoadedProfile) -> Standing:
    """Return what category and profile say about the device as a whole."""
    head, device = loaded.category.category, loaded.profile.device
    why = "" if head.certifiable else f"the category {head.name} is never certifiable"
    if device.adjacent_type is not None:
        adjacent = next(one for one in head.adjacent_types if one.name == device.adjacent_type)
        given = tuple(GivenDocument(name=one, state=_state_of(one, loaded.folder)) for one in device.documents)
        return Standing(head.certifiable, why, f"adjacent: {adjacent.name}", adjacent.documents, given)
    if not head.certifiable:
        return Standing(head.certifiable, why, "none: a pseudo-category")
    subtype = f" ({device.subtype})" if device.subtype is not None else ""
    return Standing(head.certifiable, why, f"named: {head.name}{subtype}")


def _state_of(document: str, folder: Path) -> str:
    """Return whether a document lies where the profile says: below its own folder, or somewhere on the net."""
    if "://" in document:
        return "not looked up"
    try:
        path = (folder / document).resolve()
        if not path.is_relative_to(folder):
            return "outside the profile's folder"
        return "there" if path.is_file() else "missing"
    except (OSError, ValueError):  # a name that no file can have
        return "missing"


def device_name(loaded: LoadedProfile, bench: LoadedBench | None = None) -> str:
    """Return the name by which one device is locked: adapter, provider, the unit it is bound to, its server, its host."""
    runtime, binding = loaded.profile.runtime, loaded.profile.device.binding
    unit = binding.model_dump_json(exclude_none=True) if binding is not None else ""
    server = server_options(loaded, bench).get("server", {}).get("url", "")
    ssh = bench.bench.bench.ssh if bench is not None else None
    host = f"@{ssh.host}:{ssh.port or 22}" if ssh is not None else ""
    return f"{runtime.adapter}:{target_of(loaded).provider}:{runtime.device or ''}:{unit}{server}{host}"
