"""The perturbed runs of a model, and of a decoder whose caches go from request to request; the spreads that follow.

One unperturbed run comes first: it gives the sums of squares of every contraction, which all runs share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from conformance.errors import HarnessError
from conformance.numerics.formats import FORMATS
from conformance.numerics.resemblance import LIKES
from conformance.numerics.spread import RUNS, Spread, spread_of, with_likes
from conformance.reference.interpreter import Interpreter, widened
from conformance.reference.montecarlo.bodies import body_of
from conformance.reference.montecarlo.contractions import contract, squares_of
from conformance.reference.montecarlo.elementary import rounded
from conformance.reference.montecarlo.noise import Noise, is_float
from conformance.reference.montecarlo.rules import is_contraction, rule_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx

    from conformance.numerics.modes import PrecisionMode
    from conformance.reference.interpreter import Node, Values
    from conformance.tensors import Array

    Compute = Callable[[Values], Values]

Arrays = dict[str, Any]
_SAME = 1e-9
"""How near a function's body has to come to the operator itself, as a share of its largest value."""


class Shared:
    """What all runs of one request share: sums of squares and function bodies, by node."""

    def __init__(self) -> None:
        self.squares: dict[int, Array] = {}
        self.bodies: dict[int, Interpreter] = {}

    def __call__(self, node: Node, inputs: Values, compute: Compute) -> Values:
        """Compute a node as it is, and keep what the perturbed runs will need of it."""
        outputs = compute(inputs)
        if is_contraction(node):
            if is_float(outputs[0]):
                self.squares[node.index] = squares_of(node, inputs, compute).astype(np.float32)
        elif rule_of(node) is None and any(is_float(one) for one in outputs):
            body = body_of(node, inputs)
            if body is not None and _agrees(body, inputs, outputs):
                self.bodies[node.index] = body
        return outputs


class Perturbing:
    """The step that perturbs."""

    def __init__(self, noise: Noise, shared: Shared | None = None) -> None:
        self._noise = noise
        self._shared = shared or Shared()

    def __call__(self, node: Node, inputs: Values, compute: Compute) -> Values:
        """Return the node's outputs as a device of the declared precision might give them."""
        with np.errstate(all="ignore"):  # infinities stay what they are, and are put back afterwards
            return self._perturbed(node, inputs, compute)

    def _perturbed(self, node: Node, inputs: Values, compute: Compute) -> Values:
        if is_contraction(node):
            return contract(self._noise, node, inputs, compute, self._shared.squares.get(node.index))
        rule = rule_of(node)
        if rule is not None:
            outputs: Values = rule(self._noise, node, inputs, compute)
            return outputs
        body = self._shared.bodies.get(node.index)
        if body is None:
            return rounded(self._noise, node, inputs, compute)
        given = zip(body.input_names, (one for one in inputs if one is not None), strict=False)
        found = iter(body.run(dict(given), Perturbing(self._noise)).values())
        return [next(found) if name else None for name in node.outputs]


class Model:
    """A widened model with what entering it narrows."""

    def __init__(self, interpreter: Interpreter, mode: PrecisionMode) -> None:
        self.interpreter = interpreter
        self.mode = mode
        probe = Noise(mode, (0,), 0)
        folded = _folded(interpreter) if not probe.narrows_operands else set()
        self._masks: dict[str, Array] = {}
        for name, value in interpreter.initializers.items():
            mask = np.ones(np.shape(value), dtype=bool) if name in folded else probe.unheld(value)
            if mask is not None and is_float(value):
                self._masks[name] = mask

    def weights(self, noise: Noise) -> dict[str, Array]:
        """Return the weights that a device stores otherwise than they are, narrowed."""
        return {name: noise.narrowed(self.interpreter.initializers[name], mask) for name, mask in self._masks.items()}


def perturbed_runs(
    interpreter: Interpreter,
    inputs: Callable[[int], Arrays] | Arrays,
    mode: PrecisionMode,
    seed: int,
    runs: int = RUNS,
) -> dict[str, Array]:
    """Return each output of `runs` perturbed runs as [runs, *shape], by output name.

    `inputs` is what every run is given, or a function of the run's number. HarnessError where runs differ in shape.
    """
    model, shared = Model(interpreter, mode), Shared()
    first = inputs(0) if callable(inputs) else inputs
    interpreter.run(first, shared)
    found = []
    for run in range(runs):
        noise = Noise(mode, (seed,), run)
        given = {
            name: noise.narrowed(widened(one)) for name, one in (inputs(run) if callable(inputs) else first).items()
        }
        found.append(interpreter.run(given, Perturbing(noise, shared), initializers=model.weights(noise)))
    return _stacked(found)


def perturbed_sequence(
    interpreter: Interpreter,
    steps: list[Arrays],
    past: Arrays,
    past_of: Callable[[str], str],
    mode: PrecisionMode,
    seed: int,
    runs: int = RUNS,
) -> tuple[list[dict[str, Array]], list[dict[str, Array]]]:
    """Return the unperturbed outputs of each request, and those of `runs` runs, each with caches of its own.

    `steps` holds what each request is given beside the caches, `past` the caches of the first; `past_of` names the input that
    an output goes into at the next request, which is every output whose name it changes.
    """
    model = Model(interpreter, mode)
    clean, shared = [], [Shared() for _ in steps]
    caches = dict(past)
    for given, one in zip(steps, shared, strict=True):
        clean.append(interpreter.run(given | caches, one))
        caches = _handed_on(clean[-1], past_of)
    every: list[list[Arrays]] = [[] for _ in steps]
    for run in range(runs):
        noise = Noise(mode, (seed,), run)
        weights = model.weights(noise)
        caches = {name: noise.narrowed(widened(one)) for name, one in past.items()}
        for at, given in enumerate(steps):
            own = {name: noise.narrowed(widened(one)) for name, one in given.items()}
            # A cache that came out has been rounded already.
            every[at].append(interpreter.run(own | caches, Perturbing(noise, shared[at]), initializers=weights))
            caches = _handed_on(every[at][-1], past_of)
    return clean, [_stacked(one) for one in every]


def spreads(
    wide_model: onnx.ModelProto, inputs: Arrays, mode: PrecisionMode, seed: int, kinds: dict[str, str]
) -> dict[str, Spread]:
    """Return what each floating-point output of a widened model is judged by; `kinds` are the outputs' element types."""
    interpreter = Interpreter(wide_model)
    reference = interpreter.run(inputs)
    runs = perturbed_runs(interpreter, inputs, mode, seed)
    likes = coarser_runs(interpreter, inputs, mode, seed)
    return {
        name: with_likes(
            spread_of(value, runs[name], mode, kinds[name]), {like: one[name] for like, one in likes.items()}
        )
        for name, value in reference.items()
        if is_float(value)
    }


def coarser_runs(interpreter: Interpreter, inputs: Arrays, mode: PrecisionMode, seed: int) -> dict[str, Arrays]:
    """Return the outputs of one run in each precision of `LIKES` that is coarser than the declared one, by its name."""
    found = {}
    for name, differs in LIKES.items():
        if all(FORMATS[form].bits < FORMATS[getattr(mode, part)].bits for part, form in differs.items()):
            coarse = msgspec.structs.replace(mode, **differs)
            runs = perturbed_runs(interpreter, inputs, coarse, seed, runs=1)
            found[name] = {output: one[0] for output, one in runs.items()}
    return found


def _handed_on(outputs: Arrays, past_of: Callable[[str], str]) -> Arrays:
    return {past_of(name): value for name, value in outputs.items() if past_of(name) != name}


def _stacked(found: list[Arrays]) -> dict[str, Array]:
    try:
        return {name: np.stack([np.asarray(one[name]) for one in found]) for name in found[0]}
    except ValueError as error:
        raise HarnessError(f"perturbed runs differ in the shape of an output: {error}") from error


def _agrees(body: Interpreter, inputs: Values, outputs: Values) -> bool:
    try:
        given = zip(body.input_names, (one for one in inputs if one is not None), strict=False)
        found = list(body.run(dict(given)).values())
    except HarnessError:
        return False
    wanted = [one for one in outputs[: len(found)] if one is not None]
    for one, other in zip(wanted, found, strict=False):
        if np.shape(one) != np.shape(other) or np.asarray(one).dtype.kind != np.asarray(other).dtype.kind:
            return False
        same = np.allclose(one, other, rtol=_SAME, atol=_SAME * float(np.max(np.abs(one), initial=0.0)), equal_nan=True)
        if is_float(one) and not same:
            return False
    return len(wanted) == len(found)


def _folded(interpreter: Interpreter) -> set[str]:
    """Return the weights that a device may multiply by a normalisation's factors before it stores them."""
    normalised = {node.inputs[0] for node in interpreter.nodes if node.op == "BatchNormalization"}
    return {
        node.inputs[1]
        for node in interpreter.nodes
        if node.op in ("Conv", "ConvTranspose") and node.outputs[0] in normalised
    }
