"""The tree that a YAML file becomes: every value with its place, and the defects found on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from conformance.errors import ProfileError
from conformance.profile.wording import Message, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEFECTS: Final = 50
Scalar: TypeAlias = str | int | float | bool | None
KeyPath: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    def shifted(self, columns: int) -> Position:
        """Return the place `columns` further right."""
        return Position(self.file, self.line, self.column + columns)


@dataclass(frozen=True, slots=True)
class Defect:
    """One thing that is wrong, and where."""

    at: Position
    what: Message

    def __str__(self) -> str:
        return f"{self.at}: {self.what}"


@dataclass(slots=True)
class Node:
    """A value of the tree: `value` is a scalar, a dict of Nodes or a list of Nodes."""

    value: Scalar | dict[str, Node] | list[Node]
    at: Position
    key_at: Position | None = None
    source: str = ""
    """A scalar as it is written, without quotes."""
    text_shift: int = 0
    """Columns from `at` to the first character of the text (1 inside quotes)."""
    broken: bool = False
    """True where a defect was reported for this very node: what follows from it is not worth a second line."""

    def plain(self) -> Any:
        """Return the tree as plain dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def child(self, step: str | int) -> Node | None:
        """Return the node one step down, or None."""
        if isinstance(self.value, dict) and isinstance(step, str):
            return self.value.get(step)
        if isinstance(self.value, list) and isinstance(step, int) and 0 <= step < len(self.value):
            return self.value[step]
        return None

    def find(self, path: KeyPath) -> Node:
        """Return the node at `path`; steps that do not exist are passed over, so the nearest ancestor answers."""
        node = self
        for step in path:
            node = node.child(step) or node
        return node

    def walk(self, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Node]]:
        """Yield every node with its path, the root first."""
        yield path, self
        if isinstance(self.value, dict):
            for key, node in self.value.items():
                yield from node.walk((*path, key))
        elif isinstance(self.value, list):
            for index, node in enumerate(self.value):
                yield from node.walk((*path, index))


def raise_defects(defects: list[Defect], display: str) -> None:
    """Raise ProfileError with a line per defect in file order, at most MAX_DEFECTS; return when there are none."""
    if not defects:
        return
    lines: dict[str, None] = {}
    in_order = sorted(defects, key=lambda defect: defect.at)
    for index, defect in enumerate(in_order):
        if len(lines) == MAX_DEFECTS:
            lines[f"{display}: {len(in_order) - index} more defects are not shown: correct these first"] = None
            break
        lines[str(defect)] = None
    raise ProfileError(list(lines))


def describe(node: Node) -> str:
    """Return in words what a value is: `the number 1.10`, `the text 'abc'`, `a list`."""
    if isinstance(node.value, dict):
        return "a mapping"
    if isinstance(node.value, list):
        return "a list"
    if node.value is None:
        return "nothing"
    if isinstance(node.value, bool):
        return f"the value {node.source}"
    if isinstance(node.value, str):
        return f"the text '{shown(node.value, 60)}'"
    return f"the number {shown(node.source, 60)}"
