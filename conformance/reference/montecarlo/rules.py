"""Which operator is perturbed how. Every operator is named here, has a function body whose operators are, or is rounded once.

In this order: a rule by name; for operators that ONNX defines as a function of others, the rules inside its body
(`bodies.py`); else `rounded`: each output by one rounding, v + ξ·max(u_out·|v|, t).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conformance.reference.montecarlo import elementary, normalising, recurrent
from conformance.reference.montecarlo.contractions import OPERANDS

if TYPE_CHECKING:
    from conformance.reference.interpreter import Node

MOVES = frozenset({
    "Abs", "And", "ArgMax", "ArgMin", "BitCast", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Ceil",
    "CenterCropPad", "Clip", "Compress", "Concat", "ConcatFromSequence", "ConstantOfShape", "ConvInteger", "DepthToSpace",
    "Dropout", "DynamicQuantizeLinear", "Equal", "Expand", "EyeLike", "Flatten", "Floor", "Gather", "GatherElements",
    "GatherND", "GlobalMaxPool", "Greater", "GreaterOrEqual", "Hardmax", "Identity", "Im2Col", "IsInf", "IsNaN", "Less",
    "LessOrEqual", "MatMulInteger", "Max", "MaxPool", "MaxRoiPool", "MaxUnpool", "Min", "Neg", "NonMaxSuppression", "NonZero",
    "Not", "OneHot", "Optional", "OptionalGetElement", "OptionalHasElement", "Or", "Pad", "QLinearConv", "QLinearMatMul",
    "Range", "ReduceMax", "ReduceMin", "Relu", "Reshape", "ReverseSequence", "Round", "SequenceAt", "SequenceConstruct",
    "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength", "Shape", "Sign", "Size", "Slice", "SpaceToDepth",
    "Split", "SplitToSequence", "Squeeze", "TensorScatter", "ThresholdedRelu", "Tile", "TopK", "Transpose", "Trilu",
    "Unique", "Unsqueeze", "Where", "Xor",
})  # fmt: skip
"""They pick, compare or compute in integers: a float that comes out went in."""
FUNCTIONS = frozenset({
    "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cos", "Cosh", "Erf", "Exp", "Log", "Pow", "Reciprocal", "Sin", "Sinh",
    "Sqrt", "Tan", "Tanh",
})  # fmt: skip
"""A library's polynomial, good to a few units in the last place."""

RULES: dict[str, Any] = {
    **dict.fromkeys(MOVES, elementary.move),
    **dict.fromkeys(FUNCTIONS, elementary.function),
    **dict.fromkeys(("LeakyRelu", "PRelu", "ScatterElements", "ScatterND"), elementary.where_changed),
    **dict.fromkeys(("HardSigmoid", "HardSwish"), elementary.hard),
    **dict.fromkeys(("Cast", "CastLike", "Constant"), elementary.cast),
    **dict.fromkeys(("Resize", "Upsample", "GridSample", "RoiAlign"), elementary.resize),
    **dict.fromkeys(("Add", "Div", "Mean", "Mod", "Mul", "Sub", "Sum", "DequantizeLinear"), elementary.rounded),
    "Sigmoid": elementary.sigmoid,
    "QuantizeLinear": elementary.quantize,
    **dict.fromkeys(
        ("ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"),
        normalising.reduce,
    ),
    "GlobalAveragePool": normalising.reduce,
    "ReduceProd": normalising.multiply_all,
    "CumSum": normalising.running_sum,
    "AveragePool": normalising.average_pool,
    "Softmax": normalising.softmax,
    "LogSoftmax": normalising.softmax,
    "LayerNormalization": normalising.layer_norm,
    "RMSNormalization": normalising.layer_norm,
    "InstanceNormalization": normalising.channel_norm,
    "GroupNormalization": normalising.channel_norm,
    "BatchNormalization": normalising.batch_norm,
    **dict.fromkeys(recurrent.GATES, recurrent.recur),
}
"""All but contractions, which need the sums of squares of the unperturbed run."""


def rule_of(node: Node) -> Any:
    """Return the rule by name; None where the operator has none of its own."""
    return RULES.get(node.op) if node.domain in ("", "ai.onnx") else None


def is_contraction(node: Node) -> bool:
    """Return whether the node sums products of its inputs."""
    return node.op in OPERANDS and node.domain in ("", "ai.onnx")
