"""Cases of normalisation with skip connections, activations, mixtures of experts, and 8-bit arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.reference.contrib.drafts import Draft, Given
from conformance.reference.contrib.layers import LAYERS, ONE, SMALL
from conformance.reference.contrib.linear_cases import quantised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Make = "Callable[[np.random.Generator], list[Given | None]]"
EPSILON = {"epsilon": 1e-5}


def _gains(rng: np.random.Generator, width: int) -> Given:
    return Given("gamma", 1 + 0.2 * rng.normal(size=width), is_weight=True)


def _normalised(
    shape: tuple[int, ...], *, skip: tuple[int, ...] | None = None, beta: bool = False, bias: bool = False
) -> Callable[[np.random.Generator], list[Given | None]]:
    def inputs(rng: np.random.Generator) -> list[Given | None]:
        given: list[Given | None] = [Given("input", rng.normal(size=shape) + 0.3)]
        given.append(Given("skip", rng.normal(size=skip or shape)))
        given.append(_gains(rng, shape[-1]))
        if beta:
            given.append(Given("beta", rng.normal(size=shape[-1]), is_weight=True))
        given.append(Given("bias", rng.normal(size=shape[-1]), is_weight=True) if bias else None)
        return given

    return inputs


def _normalisations() -> Iterator[Draft]:
    both = ("output", "", "", "sum")
    for width in sorted({layer.hidden for layer in LAYERS}):
        shape = (1, 9, width)
        yield Draft("SkipSimplifiedLayerNormalization", f"width{width}", _normalised(shape), EPSILON, both)

        def inputs(rng: np.random.Generator, shape: tuple[int, ...] = shape) -> list[Given | None]:
            return [Given("input", rng.normal(size=shape) + 0.3), _gains(rng, shape[-1])]

        yield Draft("SimplifiedLayerNormalization", f"width{width}", inputs, EPSILON | {"axis": -1})
    name = "SkipSimplifiedLayerNormalization"
    yield Draft(name, "bias-width2048", _normalised((1, 9, ONE.hidden), bias=True), EPSILON, both)
    yield Draft(name, "one-output-tokens33", _normalised((33, SMALL.hidden)), EPSILON)
    yield Draft(name, "default-epsilon", _normalised((1, 9, SMALL.hidden)), {}, both)
    name = "SkipLayerNormalization"
    yield Draft(name, "width768", _normalised((2, 9, 768), beta=True), EPSILON, both)
    yield Draft(name, "bias-width1024", _normalised((2, 9, 1024), beta=True, bias=True), EPSILON, both)
    yield Draft(name, "no-beta-width769", _normalised((1, 9, 769)), EPSILON)
    yield Draft(name, "shared-skip", _normalised((3, 9, 768), skip=(9, 768), beta=True), EPSILON)
    for mask in (False, True):

        def embedded(rng: np.random.Generator, *, mask: bool = mask) -> list[Given | None]:
            sizes = {"word_embedding": 97, "position_embedding": 40, "segment_embedding": 2}
            tables = [Given(one, rng.normal(size=(rows, 768)), is_weight=True) for one, rows in sizes.items()]
            lengths = np.arange(33)[None, :] < np.array([[33], [20]])
            return [
                Given("input_ids", rng.integers(0, 97, (2, 33)).astype(np.int32)),
                Given("segment_ids", rng.integers(0, 2, (2, 33)).astype(np.int32)),
                *tables,
                _gains(rng, 768),
                Given("beta", rng.normal(size=768), is_weight=True),
                Given("mask", lengths.astype(np.int32)) if mask else None,
            ]

        outputs = ("output", "mask_index:int32")
        kinds = ("float32", "float16")
        name = "masked" if mask else "plain"
        yield Draft("EmbedLayerNormalization", name, embedded, EPSILON, outputs, kinds=kinds, others=("int32",))


def _activations() -> Iterator[Draft]:
    def values(rng: np.random.Generator, *, bias: bool = False) -> list[Given | None]:
        x = rng.normal(size=(1, 9, SMALL.inner // 8)) * np.array([1.0, 4.0, 0.01])[np.arange(9) % 3][None, :, None]
        return [Given("x", x), Given("bias", rng.normal(size=x.shape[-1]), is_weight=True) if bias else None]

    def biased(rng: np.random.Generator) -> list[Given | None]:
        return values(rng, bias=True)

    yield Draft("Gelu", "three-sizes", values, {})
    yield Draft("BiasGelu", "three-sizes", biased, {})
    yield Draft("FastGelu", "three-sizes", values, {})
    yield Draft("FastGelu", "bias", biased, {})
    yield Draft("QuickGelu", "three-sizes", values, {})
    yield Draft("QuickGelu", "alpha1", values, {"alpha": 1.0})


def _routed(rng: np.random.Generator, tokens: int, experts: int) -> np.ndarray[Any, Any]:
    """Return router values whose order no rounding changes: a quarter apart at least, in random order."""
    steps = np.argsort(rng.random((tokens, experts)), axis=1)
    return 0.5 * steps + 0.25 * rng.random((tokens, experts)) - experts / 4


def _mixture(
    form: dict[str, Any], bits: int = 0, block: int = 0, *, zeros: bool = False
) -> Callable[[np.random.Generator], list[Given | None]]:
    def inputs(rng: np.random.Generator) -> list[Given | None]:
        experts, tokens, hidden, inner = 8, 9, 64, 128
        doubled = 2 * inner if form.get("swiglu_fusion") else inner
        given: list[Given | None] = [
            Given("input", rng.normal(size=(tokens, hidden))),
            Given("router_probs", _routed(rng, tokens, experts)),
        ]
        zero_points: list[Given | None] = []
        for at, (rows, width) in enumerate(((doubled, hidden), (hidden, inner)), start=1):
            bias = Given(f"fc{at}_bias", rng.normal(size=(experts, rows)), is_weight=True)
            if not bits:
                weights = rng.normal(size=(experts, rows, width)) / np.sqrt(width)
                given += [Given(f"fc{at}", weights, is_weight=True), bias]
                continue
            packed, scales, zero = quantised(rng, (experts, rows), width, bits, block or width, is_flat=True)
            given += [
                Given(f"fc{at}", packed, is_weight=True),
                Given(f"fc{at}_scales", scales if block else scales[..., 0], is_weight=True),
            ]
            given.append(bias)
            zero_points.append(Given(f"fc{at}_zeros", zero, is_weight=True) if zeros else None)
        return [*given, None, None, None, *zero_points] if bits else given

    return inputs


def _experts() -> Iterator[Draft]:
    swiglu = {
        "activation_type": "swiglu",
        "swiglu_fusion": 1,
        "activation_alpha": 1.702,
        "activation_beta": 1.0,
        "swiglu_limit": 7.0,
    }
    # No case with gelu: the text does not say whether by erf or by tanh, and onnxruntime's CPU kernel takes tanh.
    rows: list[tuple[str, dict[str, Any]]] = [
        ("relu-top1", {"k": 1, "activation_type": "relu"}),
        ("silu-top2-normalised", {"k": 2, "activation_type": "silu", "normalize_routing_weights": 1}),
        ("swiglu-top4-normalised", {"k": 4, "normalize_routing_weights": 1, **swiglu}),
    ]
    for name, form in rows:
        yield Draft("MoE", name, _mixture(form), form)
    for name, form in rows[1:]:
        for bits, block, zeros in ((4, 32, False), (4, 64, True), (8, 0, False)):
            attributes = form | {"expert_weight_bits": bits} | ({"block_size": block} if block else {})
            text = f"{name}-{bits}bit-block{block or 'row'}" + ("-zeros" if zeros else "")
            yield Draft("QMoE", text, _mixture(form, bits, block, zeros=zeros), attributes, others=("uint8",))
    form = {
        "k": 2,
        "activation_type": "silu",
        "normalize_routing_weights": 0,
        "expert_weight_bits": 4,
        "block_size": 32,
    }
    yield Draft("QMoE", "silu-top2-4bit-block32", _mixture(form, 4, 32), form, others=("uint8",))


def _eight_bits() -> Iterator[Draft]:
    for op in ("QLinearAdd", "QLinearMul"):
        for kind in ("uint8", "int8"):
            for name, left, right in (("same", (33, 65), (33, 65)), ("broadcast", (7, 33, 65), (65,))):

                def inputs(
                    rng: np.random.Generator, kind: str = kind, left: Any = left, right: Any = right, op: str = op
                ) -> list[Given | None]:
                    low, high = np.iinfo(kind).min, np.iinfo(kind).max + 1
                    largest = 0.04 if op == "QLinearAdd" else 0.08  # drawn, since decimal scales make ties common

                    def value(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
                        return rng.integers(low, high, shape).astype(kind)

                    def one(number: float) -> np.ndarray[Any, Any]:
                        return np.array(number, dtype=np.float32)

                    return [
                        Given("a", value(left)), Given("a_scale", one(rng.uniform(0.02, 0.04))), Given("a_zero", value(())),
                        Given("b", value(right)), Given("b_scale", one(rng.uniform(0.04, 0.06))), Given("b_zero", value(())),
                        Given("c_scale", one(rng.uniform(largest, 2 * largest))), Given("c_zero", value(())),
                    ]  # fmt: skip

                yield Draft(op, name, inputs, {}, tier="rate", kinds=(kind,), others=("float32",))


DRAFTS: list[Draft] = [*_normalisations(), *_activations(), *_experts(), *_eight_bits()]
