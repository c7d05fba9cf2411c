"""Products with a matrix: of weights quantised in blocks, fused with scale, transposition, bias or activation.

MatMulNBits       Y = A·Wᵀ + bias, W[n, k] = (B[n, k] − zero[n, k/block]) · scale[n, k/block]
FusedMatMul       Y = α·op(A)·op(B)
FusedGemm, FusedConv   ONNX's Gemm and Conv, then an activation
GatherBlockQuantized   rows of a table dequantised in blocks
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper

from conformance.errors import HarnessError
from conformance.reference.contrib.activations import activation_of
from conformance.reference.contrib.packing import unpack

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.reference.contrib.body import Body
    from conformance.tensors import Array


def blocked_weights(body: Body, codes: Array, scales: int, zeros: int, bits: int, block: int) -> str:
    """Return (codes − zero) · scale for codes [..., n, k] and input numbers of scales and zero points by block of k.

    Zero points are packed like the codes, or given in the type of the scales; left out they are 2^(bits−1). A block of 0 is one
    block per row, whose zero points are packed along the rows.
    """
    *rows, width = codes.shape
    blocks = -(-width // block) if block else 1
    spread = np.arange(width) // (block or width)
    scale = body.take(body.reshape(body.name(scales), *rows, blocks), spread, len(rows))
    if not body.has(zeros):
        centred = body.constant(codes - 2 ** (bits - 1))
    elif body.value(zeros).dtype != np.uint8:
        zero = body.take(body.reshape(body.name(zeros), *rows, blocks), spread, len(rows))
        centred = body.op("Sub", body.constant(codes), zero)
    elif block:
        packed = body.value(zeros).reshape(*rows, -1)
        centred = body.constant(codes - unpack(packed, bits, blocks)[..., spread])
    else:
        packed = body.value(zeros).reshape(*rows[:-1], -1)
        centred = body.constant(codes - unpack(packed, bits, rows[-1])[..., None])
    return body.op("Mul", centred, scale)


def _matmul_nbits(body: Body) -> None:
    """Inputs A, B, scales, zero_points, g_idx, bias."""
    if body.has(4) or body.attribute("weight_prepacked", 0):
        raise HarnessError("no reference for MatMulNBits with g_idx or weights packed for one device")
    wide, rows = int(body.attribute("K")), int(body.attribute("N"))
    bits, block = int(body.attribute("bits", 4)), int(body.attribute("block_size"))
    # Blocks are padded to their full size each; B is [N, blocks, block·bits/8].
    padded = unpack(body.value(1).reshape(rows, -1), bits, -(-wide // block) * block)
    weights = blocked_weights(body, padded[:, :wide], 2, 3, bits, block)
    product = body.op("MatMul", body.name(0), body.transpose(weights, 1, 0))
    body.give(0, body.plus(product, 5))


def _fused_matmul(body: Body) -> None:
    """FusedMatMul and TransposeMatMul; transBatch moves the first axis behind the batch axes."""
    names = []
    for index, side in enumerate("AB"):
        name, axes = body.name(index), list(range(len(body.shape(index))))
        if body.attribute(f"transBatch{side}", 0):
            axes = [*axes[1:-1], axes[0], axes[-1]]
        if body.attribute(f"trans{side}", 0) and len(axes) > 1:
            axes[-2:] = axes[:-3:-1]
        names.append(name if axes == sorted(axes) else body.transpose(name, *axes))
    body.give(0, body.scaled(body.op("MatMul", *names), float(body.attribute("alpha", 1.0))))


def _fused_gemm(body: Body) -> None:
    names = [body.name(0), body.name(1), *([body.name(2)] if body.has(2) else [])]
    result = body.op("Gemm", *names, **_kept(body, ("alpha", "beta", "transA", "transB")))
    body.give(0, activation_of(body, result, body.attribute("activation", "")))


def _fused_conv(body: Body) -> None:
    names = [body.name(0), body.name(1), *([body.name(2)] if body.has(2) else [])]
    kept = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
    result = body.plus(body.op("Conv", *names, **_kept(body, kept)), 3)
    body.give(0, activation_of(body, result, body.attribute("activation", "")))


def _kept(body: Body, names: tuple[str, ...]) -> dict[str, Any]:
    return {one.name: helper.get_attribute_value(one) for one in body.node.attribute if one.name in names}


def _gather_block_quantized(body: Body) -> None:
    """Inputs data (packed bytes), indices, scales, zero_points: gathered along axis 0, quantised along the last."""
    bits, block = int(body.attribute("bits", 4)), int(body.attribute("block_size", 128))
    rank = len(body.shape(0))
    if body.value(0).dtype != np.uint8 or body.attribute("gather_axis", 0) or rank != 2:
        raise HarnessError("no reference for GatherBlockQuantized of this form")
    table = unpack(body.value(0), bits, body.shape(0)[-1] * 8 // bits)
    body.give(0, body.take(blocked_weights(body, table, 2, 3, bits, block), body.value(1), 0))


LOWERINGS: dict[str, Callable[[Body], None]] = {
    "FusedConv": _fused_conv,
    "FusedGemm": _fused_gemm,
    "FusedMatMul": _fused_matmul,
    "GatherBlockQuantized": _gather_block_quantized,
    "MatMulNBits": _matmul_nbits,
}
