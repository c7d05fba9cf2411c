"""GRU, LSTM and RNN, perturbed inside: each step's products, functions and the state that the next step starts from.

As the reference evaluator computes them: default activations, no clipping, sequences of one length.
"""

# ruff: noqa: ARG001 - every rule takes the same arguments
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.reference.montecarlo.elementary import SIGMOID_ERROR

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.reference.interpreter import Node, Values
    from conformance.reference.montecarlo.noise import Noise
    from conformance.tensors import Array

GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}


def recur(noise: Noise, node: Node, inputs: Values, compute: Callable[[Values], Values]) -> Values:
    """Return Y, Y_h and, for LSTM, Y_c."""
    given: list[Any] = [*inputs, *[None] * (8 - len(inputs))]
    x, weights, recurrence, bias, _, state, cell, peephole = given
    if node.attribute("layout", 0):
        x = np.swapaxes(x, 0, 1)
        state, cell = (None if one is None else np.swapaxes(one, 0, 1) for one in (state, cell))
    directions, size = recurrence.shape[0], recurrence.shape[-1]
    fresh = np.zeros((directions, x.shape[1], size))
    state, cell = fresh if state is None else state, fresh if cell is None else cell
    bias = np.zeros((directions, 2 * GATES[node.op] * size)) if bias is None else bias
    step = {"GRU": _gru, "LSTM": _lstm, "RNN": _rnn}[node.op]
    every, last, cells = [], [], []
    for at in range(directions):
        backward = at == 1 or node.attribute("direction", "forward") == "reverse"
        seen, h, c = [], state[at], cell[at]
        for taken in x[::-1] if backward else x:
            part = None if peephole is None else peephole[at]
            h, c = step(noise, node, taken, h, c, weights[at], recurrence[at], bias[at], part)
            seen.append(h)
        every.append(np.stack(seen[::-1] if backward else seen))
        last.append(h)
        cells.append(c)
    found = [np.stack(every, axis=1), np.stack(last), np.stack(cells)]
    if node.attribute("layout", 0):
        found = [np.transpose(found[0], (2, 0, 1, 3)), *(np.swapaxes(one, 0, 1) for one in found[1:])]
    return found[: max(len(node.outputs), 1)]


def _affine(noise: Noise, parts: list[tuple[Array, Array]], bias: Array) -> Array:
    """Return Σ a·Wᵀ + bias for parts (a, W), accumulated as one sum of products."""
    value, squares, length = bias.copy(), np.square(bias), 1.0
    for a, w in parts:
        value = value + noise.operand(a) @ noise.operand(w).T
        squares = squares + np.square(a) @ np.square(w).T
        length += w.shape[1]
    return noise.product(value, squares, length)


def _sigmoid(noise: Noise, value: Array) -> Array:
    with np.errstate(over="ignore"):
        return noise.function(1 / (1 + np.exp(-value)), SIGMOID_ERROR)


def _tanh(noise: Noise, value: Array) -> Array:
    return noise.function(np.tanh(value))


def _gru(
    noise: Noise, node: Node, x: Array, h: Array, c: Array, w: Array, r: Array, b: Array, p: Array | None
) -> tuple[Array, Array]:
    size = r.shape[-1]
    cut = slice(0, 2 * size)
    own, back = b[: 3 * size], b[3 * size :]
    gates = _sigmoid(noise, _affine(noise, [(x, w[cut]), (h, r[cut])], own[cut] + back[cut]))
    update, reset = gates[:, :size], gates[:, size:]
    rest = slice(2 * size, None)
    if node.attribute("linear_before_reset", 0):
        hidden = noise.inner(reset * _affine(noise, [(h, r[rest])], back[rest]))
        candidate = _tanh(noise, noise.inner(_affine(noise, [(x, w[rest])], own[rest]) + hidden))
    else:
        product = noise.inner(reset * h)
        candidate = _tanh(noise, _affine(noise, [(x, w[rest]), (product, r[rest])], own[rest] + back[rest]))
    return noise.output(noise.inner(noise.inner(1 - update) * candidate) + noise.inner(update * h)), c


def _lstm(
    noise: Noise, node: Node, x: Array, h: Array, c: Array, w: Array, r: Array, b: Array, p: Array | None
) -> tuple[Array, Array]:
    size = r.shape[-1]
    gates = _affine(noise, [(x, w), (h, r)], b[: 4 * size] + b[4 * size :])
    into, out, forget, fresh = (gates[:, at * size : (at + 1) * size] for at in range(4))
    peep_in, peep_out, peep_forget = np.split(p, 3) if p is not None else (np.zeros(size),) * 3
    into, forget = _sigmoid(noise, into + peep_in * c), _sigmoid(noise, forget + peep_forget * c)
    cell = noise.output(noise.inner(forget * c) + noise.inner(into * _tanh(noise, fresh)))
    out = _sigmoid(noise, out + peep_out * cell)
    return noise.output(out * _tanh(noise, cell)), cell


def _rnn(
    noise: Noise, node: Node, x: Array, h: Array, c: Array, w: Array, r: Array, b: Array, p: Array | None
) -> tuple[Array, Array]:
    size = r.shape[-1]
    return noise.output(_tanh(noise, _affine(noise, [(x, w), (h, r)], b[:size] + b[size:]))), c
