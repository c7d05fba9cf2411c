"""Groups of elements: which there are, and that means over them are those of the elements that they hold."""

from __future__ import annotations

import numpy as np

from conformance.numerics.groups import partitions


def _reference(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).normal(size=shape)


def test_slices_are_groups_where_they_hold_enough() -> None:
    parts = partitions(_reference(4, 1, 8, 5), 32)

    assert [part.axis for part in parts if part.axis >= 0] == [0, 3]
    assert [part.counts.tolist() for part in parts if part.axis >= 0] == [[40] * 4, [32] * 5]


def test_means_over_slices_and_binades_are_those_of_their_elements() -> None:
    y = _reference(6, 7, 9)
    values = np.random.default_rng(1).normal(size=(3, y.size))

    for part in partitions(y, 8):
        means = part.means(values)
        groups = part.spread_out(np.arange(len(part.counts)))
        for group in range(len(part.counts)):
            held = groups == group
            assert np.count_nonzero(held) == part.counts[group] >= 8
            np.testing.assert_allclose(means[:, group], values[:, held].mean(axis=1))


def test_binades_are_merged_upward_and_the_rest_joins_the_last() -> None:
    y = np.concatenate([[0.0] * 3, [0.3] * 6, [1.5] * 20, [5.0] * 8, [70.0] * 3])

    (part,) = [one for one in partitions(y, 8) if one.axis < 0]

    assert part.counts.tolist() == [9, 20, 11]
    assert part.labels.tolist() == [0] * 9 + [1] * 20 + [2] * 11
    assert part.name(1, "y") == "the elements of y from 2^0 up to 2^1 in size"
    assert part.name(0, "y") == "the elements of y up to 2^-1 in size"
    assert part.name(2, "y") == "the elements of y from 2^2 up to 2^7 in size"


def test_a_partition_of_one_group_is_the_tensor_itself() -> None:
    assert partitions(np.full((1, 64), 1.25), 32) == []
    assert partitions(np.zeros((0, 3)), 8) == []
    assert partitions(np.array(1.0), 8) == []


def test_a_slice_is_named_as_it_is_written() -> None:
    part = partitions(_reference(2, 32, 3), 32)[1]

    assert part.axis == 2
    assert part.name(1, "logits") == "logits[:, :, 1]"
