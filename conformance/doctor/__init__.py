"""The doctor: what can be measured on this host for a device, what cannot, and what mends each.

An examination is one module in this folder (`port.py` says what it offers), or one that another distribution names in the
entry-point group `conformance.examinations`. One that fails costs its own findings and no others.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple, cast

from conformance import registry
from conformance.doctor.port import EVERY, Finding, State
from conformance.errors import UsageError

if TYPE_CHECKING:
    from conformance.doctor.port import Examination, Host
    from conformance.doctor.support.subject import Subject

PACKAGE = "conformance.doctor"
GROUP = "conformance.examinations"
EXIT_UNMET = 1
"""Something is missing or wrong that a MUST needs."""


class Examined(NamedTuple):
    """One examination, done."""

    name: str
    title: str
    findings: tuple[Finding, ...]
    took_s: float


def find_examinations() -> dict[str, Examination]:
    """Return all examinations by name. UsageError where another distribution replaces one, or has none under its name."""
    found = registry.scan(PACKAGE, GROUP)
    for name, module in found.items():
        if not isinstance(getattr(module, "TITLE", None), str) or not callable(getattr(module, "examine", None)):
            raise UsageError(f"the examination '{name}' has no TITLE and examine(): uninstall it or mend it")
    return {name: cast("Examination", module) for name, module in found.items()}


def examine(host: Host, subject: Subject) -> list[Examined]:
    """Do every examination, one after another: one of them listens how quiet the host is. UsageError for a wrong bench file."""
    done = []
    for name, module in find_examinations().items():
        began = time.monotonic()
        try:
            findings = tuple(module.examine(host, subject))
        except UsageError:  # the bench file is wrong: no run can begin with it either
            raise
        except Exception as error:  # noqa: BLE001 - a strange host must not cost the other findings
            findings = (
                Finding(
                    name=name,
                    state=State.LIMITS,
                    found=f"could not be looked at: {type(error).__name__}: {error}",
                    means="what this examination looks at is unknown",
                    remedy="report it with the output of `conformance doctor --json`",
                ),
            )
        done.append(Examined(name, module.TITLE, findings, time.monotonic() - began))
    return done


def unmet(done: list[Examined], subject: Subject) -> list[Finding]:
    """Return what is missing or wrong and needed by a MUST that applies; without a profile, what every run needs."""
    bad = [one for each in done for one in each.findings if one.state in (State.MISSING, State.WRONG)]
    if not subject.is_known:
        return [one for one in bad if EVERY in one.needed_by]
    return [one for one in bad if subject.requirements(one, "MUST")]


def exit_code(done: list[Examined], subject: Subject) -> int:
    """Return 0, or 1 where something is missing or wrong that a MUST needs."""
    return EXIT_UNMET if unmet(done, subject) else 0
