"""What is run again and again to see whether the bits stay: models and probes, whole and row by row, plain and exposed.

A workload has two data sets of several rows, or, for batching, one row alone and inside batches of several sizes at several
places. `further` holds the model with its inner results as outputs (`exposed`), with which the first node is found that differs,
and for a device without dynamic shapes each form of it with a fixed batch.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from conformance.reference import answers, exposing, feeds, workloads
from conformance.reference.order_probes import ROWS, has_rows
from conformance.reference.recipes import carry_out
from conformance.reference.tasks import find_task
from conformance.tensors import to_ref
from conformance.workload import ModelRef, NamedValue, Workload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.reference.model_index import ReferenceModel, Variant
    from conformance.reference.recipes import Recipe
    from conformance.tensors import Array

SYMBOL = "N"
"""The dimension of a batch, in every model and probe of ours."""
EXPOSED = "exposed"
OTHER = 50
"""What is added to a salt for the inputs that are run in between."""
Arrays = dict[str, "Array"]


def of_model(model: ReferenceModel, variant: Variant, salt: int) -> Workload:
    """Return a model with two sets of inputs: eight samples each, or the first request of a decoder."""
    kind = "prefill" if "prefill" in variant.judged else "agreement"
    first, second = (workloads.make(model, variant, kind, one) for one in (salt, salt + OTHER))
    assert first.model.data is not None  # noqa: S101 - `make` puts it inline
    return _workload(first.model.data, [first.datasets[0], second.datasets[0]])


def of_probe(recipe: Recipe, challenge: str) -> Workload:
    """Return a probe with two sets of inputs, at most eight rows each."""
    made = carry_out(recipe, challenge)
    rows = answers.FEW if has_rows(recipe) else None
    return _workload(
        fix_batch(made.model, answers.FEW), [_named(_cut(one, slice(0, rows), recipe)) for one in made.datasets]
    )


def batches_of_model(
    model: ReferenceModel, variant: Variant, salt: int, batches: Sequence[tuple[int, int]], *, is_fixed: bool
) -> Workload:
    """Return a model with one row in batches of (size, place); `is_fixed` adds a form of the model for each size."""
    given = find_task(model.task).draw(ROWS, salt)[0] if model.task else feeds.encoder(ROWS, salt)
    return _in_batches(model.read(variant), answers.narrowed(given, variant), batches, is_fixed=is_fixed)


def batches_of_probe(recipe: Recipe, challenge: str, batches: Sequence[tuple[int, int]], *, is_fixed: bool) -> Workload:
    """Return a probe with one row in batches."""
    made = carry_out(recipe, challenge)
    return _in_batches(made.model, made.datasets[0], batches, is_fixed=is_fixed)


def nodes(workload: Workload) -> list[list[Array]]:
    """Return, as one data set of two string arrays, the results that are exposed in computing order and the nodes they are of."""
    data = workload.model.data or b""
    found = exposing.results(data)
    return [[np.array([getattr(one, what) for one in found], dtype=object) for what in ("name", "node")]]


def fix_batch(model: bytes, batch: int) -> bytes:
    """Return a model in which every dimension called `N` is `batch`; what is known of inner results is left to inference."""
    import onnx

    proto = onnx.load_model_from_string(model)
    for info in [*proto.graph.input, *proto.graph.output]:
        for dimension in info.type.tensor_type.shape.dim:
            if dimension.dim_param == SYMBOL:
                dimension.dim_value = batch
    del proto.graph.value_info[:]
    return bytes(proto.SerializeToString(deterministic=True))


def _workload(model: bytes, datasets: list[list[NamedValue]]) -> Workload:
    return Workload(model=ModelRef(data=model), datasets=datasets, further={EXPOSED: ModelRef(data=_exposed(model))})


def _in_batches(model: bytes, rows: Arrays, batches: Sequence[tuple[int, int]], *, is_fixed: bool) -> Workload:
    datasets = []
    for size, place in batches:
        order = [*range(1, place + 1), 0, *range(place + 1, size)]
        datasets.append(_named({name: np.ascontiguousarray(value[order]) for name, value in rows.items()}))
    further = {EXPOSED: ModelRef(data=_exposed(model))}
    for size in {size for size, _ in batches} if is_fixed else ():
        fixed = fix_batch(model, size)
        further |= {str(size): ModelRef(data=fixed), f"{EXPOSED} {size}": ModelRef(data=_exposed(fixed))}
    return Workload(model=ModelRef(data=model), datasets=datasets, further=further)


def _cut(inputs: Arrays, rows: slice, recipe: Recipe) -> Arrays:
    return {name: value[rows] for name, value in inputs.items()} if has_rows(recipe) else inputs


def _named(inputs: Arrays) -> list[NamedValue]:
    return [NamedValue(name, to_ref(value)) for name, value in inputs.items()]


@lru_cache(maxsize=16)
def _exposed(model: bytes) -> bytes:
    return exposing.expose(model, [one.name for one in exposing.results(model)])
