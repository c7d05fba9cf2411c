"""Wheels that overwrite each other in the environment of the child: read from their lists of files, without an import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.doctor.port import EVERY, Finding, Host, State
from conformance.doctor.support.subject import RUNTIMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.doctor.support.asking import Environment, Shared
    from conformance.doctor.support.subject import Subject

TITLE = "wheels"


def examine(host: Host, subject: Subject) -> Iterator[Finding]:  # noqa: ARG001 - the port has it
    """Look at the distributions of the interpreter that the child would have."""
    if subject.ssh:
        return
    found = subject.environment
    if found.problem:  # `packages` tells it
        return
    module = subject.options.get("module", "")
    matters = {*RUNTIMES, module.split(".")[0]}
    bad = [
        *(_tell_shared(one, found, subject.provider) for one in found.shared if one.package in matters),
        *_look_for_absent(found),
        *(_tell_twice(name, found) for name in found.twice),
        *(_tell_shared(one, found, "") for one in found.shared if one.package not in matters),
    ]
    if not bad:
        runtimes = [f"{name} {one.version}" for name, one in found.distributions.items() if matters & set(one.tops)]
        told = f"{len(found.distributions)} distributions, none overwrites another" + (
            f"; runtime: {', '.join(runtimes)}" if runtimes else ""
        )
        bad = [Finding(name="conflicts", state=State.OK, found=told)]
    yield from bad


def _tell_shared(shared: Shared, found: Environment, provider: str) -> Finding:
    """Tell of wheels that bring the same files: fatal for a run where it is the runtime, else of little weight."""
    names = [f"{name} {found.distributions[name].version}" for name in shared.owners]
    is_runtime = shared.package in RUNTIMES
    lying = f"; those of {shared.winner} lie there" if shared.winner else "; what lies there is a mixture"
    kept = _choose(shared.owners, provider) if is_runtime else shared.owners[0]
    others = " ".join(shared.owners)
    again = f"{kept}=={found.distributions[kept].version}"
    return Finding(
        name=shared.package,
        state=State.WRONG if is_runtime else State.LIMITS,
        found=f"{' and '.join(names)} both bring {shared.files} files, such as {shared.example}{lying}",
        means="the runtime that answers is not the one that its version names; a provider may be missing without a word"
        if is_runtime
        else "one of them may fail when it is imported",
        remedy=f"{found.pip(f'uninstall -y {others}')} && {found.pip(f'install --no-deps {again}')}"
        if is_runtime
        else found.pip(f"install --force-reinstall --no-deps {again}"),
        needed_by=(EVERY,) if is_runtime else (),
    )


def _choose(owners: tuple[str, ...], provider: str) -> str:
    """Return which of several builds of the runtime to keep: the plain one for its own provider, else the vendor's."""
    plain = next((name for name in owners if name in RUNTIMES), "")
    special = [name for name in owners if name != plain]
    if provider in ("", "CPUExecutionProvider"):
        return plain or special[0]
    spoken = provider.removesuffix("ExecutionProvider").lower()
    return next((name for name in special if spoken in name.replace("-", "")), special[0] if special else plain)


def _look_for_absent(found: Environment) -> Iterator[Finding]:
    """Tell of runtimes whose files are gone, as they are after another build was taken away."""
    for name, one in found.distributions.items():
        if one.absent:
            yield Finding(
                name=name,
                state=State.WRONG,
                found=f"{one.absent} of {one.files} files that {name} {one.version} lists are not there",
                means="the runtime is broken: another wheel with the same files was probably taken away",
                remedy=found.pip(f"install --force-reinstall --no-deps {name}=={one.version}"),
                needed_by=(EVERY,),
            )


def _tell_twice(name: str, found: Environment) -> Finding:
    return Finding(
        name=name,
        state=State.WRONG if name in RUNTIMES else State.LIMITS,
        found="is recorded more than once in one folder",
        means="the version that a run stamps may be the wrong one",
        remedy=found.pip(f"install --force-reinstall --no-deps {name}"),
        needed_by=(EVERY,) if name in RUNTIMES else (),
    )
