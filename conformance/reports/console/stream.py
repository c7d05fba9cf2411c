"""A text stream that never stops a run: what it cannot encode is spelled, and a reader that went away is let go.

A display is no evidence. Were a closed pipe to end the run, `conformance run | head` would lose the verdict.
"""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, cast

from rich.console import Console

if TYPE_CHECKING:
    from typing import TextIO

WIDEST = 1000
PIPE_WIDTH = 120
"""Columns where nobody says how wide the output is."""
_ASCII = str.maketrans(
    {"·": "-", "…": "...", "≤": "<=", "≥": ">=", "—": "-", "×": "x", "→": "->", "─": "-", "↳": ">", "–": "-", "±": "+-"}
)


class SafeStream:
    """What rich needs of a file, over any text stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = getattr(stream, "encoding", None) or "utf-8"
        self._is_unicode = self.encoding.lower().replace("-", "").startswith("utf")
        self.is_lost = False
        """True once the stream took no more."""

    def write(self, text: str) -> int:
        """Write as far as the stream allows; returns the length given."""
        if not self.is_lost:
            shown = text if self._is_unicode else text.translate(_ASCII)
            try:
                self._stream.write(shown.encode(self.encoding, "backslashreplace").decode(self.encoding))
            except (OSError, ValueError):  # ValueError: closed
                self._lose()
        return len(text)

    def flush(self) -> None:
        """Flush as far as the stream allows."""
        if not self.is_lost:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._lose()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return is_terminal(self._stream)

    def fileno(self) -> int:
        """Return the descriptor; OSError where there is none."""
        return self._stream.fileno()

    def _lose(self) -> None:
        self.is_lost = True
        try:  # what Python still holds back would fail at exit and change the exit code
            null = os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(null, self._stream.fileno())
            finally:
                os.close(null)
        except (OSError, ValueError):
            return


def is_terminal(stream: TextIO) -> bool:
    """Return whether a stream is a terminal that can move its cursor."""
    try:
        return stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")
    except ValueError:  # closed
        return False


def open_console(stream: TextIO) -> Console:
    """Return a console of rich over a stream: no markup is ever read, a pipe gets no control sequence.

    `NO_COLOR` and `COLUMNS` are honoured; `FORCE_COLOR` does not reach a pipe.
    """
    terminal = is_terminal(stream)
    columns = os.environ.get("COLUMNS", "")
    width = PIPE_WIDTH if not terminal else None
    if columns.isdigit():  # honoured on a terminal too, within reason: rich pads to the full width
        width = max(20, min(int(columns[:6]), WIDEST))
    return Console(
        file=cast("IO[str]", SafeStream(stream)),
        force_terminal=terminal,
        color_system="auto" if terminal else None,
        width=width,
        markup=False,
        emoji=False,
        highlight=False,
    )
