"""Why each kind that escapes does: what is known, by name. A kind that escapes and is not named here says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conformance.selftest.matrix import Kind

REASONS: dict[str, str] = {
    "softmax-without-maximum": "below the overflow of exp it is the same function to the same accuracy: only larger scores show it",
}
"""By kind of defect."""


def why(kind: Kind) -> str:
    """Return why a kind that was not caught was not; empty for one that was."""
    if kind.is_caught:
        return ""
    if kind.name in REASONS:
        return REASONS[kind.name]
    if not kind.runs:
        return (
            "changes no output of any subject of this run"
            if kind.unchanged
            else "no subject of this run has a place for it"
        )
    return f"within every limit (at most {kind.nearest:.0%} of one)"
