"""Reductions, running sums and the softmax family: axes as attribute and as input, kept or dropped, negative, none."""

from __future__ import annotations

from typing import Any

from conformance.reference.made.rows import MILD, Row, fed, fixed, given

REDUCTIONS: dict[str, tuple[str, ...]] = {
    "ReduceSum": ("normal", "positive", "wide", "cancelling"),
    "ReduceMean": ("normal", "positive", "wide", "cancelling"),
    "ReduceL1": ("normal", "positive"),
    "ReduceL2": ("normal", "positive"),
    "ReduceSumSquare": ("normal", "positive"),
    "ReduceMax": ("normal", "wide", "ties"),
    "ReduceMin": ("normal", "wide", "ties"),
    "ReduceProd": ("near-one",),
    "ReduceLogSum": ("positive",),
    "ReduceLogSumExp": ("normal", "broad"),
}
_SETTINGS: tuple[tuple[str, tuple[int, ...], list[int] | None, int], ...] = (
    ("outputs-1100", (1100, 33), [1], 1),
    ("first-axis", (65, 37), [0], 0),
    ("middle-axis", (9, 31, 7), [1], 1),
    ("negative-axis", (9, 7, 31), [-1], 0),
    ("two-axes", (5, 7, 9, 3), [1, 3], 0),
    ("unordered-axes", (5, 7, 9), [-1, 0], 1),
    ("all-axes", (3, 5, 7), None, 1),
    ("all-axes-dropped", (3, 5, 7), None, 0),
    ("one-element", (4, 1), [1], 0),
)
_LONG = ("long-4096", (8, 4096), [1], 0)
"""Name, shape, axes, keepdims."""


def _reduction(op: str, sets: tuple[str, ...]) -> list[Row]:
    rows = []
    settings = _SETTINGS if op == "ReduceProd" else (*_SETTINGS, _LONG)
    for name, shape, axes, keep in settings:
        attributes: dict[str, Any] = {"keepdims": keep}
        if op != "ReduceSum":
            told = {} if axes is None else {"axes": axes}
            rows.append(Row(op, name, (given(*shape),), attributes | told, sets, last=13))
        second = () if axes is None else (fixed(axes),)
        rows.append(Row(op, name, (given(*shape), *second), attributes, sets, first=13 if op == "ReduceSum" else 18))
    first = 13 if op == "ReduceSum" else 18
    rows.append(Row(op, "noop", (given(5, 7),), {"noop_with_empty_axes": 1}, sets, first=first))
    rows.append(Row(op, "axes-fed", (given(5, 7, 3), fed([1])), {"keepdims": 0}, sets, first=first))
    return rows


def _along(op: str, sets: tuple[str, ...]) -> list[Row]:
    return [
        Row(op, "default-axis", (given(5, 7, 13),), {}, sets),
        Row(op, "axis-0", (given(13, 7),), {"axis": 0}, sets),
        Row(op, "axis-1", (given(3, 17, 5),), {"axis": 1}, sets),
        Row(op, "axis-negative-2", (given(3, 17, 5),), {"axis": -2}, sets),
        Row(op, "long-1025", (given(9, 1025),), {"axis": -1}, sets),
        Row(op, "one-element", (given(4, 1),), {"axis": -1}, sets[:1]),
    ]


_RUNNING = ("normal", "positive", "cancelling")
ROWS: list[Row] = [
    *(row for op, sets in REDUCTIONS.items() for row in _reduction(op, sets)),
    *(row for op in ("Softmax", "LogSoftmax") for row in _along(op, MILD)),
    *_along("Hardmax", ("distinct", "ties")),
    *(
        Row(
            "CumSum",
            f"exclusive-{exclusive}-reverse-{reverse}",
            (given(17, 65), fixed(1)),
            {"exclusive": exclusive, "reverse": reverse},
            _RUNNING,
        )
        for exclusive in (0, 1)
        for reverse in (0, 1)
    ),
    Row("CumSum", "negative-axis", (given(3, 17, 5), fixed(-2, "int32")), {}, _RUNNING),
    *(
        Row(
            "CumProd",
            f"exclusive-{exclusive}-reverse-{reverse}",
            (given(17, 33, draw="near-one"), fixed(1)),
            {"exclusive": exclusive, "reverse": reverse},
        )
        for exclusive in (0, 1)
        for reverse in (0, 1)
    ),
    *(
        Row(
            op,
            f"axis-{axis}-keepdims-{keep}-last-{last}".replace("--", "-minus-"),
            (given(5, 17, 3),),
            {"axis": axis, "keepdims": keep, "select_last_index": last},
            ("normal", "ties"),
        )
        for op in ("ArgMax", "ArgMin")
        for axis, keep, last in ((0, 1, 0), (1, 0, 0), (1, 1, 1), (-1, 0, 1), (-2, 1, 0))
    ),
    *(
        Row("TopK", name, (given(7, 31), fixed([k])), attributes, ("distinct", "normal"), outputs=2)
        for name, k, attributes in (
            ("k-5", 5, {}),
            ("k-1", 1, {"axis": -1}),
            ("smallest", 4, {"largest": 0}),
            ("axis-0", 3, {"axis": 0}),
            ("all", 31, {"axis": 1}),
        )
    ),
]
