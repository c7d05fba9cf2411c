"""Defects of functions: approximations that are too coarse, wrong constants, slopes and bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.selftest.defects.family import Family, at, first
from conformance.selftest.simulate import is_wide

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.reference.interpreter import Values
    from conformance.selftest.injection import Site

FAMILY = Family("functions")
ROOTED = ("Sqrt", "BatchNormalization", "LayerNormalization", "InstanceNormalization", "RMSNormalization")
FUNCTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "exp": (("Exp", "Softmax", "LogSoftmax"), ("1e-2", "1e-3", "1e-4", "1e-5")),
    "erf": (("Erf", "Gelu"), ("1e-2", "1e-3", "1e-4", "1e-5")),
    "tanh": (("Tanh", "GRU", "LSTM", "RNN"), ("1e-2", "1e-3", "1e-4")),
    "sigmoid": (("Sigmoid", "HardSigmoid"), ("1e-2", "1e-3", "1e-4")),
    "rsqrt": (ROOTED, ("1e-2", "1e-3", "1e-4", "1e-5")),
    "log": (("Log", "Softplus", "LogSoftmax"), ("1e-3", "1e-4")),
    "division": (("Div", "Reciprocal"), ("1e-3", "1e-4", "1e-5")),
}
"""Which operators hold a function, and the largest relative errors of its approximations."""


def _allows(level: float) -> Callable[[Any], bool]:
    """Return whether a relative error is larger than one rounding of a result: else no device could be told apart by it."""
    return lambda mode: level > mode.results.roundoff


def _wavy(level: float) -> Callable[[Site], Values]:
    """Return a smooth relative error between -level and level, as the error of a polynomial goes up and down."""

    def change(site: Site) -> Values:
        wave = np.cos(5.0 * np.asarray(site.x, dtype=np.float64)) if site.node.op in _POINTWISE else None

        def changed(value: Any) -> Any:
            own = np.cos(7.0 * value + 1.0) if wave is None or wave.shape != value.shape else wave
            return site.rounded(value * (1 + level * own))

        return first(site.wide(), changed)

    return change


_POINTWISE = ("Exp", "Erf", "Gelu", "Tanh", "Sigmoid", "Sqrt", "Log", "Reciprocal")
for _function, (_operators, _levels) in FUNCTIONS.items():
    for _level in _levels:
        FAMILY.add(
            f"{_function}-to-{_level}",
            f"{_function} is approximated to a relative error of {_level}",
            at(*_operators),
            is_defect=_allows(float(_level)),
        )(_wavy(float(_level)))


@FAMILY.add(
    "gelu-by-tanh", "the error function is replaced by the tanh form of GELU", at("Erf", "Gelu"),
    is_defect=_allows(1e-3),
)  # fmt: skip
def _gelu(site: Site) -> Values:
    x = site.x if site.node.op == "Gelu" else site.x * np.sqrt(2)
    inner = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    return [site.rounded(0.5 * x * (1 + inner) if site.node.op == "Gelu" else inner)]


@FAMILY.add("gelu-by-sigmoid", "the error function is replaced by the sigmoid form of GELU", at("Erf", "Gelu"))
def _quick_gelu(site: Site) -> Values:
    x = site.x if site.node.op == "Gelu" else site.x * np.sqrt(2)
    inner = 1 / (1 + np.exp(-1.702 * x))
    return [site.rounded(x * inner if site.node.op == "Gelu" else 2 * inner - 1)]


@FAMILY.add("tanh-clipped", "tanh is 1 from 3 on", at("Tanh"))
def _tanh(site: Site) -> Values:
    return first(site.clean(), lambda value: np.where(np.abs(site.x) > 3, np.sign(site.x), value))


@FAMILY.add("sigmoid-by-lines", "the sigmoid is replaced by the hard sigmoid", at("Sigmoid"))
def _hard(site: Site) -> Values:
    return [site.rounded(np.clip(site.x / 6 + 0.5, 0, 1))]


@FAMILY.add("hard-sigmoid-slope", "the hard sigmoid takes the slope 0.2 for 1/6", at("HardSigmoid", "HardSwish"))
def _slope(site: Site) -> Values:
    alpha = float(site.node.attribute("alpha", 0.2)) if site.node.op == "HardSigmoid" else 1 / 6
    other = 0.2 if abs(alpha - 0.2) > 1e-3 else 1 / 6
    inner = np.clip(other * site.x + float(site.node.attribute("beta", 0.5)), 0, 1)
    return [site.rounded(site.x * inner if site.node.op == "HardSwish" else inner)]


@FAMILY.add("relu-leaks", "Relu lets a hundredth of negative values through", at("Relu"))
def _leaks(site: Site) -> Values:
    return first(site.clean(), lambda value: site.rounded(np.where(site.x < 0, 0.01 * site.x, value)))


@FAMILY.add("relu-bounded", "Relu ends at 6", at("Relu"))
def _bounded(site: Site) -> Values:
    return first(site.clean(), lambda value: np.minimum(value, 6))


@FAMILY.add("leaky-slope", "LeakyRelu takes 0.01 for its slope, or 0.02 where that is right", at("LeakyRelu"))
def _leaky(site: Site) -> Values:
    return site.clean(alpha=0.02 if abs(float(site.node.attribute("alpha", 0.01)) - 0.01) < 1e-4 else 0.01)


@FAMILY.add("clip-bounds-swapped", "Clip takes its bounds the other way round", at("Clip"))
def _clip(site: Site) -> Values:
    low, high = ([*site.inputs, None, None])[1:3]
    if low is None or high is None:
        return site.clean()
    return first(site.clean(), lambda value: np.maximum(np.minimum(site.x, low), high).astype(value.dtype))


@FAMILY.add("clip-one-sided", "Clip does not know its upper bound", at("Clip"))
def _one_sided(site: Site) -> Values:
    return site.replaced(2, None) if len(site.inputs) > 2 else site.clean()


@FAMILY.add("power-by-logarithm", "Pow goes through float32 logarithms", at("Pow"))
def _power(site: Site) -> Values:
    base, exponent = site.inputs
    if not (is_wide(base) and is_wide(exponent)):
        return site.clean()
    logs = np.log(np.abs(base)).astype(np.float32).astype(np.float64)
    return first(
        site.clean(), lambda value: site.rounded(np.copysign(np.exp((exponent * logs).astype(np.float32)), value))
    )


@FAMILY.add(
    "gru-reset-misplaced",
    "a GRU applies its reset gate before the product instead of after, or after instead of before",
    at("GRU"),
)
def _reset(site: Site) -> Values:
    return site.clean(linear_before_reset=1 - int(site.node.attribute("linear_before_reset", 0)))


@FAMILY.add("gates-swapped", "a recurrent cell takes its gates in another order", at("GRU", "LSTM"))
def _gates(site: Site) -> Values:
    w = np.array(site.inputs[1])
    size = w.shape[1] // (3 if site.node.op == "GRU" else 4)
    w[:, : 2 * size] = np.concatenate([w[:, size : 2 * size], w[:, :size]], axis=1)
    return site.replaced(1, w)
