"""Operator terms: what can be written, where a mistake stands, and which uses a term matches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.profile.terms import MAX_TERM, OperatorUse, Term, TermError, is_same_value, parse_term


def use(op: str, since: int = 13, domain: str = "ai.onnx", **rest: object) -> OperatorUse:
    types = frozenset(rest.pop("types", ()))  # type: ignore[call-overload]
    return OperatorUse(domain=domain, op=op, since_version=since, attributes=rest, types=types)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("Add", Term(domain="ai.onnx", op="Add")),
        ("ai.onnx.Add", Term(domain="ai.onnx", op="Add")),
        ("ai.onnx.ml.Scaler", Term(domain="ai.onnx.ml", op="Scaler")),
        ("com.microsoft.FusedConv", Term(domain="com.microsoft", op="FusedConv")),
        ("Resize-13", Term(domain="ai.onnx", op="Resize", since_version=13)),
        ("Resize[mode=cubic]", Term(domain="ai.onnx", op="Resize", attributes=(("mode", "cubic"),))),
        (
            " Resize [ mode = cubic , antialias=1 ] ",
            Term(domain="ai.onnx", op="Resize", attributes=(("mode", "cubic"), ("antialias", "1"))),
        ),
        ("Conv[strides=[2, 2]]", Term(domain="ai.onnx", op="Conv", attributes=(("strides", "[2, 2]"),))),
        ('Einsum[equation="ij,jk->ik"]', Term(domain="ai.onnx", op="Einsum", attributes=(("equation", "ij,jk->ik"),))),
        ("Add(bfloat16)", Term(domain="ai.onnx", op="Add", types=("bfloat16",))),
        ("Cast(string, float16, string)", Term(domain="ai.onnx", op="Cast", types=("string", "float16"))),
        (
            "Cast-24[to=float16](string)",
            Term(domain="ai.onnx", op="Cast", since_version=24, attributes=(("to", "float16"),), types=("string",)),
        ),
    ],
)
def test_a_term_is_read_and_written_back(text: str, term: Term) -> None:
    assert parse_term(text) == term
    assert parse_term(str(term)) == term


@pytest.mark.parametrize(
    ("text", "offset", "what"),
    [
        ("", 0, "an operator name such as Add or ai.onnx.ml.Scaler is wanted at the end"),
        ("13", 0, "an operator name"),
        ("Rezise", 0, "has no operator 'Rezise'; did you mean 'Resize'?"),
        ("ai.onnx.ml.Scalar", 11, "has no operator 'ai.onnx.ml.Scalar'; did you mean 'Scaler'?"),
        ("add", 0, "did you mean 'Add'?"),
        ("Resize-", 6, "a version such as -13 is wanted before '-'"),
        ("Resize-x", 6, "a version such as -13"),
        ("Resize-14", 7, "Resize has no version 14; its versions are 10, 11, 13, 18, 19"),
        ("Resize-99999999", 6, "a version such as -13"),
        ("Resize[", 7, "an attribute name is wanted at the end"),
        ("Resize[moed=cubic]", 7, "Resize has no attribute 'moed'; did you mean 'mode'?"),
        ("Resize-10[antialias=1]", 10, "Resize-10 has no attribute 'antialias'"),
        ("Resize[mode]", 11, "'=' and a value are wanted before ']'"),
        ("Resize[mode=]", 12, "a value is wanted before ']'"),
        ("Resize[mode=cubic", 17, "',' or ']' is wanted at the end"),
        ("Resize[mode=cubic, mode=linear]", 19, "the attribute 'mode' is given twice"),
        ("Add(", 4, "a tensor type such as bfloat16 is wanted at the end"),
        ("Add(fp16)", 4, "'fp16' is not a tensor type; did you mean 'float16'?"),
        ("Add(flaot32)", 4, "'flaot32' is not a tensor type; did you mean 'float32'?"),
        ("Add(float32", 11, "',' or ')' is wanted at the end"),
        ("Add Sub", 4, "the operator term ends before 'Sub'"),
        ("Add(float32)[axis=1]", 12, "the operator term ends before '[axis=1]'"),
        ("A" * (MAX_TERM + 1), 0, "is too long"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, offset: int, what: str) -> None:
    with pytest.raises(TermError) as error:
        parse_term(text)
    assert what in str(error.value)
    assert error.value.offset == offset


@given(st.text(max_size=40) | st.text(alphabet='AddResize-13[]()=, .mode"', max_size=40))
def test_no_text_gives_anything_but_a_term_or_a_term_error(text: str) -> None:
    try:
        term = parse_term(text)
    except TermError as error:
        assert 0 <= error.offset <= max(len(text), 1)
        assert "\n" not in str(error)
    else:
        assert parse_term(str(term)) == term


@pytest.mark.parametrize(
    ("text", "matching", "other"),
    [
        ("Add", use("Add"), use("Sub")),
        ("Add", use("Add", domain=""), use("Add", domain="com.microsoft")),
        ("Resize-13", use("Resize", 13), use("Resize", 18)),
        ("Resize[mode=cubic]", use("Resize", mode="cubic"), use("Resize", mode="linear")),
        ("Resize[mode=nearest]", use("Resize"), use("Resize", mode="cubic")),
        ("Resize[antialias=1]", use("Resize", 18, antialias=1), use("Resize", 18)),
        ("Resize[antialias=0]", use("Resize", 18), use("Resize", 13)),
        (
            "Resize[mode=cubic, antialias=1]",
            use("Resize", 18, mode="cubic", antialias=1),
            use("Resize", 18, mode="cubic"),
        ),
        ("Add(bfloat16)", use("Add", types={"bfloat16"}), use("Add", types={"float32"})),
        ("Cast(string, float16)", use("Cast", types={"string", "float16"}), use("Cast", types={"string"})),
        ("Cast[to=float16]", use("Cast", to=10), use("Cast", to=1)),
        ("Cast[to=10]", use("Cast", to="float16"), use("Cast", to="float32")),
        ("Cast[to=float16]", use("Cast", to="float16"), use("Cast", to="bfloat16")),
        ("LeakyRelu[alpha=0.1]", use("LeakyRelu", 16, alpha=0.10000000149011612), use("LeakyRelu", 16, alpha=0.2)),
        ("LeakyRelu[alpha=0.01]", use("LeakyRelu", 16), use("LeakyRelu", 16, alpha=0.5)),
        ("Conv[strides=[2, 2]]", use("Conv", 11, strides=[2, 2]), use("Conv", 11, strides=[2])),
        ("Conv[strides=[2, 2]]", use("Conv", 11, strides=[2, 2]), use("Conv", 11)),
        ("Conv[strides=2]", use("Conv", 11, strides=2), use("Conv", 11, strides=[2])),
        ("TfIdfVectorizer[mode=TF]", use("TfIdfVectorizer", 9, mode="TF"), use("TfIdfVectorizer", 9, mode="IDF")),
        ("Conv[kernel_shape=[]]", use("Conv", 11, kernel_shape=[]), use("Conv", 11, kernel_shape=[3])),
    ],
)
def test_matching(text: str, matching: OperatorUse, other: OperatorUse) -> None:
    assert parse_term(text).matches(matching)
    assert not parse_term(text).matches(other)


@pytest.mark.parametrize(
    ("general", "special", "covers"),
    [
        ("Add", "Add", True),
        ("Add", "Add-13(float16)", True),
        ("Add-13", "Add", False),
        ("Add(int64)", "Add", False),
        ("Add(int64)", "Add(int64, bool)", True),
        ("Resize[mode=cubic]", "Resize[mode=cubic, antialias=1]", True),
        ("Resize[mode=cubic, antialias=1]", "Resize[mode=cubic]", False),
        ("Resize[mode=cubic]", "Resize[mode=linear]", False),
        ("Add", "Sub", False),
        ("Add", "com.x.Add", False),
    ],
)
def test_covering(general: str, special: str, covers: bool) -> None:
    assert parse_term(general).covers(parse_term(special)) is covers


def test_values_compare_by_text_number_and_type_name() -> None:
    assert is_same_value("1", 1)
    assert is_same_value("1.0", 1)
    assert not is_same_value("1", 2)
    assert not is_same_value("x", 1.0)
    assert not is_same_value("", [1])
    assert is_same_value("[a, b]", ["a", "b"])


def test_a_use_is_named_as_a_term_would_name_it() -> None:
    assert use("Add").name == "Add"
    assert use("Scaler", 1, "ai.onnx.ml").name == "ai.onnx.ml.Scaler"
