"""Text from devices, made harmless: control, bidirectional and invisible characters are shown, never sent.

Nothing is dropped silently: what a reader could not see is spelled as a Python escape (`\\x1b`), what is cut says so.
The full text stays in cases.jsonl.
"""

from __future__ import annotations

import re

CUT_NOTE = "… [cut; {count:,} characters in all, see cases.jsonl]"
_SPELLED = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and line feed, DEL, C1: terminals obey them, XML 1.0 refuses most
    "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"  # line separators, bidi and invisible controls
    "\ud800-\udfff"  # lone surrogates: no UTF-8 exists for them
    "\ufdd0-\ufdef\ufff0-\ufffb\ufffe\uffff"  # noncharacters, annotations
    "\U000e0000-\U000e0fff"  # tags: text that no one sees
    "]"
)


def printable(text: str) -> str:
    """Return the text with every character spelled that a terminal, an XML parser or a reader could be fooled by."""
    return _SPELLED.sub(_spell, text.replace("\r\n", "\n"))


def _spell(match: re.Match[str]) -> str:
    return (
        match[0].encode("ascii", "backslashreplace").decode("ascii")
        if ord(match[0]) > 0xFF
        else f"\\x{ord(match[0]):02x}"
    )


def clip(text: str, limit: int) -> str:
    """Return printable text of at most `limit` bytes of UTF-8; a cut ends with a note. Reads no more than it needs."""
    head = printable(text[: limit + 1]).encode()
    if len(text) <= limit and len(head) <= limit:
        return head.decode()
    note = CUT_NOTE.format(count=len(text))
    return head[: max(0, limit - len(note.encode()))].decode(errors="ignore") + note


def one_line(text: str, limit: int) -> str:
    """Return printable text of at most `limit` characters on one line: white space is folded, a cut ends with `…`."""
    folded = " ".join(printable(text[: 4 * limit + 64]).split())
    if len(folded) <= limit and len(text) <= 4 * limit + 64:
        return folded
    return folded[: limit - 1] + "…"


def ascii_only(text: str) -> str:
    """Return printable ASCII: names that other systems use as keys."""
    return printable(text).encode("ascii", "backslashreplace").decode("ascii")
