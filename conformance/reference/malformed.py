"""Requests that no runtime may answer: models that are none, and wrong inputs for a model that is good."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from conformance.reference import probes
from conformance.reference.broken_models import broken_models, tolerated_models

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.reference.broken_models import Row
    from conformance.tensors import Array, Value

SALT = 21
"""Of the inputs: good ones go with the bad models, and the bad ones are made from them."""


class Malformed(NamedTuple):
    """A request that must be refused."""

    name: str
    """`model/…` or `request/…`: which of the two is bad."""
    model: bytes
    feeds: dict[str, Value]
    breaks: str
    """Why it must be refused, and for a model which text says so."""


def malformed(opset: int = probes.OPSET) -> list[Malformed]:
    """Return all bad requests, in an order that never changes; wrong inputs go to the probe model of the given opset."""
    probe, good = probes.probe_model("matmul_relu", opset), probes.matmul_relu(SALT)[0]
    requests = [Malformed(f"request/{name}", probe, feeds, breaks) for name, feeds, breaks in _bad_requests(good)]
    return _with_inputs(broken_models()) + requests


def tolerated() -> list[Malformed]:
    """Return the bad models of `tolerated_models`, which are in no check."""
    return _with_inputs(tolerated_models())


def _with_inputs(rows: Sequence[Row]) -> list[Malformed]:
    good: dict[str, Value] = dict(probes.matmul_relu(SALT)[0])
    return [Malformed(f"model/{name}", model, good, breaks) for name, model, breaks in rows]


def _bad_requests(good: dict[str, Array]) -> list[tuple[str, dict[str, Value], str]]:
    a, b = good["a"], good["b"]
    named, typed = "the model has no such input", "the input is declared float32 [16, 8]"
    shaped = "the input is declared [16, 8]"

    def b_is(value: Value) -> dict[str, Value]:
        return {"a": a, "b": value}

    return [
        ("input-unknown", {"a": a, "c": b}, named),
        ("input-extra", {"a": a, "b": b, "c": b}, named),
        ("input-is-an-output", {"a": a, "b": b, "y": np.zeros((8, 8), np.float32)}, named),
        ("input-is-inner", {"a": a, "b": b, "t": np.zeros((8, 8), np.float32)}, named),
        ("input-in-capitals", {"A": a, "B": b}, named),
        ("input-without-name", {"a": a, "": b}, named),
        ("input-missing", {"a": a}, "the model needs b"),
        ("inputs-missing", {}, "the model needs a and b"),
        ("type-float64", b_is(b.astype(np.float64)), typed),
        ("type-float16", b_is(b.astype(np.float16)), typed),
        ("type-int64", b_is(b.astype(np.int64)), typed),
        ("type-int32", b_is(b.astype(np.int32)), typed),
        ("type-uint8", b_is(np.abs(b).astype(np.uint8)), typed),
        ("type-bool", b_is(b > 0), typed),
        ("type-string", b_is(b.astype(np.int64).astype(str).astype(object)), typed),
        ("rank-lower", b_is(b.reshape(-1)), shaped),
        ("rank-higher", b_is(b.reshape(1, 16, 8)), shaped),
        ("rank-zero", b_is(np.array(1, np.float32)), shaped),
        ("dimension-smaller", b_is(b[:15].copy()), shaped),
        ("dimension-larger", b_is(np.concatenate([b, b[:1]])), shaped),
        ("free-dimension-larger", b_is(np.concatenate([b, b[:, :1]], axis=1)), shaped),
        ("dimensions-turned", b_is(np.ascontiguousarray(b.T)), shaped),
        ("inputs-swapped", {"a": b, "b": a}, "the inputs are declared [8, 16] and [16, 8]"),
        ("no-element", b_is(np.zeros((0, 8), np.float32)), shaped),
        ("nothing", b_is(None), "the input is declared a tensor, no optional"),
        ("sequence", b_is([b]), "the input is declared a tensor, no sequence"),
        ("sequence-empty", b_is([]), "the input is declared a tensor, no sequence"),
    ]
