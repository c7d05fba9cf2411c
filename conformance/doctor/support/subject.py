"""What the examinations are made for: a profile and a bench file, or nothing; and what follows from both."""

from __future__ import annotations

import os
import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from conformance.adapters.runtime import adapter_class
from conformance.doctor.port import EVERY
from conformance.doctor.support.asking import Environment, survey_of
from conformance.doctor.support.families import Family, family_of
from conformance.prepare import DROPPED_PREFIXES, prepare, runtime_options
from conformance.profile.conditions import evaluate
from conformance.profile.loader import load_bench

if TYPE_CHECKING:
    from conformance.doctor.port import Finding
    from conformance.profile.loader import LoadedBench, LoadedProfile

THIS_HOST = ("localhost", "127.0.0.1", "::1")
RUNTIMES = ("onnxruntime",)
"""Python packages of runtimes that vendors' wheels replace or extend."""


class Asked(NamedTuple):
    """A requirement that applies to the device."""

    id: str
    level: str
    area: str
    check: str


class Subject:
    """A device under test with its lab, or neither. Everything is told where nothing is known about the device."""

    def __init__(self, profile: LoadedProfile | None = None, bench: LoadedBench | None = None) -> None:
        self.profile, self.bench = profile, bench

    @classmethod
    def load(cls, profile: str | None = None, bench: str | None = None) -> Subject:
        """Load what the command line names; ProfileError with every defect, as for a run."""
        if profile is not None:
            return cls(*prepare(profile, bench))
        return cls(None, load_bench(bench) if bench is not None else None)

    @property
    def is_known(self) -> bool:
        """Whether there is a profile."""
        return self.profile is not None

    @property
    def ssh(self) -> str:
        """The other host that holds the device, as a person would write it; empty where it is on this one."""
        ssh = self.bench.bench.bench.ssh if self.bench is not None else None
        return ssh.name if ssh is not None else ""

    @property
    def is_elsewhere(self) -> bool:
        """Whether the device is on another host, as far as the files say: behind ssh, or behind a server that is not here."""
        if self.ssh or self.profile is None or not adapter_class(self.adapter).needs_server:
            return bool(self.ssh)
        server = self.bench.bench.bench.server if self.bench is not None else None
        return server is None or urlsplit(server.url).hostname not in THIS_HOST

    @property
    def adapter(self) -> str:
        """The runtime's adapter, empty without a profile."""
        return self.profile.profile.runtime.adapter if self.profile is not None else ""

    @property
    def provider(self) -> str:
        """The execution provider, empty where none is named."""
        return (self.profile.profile.runtime.provider or "") if self.profile is not None else ""

    @property
    def is_host_cpu(self) -> bool:
        """Whether the device under test is the CPU of the host."""
        return self.profile is not None and self.profile.profile.device.hardware == "cpu"

    @property
    def may_be_host_cpu(self) -> bool:
        """Whether what shows the CPU of the host is of interest: it is the device, or nothing is known."""
        return not self.is_known or self.is_host_cpu

    @cached_property
    def family(self) -> Family | None:
        """The family of drivers that the device belongs to; None where it is unknown, or the device is not on this host."""
        if self.profile is None or self.is_elsewhere:
            return None
        device = self.profile.profile.device
        return family_of(self.provider, device.vendor, device.hardware or "")

    @cached_property
    def options(self) -> dict[str, Any]:
        """The `runtime:` mapping as adapters take it, empty without a profile."""
        return runtime_options(self.profile, is_remote=bool(self.ssh)) if self.profile is not None else {}

    @property
    def python(self) -> str:
        """The interpreter of the child on this host."""
        return str(self.bench.python) if self.bench is not None and self.bench.python else sys.executable

    @property
    def has_own_environment(self) -> bool:
        """Whether the bench file names another interpreter than this one."""
        return self.bench is not None and self.bench.python is not None

    @property
    def child_environ(self) -> dict[str, str]:
        """The environment variables that a child of a run would have."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(DROPPED_PREFIXES)}
        given = (self.bench.bench.bench.env or {}) if self.bench is not None else {}
        return kept | {"ORT_DISABLE_TELEMETRY": "1"} | given

    @cached_property
    def environment(self) -> Environment:
        """What is installed where the child runs: asked of that interpreter, where it is another one."""
        modules = [*RUNTIMES, "conformance", *([self.options["module"]] if "module" in self.options else [])]
        has_variables = self.bench is not None and bool(self.bench.bench.bench.env)
        is_this = not (self.has_own_environment or has_variables)
        return survey_of(self.python, modules, None if is_this else self.child_environ)

    @cached_property
    def asked(self) -> tuple[Asked, ...]:
        """The category's requirements that apply to the device."""
        if self.profile is None:
            return ()
        return tuple(
            Asked(one.id, one.level, one.area, one.check or "")
            for one in self.profile.category.requirements
            if evaluate(one.applies_when, self.profile.profile)[0]
        )

    def requirements(self, finding: Finding, level: str = "") -> tuple[str, ...]:
        """Return the ids of the requirements that a finding concerns, of one level or of all."""
        needed = set(finding.needed_by)
        return tuple(
            one.id
            for one in self.asked
            if (not level or one.level == level) and (EVERY in needed or needed & {one.area, one.check})
        )

    def path_of_option(self, value: str) -> Path | None:
        """Return the path that an option of the profile names, None where it is relative: a child's folder is new each time."""
        path = Path(value)
        return path if path.is_absolute() else None
