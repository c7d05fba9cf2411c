"""Words that are kept here as constants agree with where they come from."""

from __future__ import annotations

from typing import get_args

import pytest
from onnx import defs

from conformance.profile.declares import Determinism
from conformance.profile.onnx_operators import (
    FILE_NAME,
    attributes_of,
    build_table,
    default_of,
    known_onnx_version,
    operators_of,
    render_table,
    versions_of,
)
from conformance.profile.vocabulary import (
    CONTRACTIONS,
    DETERMINISM,
    NATIVE_PRECISION,
    ONNX_DOMAINS,
    ROUNDOFF_BITS,
    TENSOR_TYPES,
    TYPE_HINTS,
)
from conformance.profile.wording import did_you_mean, is_hidden, nearest, shown
from conformance.tensors import ONNX_TYPE_OF, TYPE_NAMES


def test_tensor_types_are_those_of_the_package() -> None:
    assert TENSOR_TYPES == ONNX_TYPE_OF
    assert set(TENSOR_TYPES) == set(TYPE_NAMES)
    assert set(TYPE_HINTS.values()) <= set(TENSOR_TYPES)
    assert not set(TYPE_HINTS) & set(TENSOR_TYPES)


def test_precisions_and_determinism_are_ordered() -> None:
    bits = list(ROUNDOFF_BITS.values())
    assert bits == sorted(bits)
    assert {name for names in NATIVE_PRECISION.values() for name in names} <= set(ROUNDOFF_BITS)
    floats = {name for name in TENSOR_TYPES if "float" in name}
    assert set(NATIVE_PRECISION) == floats - {"float8e8m0"}, "a scale without a mantissa is not computed in"
    assert get_args(Determinism) == DETERMINISM


def test_the_operator_table_is_the_installed_onnx() -> None:
    """After a new onnx, run `python -m conformance.profile.onnx_operators`."""
    from importlib.resources import files

    text = files("conformance.profile").joinpath(FILE_NAME).read_text(encoding="utf-8")
    assert text == render_table(build_table())


def test_the_operator_table_answers() -> None:
    import onnx

    assert known_onnx_version() == onnx.__version__
    assert versions_of("ai.onnx", "Resize") == [10, 11, 13, 18, 19]
    assert versions_of("com.x", "Resize") == []
    assert operators_of("com.x") is None
    assert "antialias" in attributes_of("ai.onnx", "Resize")
    assert "antialias" not in attributes_of("ai.onnx", "Resize", 10)
    assert default_of("ai.onnx", "Resize", 19, "mode") == "nearest"
    assert default_of("ai.onnx", "Resize", 19, "axes") is None
    assert default_of("ai.onnx", "LeakyRelu", 16, "alpha") == 0.01
    assert default_of("ai.onnx", "Nothing", 1, "x") is None


def test_contractions_and_domains_exist_in_onnx() -> None:
    known = {schema.name for schema in defs.get_all_schemas()}
    assert known >= CONTRACTIONS
    assert {schema.domain or "ai.onnx" for schema in defs.get_all_schemas_with_history()} <= set(ONNX_DOMAINS)


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("vendr", ["vendor", "model"], "; did you mean 'vendor'?"),
        ("VENDOR", ["vendor", "model"], "; did you mean 'vendor'?"),
        ("zzz", ["vendor", "model"], "; known here: vendor, model"),
        ("zzz", [f"key{n}" for n in range(20)], ""),
        ("zzz", [], ""),
        ("x" * 100_000, ["vendor"], "; known here: vendor"),
    ],
)
def test_the_nearest_word(word: str, known: list[str], meant: str) -> None:
    assert did_you_mean(word, known) == meant
    assert nearest("vendr", []) == ""


def test_texts_are_shown_on_one_line_and_cut() -> None:
    assert shown("a\nb\x1b[31m\u202e\ud800") == r"a\nb\x1b[31m\u202e\ud800"
    assert shown("华为 é") == "华为 é"
    assert len(shown("x" * 500)) == 80
    assert is_hidden("\ufffe")
    assert not is_hidden("é")
