"""The errors a user can meet, each with the exit code that belongs to it.

Only this family escapes a room; whatever a library raises is wrapped where it is called.
"""

from __future__ import annotations

EXIT_CONFORMANT = 0
EXIT_USAGE = 2
EXIT_CONDITIONAL = 10
EXIT_NON_CONFORMANT = 20
EXIT_INCOMPLETE = 30
EXIT_HARNESS = 70


class ConformanceError(Exception):
    """Base of all errors of this package; `exit_code` is what the command line ends with."""

    exit_code = EXIT_HARNESS


class UsageError(ConformanceError):
    """The user asked for something that cannot be: the message names the remedy."""

    exit_code = EXIT_USAGE


class ProfileError(UsageError):
    """One or more defects in a YAML file, a line each: `path:line:column: what is wrong`."""

    def __init__(self, defects: list[str]) -> None:
        super().__init__("\n".join(defects))
        self.defects = defects


class HarnessError(ConformanceError):
    """The harness or the host failed (disk full, protocol broken): never the device's fault."""


class AdapterError(ConformanceError):
    """A runtime refused or failed a request: evidence about the device, not a harness fault."""


class DeviceNotFound(AdapterError):
    """The device under test is not present: nothing can be said about it (NOT_RUN)."""


class PreconditionMissing(ConformanceError):
    """The host lacks something that the case needs (a locale, a permission): ERROR with the remedy."""
