"""The field's fixed words: tensor types, precisions, classes of determinism and operator-set domains.

Kept as plain constants so that a profile loads without numpy and onnx; tests hold them against
`conformance.tensors` and `onnx.defs`.
"""

from typing import Final

TENSOR_TYPES: Final = {
    "float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "string": 8, "bool": 9,
    "float16": 10, "float64": 11, "uint32": 12, "uint64": 13, "complex64": 14, "complex128": 15, "bfloat16": 16,
    "float8e4m3fn": 17, "float8e4m3fnuz": 18, "float8e5m2": 19, "float8e5m2fnuz": 20, "uint4": 21, "int4": 22,
    "float4e2m1": 23, "float8e8m0": 24, "uint2": 25, "int2": 26, "float6e2m3": 27, "float6e3m2": 28,
}  # fmt: skip
"""ONNX tensor types by the name used here, with TensorProto.DataType (onnx.proto3)."""

TYPE_HINTS: Final = {
    "float": "float32", "fp32": "float32", "f32": "float32", "single": "float32", "double": "float64",
    "fp64": "float64", "f64": "float64", "half": "float16", "fp16": "float16", "f16": "float16", "bf16": "bfloat16",
    "int": "int32", "long": "int64", "byte": "uint8", "boolean": "bool", "str": "string", "fp8": "float8e4m3fn",
    "fp4": "float4e2m1", "e4m3": "float8e4m3fn", "e5m2": "float8e5m2",
}  # fmt: skip
"""What people write for a type elsewhere."""

ROUNDOFF_BITS: Final = {
    "float4e2m1": 2, "float6e3m2": 3, "float8e5m2": 3, "float6e2m3": 4, "float8e4m3": 4, "bfloat16": 8, "float16": 11, "tf32": 11, "float32": 24,
    "float64": 53,
}  # fmt: skip
"""Precisions, coarsest first, with p of the unit roundoff 2**-p; float16 has a smaller range than tf32."""

NATIVE_PRECISION: Final = {
    "float32": ("float32", "float32", "float32"),
    "float64": ("float64", "float64", "float64"),
    "float16": ("float16", "float32", "float16"),
    "bfloat16": ("bfloat16", "float32", "bfloat16"),
    "float8e4m3fn": ("float8e4m3", "float32", "float8e4m3"),
    "float8e4m3fnuz": ("float8e4m3", "float32", "float8e4m3"),
    "float8e5m2": ("float8e5m2", "float32", "float8e5m2"),
    "float8e5m2fnuz": ("float8e5m2", "float32", "float8e5m2"),
    "float6e2m3": ("float6e2m3", "float32", "float6e2m3"),
    "float6e3m2": ("float6e3m2", "float32", "float6e3m2"),
    "float4e2m1": ("float4e2m1", "float32", "float4e2m1"),
}
"""What a type means where no precision is declared for it: roundoff of inputs, accumulation and output."""

DETERMINISM: Final = ("none", "bounded", "bitwise-run", "bitwise-session", "bitwise-process", "batch-invariant")
"""Classes of determinism, weakest first; each includes those before it."""

ONNX_DOMAINS: Final = ("ai.onnx", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training", "ai.onnx.training")

CONTRACTIONS: Final = frozenset({
    "Attention", "CausalConvWithState", "Conv", "ConvInteger", "ConvTranspose", "DeformConv", "Einsum",
    "FlexAttention", "GRU", "Gemm", "LSTM", "LinearAttention", "MatMul", "MatMulInteger", "QLinearConv",
    "QLinearMatMul", "RNN",
})  # fmt: skip
"""Operators that sum products: the work that a device is bought for, which no category may let the host do."""
