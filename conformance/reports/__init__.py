"""Reports: functions from a `RunResult` to bytes. Records first, renderers after.

A report is one module in this folder, or one that another distribution names in the entry-point group
`conformance.reports`, with two members: `FILE_NAME: str` and `render(result: RunResult) -> Iterable[bytes]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from conformance import registry
from conformance.errors import ConformanceError, HarnessError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from conformance.records import RunResult

__all__ = ["GROUP", "Report", "builtin_reports", "find_reports", "schemas", "write_all"]

GROUP = "conformance.reports"
KEPT_NAMES = frozenset({"journal.jsonl"})
"""Files of the run folder that are not reports and that no report may write."""


class Report(Protocol):
    """What a report module offers."""

    FILE_NAME: str

    def render(self, result: RunResult) -> Iterable[bytes]:
        """Return the file's bytes, in pieces."""


def builtin_reports() -> dict[str, Report]:
    """Return this package's own reports by name."""
    return {name: cast("Report", registry.load(__name__, GROUP, name)) for name in registry.builtin_names(__name__)}


def find_reports() -> dict[str, Report]:
    """Return all reports by name, this package's own first.

    UsageError where another distribution replaces a name or a file of the run folder, or is not a report.
    """
    found = builtin_reports()
    taken = {report.FILE_NAME for report in found.values()} | KEPT_NAMES
    for name in registry.added_names(GROUP, found):
        report = registry.load(__name__, GROUP, name)
        file_name = getattr(report, "FILE_NAME", None)
        if not isinstance(file_name, str) or not callable(getattr(report, "render", None)):
            raise UsageError(f"the report '{name}' has no FILE_NAME and render(result): uninstall it or mend it")
        if file_name in taken or file_name in ("", ".", "..") or set(file_name) & set("/\\\0"):
            raise UsageError(f"the report '{name}' may not write '{file_name}': it needs a free plain file name")
        taken.add(file_name)
        found[name] = cast("Report", report)
    return found


def write_all(result: RunResult, folder: Path) -> list[Path]:
    """Write every report into `folder` and return the paths, each file whole or not at all.

    This package's own come first, so that a report of another distribution can spoil none of them. HarnessError where
    a file cannot be written or an added report fails, UsageError where an added one breaks the rules; all that could be
    written is there then.
    """
    from conformance.reports.support.writing import write_whole

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HarnessError(f"{folder}: the run folder cannot be made: {error.strerror}; give another --out") from error
    own = builtin_reports()
    written = []
    for report in own.values():
        written.append(folder / report.FILE_NAME)
        write_whole(written[-1], report.render(result))
    failed: list[str] = []
    for name, report in find_reports().items():
        if name in own:
            continue
        try:
            write_whole(folder / report.FILE_NAME, report.render(result))
        except ConformanceError as error:
            failed.append(str(error))
        except Exception as error:  # noqa: BLE001 - foreign code: it may raise whatever it likes
            failed.append(f"the report '{name}' failed: {type(error).__name__}: {error}; uninstall it or mend it")
        else:
            written.append(folder / report.FILE_NAME)
    if failed:
        raise HarnessError("; ".join(failed))
    return written


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON schemas of the written files by name; `docs/schemas/NAME.schema.json` holds the same."""
    from conformance.reports.run_json import RunDocument
    from conformance.reports.support.plain import CaseLine
    from conformance.reports.support.schema import build

    return {"run": build("run", RunDocument), "case": build("case", CaseLine)}
