"""The words of the tables: a row is one setting of one operator, as data.

A row names the operator, its inputs and its attributes. Which versions of the operator and which floating-point types it
is carried out for follows from ONNX's own schemas (`listing.py`), so that a table says nothing twice. Example: the row
`Row("Gemm", "transposed", (given(7, 5), given(7, 9)), {"transA": 1})` becomes one case per version of Gemm and type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

SUBJECT = "T"
"""Stands for the floating-point type that a case is about."""
KINDS = ("float32", "float16", "bfloat16", "float64")
VALUES = ("normal", "positive", "wide", "cancelling")
"""Data sets of what computes with any number."""
MILD = ("normal", "broad", "small")
"""Data sets of what overflows or saturates on large numbers."""


class Given(NamedTuple):
    """One input of a node."""

    shape: tuple[int, ...] = ()
    draw: str = "free"
    """What it is filled with (`draws.py`); `free` takes the draw of the data set."""
    kind: str = SUBJECT
    values: Any = None
    """Not None: these values, whatever the seed."""
    is_constant: bool = False
    """Whether it is an initialiser of the graph, as axes and shapes are in nearly every model, rather than an input."""


class Row(NamedTuple):
    """One setting of one operator."""

    op: str
    name: str
    """Last part of the case id: lower case, words joined by hyphens."""
    inputs: tuple[Given | None, ...]
    attributes: Mapping[str, Any] = {}
    """By name; a callable is given the type and returns the value (tensors and graphs)."""
    sets: tuple[str, ...] = ("normal",)
    """The data sets, each by the draw that `free` inputs take."""
    outputs: int | tuple[bool, ...] = 1
    """How many outputs, or which of them are there."""
    kinds: tuple[str, ...] = KINDS
    first: int = 0
    """The lowest since_version that takes this setting, where attributes and inputs do not tell."""
    last: int = 999
    domain: str = ""
    needs_zero_size: bool = False
    needs_subnormals: bool = False
    extra: Mapping[str, int] = {}
    """Opset imports beside the operator's own domain."""


def given(*shape: int, draw: str = "free", kind: str = SUBJECT) -> Given:
    """Return an input that is drawn."""
    return Given(shape, draw, kind)


def fixed(values: Any, kind: str = "int64") -> Given:
    """Return an initialiser."""
    return Given(values=values, kind=kind, is_constant=True)


def fed(values: Any, kind: str = "int64") -> Given:
    """Return an input of the graph with values that do not depend on the seed."""
    return Given(values=values, kind=kind)
