"""The locale that operators over text are defined by: ONNX's StringNormalizer changes case as en_US has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.doctor.port import Finding, Host, State
from conformance.host import has_locale
from conformance.profile.claims import OperatorUse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.doctor.support.subject import Subject
    from conformance.profile.claims import Claims

TITLE = "locale"
NAME = "en_US.UTF-8"
CHANGES = ("LOWER", "UPPER")
"""Values of `case_change_action` that need it."""


def examine(host: Host, subject: Subject) -> Iterator[Finding]:  # noqa: ARG001 - the C library is this host's
    """Look for the locale, where the device claims the operator or nothing is known about it."""
    if subject.ssh:
        return
    is_claimed = subject.profile is not None and claims_case(subject.profile.claims)
    if not subject.is_known or is_claimed:
        yield tell_locale(has_locale(NAME), ("operators",) if is_claimed else ())


def claims_case(claims: Claims) -> bool:
    """Return whether a device claims to change the case of texts."""
    uses = (
        OperatorUse(
            domain="",
            op="StringNormalizer",
            since_version=10,
            attributes={"case_change_action": value},
            types=frozenset({"string"}),
        )
        for value in CHANGES
    )
    return any(not claims.why_unclaimed({"": 10}, [use], ["string"]) for use in uses)


def tell_locale(is_there: bool, needed_by: tuple[str, ...]) -> Finding:
    """Tell what follows. It limits a run, because the cases that change case are few, and a profile may exclude them."""
    if is_there:
        return Finding(name=NAME, state=State.OK, found="there", needed_by=needed_by)
    return Finding(
        name=NAME,
        state=State.MISSING,
        found="not on this host",
        means="cases of StringNormalizer that change case end as ERROR",
        remedy="sudo localedef -i en_US -f UTF-8 en_US.UTF-8   (Debian: after `sudo apt-get install locales`)",
        needed_by=needed_by,
    )
