"""Every operator with floating-point outputs by name: its class, its law, and where that comes from.

An operator that is not named here is an error (`find_entry`), and a test goes through all that onnx defines. Classes:

- `exact`: every output is an input's value, or exactly representable: bit for bit;
- `dot`, `ulp`, `function`, `magnitude`: a law of laws.py or contractions.py;
- `body`: spelled out as simpler operators (bodies.py), whose bounds add up along the way;
- `integer`: outputs that are no floating-point numbers: exact;
- `discrete`, `rate`: choices and quantised results;
- `random`, `control`: nothing is determined, or a graph decides it;
- `spread`: tier 3, with the reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from conformance.errors import HarnessError
from conformance.reference.operator_bounds import contractions, laws
from conformance.reference.operator_bounds.call import FLOATS, WIDENED

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.reference.operator_bounds.call import Call, Local

CLASSES = (
    "exact",
    "dot",
    "ulp",
    "function",
    "magnitude",
    "body",
    "integer",
    "discrete",
    "rate",
    "random",
    "control",
    "spread",
)


class Entry(NamedTuple):
    """One operator's class."""

    kind: str
    why: str
    """Where the class comes from; for `spread`, why there is no derivation."""
    law: Callable[[Call], Local] | None = None
    carry: str = "none"
    """How errors of the inputs pass: see carrying.py."""
    weigh: Any = None
    """The sum of magnitudes of a dot product, where it is not the operator on magnitudes."""


def _names(text: str, entry: Entry, domain: str = "") -> dict[tuple[str, str], Entry]:
    return {(domain, name): entry for name in text.split()}


_MOVES = Entry("exact", "outputs are values of the inputs, moved", carry="moves")
_CHOICE = Entry("exact", "outputs are values of the inputs, or 0 and 1, chosen by comparing them", carry="none")
_EXTREME = Entry("exact", "the output is one of the values compared", carry="extreme")
_POINT = Entry("exact", "the result is representable in the type of the input", carry="elementwise")
_INTEGER = Entry("integer", "the output is no floating-point number", carry="elementwise")
_CONTROL = Entry("control", "a graph of its own decides the output: judged by tier 3, or by its parts")
_RANDOM = Entry("random", "the output is drawn at random")
_BODY = Entry("body", "the bounds of the operators that spell it out, added up along the way")


def _ulp(count: float, why: str) -> Entry:
    return Entry("ulp", why, laws.ulps(count), "elementwise")


def _function(count: float, slope: Any, why: str = "") -> Entry:
    return Entry(
        "function",
        why or f"{count:g} ulp (OpenCL), plus the condition of the argument",
        laws.function(count, slope),
        "elementwise",
    )


def _dot(why: str, weigh: Any = contractions.plain) -> Entry:
    return Entry("dot", why, contractions.dot(weigh), "linear", weigh)


def _spread(why: str) -> Entry:
    return Entry("spread", why)


def _factors(call: Call) -> int:
    return max(1, -(-int(call.inputs[0].size) // max(1, int(call.outputs[0].size))))


def _running_factors(call: Call) -> int:
    return max(1, int(call.inputs[0].shape[int(call.inputs[1])]) if call.inputs[0].ndim else 1)


TABLE: dict[tuple[str, str], Entry] = {
    **_names(
        "Identity Reshape Flatten Squeeze Unsqueeze Transpose Concat Split Slice Gather GatherElements GatherND Expand Tile Where Pad "
        "DepthToSpace SpaceToDepth Compress ReverseSequence Trilu CenterCropPad EyeLike OneHot Constant ConstantOfShape "
        "ScatterElements ScatterND Scatter TensorScatter MaxUnpool BitCast Dropout Optional OptionalGetElement SequenceAt "
        "SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SplitToSequence ConcatFromSequence",
        _MOVES,
    ),
    **_names("TopK Unique Hardmax", _CHOICE),
    **_names("Max Min ReduceMax ReduceMin MaxPool GlobalMaxPool", _EXTREME),
    **_names("Abs Neg Sign Relu Clip Ceil Floor Round Mod ThresholdedRelu", _POINT),
    ("", "TfIdfVectorizer"): Entry(
        "exact", "counts, or weights as they are given (counts below 2^8 are exact in every type)"
    ),
    **_names(
        "And Or Xor Not BitwiseAnd BitwiseOr BitwiseXor BitwiseNot BitShift Equal Greater GreaterOrEqual Less LessOrEqual IsNaN IsInf "
        "Shape Size NonZero MatMulInteger ConvInteger OptionalHasElement SequenceLength StringConcat StringNormalizer StringSplit "
        "RegexFullMatch",
        _INTEGER,
    ),
    ("", "ImageDecoder"): Entry("random", "decoders may differ in a step of a lossy format: no reference holds"),
    # -- one rounding, or a few -------------------------------------------------------------------
    **_names("Add Sub Mul", _ulp(0.5, "one rounding (IEEE 754, TOSA)")),
    ("", "PRelu"): _ulp(0.5, "x, or one product"),
    ("", "Shrink"): _ulp(0.5, "0, or x ± bias: one rounding"),
    ("", "Div"): _ulp(3, "x times a reciprocal: (1 + ½) · 2^−nf relative, which is 3 ulp at worst; OpenCL has 2.5"),
    ("", "Reciprocal"): _ulp(1, "TOSA"),
    ("", "Sqrt"): _ulp(3, "x times the reciprocal square root: (2·½ + ½) · 2^−nf relative, 3 ulp (OpenCL 3)"),
    ("", "Erf"): _ulp(5, "TOSA"),
    **_names("Cast CastLike", Entry("ulp", "½ ulp up, 1 down (TOSA)", laws.cast, "elementwise")),
    ("", "DequantizeLinear"): _ulp(1, "an exact difference (one more rounding where x is int32), then one product"),
    # -- elementary functions ---------------------------------------------------------------------
    ("", "Log"): Entry("function", "OpenCL; near 1 Vulkan", laws.logarithm, "elementwise"),
    ("", "Sigmoid"): Entry(
        "function", "its exponential, a sum and a quotient; or a form by tanh", laws.sigmoid, "elementwise"
    ),
    ("", "Softplus"): Entry("function", "its exponential, a sum and a logarithm", laws.softplus, "elementwise"),
    ("", "Sin"): _function(4, lambda x, _y: np.cos(x)),
    ("", "Cos"): _function(4, lambda x, _y: np.sin(x)),
    ("", "Tan"): _function(5, lambda _x, y: 1 + y * y),
    ("", "Asin"): _function(4, lambda x, _y: 1 / np.sqrt(1 - x * x)),
    ("", "Acos"): _function(4, lambda x, _y: 1 / np.sqrt(1 - x * x)),
    ("", "Atan"): _function(5, lambda x, _y: 1 / (1 + x * x)),
    ("", "Sinh"): _function(4, lambda x, _y: np.cosh(x)),
    ("", "Cosh"): _function(4, lambda x, _y: np.sinh(x)),
    ("", "Tanh"): _function(
        8,
        lambda _x, y: 1 - y * y,
        "(e²ˣ − 1)/(e²ˣ + 1): 3 ulp of exp, 1 each of sum and difference, 3 of the quotient (OpenCL 5)",
    ),
    ("", "Asinh"): _function(4, lambda x, _y: 1 / np.sqrt(1 + x * x)),
    ("", "Acosh"): _function(4, lambda x, _y: 1 / np.sqrt(x * x - 1)),
    ("", "Atanh"): _function(5, lambda x, _y: 1 / (1 - x * x)),
    # -- magnitudes -------------------------------------------------------------------------------
    ("", "Exp"): Entry("magnitude", "TOSA", laws.exponential, "elementwise"),
    ("", "Pow"): Entry("magnitude", "exp(y·ln x) with OpenCL's logarithm", laws.power, "elementwise"),
    ("", "ReduceProd"): Entry("magnitude", "TOSA", laws.product(_factors), "linear"),
    ("", "CumProd"): Entry("magnitude", "as ReduceProd, over the axis", laws.product(_running_factors), "linear"),
    **_names("Resize Upsample", Entry("magnitude", "TOSA; `nearest` is exact", laws.resize)),
    # -- dot products -----------------------------------------------------------------------------
    **_names("MatMul Conv ConvTranspose Einsum", _dot("sums of products (TOSA)")),
    ("", "Gemm"): _dot("sums of products (TOSA); α and β are two more roundings of what is summed", contractions.gemm),
    **_names(
        "AveragePool GlobalAveragePool ReduceSum ReduceMean ReduceL1 ReduceSumSquare Sum Mean CumSum",
        _dot("sums of n terms (TOSA)"),
    ),
    ("", "Col2Im"): _dot("sums of overlapping blocks"),
    ("", "Range"): _dot("start + i·delta, by one product or i additions", contractions.range_of),
    **_names(
        "DFT STFT",
        Entry(
            "dot",
            "sums with factors of magnitude one, whose angles are rounded",
            contractions.transform,
            "linear",
            contractions.fourier,
        ),
    ),
    # -- spelled out as simpler operators ---------------------------------------------------------
    **_names(
        "AffineGrid Attention BlackmanWindow HammingWindow HannWindow CausalConvWithState Celu Elu Gelu GroupNormalization HardSigmoid "
        "HardSwish LayerNormalization LeakyRelu LogSoftmax MeanVarianceNormalization Mish NegativeLogLikelihoodLoss RMSNormalization "
        "ReduceL2 ReduceLogSum ReduceLogSumExp RotaryEmbedding Selu Softmax SoftmaxCrossEntropyLoss Softsign SwiGLU Swish "
        "BatchNormalization InstanceNormalization LpNormalization LpPool GlobalLpPool LRN",
        _BODY,
    ),
    ("ai.onnx.preview", "FlexAttention"): _BODY,
    # -- choices, quantised results ---------------------------------------------------------------
    **_names(
        "ArgMax ArgMin", Entry("discrete", "indices: exact on exact inputs, by margin on narrowed ones", carry="choice")
    ),
    ("", "NonMaxSuppression"): Entry(
        "discrete", "decided where no overlap or score lies within rounding of its threshold", carry="choice"
    ),
    **_names("QuantizeLinear QLinearMatMul QLinearConv", Entry("rate", "one rounding may go the other way near a tie")),
    ("", "DynamicQuantizeLinear"): Entry("rate", "as QuantizeLinear; its scale is a difference over 255: 4 ulp"),
    # -- nothing to compare with ------------------------------------------------------------------
    **_names("Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike", _RANDOM),
    **_names("If Loop Scan SequenceMap", _CONTROL),
    # -- tier 3 -----------------------------------------------------------------------------------
    **_names("GRU LSTM RNN", _spread("every step feeds the next: a bound grows with the length of the sequence")),
    ("", "LinearAttention"): _spread("a recurrence over the sequence: a bound grows with its length"),
    **_names(
        "GridSample DeformConv RoiAlign MaxRoiPool",
        _spread("rounded coordinates choose what is sampled, and its size is not bounded by the output"),
    ),
    ("", "Det"): _spread("elimination with pivots: the error depends on the growth of the pivots"),
    ("", "MelWeightMatrix"): _spread("rounded frequencies choose the bins: a weight may change by a whole step"),
    # -- ai.onnx.ml -------------------------------------------------------------------------------
    **_names("ArrayFeatureExtractor FeatureVectorizer", _MOVES, "ai.onnx.ml"),
    **_names(
        "Binarizer CastMap CategoryMapper DictVectorizer Imputer LabelEncoder OneHotEncoder ZipMap",
        Entry("exact", "outputs are values of the inputs or attributes, looked up or compared"),
        "ai.onnx.ml",
    ),
    ("ai.onnx.ml", "Scaler"): _ulp(2, "a difference and a product, ½·2^−nf relative each: 2 ulp at worst"),
    ("ai.onnx.ml", "LinearRegressor"): _dot("sums of products", contractions.linear_model),
    ("ai.onnx.ml", "LinearClassifier"): _spread("a post-transform after the sums"),
    ("ai.onnx.ml", "Normalizer"): _spread("the norm, then a quotient, in an order that the text leaves open"),
    **_names(
        "SVMClassifier SVMRegressor", _spread("kernels of differing kinds, summed over support vectors"), "ai.onnx.ml"
    ),
    **_names(
        "TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor",
        _spread("a sum of leaves, which the outputs do not show"),
        "ai.onnx.ml",
    ),
    **_names("Adagrad Adam Gradient Momentum", _spread("training"), "ai.onnx.preview.training"),
}


def find_entry(domain: str, op: str) -> Entry:
    """Return the class of an operator; HarnessError where none is assigned."""
    try:
        return TABLE["" if domain == "ai.onnx" else domain, op]
    except KeyError:
        raise HarnessError(f"no class of bounds is assigned to {domain or 'ai.onnx'}.{op}") from None


def refine(entry: Entry, op: str, attribute: Any, output_kind: str, *, is_float: bool) -> Entry:
    """Return the class of one use of an operator: attributes and types change some. `attribute(name, default)` reads one."""
    if op in ("Resize", "Upsample"):
        mode = attribute("mode", "nearest")
        if mode == "nearest":
            return Entry("exact", "the nearest value", carry="none")
        if mode == "cubic" or attribute("antialias", 0):
            return entry._replace(why=f"{entry.why}; {mode} weights may be negative, and bnd is max|in| all the same")
    if op in ("ScatterElements", "ScatterND", "TensorScatter"):
        how = attribute("reduction", "none")
        if how == "add":
            return _dot("sums of what meets at a place")
        if how == "mul":
            return Entry(
                "magnitude",
                "products of what meets at a place",
                laws.product(lambda call: int(np.asarray(call.inputs[1]).size) + 1),
            )
        return _EXTREME if how in ("max", "min") else entry
    if op in ("Cast", "CastLike") and (not is_float or output_kind in FLOATS - WIDENED):
        return Entry("exact", "the conversion is tabled by the operator's text", carry="elementwise")
    if op == "Mod" and is_float and not attribute("fmod", 0):
        return _ulp(0.5, "the remainder, plus the divisor where the signs differ: one rounding")
    if not is_float and entry.kind in ("ulp", "dot", "function", "magnitude", "body", "exact"):
        return Entry("integer", "integer arithmetic", carry="elementwise")
    return entry
