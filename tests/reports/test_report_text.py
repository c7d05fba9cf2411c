"""Text from devices: spelled where it could fool someone, cut where it is too long, never dropped silently."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.reports.support.text import ascii_only, clip, one_line, printable


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain\ttext\nof two lines", "plain\ttext\nof two lines"),
        ("windows\r\nline", "windows\nline"),
        ("over\rwritten", "over\\x0dwritten"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x00\x07\x7f\x9b", "\\x00\\x07\\x7f\\x9b"),
        ("lone \ud800", "lone \\ud800"),
        ("\ufffe\uffff\ufdd0", "\\ufffe\\uffff\\ufdd0"),
        ("abc\u202edcb\u2066x", "abc\\u202edcb\\u2066x"),
        ("a\u2028b\u0085c", "a\\u2028b\\x85c"),
        ("\U000e0041", "\\U000e0041"),
        ("芯片 🚀 e\u0301 👩\u200d🔬", "芯片 🚀 e\u0301 👩\u200d🔬"),
        ("[red]markup[/red] <b>&amp;", "[red]markup[/red] <b>&amp;"),
    ],
)
def test_spelled(raw: str, shown: str) -> None:
    assert printable(raw) == shown


@given(st.text(st.characters(), max_size=200))
def test_nothing_hidden_survives(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in "\t\n"]
    assert not [c for c in shown if unicodedata.bidirectional(c) in ("RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI")]


@given(st.text(st.characters(), max_size=300), st.integers(80, 200))
def test_clipped_to_bytes(text: str, limit: int) -> None:
    clipped = clip(text, limit)
    assert len(clipped.encode()) <= limit
    if len(printable(text).encode()) <= limit:
        assert clipped == printable(text)
    else:
        assert clipped.endswith(f"[cut; {len(text):,} characters in all, see cases.jsonl]")


def test_clip_reads_no_more_than_it_needs() -> None:
    huge = "\x1b" * 50_000_000
    before_s = time.process_time()
    clipped = clip(huge, 65536)
    assert time.process_time() - before_s < 0.5
    assert len(clipped.encode()) <= 65536
    assert "50,000,000 characters" in clipped


@pytest.mark.parametrize(
    ("raw", "limit", "shown"),
    [
        ("a  b\n\tc", 10, "a b c"),
        ("abcdefghij", 10, "abcdefghij"),
        ("abcdefghijk", 10, "abcdefghi…"),
        (" " * 1000 + "x", 10, "…"),
    ],
)
def test_one_line(raw: str, limit: int, shown: str) -> None:
    assert one_line(raw, limit) == shown


def test_ascii_only() -> None:
    assert ascii_only("芯/é\x1b") == "\\u82af/\\xe9\\x1b"
