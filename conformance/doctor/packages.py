"""The child's environment: its Python, this package and what it needs, where a bench file names another interpreter."""

from __future__ import annotations

import json
import re
import shlex
from importlib import metadata
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from conformance import __version__
from conformance.doctor.port import EVERY, Finding, Host, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.doctor.support.asking import Environment
    from conformance.doctor.support.subject import Subject

TITLE = "child's environment"
OWN = "resonance-conformance"
OLDEST_PYTHON = (3, 11)
NEEDED = ("msgspec", "numpy", "ml_dtypes")
"""What the child imports besides the standard library and the vendor's runtime."""
_LEAST = re.compile(r">=\s*([0-9.]+)")


def examine(host: Host, subject: Subject) -> Iterator[Finding]:  # noqa: ARG001 - the port has it
    """Look at the interpreter of the bench file, or say where else the child runs."""
    if subject.ssh:
        yield Finding(
            name="host",
            state=State.LIMITS,
            found=f"the device is on {subject.ssh}; all that is told here is about this host",
            means="permissions, drivers, clock and load count on the host that holds the device",
            remedy=f"ssh {subject.ssh} conformance doctor {subject.profile.path.name if subject.profile else ''}".strip(),
        )
        return
    found = subject.environment
    if found.problem:
        yield Finding(
            name="python",
            state=State.MISSING,
            found=f"{found.executable}: {found.problem}",
            means="no child can be started: the run ends with a harness error",
            remedy="name the interpreter of a working environment in the bench file: `bench: {python: env/bin/python}`",
            needed_by=(EVERY,),
        )
        return
    yield look_at_python(found)
    if subject.has_own_environment:
        yield look_at_needed(found)


def look_at_python(found: Environment) -> Finding:
    """Look whether the interpreter is new enough."""
    version = tuple(int(part) for part in found.python.split(".")[:2])
    if version >= OLDEST_PYTHON:
        return Finding(name="python", state=State.OK, found=f"{found.python}, {found.executable}", needed_by=(EVERY,))
    wanted = ".".join(map(str, OLDEST_PYTHON))
    return Finding(
        name="python",
        state=State.MISSING,
        found=f"{found.executable} is Python {found.python}; the child needs {wanted}",
        means="the child does not start",
        remedy=f"make the vendor's environment anew with Python {wanted} or later: `python{wanted} -m venv env`",
        needed_by=(EVERY,),
    )


def look_at_needed(found: Environment) -> Finding:
    """Look for this package, in this version, and for what the child imports.

    The command leaves dependencies out: this package asks for onnxruntime, which would overwrite a vendor's build of it.
    """
    spelled = {name.lower().replace("-", "_"): one.version for name, one in found.distributions.items()}
    own = spelled.get(OWN.replace("-", "_"), "")
    least = {name: least_version(name) for name in NEEDED}
    lacking = {name: have for name in NEEDED if _is_older(have := spelled.get(name, ""), least[name])}
    if own == __version__ and not lacking:
        versions = ", ".join(f"{name} {spelled[name]}" for name in NEEDED)
        return Finding(name="packages", state=State.OK, found=f"{OWN} {own}, {versions}", needed_by=(EVERY,))
    if not own and not lacking and found.modules.get("conformance"):
        return Finding(
            name="packages",
            state=State.LIMITS,
            found=f"{OWN} lies on PYTHONPATH, and no metadata says in which version",
            means="a child of another version measures in another way than this one judges",
            remedy=found.pip(f"install --no-deps {_source()}"),
            needed_by=(EVERY,),
        )
    told = [f"{OWN} {own or 'not installed'} (this is {__version__})"] if own != __version__ else []
    told += [f"{name} {have or 'not installed'} ({least[name]} or later)" for name, have in lacking.items()]
    words = ([_source()] if own != __version__ else []) + [f"'{name}>={least[name]}'" for name in lacking]
    return Finding(
        name="packages",
        state=State.MISSING if lacking or not own else State.WRONG,
        found=", ".join(told),
        means="the child does not start"
        if lacking or not own
        else "the child measures in another way than this version judges",
        remedy=found.pip(f"install --no-deps {' '.join(words)}"),
        needed_by=(EVERY,),
    )


def _source() -> str:
    """Return what to install to have this package in this version: the folder that it was installed from, or its name."""
    try:
        text = metadata.distribution(OWN).read_text("direct_url.json")
    except metadata.PackageNotFoundError:  # a checkout on the path, not installed
        text = None
    url = urlsplit(json.loads(text).get("url", "") if text else "")
    return shlex.quote(unquote(url.path)) if url.scheme == "file" else f"{OWN}=={__version__}"


def _is_older(have: str, least: str) -> bool:
    return not have or _numbers(have) < _numbers(least)


def least_version(name: str) -> str:
    """Return the least version of a dependency that this package asks for, `0` where it asks for none."""
    try:
        lines = metadata.requires(OWN) or []
    except metadata.PackageNotFoundError:  # a checkout on the path, not installed
        return "0"
    for line in lines:
        if line.lower().replace("-", "_").startswith(name):
            found = _LEAST.search(line)
            return found[1] if found else "0"
    return "0"


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:3]]
