"""All recipes of this family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.reference.contrib import attention_cases, linear_cases, other_cases
from conformance.reference.contrib.drafts import recipes_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.reference.contrib.drafts import Draft
    from conformance.reference.recipes import Recipe


def drafts() -> Iterator[Draft]:
    """Yield every draft, operator by operator."""
    for module in (linear_cases, attention_cases, other_cases):
        yield from module.DRAFTS


def recipes() -> Iterator[Recipe]:
    """Yield every recipe: `operators/com.microsoft.<operator>-1/<type>/made/<name>`."""
    seen: set[str] = set()
    for draft in drafts():
        yield from recipes_of(draft, is_first=draft.op not in seen)
        seen.add(draft.op)
