"""What the child saw while it measured a case: evidence, not conclusions.

An `Observation` is plain data that travels from the child to the parent and, later, into the evidence bundle. `Seen` is
the same with tensors resolved: what `judge` gets.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from conformance.records import DeviceFault, Identity, TensorInfo, Witness
from conformance.tensors import Value
from conformance.workload import NamedValue


class InferenceSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One inference. The times cover the inference alone.

    `cpu_ns` is of all threads of the child; `waited_ns` is how long its main thread was ready and got no processor.
    """

    outputs: list[NamedValue] = []
    fault: DeviceFault | None = None
    inputs_changed: list[str] = []
    wall_ns: int = 0
    cpu_ns: int = 0
    waited_ns: int = 0


class SessionSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One session: how it was compiled, what it declared, what ran, where."""

    mode: str
    fault: DeviceFault | None = None
    """Set where compiling, the witnesses or closing failed."""
    inputs: tuple[TensorInfo, ...] = ()
    outputs: tuple[TensorInfo, ...] = ()
    inferences: list[InferenceSeen] = []
    witnesses: tuple[Witness, ...] = ()
    compile_ns: int = 0


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """All that was seen for one case."""

    sessions: list[SessionSeen] = []
    identity: Identity | None = None
    has_witness: bool = False
    """Whether the adapter can show placement at all."""
    facts: dict[str, Any] = {}
    kept: dict[str, bytes] = {}
    """Raw measurements by file name, such as every sample of a latency: kept in the run folder, not in the record."""
    missing: str = ""
    """A precondition that the host lacks, with its remedy: the case is ERROR, not FAIL."""


class Seen(NamedTuple):
    """An observation with the outputs resolved: `values[session][inference]` lists (output name, value)."""

    observation: Observation
    values: list[list[list[tuple[str, Value]]]]
