"""The groups of a tensor's elements that are judged by themselves: slices along each axis, and binades of the reference.

What is wrong in one channel, at one position or among the small values drowns in the statistics of a whole tensor. A group is
looked at only where it holds enough elements: slices that are too small are left out, binades are merged upward from the
smallest until they are large enough (zero counts as the smallest), the remainder going into the last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from conformance.tensors import Array

POOLED, TESTED = 8, 32
"""The least number of elements of a group that variances are pooled over, and of one that is tested."""
_NONE = np.iinfo(np.int32).min


class Partition(NamedTuple):
    """Disjoint groups that hold every element of a tensor once."""

    shape: tuple[int, ...]
    axis: int
    """Along which axis the slices lie; -1 for binades."""
    labels: Array
    """Per element in C order, which group it is in (int32); empty for slices, whose groups follow from the shape."""
    counts: Array
    """Elements of each group."""
    exponents: tuple[tuple[int, int], ...] = ()
    """Of binades: the smallest and the largest ⌊log2|y|⌋ of each group."""

    def means(self, values: Array) -> Array:
        """Return the mean of each group of `values` [..., elements] as [..., groups]."""
        leading = values.shape[:-1]
        if self.axis >= 0:
            inner = int(np.prod(self.shape[self.axis + 1 :], dtype=np.int64))
            split = values.reshape(*leading, -1, self.shape[self.axis], inner)
            result: Array = split.mean(axis=(-3, -1))
            return result
        rows = values.reshape(-1, values.shape[-1])
        sums = [np.bincount(self.labels, weights=row, minlength=len(self.counts)) for row in rows]
        return (np.stack(sums) / self.counts).reshape(*leading, len(self.counts))

    def spread_out(self, per_group: Array) -> Array:
        """Return a value per group as a value per element, in C order."""
        if self.axis < 0:
            taken: Array = per_group[self.labels]
            return taken
        lined = per_group.reshape(-1, *[1] * (len(self.shape) - self.axis - 1))
        return np.broadcast_to(lined, self.shape).reshape(-1)

    def name(self, group: int, tensor: str) -> str:
        """Return a group in words, such as `logits[:, 3]`."""
        if self.axis >= 0:
            places = [":"] * self.axis + [str(group)] + [":"] * (len(self.shape) - self.axis - 1)
            return f"{tensor}[{', '.join(places)}]"
        low, high = self.exponents[group]
        start = f"from 2^{low} " if low != _NONE else ""
        return f"the elements of {tensor} {start}up to 2^{high + 1 if high != _NONE else '-∞'} in size"


def partitions(reference: Array, least: int) -> list[Partition]:
    """Return the partitions of a reference's elements into groups of at least `least` elements.

    A partition of one group is left out: it is the tensor.
    """
    found = []
    for axis, length in enumerate(reference.shape):
        if length > 1 and reference.size // length >= least:
            counts = np.full(length, reference.size // length)
            found.append(Partition(reference.shape, axis, np.zeros(0, dtype=np.int32), counts))
    binades = _binades(reference, least) if reference.size >= 2 * least else None
    return [*found, binades] if binades is not None else found


def _binades(reference: Array, least: int) -> Partition | None:
    flat = reference.reshape(-1)
    exponents = np.where(np.isfinite(flat) & (flat != 0), np.frexp(flat)[1] - 1, _NONE).astype(np.int32)
    values, places, counts = np.unique(exponents, return_inverse=True, return_counts=True)
    group_of = np.zeros(len(values), dtype=np.int32)
    group, held = 0, 0
    for at, count in enumerate(counts.tolist()):
        group_of[at] = group
        held += count
        if held >= least:
            group, held = group + 1, 0
    if held and group:  # what is left over joins the last whole group
        group_of[group_of == group] = group - 1
    total = int(group_of[-1]) + 1
    if total < 2:
        return None
    labels = group_of[places.reshape(-1)]
    spans = tuple((int(values[group_of == one].min()), int(values[group_of == one].max())) for one in range(total))
    return Partition(reference.shape, -1, labels, np.bincount(labels, minlength=total), spans)
