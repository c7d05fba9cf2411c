"""Elementwise operators: arithmetic, comparisons, activations with their attributes, and what computes no value at all."""

from __future__ import annotations

from conformance.reference.made.rows import MILD, VALUES, Row, fixed, given

LARGE = (13, 97)
"""Odd sizes, enough outputs for the statistics of a bias."""


def _binary(op: str, second: str = "free", sets: tuple[str, ...] = VALUES) -> list[Row]:
    return [
        Row(op, "same-shape", (given(*LARGE), given(*LARGE, draw=second)), sets=sets),
        Row(op, "broadcast", (given(5, 1, 9), given(7, 1, draw=second)), sets=sets),
        Row(op, "scalar", (given(257), given(draw=second)), sets=sets),
        Row(op, "scalar-first", (given(), given(3, 11, draw=second)), sets=sets),
        Row(op, "one-element", (given(1), given(1, 1, draw=second)), sets=sets),
        Row(op, "empty", (given(0, 3), given(1, 3, draw=second)), needs_zero_size=True),
    ]


def _unary(op: str, sets: tuple[str, ...], draw: str = "free") -> list[Row]:
    return [
        Row(op, "values", (given(*LARGE, draw=draw),), sets=sets),
        Row(op, "one-element", (given(1, draw=draw),), sets=sets[:1]),
        Row(op, "scalar", (given(draw=draw),), sets=sets[:1]),
        Row(op, "empty", (given(2, 0, draw=draw),), needs_zero_size=True),
    ]


UNARY: dict[str, tuple[str, ...]] = {
    "Abs": VALUES, "Neg": VALUES, "Sign": (*VALUES, "ties"), "Ceil": ("normal", "wide", "ties"),
    "Floor": ("normal", "wide", "ties"), "Round": ("normal", "wide", "ties"), "Identity": VALUES,
    "IsNaN": VALUES, "Reciprocal": ("nonzero", "positive", "wide"), "Sqrt": ("positive", "probability", "above-one"),
    "Exp": MILD, "Log": ("positive", "above-one", "near-one"), "Erf": MILD, "Sin": ("normal", "angle", "small"),
    "Cos": ("normal", "angle", "small"), "Tan": ("unit", "slope", "small"), "Asin": ("unit", "small"),
    "Acos": ("unit", "small"), "Atan": ("normal", "broad", "wide"), "Sinh": MILD, "Cosh": MILD,
    "Asinh": ("normal", "broad", "small"), "Acosh": ("above-one",), "Atanh": ("unit", "small"),
    "Tanh": MILD, "Sigmoid": MILD, "Softplus": MILD, "Softsign": MILD, "HardSwish": MILD, "Mish": MILD,
    "Relu": (*VALUES, "ties"), "LeakyRelu": MILD, "Elu": MILD, "Celu": MILD, "Selu": MILD, "Gelu": MILD, "Swish": MILD,
    "HardSigmoid": MILD, "ThresholdedRelu": MILD, "Shrink": MILD,
}  # fmt: skip
"""Operators of one input with the data that suits their domain."""

_SETTINGS: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("LeakyRelu", "alpha-0.3", {"alpha": 0.3}),
    ("LeakyRelu", "alpha-negative", {"alpha": -0.5}),
    ("Elu", "alpha-2", {"alpha": 2.0}),
    ("Celu", "alpha-0.5", {"alpha": 0.5}),
    ("Celu", "alpha-2", {"alpha": 2.0}),
    ("Selu", "alpha-2-gamma-3", {"alpha": 2.0, "gamma": 3.0}),
    ("Gelu", "tanh", {"approximate": "tanh"}),
    ("Swish", "alpha-1.7", {"alpha": 1.7}),
    ("HardSigmoid", "alpha-0.5-beta-0.6", {"alpha": 0.5, "beta": 0.6}),
    ("ThresholdedRelu", "alpha-0.4", {"alpha": 0.4}),
    ("Shrink", "lambd-0.25-bias-0.5", {"lambd": 0.25, "bias": 0.5}),
    ("IsInf", "both", {}),
    ("IsInf", "positive-only", {"detect_negative": 0}),
    ("IsInf", "negative-only", {"detect_positive": 0}),
)

ROWS: list[Row] = [
    *(row for op, sets in UNARY.items() for row in _unary(op, sets)),
    *(Row(op, name, (given(*LARGE),), attributes, MILD) for op, name, attributes in _SETTINGS),
    *(Row(op, "subnormal", (given(257),), {}, ("subnormal",), needs_subnormals=True) for op in ("Abs", "Neg", "Sign", "Relu", "Identity", "LeakyRelu")),
    *_binary("Add"),
    *_binary("Sub"),
    *_binary("Mul"),
    *_binary("Div", "nonzero", ("normal", "positive", "wide")),
    *(Row(op, "subnormal", (given(257), given(257)), sets=("subnormal",), needs_subnormals=True) for op in ("Add", "Sub")),
    *(row for op in ("Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal") for row in _binary(op, sets=("ties", "normal"))),
    *(row for op in ("Max", "Min") for row in _binary(op, sets=("normal", "wide", "ties"))),
    *(row for op in ("Sum", "Mean") for row in _binary(op)),
    *(
        Row(op, name, inputs, sets=("normal", "positive"))
        for op in ("Max", "Min", "Sum", "Mean")
        for name, inputs in (
            ("one-input", (given(13, 7),)),
            ("three-inputs", (given(13, 97), given(13, 97), given(13, 97))),
            ("five-inputs-broadcast", (given(4, 1, 5), given(3, 1), given(), given(5), given(1, 3, 5))),
        )
    ),
    Row("Mod", "fmod", (given(*LARGE), given(*LARGE, draw="nonzero")), {"fmod": 1}, ("normal", "positive")),
    Row("Mod", "fmod-broadcast", (given(5, 1, 9), given(7, 1, draw="nonzero")), {"fmod": 1}),
    Row("Pow", "positive-base", (given(*LARGE, draw="positive"), given(*LARGE, draw="slope"))),
    Row("Pow", "broadcast", (given(5, 1, 9, draw="positive"), given(7, 1, draw="slope"))),
    Row("Pow", "negative-base-whole-exponent", (given(*LARGE, draw="nonzero"), given(*LARGE, draw="exponent"))),
    Row("Pow", "exponent-int64", (given(*LARGE, draw="nonzero"), given(97, draw="exponent", kind="int64"))),
    Row("Pow", "exponent-int32", (given(*LARGE, draw="nonzero"), given(97, draw="exponent", kind="int32"))),
    *(
        Row("Pow", f"scalar-exponent-{name}", (given(*LARGE, draw=base), fixed(value, "T")), {})
        for name, value, base in (("2", 2.0, "normal"), ("3", 3.0, "normal"), ("half", 0.5, "positive"), ("minus-1", -1.0, "nonzero"), ("0", 0.0, "normal"))
    ),
    Row("PRelu", "slope-per-channel", (given(2, 5, 7, 11), given(5, 1, 1, draw="slope")), sets=MILD),
    Row("PRelu", "slope-one", (given(*LARGE), given(1, draw="slope")), sets=MILD),
    Row("PRelu", "slope-per-element", (given(*LARGE), given(*LARGE, draw="slope")), sets=MILD),
    Row("SwiGLU", "values", (given(*LARGE), given(*LARGE)), sets=MILD),
    Row("SwiGLU", "alpha-1.7", (given(*LARGE), given(*LARGE)), {"alpha": 1.7}, MILD),
    Row("Clip", "both", (given(*LARGE), fixed(-0.5, "T"), fixed(0.75, "T")), sets=("normal", "wide", "ties")),
    Row("Clip", "low-only", (given(*LARGE), fixed(-0.5, "T")), sets=("normal", "wide")),
    Row("Clip", "high-only", (given(*LARGE), None, fixed(0.75, "T")), sets=("normal", "wide")),
    Row("Clip", "none", (given(*LARGE),), sets=("normal", "wide")),
    Row("Clip", "bounds-as-inputs", (given(*LARGE), given(draw="small"), given(draw="above-one")), sets=("normal",)),
    Row("Where", "same-shape", (given(*LARGE, draw="bits", kind="bool"), given(*LARGE), given(*LARGE)), sets=("normal", "wide")),
    Row("Where", "broadcast", (given(7, 1, draw="bits", kind="bool"), given(5, 1, 9), given(9)), sets=("normal", "wide")),
    Row("Where", "scalars", (given(*LARGE, draw="bits", kind="bool"), given(), given()), sets=("normal",)),
    Row("Dropout", "inference", (given(*LARGE), fixed(0.4, "float32")), {}, ("normal",)),
    Row("Dropout", "inference-mask", (given(*LARGE),), {}, ("normal",), outputs=2),
]  # fmt: skip
