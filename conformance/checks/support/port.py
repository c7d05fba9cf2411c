"""The port of a check: three functions of one module.

`plan` turns a requirement of the category into cases (in the parent, no device). `measure` runs in the child and may
crash. `judge` is pure: the same case, observation and expected values give the same outcome anywhere, without the hardware.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from conformance.adapters.runtime.port import Mode, RuntimeAdapter
    from conformance.observation import Observation, Seen
    from conformance.records import Case, Identity, Judgement
    from conformance.tensors import Array, Value, ValueRef
    from conformance.workload import ModelRef, Workload


class Requested(NamedTuple):
    """A requirement as a check sees it."""

    id: str
    level: str
    params: dict[str, Any]
    why: str


class Planned(NamedTuple):
    """A case with the way to its expected outputs, which stay in the parent: one list of values per data set."""

    case: Case
    expected: Callable[[], list[list[Value]]] | None = None
    inputs: Callable[[], Workload] | None = None
    """Makes the workload when the case is about to run, where holding all of them would fill the memory."""
    foreseen: tuple[str, dict[str, Any], str, str] | None = None
    """For generated cases: what `reference.made.limits.limits_of` takes, so that other processes can work `expected` out ahead."""
    is_from_code: bool = False
    """Whether `expected` computes from code alone, so that it need not be held before a device is open: no file is read."""

    def filled(self) -> Case:
        """Return the case with its workload."""
        return self.case if self.inputs is None else msgspec.structs.replace(self.case, workload=self.inputs())


class Target(NamedTuple):
    """What the plan says about the device under test: plain data, copied into the cases that need it."""

    provider: str
    on_host_cpu: bool
    """The device under test is the host's CPU: host CPU time must be there, and means nothing against it."""
    is_host_cpu_allowed: bool
    """Whether the category lets the host's CPU be the device under test."""
    takes_zero_size: bool
    """Whether the profile declares that tensors without elements are taken."""
    hardware: str
    driver: str
    binding: dict[str, str]
    takes_dynamic_shapes: bool = False
    """Whether the profile declares that dimensions may change between runs of one session."""
    unit_serial: str = ""
    """The serial number of the unit as the lab wrote it down; empty where it did not."""
    features: frozenset[str] = frozenset()
    """What the adapter says that the runtime offers beside plain runs, by `adapters.runtime.port.Feature`."""
    has_telemetry: bool = False
    """Whether the bench file lists meters: without one, nothing is run to be measured."""
    unsayable: Mapping[str, str] = MappingProxyType({})
    """Cases of must-reject that a built-in adapter has no way to ask, with the reason; empty for any other adapter."""


class PlanContext(Protocol):
    """What `plan` may look at: the claims of the profile and the reference cases. No device."""

    target: Target
    claims: Any
    minimum: Any
    """What the category requires, asked like claims; None where it requires no operators."""
    challenge: str
    """What inputs are drawn from beside the public seeds; empty where no challenge was given."""
    determinism: str
    """The declared class of determinism, `bounded` where none is declared."""
    level: str
    """How much is run, of `records.LEVELS`: what is timed takes as long as the level says."""
    latency: tuple[dict[str, Any], ...]
    """The declared latencies, each with the fields of `profile.budgets.Latency`; times in milliseconds."""
    power: dict[str, Any] | None
    """The declared power, with the fields of `profile.budgets.Power`; None where none is declared."""
    thermal: dict[str, Any] | None
    """The declared temperatures, with the fields of `profile.budgets.Thermal`; None where none are declared."""

    def claims_type(self, name: str) -> bool:
        """Return whether the device claims a tensor type."""
        ...

    def significant_bits(self, name: str) -> int:
        """Return the significant bits of inputs or outputs of a floating-point type, whichever are fewer."""
        ...

    def accumulator_bits(self, name: str) -> int:
        """Return the significant bits of sums in a floating-point type."""
        ...

    def precision_mode(self, kind: str) -> dict[str, Any]:
        """Return how the device declares to compute a floating-point type, as `numerics.modes.PrecisionMode.of` takes it."""
        ...

    def demands(self, entry: Any) -> bool:
        """Return whether opsets and types of a model lie within the minimum of the category."""
        ...

    def uses(self, entry: Any) -> list[Any]:
        """Return the operator uses of a suite entry, as claims take them."""
        ...

    def allowed_host_ops(self, uses: list[Any]) -> list[str]:
        """Return the operators of one model that the host may run."""
        ...

    def probe_opset(self) -> int:
        """Return the opset for probe models: one that the device claims."""
        ...

    def why_unclaimed(self, operators: Sequence[str]) -> str:
        """Return why float32 probes of these operators, at `probe_opset`, are not asked of the device; empty where they are."""
        ...

    def suite(self) -> Any:
        """Return the ONNX backend suite (loaded on first use)."""
        ...

    def made(self) -> Sequence[Any]:
        """Return the generated operator cases (loaded on first use)."""
        ...


class Device(Protocol):
    """What `measure` may do, in the child."""

    adapter: RuntimeAdapter
    identity: Identity

    def enter(self, phase: str) -> None:
        """Tell the parent that `compile`, `run` or, to bind the device again, `open` begins: each has its own deadline."""
        ...

    def model(self, ref: ModelRef) -> bytes:
        """Return the bytes of a model."""
        ...

    def fresh(self, ref: ValueRef) -> Value:
        """Return an input that the device may scribble on without harm to later cases."""
        ...

    def pristine(self, ref: ValueRef) -> Value:
        """Return the same input as it was, for comparing afterwards."""
        ...

    def restore(self, ref: ValueRef) -> None:
        """Make `fresh` give the input as it was again, after a device scribbled on it."""
        ...

    def missing(self, needs: list[str]) -> str:
        """Return which host precondition is missing, with its remedy; empty where none is."""
        ...

    def place_output(self, name: str, shape: tuple[int, ...]) -> Array | None:
        """Return shared memory for a large output, None where the output is small."""
        ...

    def send(self, value: Value) -> ValueRef:
        """Turn an output into its wire form; large tensors go through shared memory."""
        ...

    def modes(self) -> Sequence[Mode]:
        """Return the modes to try, in order, for a model on the device under test."""
        ...


class Check(Protocol):
    """A check module."""

    def plan(self, requested: Requested, context: PlanContext) -> Iterable[Planned]:
        """Return the cases that show the requirement."""
        ...

    def measure(self, case: Case, device: Device) -> Observation:
        """Run in the child; return what was seen."""
        ...

    def judge(self, case: Case, seen: Seen, expected: list[list[Value]]) -> Judgement:
        """Conclude. Pure."""
        ...
