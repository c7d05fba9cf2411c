"""A challenge: what is taken, and what it does to a salt."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.errors import UsageError
from conformance.reference.challenges import LONGEST, read_challenge, salted
from conformance.reference.probes import draw_bits


@pytest.mark.parametrize("text", ["lot 7", "审核 2026-11", "x" * LONGEST, "a'b\"c $(d) \\"])
def test_printable_text_in_one_line_is_taken_as_it_is(text: str) -> None:
    assert read_challenge(text) == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "--challenge is empty"),
        (" \t ", "--challenge is empty"),
        ("x" * (10 << 20), "--challenge has 10485760 characters, 200 are the most"),
        ("a\nb", "U+000A"),
        ("a\x1b[31m", "U+001B"),
        ("a\x00", "U+0000"),
        ("a\udc80", "U+DC80"),
        ("a\u202eb", "U+202E"),
        ("a\u2028b", "U+2028"),
    ],
)
def test_anything_else_is_refused_in_one_line(text: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_challenge(text)
    assert told in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 120


def test_without_a_challenge_salts_stay() -> None:
    assert [salted(salt, "") for salt in (0, 5000)] == [0, 5000]


def test_a_challenge_moves_salts_far_and_always_the_same_way() -> None:
    texts = [f"lot {at}" for at in range(100)]
    moved = [salted(0, text) for text in texts]
    assert moved == [salted(0, text) for text in texts]
    assert len({one >> 16 for one in moved}) == 100
    assert all(one % (1 << 16) == 0 and 0 < one < 1 << 61 for one in moved)
    assert all(salted(7000, text) - one == 7000 for text, one in zip(texts, moved, strict=True))


def test_the_number_of_a_text_stays_over_versions() -> None:
    """A certifier's inputs have to be made again years later."""
    assert salted(0, "lot 7") == PINNED


def test_words_are_drawn_from_any_salt() -> None:
    one, other = (draw_bits((64,), salted(0, text)) for text in ("lot 7", "lot 8"))
    assert not np.intersect1d(one, other).size


PINNED = 1600640253396189184
