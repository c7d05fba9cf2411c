"""What is timed: a reference model at a batch, with two lots of inputs that nobody has seen before.

The first lot is the eight samples of the model's agreement case, so that what a device answers while it is timed is judged by
the same reference; the second is drawn from another salt: a device that is quick on known inputs alone is slower on it. Query k
of a batch B takes rows k, k + 1, … k + B − 1 of the eight, in a ring: row 0 of its outputs belongs to sample k.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.reference import answers, feeds, spreads
from conformance.reference.repeats import fix_batch
from conformance.tensors import to_ref
from conformance.workload import ModelRef, NamedValue, Workload

if TYPE_CHECKING:
    from conformance.numerics.modes import PrecisionMode
    from conformance.reference.model_index import ReferenceModel, Variant
    from conformance.tensors import Array

LOT = answers.FEW
"""Inputs of one lot."""
OTHER = 200
"""What is added to the salt for the second lot."""


def is_decoder(variant: Variant) -> bool:
    """Whether a variant is a decoder, fed a cache."""
    return "prefill" in variant.judged


def workload(model: ReferenceModel, variant: Variant, salt: int, batch: int) -> Workload:
    """Return the model and 2·`LOT` data sets: the first lot, then the other.

    Of a decoder, data set i is the first request of sequence i, the cache that it finds included.
    """
    if is_decoder(variant):
        firsts = [sequence(variant, salt + lot, at, steps=1) for lot in (0, OTHER) for at in range(LOT)]
        sets = [_named(one.steps[0] | one.past) for one in firsts]
        return Workload(model=ModelRef(data=model.read(variant)), datasets=sets)
    lots = [answers.few_inputs(model, variant, salt + lot) for lot in (0, OTHER)]
    sets = [_named(_ring(lot, at, batch)) for lot in lots for at in range(LOT)]
    return Workload(model=ModelRef(data=fix_batch(model.read(variant), batch)), datasets=sets)


def generation(model: ReferenceModel, variant: Variant, salt: int) -> Workload:
    """Return a decoder with the requests of 2·`LOT` sequences, one after another; the first of each carries its cache."""
    sets = []
    for lot in (0, OTHER):
        for at in range(LOT):
            found = sequence(variant, salt + lot, at, steps=1 + feeds.TOKENS)
            sets += [_named(step | found.past if number == 0 else step) for number, step in enumerate(found.steps)]
    return Workload(model=ModelRef(data=model.read(variant)), datasets=sets)


def sequence(variant: Variant, salt: int, at: int, *, steps: int) -> feeds.Sequence:
    """Return sequence `at` of a lot; the first is that of the model's own cases."""
    return feeds.decoder(variant.inputs, variant.kind, salt + 7 * at, steps=steps)


def expected(model: ReferenceModel, variant: Variant, salt: int, mode: PrecisionMode) -> list[Any]:
    """Return the spread of each output for the samples of the first lot in order; empty where the variant has none."""
    if "agreement" not in variant.judged:
        return []
    found = spreads.agreed(model, variant, salt, mode)
    return [found[info.name] for info in variant.outputs]


def _ring(rows: dict[str, Array], first: int, batch: int) -> dict[str, Array]:
    chosen = (first + np.arange(batch)) % LOT
    return {name: np.ascontiguousarray(value[chosen]) for name, value in rows.items()}


def _named(inputs: dict[str, Array]) -> list[NamedValue]:
    return [NamedValue(name, to_ref(value)) for name, value in inputs.items()]
