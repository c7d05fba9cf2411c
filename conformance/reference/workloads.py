"""Models with their inputs, made when a case is about to run: at once they would fill the memory."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from conformance.reference import answers, feeds
from conformance.reference.model_index import find_model
from conformance.tensors import to_ref
from conformance.workload import ModelRef, NamedValue, Workload

if TYPE_CHECKING:
    from conformance.reference.model_index import ReferenceModel, Variant
    from conformance.tensors import Array


def make(model: ReferenceModel, variant: Variant, kind: str, salt: int) -> Workload:
    """Return what a case of a kind runs: batches of labelled samples, a few samples, or the requests of a decoder."""
    if kind == "accuracy":
        batches = [_named(answers.narrowed(inputs, variant)) for inputs, _ in answers.batches(model.task, salt)]
        return Workload(model=ModelRef(data=_with_batch(model.name, variant.name, feeds.BATCH)), datasets=batches)
    if kind == "agreement":
        few = _named(answers.few_inputs(model, variant, salt))
        return Workload(model=ModelRef(data=_with_batch(model.name, variant.name, answers.FEW)), datasets=[few])
    datasets: list[list[NamedValue]] = []
    for one in (salt, salt + 100) if kind == "two-sequences" else (salt,):
        steps, past = feeds.decoder(
            variant.inputs, variant.kind, one, steps=1 if kind == "prefill" else 1 + feeds.TOKENS
        )
        datasets += [_named(step | past if at == 0 else step) for at, step in enumerate(steps)]
    return Workload(model=ModelRef(data=model.read(variant)), datasets=datasets)


def _named(inputs: dict[str, Array]) -> list[NamedValue]:
    return [NamedValue(name, to_ref(value)) for name, value in inputs.items()]


@lru_cache(maxsize=4)
def _with_batch(model_name: str, name: str, batch: int) -> bytes:
    """Return the model with its batch fixed: a device need not take dynamic shapes to be right."""
    import onnx

    model = find_model(model_name)
    proto = onnx.load_model_from_string(model.read(model.variant(name)))
    for info in [*proto.graph.input, *proto.graph.output]:
        first = info.type.tensor_type.shape.dim[0]
        if first.dim_param == "N":
            first.dim_value = batch
    del proto.graph.value_info[:]
    return bytes(proto.SerializeToString(deterministic=True))
