"""Cases of products with quantised and plain matrices, at the widths of published models; columns are cut to keep a case small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.reference.contrib.drafts import Draft, Given
from conformance.reference.contrib.layers import EIGHT, LAYERS, ONE, SMALL
from conformance.reference.contrib.packing import pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.reference.recipes import Tier
    from conformance.tensors import Array


def quantised(
    rng: np.random.Generator,
    rows: tuple[int, ...],
    width: int,
    bits: int,
    block: int,
    *,
    is_flat: bool = False,
    is_short: bool = False,
) -> tuple[Array, Array, Array]:
    """Return codes [rows…, blocks, block·bits/8] packed, scales [rows…, blocks] and packed zero points of a random matrix.

    A product with standard normal values is of the size of one. `is_flat` packs the blocks of a row together. Short scales have so
    few bits that every dequantised weight is exact in every type: then the operator is one contraction and nothing else.
    """
    blocks = -(-width // block)
    codes = rng.integers(0, 2**bits, (*rows, blocks, block))
    codes.reshape(*rows, -1)[..., width:] = 0
    size = 2.0 ** -round(bits + np.log2(width / 12) / 2)
    steps = rng.integers(8, 16, (*rows, blocks)) if bits < 8 else 8 * 2 ** rng.integers(0, 2, (*rows, blocks))
    scales = (steps / 8 if is_short else rng.uniform(0.5, 1.5, (*rows, blocks))) * size
    middle = 2 ** (bits - 1)
    zeros = rng.integers(middle - middle // 4, middle + middle // 4 + 1, (*rows, blocks))
    packed = pack(codes.reshape(*rows, -1), bits) if is_flat else pack(codes, bits)
    return packed, scales, pack(zeros, bits)


def _nbits(
    shape: tuple[int, ...], columns: int, bits: int, block: int, form: str = ""
) -> Callable[[np.random.Generator], list[Given | None]]:
    def inputs(rng: np.random.Generator) -> list[Given | None]:
        width = shape[-1]
        a = rng.normal(size=shape)
        packed, scales, zeros = quantised(rng, (columns,), width, bits, block, is_short="long" not in form)
        unpacked = rng.integers(0, 2**bits, scales.shape) + 0.5
        zero = {"zeros": zeros, "half-zeros": unpacked}.get(form.removesuffix("-bias").removesuffix("-long"))
        bias = rng.normal(size=columns) if form.endswith("bias") else None
        return [
            Given("a", np.abs(a) if form == "positive" else a),
            Given("b", packed, is_weight=True),
            Given("scales", scales, is_weight=True),
            None if zero is None else Given("zeros", zero, is_weight=True),
            None,
            None if bias is None else Given("bias", bias, is_weight=True),
        ]

    return inputs


def _matmul_nbits() -> Iterator[Draft]:
    rows: list[tuple[tuple[int, ...], int, int, int, str]] = [
        ((1, 1, ONE.hidden), 1024, 4, 32, ""),
        ((1, 1, EIGHT.hidden), 257, 4, 128, "zeros"),
        ((7, SMALL.hidden), 257, 4, 32, "zeros-bias"),
        ((1, 64, EIGHT.hidden), 64, 4, 64, "zeros"),
        ((1, 129, ONE.hidden), 64, 4, 16, "positive"),
        ((254, SMALL.hidden), 64, 4, 128, "bias"),
        ((1, 7, 1000), 200, 4, 64, "zeros"),  # the last block is not full, nor is the last byte of zero points
        ((1, 7, ONE.hidden), 200, 4, 32, "half-zeros"),
        ((1, 16, EIGHT.inner), 64, 4, 32, "zeros"),
        ((1, 7, ONE.hidden), 64, 4, 32, "zeros-long"),
        ((1, 1, ONE.hidden), 1024, 8, 32, ""),
        ((1, 7, ONE.hidden), 257, 8, 128, "zeros"),
        ((64, SMALL.hidden), 128, 8, 64, "zeros-bias"),
        ((1, 17, 1000), 64, 8, 64, "zeros"),
        ((1, 7, ONE.hidden), 64, 8, 32, "long"),
        ((1, 7, ONE.hidden), 257, 2, 32, "zeros"),
        *(((1, 5, width), 211, 4, 32, "") for width in sorted({layer.hidden for layer in LAYERS})),
    ]
    for shape, columns, bits, block, form in rows:
        width, tokens = shape[-1], int(np.prod(shape[:-1]))
        attributes = {"K": width, "N": columns, "bits": bits, "block_size": block}
        tier: Tier = "spread" if "long" in form else "bound"
        text = f"{bits}bit-block{block}-k{width}-n{columns}-m{tokens}" + (f"-{form}" if form else "")
        yield Draft(
            "MatMulNBits", text, _nbits(shape, columns, bits, block, form), attributes, tier=tier, others=("uint8",)
        )


def _fused_matmul() -> Iterator[Draft]:
    rows: list[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
        ("scores-d64", (1, 8, 33, 64), (1, 8, 65, 64), {"transB": 1, "alpha": 0.125}),
        ("scores-d128-odd", (1, 4, 7, 128), (1, 4, 129, 128), {"transB": 1, "alpha": float(np.float32(128**-0.5))}),
        ("transposed-left", (2, 65, 33), (2, 65, 17), {"transA": 1}),
        ("transposed-both", (2, 65, 33), (2, 17, 65), {"transA": 1, "transB": 1, "alpha": -2.0}),
        ("batch-axes", (33, 4, 65), (65, 4, 33), {"transBatchA": 1, "transBatchB": 1}),
        ("width-2048", (1, 7, 2048), (2048, 150), {}),
    ]
    for name, left, right, attributes in rows:

        def inputs(rng: np.random.Generator, left: Any = left, right: Any = right) -> list[Given | None]:
            return [Given("a", rng.normal(size=left)), Given("b", rng.normal(size=right))]

        yield Draft("FusedMatMul", name, inputs, attributes, tier="spread" if "alpha" in attributes else "bound")


def _fused_gemm() -> Iterator[Draft]:
    rows: list[tuple[str, str, int, dict[str, Any]]] = [
        ("relu-k896", "Relu", 896, {}),
        ("scaled-k65", "Relu", 65, {"alpha": 0.5, "beta": 2.0}),
    ]
    for name, activation, width, attributes in rows:

        def inputs(rng: np.random.Generator, width: int = width) -> list[Given | None]:
            return [
                Given("a", rng.normal(size=(33, width))),
                Given("b", rng.normal(size=(width, 47)), is_weight=True),
                Given("c", rng.normal(size=47), is_weight=True),
            ]

        yield Draft(
            "FusedGemm",
            name,
            inputs,
            attributes | {"activation": activation},
            tier="bound",
            kinds=("float32", "float16"),
        )


def _fused_conv() -> Iterator[Draft]:
    for name, activation, has_sum in (
        ("relu", "Relu", False),
        ("sigmoid", "Sigmoid", False),
        ("sum-relu", "Relu", True),
    ):

        def inputs(rng: np.random.Generator, *, has_sum: bool = has_sum) -> list[Given | None]:
            return [
                Given("x", rng.normal(size=(1, 16, 15, 17))),
                Given("w", rng.normal(size=(24, 16, 3, 3)) / 12, is_weight=True),
                Given("b", rng.normal(size=24), is_weight=True),
                Given("z", rng.normal(size=(1, 24, 15, 17))) if has_sum else None,
            ]

        attributes = {"activation": activation, "kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
        tier: Tier = "spread" if activation == "Sigmoid" else "bound"
        yield Draft("FusedConv", name, inputs, attributes, tier=tier, kinds=("float32", "float16"))


def _gathered() -> Iterator[Draft]:
    for bits, block, has_zeros in ((4, 32, True), (4, 128, False), (8, 32, True)):

        def inputs(
            rng: np.random.Generator, bits: int = bits, block: int = block, *, has_zeros: bool = has_zeros
        ) -> list[Given | None]:
            packed, scales, zeros = quantised(rng, (256,), SMALL.hidden, bits, block, is_flat=True)
            return [
                Given("table", packed, is_weight=True),
                Given("tokens", rng.integers(0, 256, (2, 7))),
                Given("scales", scales, is_weight=True),
                Given("zeros", zeros, is_weight=True) if has_zeros else None,
            ]

        name = f"{bits}bit-block{block}" + ("-zeros" if has_zeros else "")
        attributes = {"bits": bits, "block_size": block, "gather_axis": 0, "quantize_axis": 1}
        yield Draft("GatherBlockQuantized", name, inputs, attributes, tier="bound", kinds=("float32", "float16"), others=("int64", "uint8"))  # fmt: skip


DRAFTS: list[Draft] = [*_matmul_nbits(), *_fused_matmul(), *_fused_gemm(), *_fused_conv(), *_gathered()]
