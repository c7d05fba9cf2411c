"""One run in a process of its own: `python drive.py REQUEST.json`; the result lands beside the journal as result.json.

The reports are another room's business; this is what the room before them does, so that it can be killed and counted.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from conformance import conduct
from conformance.errors import ConformanceError

if TYPE_CHECKING:
    from conformance.records import Record


class Quiet:
    """A display that says nothing; `pause_s` makes it slow, as a terminal that is held is."""

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s

    def start(self, info: dict[str, str], total: int) -> None:
        """Say nothing."""

    def finish(self) -> None:
        """Say nothing."""

    def case_started(self, case_id: str, worker: int) -> None:
        """Say nothing."""

    def case_finished(self, record: Record) -> None:
        """Take as long as told."""
        time.sleep(self._pause_s)

    def note(self, text: str) -> None:
        """Say nothing."""


def main() -> int:
    """Run and return the exit code that `conformance run` would end with."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs in its background
    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    pause_s = asked.pop("pause_s", 0.0)
    asked["out"] = Path(asked["out"])
    try:
        result, folder = conduct.run(conduct.Request(**asked), Quiet(pause_s))
    except ConformanceError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    temporary = folder / "result.json.part"
    temporary.write_bytes(msgspec.json.encode(result))
    temporary.rename(folder / "result.json")
    return result.verdict.exit_code


if __name__ == "__main__":
    sys.exit(main())
