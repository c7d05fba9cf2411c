"""The tree built from events: what it holds, where it stands, and everything it refuses."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conformance.errors import ProfileError
from conformance.profile import yaml_tree
from conformance.profile.tree import MAX_DEFECTS, Defect, Node, Position, describe, raise_defects
from conformance.profile.yaml_tree import MAX_BYTES, MAX_DEPTH, MAX_NODES, parse_tree, read_source

PARSERS = [pytest.param(yaml.SafeLoader, id="pure")]
if hasattr(yaml, "CSafeLoader"):
    PARSERS.append(pytest.param(yaml.CSafeLoader, id="libyaml"))


@pytest.fixture(params=PARSERS, autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Every test here runs on both parsers: which one is there depends on how PyYAML was built."""
    monkeypatch.setattr(yaml_tree, "LOADER", request.param)
    return request.param


def parse(text: str | bytes) -> tuple[Node | None, list[str]]:
    root, defects = parse_tree(text.encode() if isinstance(text, str) else text, "f.yaml")
    return root, [str(defect).removeprefix("f.yaml:") for defect in defects]


def plain(text: str | bytes) -> Any:
    root, defects = parse(text)
    assert root is not None
    assert defects == []
    return root.plain()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("true", True), ("FALSE", False), ("null", None), ("~", None), ("", None),
        ("0", 0), ("-7", -7), ("+3", 3), ("007", 7), ("0x1F", 31), ("0o17", 15),
        ("1.5", 1.5), (".5", 0.5), ("1.", 1.0), ("1e3", 1000.0), ("-2.5E-3", -0.0025),
        ("no", "no"), ("on", "on"), ("Yes", "Yes"), ("y", "y"), ("12:30", "12:30"), ("2020-01-02", "2020-01-02"),
        ("1.2.3", "1.2.3"), ("1_000", "1_000"), ("0b11", "0b11"), ("0x", "0x"), ("tRue", "tRue"), ("=", "="),
        ("<<", "<<"), ("'1'", "1"), ('"true"', "true"), ("|\n  line\n", "line\n"),
        ("9223372036854775807", 9223372036854775807),
    ],
)  # fmt: skip
def test_scalars_follow_the_core_schema(written: str, meant: object) -> None:
    value = plain(f"a: {written}")["a"]
    assert value == meant
    assert type(value) is type(meant)


@pytest.mark.parametrize(
    ("written", "what"),
    [
        (".nan", "not a number that can be measured against"), (".NaN", "not a number"), (".inf", "not a number"),
        ("-.INF", "not a number"), ("1e999", "out of range"), ("9223372036854775808", "at most 64 bits"),
        ("-0x1", ""), ("0xFFFFFFFFFFFFFFFFF", "at most 64 bits"), ("9" * 5000, "a number of 5000 characters"),
    ],
)  # fmt: skip
def test_numbers_that_cannot_be_compared_are_refused(written: str, what: str) -> None:
    _, defects = parse(f"a:\n  b: {written}")
    if what:
        assert len(defects) == 1
        assert defects[0].startswith("2:6: ")
        assert what in defects[0]
    else:
        assert defects == []


def test_places_of_keys_and_values() -> None:
    root, _ = parse('a: 1\nbé: {c: [x, "y"]}\n')
    assert root is not None
    deep = root.find(("bé", "c", 1))
    assert (deep.at.line, deep.at.column, deep.text_shift) == (2, 13, 1)
    within = root.find(("bé", "c"))
    assert within.key_at == Position("f.yaml", 2, 6)
    assert root.find(("bé", "nothing", "c")) is root.find(("bé", "c")), "steps that do not exist are passed over"
    assert root.find(("bé", "c", 9)) is within
    assert [path for path, _ in root.walk()] == [(), ("a",), ("bé",), ("bé", "c"), ("bé", "c", 0), ("bé", "c", 1)]


def test_a_byte_order_mark_is_tolerated() -> None:
    root, _ = parse(b"\xef\xbb\xbfa: 1")
    assert root is not None
    assert root.plain() == {"a": 1}
    assert root.find(("a",)).at.column == 4


def test_a_version_directive_is_tolerated() -> None:
    assert plain("%YAML 1.2\n---\na: no\n...\n") == {"a": "no"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a: !!python/object/apply:os.system [id]",
            "1:4: the YAML tag 'tag:yaml.org,2002:python/object/apply:os.system'",
        ),
        ("a: !!str 1", "1:4: the YAML tag"),
        ("a: ! 1", "1:4: the YAML tag"),
        ("!x a: 1", "1:1: the YAML tag"),
        ("%TAG ! tag:x,2000:\n---\na: 1", "the %TAG directive is not allowed"),
        ("a: &x 1", "1:4: the anchor '&x' is not allowed"),
        ("a: *x", "1:4: the alias '*x' is not allowed"),
        ("&a [*a]", "1:1: the anchor '&a' is not allowed"),
        ("a: 1\n---\nb: 2", "2:1: a second document starts here"),
        ("a: 1\nb: 2\na: 3", "3:1: the key 'a' is given twice: on line 1 and on line 3"),
        ("a: {b: 1, b: 2}", "1:11: the key 'b' is given twice: on line 1 and on line 1"),
        ("1: x", '1:1: a key must be text, found the number 1: quote it: "1"'),
        ("true: x", "1:1: a key must be text, found the value true: quote it"),
        ("~: x", "1:1: a key must be text, found nothing: quote it"),
        ("? [a, b]\n: x", "1:3: a key must be text, found a list"),
        ("? {a: b}\n: x", "1:3: a key must be text, found a mapping"),
        ("?\n: x", "a key must be text, found nothing: write text before the colon"),
        ("", "1:1: the file holds no mapping: it is empty"),
        ("# only a comment\n", "the file holds no mapping"),
        ("a: \x00", "1:4: character U+0000 is not allowed"),
        ("a: x\x1b[31m", "1:5: character U+001B is not allowed"),
        ("a: 1\nb: \x9b", "2:4: character U+009B is not allowed"),
        ("a: \u2028", "1:4: character U+2028 is not allowed"),
        ("a: \ufeff", "1:4: character U+FEFF is not allowed"),
        ('a: "\\u0007"', "1:4: character U+0007 is not allowed in text"),
        ('a: "\\x7f"', "1:4: character U+007F is not allowed in text"),
        ('"\\e": 1', "1:1: character U+001B is not allowed in text"),
        (b"a: \xff", "1:4: byte 0xff is not UTF-8"),
        ("é: 1\nb: ".encode() + b"\xc3", "2:4: byte 0xc3 is not UTF-8"),
        (b"\xff\xfea\x00", "1:1: is UTF-16 or UTF-32: save it as UTF-8"),
        (b"\xfe\xff\x00a", "1:1: is UTF-16 or UTF-32"),
        ("a: [1", "is not YAML"),
        ("a: 'x", "is not YAML"),
        ("\ta: 1", "1:1: is not YAML: "),
        ("a: @x", "1:4: is not YAML: "),
        ("a: b: c", "1:5: is not YAML: mapping values are not allowed"),
        ("a: [R[m=c]]", "1:6: is not YAML: "),
        ("- a\nb: 1", "is not YAML"),
        ("%YAML 3.0\n---\na: 1", "is not YAML"),
    ],
)
def test_what_is_refused_and_where(text: str | bytes, expected: str) -> None:
    _, defects = parse(text)
    assert any(expected in line for line in defects), defects


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("a: [R[m=c]]", "quote text that holds brackets"),
        ("a: @x", "quote text that begins with"),
        ("a: b: c", "quote text that holds ': '"),
    ],
)
def test_syntax_errors_name_a_remedy(text: str, remedy: str) -> None:
    _, defects = parse(text)
    assert remedy in defects[0]


def test_half_a_surrogate_pair_is_refused(parser: Any) -> None:
    _, defects = parse('a: "\\ud800"')
    assert len(defects) == 1
    assert "U+D800" in defects[0] if parser is yaml.SafeLoader else "is not YAML" in defects[0]


def test_an_escape_beyond_unicode_is_no_traceback() -> None:
    _, defects = parse('a: "\\UFFFFFFFF"')
    assert len(defects) == 1
    assert "is not YAML" in defects[0]


def test_an_alias_bomb_costs_nothing() -> None:
    levels = ["a: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    start = time.perf_counter()
    root, defects = parse("\n".join(levels))
    assert time.perf_counter() - start < 10.0
    assert root is None or len(list(root.walk())) < 1000
    assert "the anchor '&a0' is not allowed" in defects[0]


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "a:\n  ", "? "])
def test_5000_levels_are_refused_without_recursion(opening: str) -> None:
    text = opening * 5000 if opening != "a:\n  " else "".join(" " * n + "a:\n" for n in range(1200))
    root, defects = parse(text)
    assert root is None
    assert len(defects) == 1
    assert f"nested deeper than {MAX_DEPTH} levels" in defects[0]


def test_depth_at_the_limit_is_read() -> None:
    assert plain("[" * MAX_DEPTH + "]" * MAX_DEPTH) is not None
    assert parse("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))[0] is None


def test_the_number_of_values_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_NODES == 50_000
    monkeypatch.setattr(yaml_tree, "MAX_NODES", 500)  # the limit itself takes the pure parser seconds
    assert parse("[" + "1," * 499 + "]")[0] is not None
    root, defects = parse("[" + "1," * 500 + "]")
    assert root is None
    assert defects == ["1:1000: more than 500 values: split the file or shorten it"]


def test_all_defects_come_together_and_parsing_stops_when_there_are_too_many() -> None:
    _, defects = parse("a: .nan\na: 1\nb: !!x 2\nc: *y\n5: 6\n")
    assert [line.split(": ")[0] for line in defects] == ["1:4", "2:1", "3:4", "4:4", "5:1"]
    _, many = parse("a: 1\n" * 20_000)
    assert MAX_DEFECTS < len(many) < MAX_DEFECTS + 3


def test_what_is_reported_is_cut_and_counted() -> None:
    found = [Defect(Position("f", line, 1), "x") for line in range(70)]
    with pytest.raises(ProfileError) as error:
        raise_defects([*found, found[0]], "f")
    assert len(error.value.defects) == MAX_DEFECTS + 1
    assert error.value.defects[0] == "f:0:1: x"
    assert error.value.defects[-1] == "f: 20 more defects are not shown: correct these first"
    raise_defects([], "f")


def test_a_file_is_measured_before_it_is_read(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    with large.open("wb") as file:
        file.truncate(50_000_000)
    with pytest.raises(ProfileError, match=r"holds 50000000 bytes; at most 1048576 are read"):
        read_source(large, "large.yaml")
    exact = tmp_path / "exact.yaml"
    exact.write_bytes(b"#" * MAX_BYTES)
    assert len(read_source(exact, "exact.yaml")) == MAX_BYTES


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.yaml"
    os.mkfifo(fifo)
    for path in (fifo, tmp_path):
        with pytest.raises(ProfileError, match="is not a regular file"):
            read_source(path, "x")
    with pytest.raises(ProfileError, match="cannot be read: No such file or directory"):
        read_source(tmp_path / "none.yaml", "x")
    with pytest.raises(ProfileError, match="cannot be read: "):
        read_source(tmp_path / "nul\0.yaml", "x")
    with pytest.raises(ProfileError, match="cannot be read: File name too long"):
        read_source(tmp_path / ("n" * 5000), "x")


def test_a_file_that_cannot_be_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    path = tmp_path / "x.yaml"
    path.write_bytes(b"a: 1")
    monkeypatch.setattr(os, "read", fail)
    with pytest.raises(ProfileError, match="cannot be read: Input/output error"):
        read_source(path, "x.yaml")


def test_many_forbidden_characters_are_not_all_listed() -> None:
    _, defects = parse(b"\x00" * 100_000)
    assert len(defects) == MAX_DEFECTS + 1


def test_what_is_read_counts_and_not_what_the_file_system_says() -> None:
    # Files in /proc say that they hold nothing, and give more.
    assert b"Pid:" in read_source(Path("/proc/self/status"), "status")


def test_values_are_described_for_people() -> None:
    root, _ = parse("a: {x: 1}\nb: [1]\nc:\nd: true\ne: text\nf: 1.10\n")
    assert root is not None
    assert isinstance(root.value, dict)
    words = [describe(node) for node in root.value.values()]
    assert words == ["a mapping", "a list", "nothing", "the value true", "the text 'text'", "the number 1.10"]


@given(st.binary(max_size=400))
@example(b"\xef\xbb\xbf")
@example(b"?\n- : \x85")
@example(b"%\n")
@example(b"a: |9\n")
@settings(deadline=None, max_examples=150)
def test_no_bytes_give_a_traceback(data: bytes) -> None:
    for loader in {yaml.SafeLoader, yaml_tree.LOADER}:
        before, yaml_tree.LOADER = yaml_tree.LOADER, loader
        try:
            root, defects = parse_tree(data, "f")
        finally:
            yaml_tree.LOADER = before
        assert root is not None or defects


YAMLISH = st.lists(
    st.sampled_from(
        ["a", "b", ": ", ":", "- ", "-", "[", "]", "{", "}", ", ", ",", "\n", "\n  ", "? ", "&x ", "*x", "!!t ",
         "|", ">", "'", '"', "#", " ", "%", "---\n", "...\n", "1", ".nan", "~", "\\x07", "@", "`", "<<", "\t", "é", "\r"]
    ),
    max_size=40,
).map("".join)  # fmt: skip


@given(YAMLISH)
@settings(deadline=None, max_examples=300)
def test_no_text_gives_a_traceback_and_both_parsers_see_the_same_tree(text: str) -> None:
    seen = []
    for loader in (yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        before, yaml_tree.LOADER = yaml_tree.LOADER, loader
        try:
            root, defects = parse_tree(text.encode(), "f")
        finally:
            yaml_tree.LOADER = before
        assert root is not None or defects
        if root is not None and not defects:
            seen.append(root.plain())
    if len(seen) == 2:
        assert seen[0] == seen[1]
