"""Every kind of defect that is injected, one file per family."""

from __future__ import annotations

from conformance.selftest.defects import (
    approximations,
    contractions,
    formats,
    layout,
    outputs,
    quantised,
    reductions,
    sequences,
    special,
)

DEFECTS = tuple(
    sorted(
        (
            one
            for family in (
                approximations, contractions, formats, layout, outputs, quantised, reductions, sequences, special,
            )
            for one in family.FAMILY.defects
        ),
        key=lambda one: one.name,
    )
)  # fmt: skip
"""Sorted by name."""
