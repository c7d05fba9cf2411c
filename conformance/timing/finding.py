"""What a diagnosis says: a name that is the same in every report, a sentence, and the figures behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Finding(NamedTuple):
    """Something about a run that a percentile does not tell."""

    name: str
    text: str
    figures: Mapping[str, float]


def milliseconds(ns: float) -> str:
    """Return nanoseconds as text in milliseconds, with three or four figures."""
    return f"{ns / 1e6:.4g} ms"
