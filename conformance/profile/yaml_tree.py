"""Bytes of a YAML file in, a tree with the place of every key and value out; hostile input ends in defects.

The tree is built from PyYAML's events, so no tag is ever constructed and no alias ever expanded. What a profile may
not hold is refused here: tags, anchors and aliases, several documents, duplicate and non-text keys, `.nan` and `.inf`,
control characters, and anything beyond the size limits. `no`, `on`, `12:30` and dates are text.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import yaml

from conformance.errors import ProfileError
from conformance.profile.scalars import find_forbidden, resolve_plain
from conformance.profile.tree import MAX_DEFECTS, Defect, Node, Position, describe
from conformance.profile.wording import shown

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 64
MAX_NODES: Final = 50_000

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_source(path: Path, display: str) -> bytes:
    """Return the bytes of a regular file of at most MAX_BYTES; ProfileError otherwise. A pipe is not waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ProfileError([f"{display}: cannot be read: {reason}"]) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ProfileError([f"{display}: is not a regular file: name a YAML file"])
        size = status.st_size
        data = b"" if size > MAX_BYTES else _read_all(descriptor)
    except OSError as error:
        raise ProfileError([f"{display}: cannot be read: {error.strerror}"]) from error
    finally:
        os.close(descriptor)
    if max(size, len(data)) > MAX_BYTES:
        raise ProfileError([f"{display}: holds {max(size, len(data))} bytes; at most {MAX_BYTES} are read"])
    return data


def _read_all(descriptor: int) -> bytes:
    blocks: list[bytes] = []
    left = MAX_BYTES + 1
    while left > 0 and (block := os.read(descriptor, left)):
        blocks.append(block)
        left -= len(block)
    return b"".join(blocks)


def parse_tree(data: bytes, display: str) -> tuple[Node | None, list[Defect]]:
    """Return the tree and the defects found while building it; None where nothing could be built."""
    defects: list[Defect] = []
    text = _decode(data, display, defects)
    if defects:
        return None, defects
    builder = _Builder(display, defects)
    try:
        for event in yaml.parse(text, Loader=LOADER):
            builder.take(event)
    except _StopError:
        return None, defects
    except yaml.MarkedYAMLError as error:
        defects.append(_syntax_defect(error, display))
        return None, defects
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # The pure-Python parser lets some of its own errors through (an escape beyond U+10FFFF is OverflowError).
        defects.append(Defect(builder.last, f"is not YAML: {shown(str(error).splitlines()[0])}"))
        return None, defects
    if builder.root is None:
        defects.append(Defect(Position(display, 1, 1), "the file holds no mapping: it is empty"))
    return builder.root, defects


_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def _decode(data: bytes, display: str, defects: list[Defect]) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        defects.append(Defect(Position(display, 1, 1), "is UTF-16 or UTF-32: save it as UTF-8"))
        return ""
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        at = _place(before, len(before), display)
        defects.append(Defect(at, f"byte 0x{data[error.start]:02x} is not UTF-8: save the file as UTF-8"))
        return ""
    for found in _FORBIDDEN.finditer(text):
        code = f"U+{ord(found.group()):04X}"
        defects.append(Defect(_place(text, found.start(), display), f"character {code} is not allowed: remove it"))
        if len(defects) > MAX_DEFECTS:
            break
    return text


def _place(text: str, index: int, display: str) -> Position:
    start = max(text.rfind("\n", 0, index), text.rfind("\r", 0, index)) + 1
    lines = len(re.findall(r"\r\n|\r|\n", text[:start]))
    return Position(display, lines + 1, index - start + 1)


def _syntax_defect(error: yaml.MarkedYAMLError, display: str) -> Defect:
    mark = error.problem_mark or error.context_mark
    at = Position(display, mark.line + 1, mark.column + 1) if mark else Position(display, 1, 1)
    problem = shown(error.problem or error.context or "cannot be parsed", 160)
    if "nesting depth" in problem:  # newer libyaml stops at 1,000 levels of its own, before the first event
        return Defect(at, f"nested deeper than {MAX_DEPTH} levels")
    remedy = ""
    if "cannot start any token" in problem:
        remedy = "; indent with spaces, and quote text that begins with a tab, @, ` or %"
    elif error.context and "flow" in error.context:
        remedy = "; quote text that holds brackets, braces or commas"
    elif "mapping values" in problem:
        remedy = "; quote text that holds ': '"
    return Defect(at, f"is not YAML: {problem}{remedy}")


@dataclass(slots=True)
class _Frame:
    node: Node
    key: Node | None = None
    lines: dict[str, int] = field(default_factory=dict)


class _StopError(Exception):
    """What follows in the file is not worth reading."""


class _Builder:
    """Turns events into Nodes with a stack of its own, so that depth costs no recursion."""

    def __init__(self, display: str, defects: list[Defect]) -> None:
        self.display = display
        self.defects = defects
        self.root: Node | None = None
        self.last = Position(display, 1, 1)
        self._stack: list[_Frame] = []
        self._nodes = 0
        self._documents = 0

    def take(self, event: Any) -> None:
        """Digest one event; _StopError where a limit is passed or a second document starts."""
        self.last = Position(self.display, event.start_mark.line + 1, event.start_mark.column + 1)
        if len(self.defects) > MAX_DEFECTS:
            raise _StopError
        if isinstance(event, yaml.DocumentStartEvent):
            self._start_document(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._attach(self._stack.pop().node)
        elif isinstance(event, yaml.NodeEvent):
            self._take_node(event)

    def _start_document(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            self._stop("a second document starts here: one file holds one document")
        if event.tags:
            self._stop("the %TAG directive is not allowed: remove it")

    def _take_node(self, event: Any) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._stop(f"more than {MAX_NODES} values: split the file or shorten it")
        node = Node(None, self.last, broken=self._is_refused(event))
        if isinstance(event, yaml.CollectionStartEvent):
            if len(self._stack) >= MAX_DEPTH:
                self._stop(f"nested deeper than {MAX_DEPTH} levels")
            node.value = {} if isinstance(event, yaml.MappingStartEvent) else []
            self._stack.append(_Frame(node))
            return
        if isinstance(event, yaml.ScalarEvent):
            self._resolve(event, node)
        self._attach(node)

    def _stop(self, what: str) -> None:
        self.defects.append(Defect(self.last, what))
        raise _StopError

    def _is_refused(self, event: Any) -> bool:
        if isinstance(event, yaml.AliasEvent):
            what = f"the alias '*{shown(str(event.anchor))}' is not allowed: write the value out"
        elif event.anchor is not None:
            what = f"the anchor '&{shown(event.anchor)}' is not allowed: write the value out where it is needed"
        elif event.tag is not None:
            what = f"the YAML tag '{shown(event.tag)}' is not allowed: remove it"
        else:
            return False
        self.defects.append(Defect(self.last, what))
        return True

    def _resolve(self, event: Any, node: Node) -> None:
        text: str = event.value
        node.value = node.source = text
        forbidden = find_forbidden(text)
        if forbidden:
            node.broken = True
            what = f"character U+{ord(forbidden):04X} is not allowed in text: remove it"
            self.defects.append(Defect(node.at, what))
        elif event.style:
            node.text_shift = 1 if event.style in "'\"" else 0
        elif not node.broken:
            try:
                node.value = resolve_plain(text)
            except ValueError as error:
                node.broken = True
                self.defects.append(Defect(node.at, str(error)))

    def _attach(self, node: Node) -> None:
        if not self._stack:
            self.root = node
            return
        frame = self._stack[-1]
        if isinstance(frame.node.value, list):
            frame.node.value.append(node)
        elif frame.key is None:
            frame.key = node
        elif isinstance(frame.node.value, dict):
            key, frame.key = frame.key, None
            self._enter(frame, frame.node.value, key, node)

    def _enter(self, frame: _Frame, mapping: dict[str, Node], key: Node, node: Node) -> None:
        if key.broken:
            return
        if not isinstance(key.value, str):
            wanted = f'quote it: "{shown(key.source)}"' if key.source else "write text before the colon"
            self.defects.append(Defect(key.at, f"a key must be text, found {describe(key)}: {wanted}"))
            return
        first = frame.lines.setdefault(key.value, key.at.line)
        if key.value in mapping:
            what = f"the key '{shown(key.value)}' is given twice: on line {first} and on line {key.at.line}"
            self.defects.append(Defect(key.at, what))
            return
        node.key_at = key.at
        mapping[key.value] = node
