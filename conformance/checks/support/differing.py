"""Which answers have to be the same to the bit, and how two differ that are not. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from conformance.tensors import equal_bits

if TYPE_CHECKING:
    from conformance.tensors import Array, Value

Schedule = list[list[int]]
"""For each session, which data set each of its inferences takes."""
Batches = list[tuple[int, int]]
"""For each data set, how many rows it has, and which of them is compared."""


def baselines(schedule: Schedule, batches: Batches | None = None) -> dict[tuple[int, int], tuple[int, int]]:
    """Return, for each (session, inference) that has an earlier one to agree with, which one that is.

    That is the first of the same data set; with batches the very first, in which the row stands alone.
    """
    first: dict[int, tuple[int, int]] = {}
    found = {}
    for at, indices in enumerate(schedule):
        for number, index in enumerate(indices):
            key = index if batches is None else 0
            if key in first:
                found[at, number] = first[key]
            else:
                first[key] = at, number
    return found


def row_of(value: Value, size: int, place: int) -> Value:
    """Return one row of a batch, as a batch of its own; what is no batch of that size is returned as it is."""
    is_batch = isinstance(value, np.ndarray) and value.ndim > 0 and value.shape[0] == size
    return value[place : place + 1] if is_batch and isinstance(value, np.ndarray) else value


def comparable(value: Value, batches: Batches | None, index: int) -> Value:
    """Return what of an output of a data set is compared: all of it, or the row."""
    return value if batches is None else row_of(value, *batches[index])


class Difference(NamedTuple):
    """How two tensors differ that should be the same to the bit."""

    where: str
    """`logits[0,3]`, or the name alone where type or shape differ."""
    actual: str
    before: str
    differing: int
    total: int
    ulps: int | None
    """The largest distance in units in the last place; None where there is no such thing."""


def find_difference(name: str, before: Value, now: Value) -> Difference | None:
    """Return the first element that differs, how many do and by how much at most; None where all bits agree."""
    if equal_bits(before, now):
        return None
    if not isinstance(before, np.ndarray) or not isinstance(now, np.ndarray):
        return Difference(name, type(now).__name__, type(before).__name__, 1, 1, None)
    if before.shape != now.shape or before.dtype != now.dtype or before.dtype.kind in "OUST":
        told = [f"{one.dtype.name}{list(one.shape)}" for one in (now, before)]
        return Difference(name, told[0], told[1], 1, 1, None)
    raw = [np.ascontiguousarray(one).reshape(-1).view(np.uint8).reshape(one.size, -1) for one in (before, now)]
    differs = (raw[0] != raw[1]).any(axis=1).reshape(before.shape)
    at = tuple(int(one) for one in np.unravel_index(int(differs.argmax()), before.shape))
    place = f"[{','.join(map(str, at))}]" if at else ""
    ulps = ulps_apart(before[differs], now[differs]) if before.dtype.kind in "fV" else None
    shown = [_show(one[at]) for one in (now, before)]
    return Difference(f"{name}{place}", shown[0], shown[1], int(differs.sum()), before.size, ulps)


def ulps_apart(one: Array, other: Array) -> int | None:
    """Return the largest distance of floating-point numbers in units in the last place; None where any is not finite."""
    width: Any = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}.get(one.dtype.itemsize)
    wide = [part.astype(np.float64) for part in (one, other)]
    if width is None or not all(np.isfinite(part).all() for part in wide):
        return None
    steps = []
    for part in (one, other):
        bits = np.ascontiguousarray(part).view(width)
        wide_enough = bits.astype(np.int64 if width is not np.int64 else object)  # no distance may overflow
        steps.append(np.where(bits < 0, int(np.iinfo(width).min) - wide_enough, wide_enough))
    return int(np.abs(steps[0] - steps[1]).max())


def _show(item: Any) -> str:
    return f"{float(item):.9g}" if np.asarray(item).dtype.kind in "fV" else str(item)
