"""A model with its inputs, as it is handed to the child: by reference to a shared store, or inline where it is small."""

from __future__ import annotations

import msgspec

from conformance.tensors import ValueRef


class NamedValue(msgspec.Struct, frozen=True):
    """An input or output with its name in the graph."""

    name: str
    value: ValueRef


class ModelRef(msgspec.Struct, frozen=True, kw_only=True):
    """A serialised ModelProto: `data` inline, or `nbytes` at `offset` of `store`."""

    data: bytes | None = None
    store: str = ""
    offset: int = 0
    nbytes: int = 0


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """What to run: one model, one or more sets of inputs. Expected outputs never travel to the child."""

    model: ModelRef
    datasets: list[list[NamedValue]]
    further: dict[str, ModelRef] = {}
    """Other forms of the model that a case needs, by name: with a fixed batch, or with its inner results as outputs. Inline."""
