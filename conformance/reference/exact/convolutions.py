"""Convolutions on integers, one to three axes: groups, dilations, strides, pads on either side, biases.

Asked where the declared precision names no transform: Winograd and Fourier convolutions round integers legitimately. Kernels
of one element have no transform and are asked always.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from conformance.reference.exact.building import FLOATS, NARROWEST, Drawn, each, integers, of, probe
from conformance.reference.exact.contractions import striped
from conformance.reference.exact.windows import Window, convolve, spread
from conformance.reference.recipes import Needs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from conformance.reference.recipes import Recipe


class Setting(NamedTuple):
    """One convolution: shape of the input, number of output channels, window, groups, how it is padded."""

    x: tuple[int, ...]
    rows: int
    window: Window
    groups: int = 1
    bias: bool = True
    auto_pad: str = ""


SETTINGS: dict[str, Setting] = {
    "1d": Setting((2, 3, 17), 4, Window.of((3,))),
    "1d-stride-dilation": Setting((1, 4, 25), 3, Window.of((3,), (2,), (3,), (1, 2))),
    "2d": Setting((1, 3, 8, 8), 4, Window.of((3, 3), pads=(1, 1, 1, 1))),
    "2d-batches": Setting((3, 2, 6, 7), 5, Window.of((2, 3)), bias=False),
    "2d-pads-uneven": Setting((1, 2, 6, 5), 3, Window.of((3, 3), pads=(0, 1, 2, 0))),
    "2d-stride-uneven": Setting((1, 2, 11, 9), 3, Window.of((5, 3), (2, 1), (1, 2), (2, 0, 1, 1))),
    "2d-stride-3": Setting((1, 3, 13, 14), 4, Window.of((3, 3), (3, 3), pads=(1, 1, 1, 1))),
    "2d-large-kernel": Setting((1, 1, 15, 15), 2, Window.of((7, 7), (2, 2), pads=(3, 3, 3, 3))),
    "2d-groups": Setting((1, 6, 7, 7), 4, Window.of((3, 3), pads=(1, 1, 1, 1)), groups=2),
    "2d-depthwise": Setting((1, 5, 8, 7), 5, Window.of((3, 3), pads=(1, 1, 1, 1)), groups=5),
    "2d-depthwise-twice": Setting((1, 3, 7, 7), 6, Window.of((3, 3), (2, 2)), groups=3),
    "2d-pointwise": Setting((2, 33, 5, 5), 7, Window.of((1, 1))),
    "2d-pointwise-stride": Setting((1, 16, 7, 7), 8, Window.of((1, 1), (2, 2)), bias=False),
    "2d-65-channels": Setting((1, 65, 5, 5), 17, Window.of((3, 3), pads=(1, 1, 1, 1))),
    "2d-same-upper": Setting((1, 2, 6, 7), 3, Window.of((3, 4), (2, 1)), auto_pad="SAME_UPPER"),
    "2d-same-lower": Setting((1, 2, 6, 7), 3, Window.of((3, 4), (2, 1)), auto_pad="SAME_LOWER"),
    "2d-valid": Setting((1, 2, 6, 7), 3, Window.of((3, 2)), auto_pad="VALID"),
    "3d": Setting((1, 2, 5, 6, 4), 3, Window.of((2, 3, 2), (1, 2, 1), pads=(1, 0, 1, 0, 1, 0))),
}

TRANSPOSED: dict[str, tuple[Setting, tuple[int, ...]]] = {
    "1d": (Setting((1, 3, 9), 2, Window.of((3,), (2,))), (0,)),
    "2d": (Setting((1, 3, 5, 6), 4, Window.of((3, 3), pads=(1, 1, 1, 1))), (0, 0)),
    "2d-stride": (Setting((2, 2, 4, 5), 3, Window.of((3, 2), (2, 3), pads=(0, 1, 1, 0))), (0, 0)),
    "2d-output-padding": (Setting((1, 2, 5, 5), 3, Window.of((3, 3), (2, 2), pads=(1, 1, 1, 1))), (1, 1)),
    "2d-dilation": (Setting((1, 2, 4, 4), 2, Window.of((2, 3), dilations=(2, 2)), bias=False), (0, 0)),
    "2d-groups": (Setting((1, 4, 4, 5), 6, Window.of((3, 3), (2, 2)), groups=2), (0, 0)),
    "3d": (Setting((1, 2, 3, 4, 3), 2, Window.of((2, 2, 3), (1, 2, 2))), (0, 0, 0)),
}


def recipes() -> Iterator[Recipe]:
    """Yield the probes."""
    for opset, kind in each("Conv", FLOATS):
        for name, setting in SETTINGS.items():
            yield _conv(opset, kind, name, setting)
        yield _wide(opset, kind, positive=False)
        if kind in ("float32", "float64"):
            yield _wide(opset, kind, positive=True)
    for opset, kind in each("ConvTranspose", FLOATS):
        for name, (setting, extra) in TRANSPOSED.items():
            yield _transposed(opset, kind, name, setting, extra)


def _needs(kernel: Sequence[int], bits: int = NARROWEST) -> Needs:
    is_plain = any(size > 1 for size in kernel)
    return Needs(operand_bits=NARROWEST, sum_bits=bits, result_bits=bits, largest=2.0**bits, plain_convolution=is_plain)


def _conv(opset: int, kind: str, name: str, setting: Setting) -> Recipe:
    window = setting.window
    channels = setting.x[1] // setting.groups

    def draw(rng: np.random.Generator) -> Drawn:
        length = channels * int(np.prod(window.kernel))
        x = integers(rng, setting.x, 1)
        # Of the 64 products per output at most, each has magnitude up to 2; the bias up to 64 more.
        weights = striped(rng, max(setting.rows, -(-length // 64)), length)[: setting.rows]
        weights = weights.reshape(setting.rows, channels, *window.kernel)
        placed = window
        if setting.auto_pad.startswith("SAME"):
            placed = window.padded_for(setting.x[2:], lower=setting.auto_pad == "SAME_LOWER")
        result = convolve(x, weights, placed, setting.groups)
        fed = [of(kind, x), of(kind, weights)]
        if setting.bias:
            bias = integers(rng, (setting.rows,), 64)
            result = result + bias.reshape(-1, *(1,) * len(window.kernel))
            fed.append(of(kind, bias))
        return Drawn(fed, [of(kind, result)])

    attributes = window.attributes | {"group": setting.groups}
    if setting.auto_pad:
        attributes.pop("pads")
        attributes["auto_pad"] = setting.auto_pad
    held = (1, 2) if setting.bias else (1,)
    return probe("Conv", opset, kind, name, draw, attributes=attributes, held=held, needs=_needs(window.kernel))


def _wide(opset: int, kind: str, *, positive: bool) -> Recipe:
    """Return sums beyond 2**11: all positive where the results may be that large, else of two halves that cancel."""
    window = Window.of((3, 3))

    def draw(rng: np.random.Generator) -> Drawn:
        half = integers(rng, (1, 24, 5, 5), 15, positive=True)
        if positive:
            weights = integers(rng, (3, 48, 3, 3), 8, positive=True)
            x = np.concatenate([half, integers(rng, half.shape, 15, positive=True)], axis=1)
        else:
            # The channels once, and once more negative one of its weights by 1 less: what is left is small.
            weights = np.concatenate([integers(rng, (3, 24, 3, 3), 15, positive=True)] * 2, axis=1)
            x = np.concatenate([half, -half], axis=1)
            weights[:, -1, 1, 1] -= 1
        return Drawn([of(kind, x), of(kind, weights)], [of(kind, convolve(x, weights, window, 1))])

    name = "wide-sums" if positive else "cancelling-sums"
    needs = _needs(window.kernel, 16)._replace(result_bits=16 if positive else NARROWEST)
    return probe("Conv", opset, kind, name, draw, attributes=window.attributes, held=(1,), needs=needs)


def _transposed(opset: int, kind: str, name: str, setting: Setting, extra: tuple[int, ...]) -> Recipe:
    window = setting.window

    def draw(rng: np.random.Generator) -> Drawn:
        x = integers(rng, setting.x, 1)
        # An output sums at most one product per input channel and place of the window.
        most = max(1, 128 // (setting.x[1] // setting.groups * int(np.prod(window.kernel))))
        shape = (setting.x[1], setting.rows // setting.groups, *window.kernel)
        weights = integers(rng, shape, min(most, 8))
        result = spread(x, weights, window, setting.groups, extra)
        fed = [of(kind, x), of(kind, weights)]
        if setting.bias:
            bias = integers(rng, (setting.rows,), 64)
            result = result + bias.reshape(-1, *(1,) * len(window.kernel))
            fed.append(of(kind, bias))
        return Drawn(fed, [of(kind, result)])

    attributes = window.attributes | {"group": setting.groups, "output_padding": list(extra)}
    held = (1, 2) if setting.bias else (1,)
    return probe(
        "ConvTranspose", opset, kind, name, draw, attributes=attributes, held=held, needs=_needs(window.kernel)
    )
