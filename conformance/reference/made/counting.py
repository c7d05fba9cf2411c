"""The denominator: how much of what ONNX defines the generated cases cover, and what has no case, each with the reason."""

from __future__ import annotations

from collections import Counter
from typing import Any

from conformance.reference.made.building import schema_of
from conformance.reference.made.listing import Version, items, versions

_RANDOM = "its outputs are drawn at random: no value is right"
_INTEGER = "no floating-point tensor: the exact probes cover it"
_STRINGS = "strings: ONNX's own cases cover it"
_SEQUENCES = "sequences, maps and optionals hold values unchanged: ONNX's own cases cover it"
_ENSEMBLES = "no generator of its tables of nodes or support vectors yet"
_WHY: dict[str, str] = {
    "RoiAlign": "onnx 1.23 evaluates version 10 as version 16, so that nothing says what is right",
    **dict.fromkeys(("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"), _RANDOM),
    **dict.fromkeys(
        ("And", "Or", "Xor", "Not", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot", "ConvInteger", "MatMulInteger"),
        _INTEGER,
    ),
    **dict.fromkeys(
        ("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer", "CategoryMapper", "LabelEncoder"), _STRINGS
    ),
    **dict.fromkeys(
        (
            "ConcatFromSequence", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength",
            "SequenceMap", "SplitToSequence", "Optional", "OptionalGetElement", "OptionalHasElement", "CastMap", "DictVectorizer", "ZipMap",
        ),
        _SEQUENCES,
    ),
    **dict.fromkeys(("SVMClassifier", "SVMRegressor", "TreeEnsemble", "TreeEnsembleClassifier"), _ENSEMBLES),
    "ImageDecoder": "decoders may differ by a step of a lossy format: no reference holds",
    "OneHotEncoder": "zeros and ones by equality, which the reference evaluator gives in float32 only",
    "Constant": "every runtime folds it away: nothing is left to place",
    "MaxRoiPool": "the reference evaluator has no such operator",
}  # fmt: skip


def denominator() -> dict[str, Any]:
    """Return counts of what is covered and of all there is, and `uncovered`: version → why it has no case.

    A version is `covered` when it has a case; `typed` counts (version, type), `valued` (version, type, attribute, value) that
    some case sets; `types` is every (version, floating-point type) that a schema takes at its first floating-point input or output.
    """
    covered: set[str] = set()
    typed: set[tuple[str, str]] = set()
    valued: set[tuple[str, str, str, str]] = set()
    count: Counter[str] = Counter()
    for item in items():
        key = Version(item.row.domain, item.row.op, item.since).key
        count["expanded" if item.is_expanded else "cases"] += 1
        covered.add(key)
        typed.add((key, item.kind))
        for name, value in item.row.attributes.items():
            text = item.row.name if callable(value) else str(value)
            valued.add((key, item.kind, name, text))
    every = {Version(domain, op, since) for (domain, op), found in versions().items() for since in found}
    return {
        "cases": count["cases"],
        "cases of function bodies": count["expanded"],
        "operator versions covered": len(covered),
        "operator versions": len(every),
        "operator versions × types covered": len(typed),
        "operator versions × types": sum(len(_kinds(one)) for one in every),
        "operator versions × types × attribute values covered": len(valued),
        "uncovered": {one.key: why_uncovered(one.op) for one in sorted(every) if one.key not in covered},
    }


def why_uncovered(op: str) -> str:
    """Return why an operator has no generated case."""
    return _WHY.get(op, "no row of the tables fits it yet")


def _kinds(version: Version) -> set[str]:
    """Return the floating-point types that some input or output of an operator version takes."""
    schema = schema_of(version.op, version.since, version.domain)
    spelled = {
        "tensor(float)": "float32",
        "tensor(double)": "float64",
        "tensor(float16)": "float16",
        "tensor(bfloat16)": "bfloat16",
    }
    return {
        spelled[one] for parameter in (*schema.inputs, *schema.outputs) for one in parameter.types if one in spelled
    }  # fmt: skip
