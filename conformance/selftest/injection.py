"""Defects: what is wrong with a device, where in a model that can be, and how it is put there.

A defect changes what happens at the nodes it applies to; everything else stays the correct simulated device. It sees a *site*:
the node, its inputs, what the correct device would give for any inputs or attributes, and a memory that outlives a run (what is
stale was right before). A defect may be at every node where it applies or at one of them.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
import numpy as np

from conformance.reference.interpreter import Node
from conformance.selftest.simulate import Simulated, as_stored, is_wide

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.numerics.modes import PrecisionMode
    from conformance.reference.interpreter import Interpreter, Step, Values
    from conformance.tensors import Array

Place = Literal["all", "one"]


class Surroundings:
    """Who makes and who reads each value of a model."""

    def __init__(self, interpreter: Interpreter) -> None:
        self.producers = {name: node for node in interpreter.nodes for name in node.outputs}
        self.consumers: dict[str, list[Node]] = {}
        for node in interpreter.nodes:
            for name in node.inputs:
                self.consumers.setdefault(name, []).append(node)
        self.weights = interpreter.initializers
        self.outputs = set(interpreter.output_names)

    def feeds(self, node: Node, *operators: str) -> bool:
        """Return whether an output of a node is read by one of these operators."""
        return any(one.op in operators for name in node.outputs for one in self.consumers.get(name, []))

    def has_weights(self, node: Node, at: int) -> bool:
        """Return whether an input of a node is a floating-point weight."""
        value = self.weights.get(node.inputs[at]) if len(node.inputs) > at else None
        return is_wide(value)


class Site:
    """One node that a defect hits, in one run."""

    def __init__(
        self, node: Node, inputs: Values, device: Simulated, compute: Callable[[Values], Values], memory: Any
    ) -> None:
        self.node, self.inputs, self.device = node, list(inputs), device
        self._compute = compute
        self.memory: dict[Any, Any] = memory
        """Kept from run to run, of this node alone."""

    @property
    def x(self) -> Array:
        """The first input."""
        value: Array = self.inputs[0]
        return value

    def clean(
        self, inputs: Values | None = None, *, precision: dict[str, Any] | None = None, **attributes: Any
    ) -> Values:
        """Return what the correct device gives, for other inputs, other attributes or another precision mode where given."""
        device = self.device
        if precision:
            device = Simulated(msgspec.structs.replace(device.mode, **precision), device.order)
        given = self.inputs if inputs is None else inputs
        if not attributes:
            return device(self.node, given, self._compute)
        other = self._altered(attributes)
        return device(other, given, lambda values: list(other.runner.run(*values)))

    def wide(self, inputs: Values | None = None) -> Values:
        """Return the same before results are rounded."""
        return self.clean(inputs, precision={"output": "float64", "subnormals": "kept"})

    def replaced(self, at: int, value: Any, **attributes: Any) -> Values:
        """Return what the correct device gives with one input replaced."""
        return self.clean([value if index == at else one for index, one in enumerate(self.inputs)], **attributes)

    def rounded(self, values: Array) -> Array:
        """Return values as the device stores results."""
        return self.device.arithmetic.result(values)

    def draw(self) -> np.random.Generator:
        """Return a generator that is the same in every run of one site."""
        return np.random.default_rng([self.memory.get("seed", 0), self.node.index])

    def _altered(self, attributes: dict[str, Any]) -> Node:
        from onnx import NodeProto, helper

        proto = NodeProto()
        proto.CopyFrom(self.node.proto)
        kept = [one for one in proto.attribute if one.name not in attributes]
        del proto.attribute[:]
        proto.attribute.extend(kept)
        proto.attribute.extend(helper.make_attribute(name, one) for name, one in attributes.items() if one is not None)
        runner = self.node.runner
        return Node(self.node.index, type(runner)(proto, runner.run_params))


def always(mode: PrecisionMode) -> bool:  # noqa: ARG001
    """Whatever is declared, it is a defect."""
    return True


class Defect(NamedTuple):
    """One kind of thing that is wrong with a device."""

    name: str
    family: str
    says: str
    applies: Callable[[Node, Surroundings], bool]
    change: Callable[[Site], Values]
    level: Literal["node", "output", "behaviour"] = "node"
    is_defect: Callable[[PrecisionMode], bool] = always
    """Whether it is one under what a device declares: bfloat16 operands are right where bfloat16 is declared."""
    remembers: bool = False
    """Whether it shows only after an earlier run with other inputs."""

    @property
    def is_held_out(self) -> bool:
        """Whether this kind is set aside while constants are set: fixed by its name alone."""
        return hashlib.blake2b(self.name.encode(), digest_size=1).digest()[0] % 2 == 1


class Baseline:
    """A correct device with one model and one set of inputs, run once and remembered node by node.

    A defect changes little: what comes before it, and what it does not reach, is taken from here.
    """

    def __init__(
        self, interpreter: Interpreter, device: Simulated, inputs: dict[str, Any], kinds: dict[str, str]
    ) -> None:
        self.interpreter, self.device, self.kinds = interpreter, device, kinds
        self.given = inputs
        self.around = Surroundings(interpreter)
        self._weights, self._inputs = device.enter(interpreter.initializers), device.enter(inputs)
        self._tape: dict[int, tuple[Values, Values]] = {}
        self.outputs = self.run(self._recording)

    def run(self, step: Step, inputs: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the outputs by name, in their tensor types, with another step or on other inputs."""
        given = self._inputs if inputs is None else self.device.enter(inputs)
        found = self.interpreter.run(given, step, initializers=self._weights)
        return {name: as_stored(value, self.kinds[name]) for name, value in found.items()}

    def step(self, node: Node, inputs: Values, compute: Callable[[Values], Values]) -> Values:
        """Return what the device gives at a node: remembered where the inputs are the very ones it had."""
        known = self._tape.get(node.index)
        if known is not None and all(one is other for one, other in zip(known[0], inputs, strict=True)):
            return known[1]
        return self.device(node, inputs, compute)

    def _recording(self, node: Node, inputs: Values, compute: Callable[[Values], Values]) -> Values:
        outputs = self.device(node, inputs, compute)
        self._tape[node.index] = (inputs, outputs)
        return outputs


class Defective:
    """A correct simulated device with one defect in it, loaded with one model."""

    def __init__(self, defect: Defect, base: Baseline, place: Place, seed: int) -> None:
        self.defect, self._base = defect, base
        nodes = base.interpreter.nodes if defect.is_defect(base.device.mode) else []
        found = [node.index for node in nodes if defect.applies(node, base.around)]
        self.choices = len(found)
        """At how many nodes the defect could be."""
        if place == "one" and len(found) > 1:
            found = [int(np.random.default_rng([seed, len(found)]).choice(found))]
        self.sites = found
        """Indices of the nodes that are hit; none: this defect cannot be in this model."""
        self._memory: dict[int, Any] = {at: {"seed": seed} for at in self.sites}

    def __call__(self, node: Node, inputs: Values, compute: Callable[[Values], Values]) -> Values:
        """Return what the defective device computes at a node."""
        if node.index not in self._memory:
            return self._base.step(node, inputs, compute)
        site = Site(node, inputs, self._base.device, compute, self._memory[node.index])
        with np.errstate(all="ignore"):
            return self.defect.change(site)

    def run(self) -> dict[str, Any]:
        """Return the model's outputs by name, in their tensor types."""
        if self.defect.remembers:
            self._base.run(self, earlier(self._base.given))
        return self._base.run(self)


def earlier(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return other inputs of the same shapes: every tensor's elements turned by about a third of its length."""
    return {
        name: np.roll(one.reshape(-1), one.size // 3 + 1).reshape(one.shape) if isinstance(one, np.ndarray) else one
        for name, one in inputs.items()
    }
