"""What the reference models should answer, kept by digest: of graph, inputs and everything that computes from them.

Evaluating a graph in float64 takes seconds, so what came out is cached: as plain arrays, never as objects. A cache that
cannot be read is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import io
import os
import tempfile
import zipfile
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from conformance.errors import HarnessError
from conformance.paths import cache_folder
from conformance.reference import draws, feeds, probes
from conformance.reference.model_index import find_model, models_folder
from conformance.reference.sealed import making
from conformance.reference.tasks import find_task
from conformance.tensors import DTYPES, element_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conformance.reference.model_index import ReferenceModel, Variant
    from conformance.tensors import Array

Arrays = dict[str, "Array"]
SEAL = "seal"
"""The member of a cached file that holds the digest of the others: damage is noticed, a forger is not kept out."""
FEW = 8
"""Samples of an agreement case."""


def count_of(task: str) -> int:
    """Return how many samples of a task are judged: a whole number of batches."""
    return int(find_task(task).SAMPLES) // feeds.BATCH * feeds.BATCH


def batches(task: str, salt: int) -> Iterator[tuple[Arrays, Array]]:
    """Yield the labelled samples of a task, batch by batch: drawing all of them at once takes hundreds of megabytes."""
    for first in range(0, count_of(task), feeds.BATCH):
        inputs, labels = find_task(task).draw(feeds.BATCH, salt, first)
        yield inputs, labels


def narrowed(inputs: Arrays, variant: Variant) -> Arrays:
    """Return the inputs in the types that a variant takes."""
    kinds = {info.name: element_of(info.type) for info in variant.inputs}
    return {name: value.astype(DTYPES[kinds[name]], copy=False) for name, value in inputs.items()}


def few_inputs(model: ReferenceModel, variant: Variant, salt: int) -> Arrays:
    """Return the inputs of an agreement case: eight samples in one batch."""
    given = find_task(model.task).draw(FEW, salt)[0] if model.task else feeds.encoder(FEW, salt)
    return narrowed(given, variant)


def labels_of(task: str, salt: int) -> Array:
    """Return the labels of the samples that are judged."""
    key = ("labels", task, str(salt), _source(find_task(task)), _source(draws))
    return kept(key, lambda: {"labels": np.concatenate([labels for _, labels in batches(task, salt)])})["labels"]


def judged_right(model: ReferenceModel, variant: Variant, salt: int) -> Array:
    """Return, per sample, whether the reference of a variant gets it right: as shipped, or evaluated where it is not."""
    shipped = _shipped().get(right_key(model, variant, salt))
    if shipped is not None:
        return np.unpackbits(np.frombuffer(bytes.fromhex(shipped), dtype=np.uint8), count=count_of(model.task)) > 0
    return kept(("right", right_key(model, variant, salt)), lambda: {"right": evaluate_right(model, variant, salt)})[
        "right"
    ]


def evaluate_right(model: ReferenceModel, variant: Variant, salt: int) -> Array:
    """Return the same, evaluated now; seconds to a minute."""
    task = find_task(model.task)
    judged = []
    for inputs, labels in batches(model.task, salt):
        own = narrowed(inputs, variant)
        for at in range(0, feeds.BATCH, FEW):  # few at a time: unfolded windows in float64 are large
            few = {name: value[at : at + FEW] for name, value in own.items()}
            judged.append(task.is_right(_evaluated(model, variant, few), labels[at : at + FEW]))
    return np.concatenate(judged)


def right_key(model: ReferenceModel, variant: Variant, salt: int) -> str:
    """Return what the shipped judgement of a reference is filed under: everything that it depends on."""
    task = find_task(model.task)
    parts = (
        _graph_digest(model, variant),
        variant.kind,
        str(salt),
        _source(task),
        _source(draws),
        _source(probes.draw_bits),
    )
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


@cache
def _shipped() -> dict[str, str]:
    """Return what `fixtures/make_references.py` wrote, for the samples that everybody is judged by: bits in hexadecimal."""
    path = models_folder() / "references.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except OSError:
        return {}
    except msgspec.MsgspecError as error:
        raise HarnessError(f"the references of the models {path} are damaged: {error}; reinstall") from error


def agreed(model: ReferenceModel, variant: Variant, salt: int) -> Arrays:
    """Return the float64 outputs for `few_inputs`, by output name."""
    key = (
        "few",
        _graph_digest(model, variant),
        variant.name,
        str(salt),
        _source(find_task(model.task)) if model.task else "",
    )
    return kept(key, lambda: _evaluated(model, variant, few_inputs(model, variant, salt)))


def decoded(model: ReferenceModel, variant: Variant, salt: int) -> list[Arrays]:
    """Return the float64 outputs of a decoder for each request of the sequence of a salt."""
    reference = model.variant(variant.reference)

    def make() -> Arrays:
        # The cache it finds is the one that the judged variant finds: as narrow as that one's type.
        steps, past = feeds.decoder(reference.inputs, variant.kind, salt)
        every: Arrays = {}
        for at, step in enumerate(steps):
            outputs = _evaluated(model, variant, step | past)
            past = {feeds.past_of(name): value for name, value in outputs.items() if name.startswith("present.")}
            every |= {f"{at}/{name}": value for name, value in outputs.items()}
        return every

    found = kept(("decoded", _graph_digest(model, variant), variant.name, str(salt), _source(feeds)), make)
    count = 1 + feeds.TOKENS
    return [
        {name.split("/", 1)[1]: value for name, value in found.items() if name.split("/", 1)[0] == str(at)}
        for at in range(count)
    ]


def _evaluated(model: ReferenceModel, variant: Variant, inputs: Arrays) -> Arrays:
    from conformance.reference.evaluate import evaluate

    return evaluate(_widened(model.name, variant.reference), inputs)


@lru_cache(maxsize=2)
def _widened(model_name: str, name: str) -> Any:
    from conformance.reference.evaluate import widen

    model = find_model(model_name)
    return widen(model.read(model.variant(name)))


def _graph_digest(model: ReferenceModel, variant: Variant) -> str:
    return model.variant(variant.reference).sha256


@cache
def _source(module: Any) -> str:
    return hashlib.sha256(inspect.getsource(module).encode()).hexdigest()


@cache
def _own_sources() -> str:
    from importlib.metadata import version

    from conformance.reference import evaluate, wide_operators

    parts = [inspect.getsource(one) for one in (evaluate, wide_operators, probes.draw_bits)] + [
        version("onnx"),
        version("numpy"),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _seal(arrays: Arrays) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(arrays.items()):
        digest.update(f"{name}\0{value.dtype.str}{value.shape}\0".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.digest()


def _file_bytes(path: Path) -> bytes:
    """Return what a plain file holds; OSError for anything else, a pipe included, which would never end."""
    if not path.is_file():
        raise FileNotFoundError(path)
    return path.read_bytes()


def kept(key: tuple[str, ...], make: Callable[[], Arrays]) -> Arrays:
    """Return what `make` gives, from the cache where the same key was made before by the same code."""
    digest = hashlib.blake2b("\0".join((*key, _own_sources())).encode(), digest_size=16).hexdigest()
    path = cache_folder() / "references" / f"{digest}.npz"
    found = _stored(path)
    if found is not None:
        return found
    with making(path):
        found = _stored(path)  # by somebody who was faster
        return found if found is not None else _make_kept(path, make)


def _stored(path: Path) -> Arrays | None:
    with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        stored = np.load(io.BytesIO(_file_bytes(path)), allow_pickle=False)
        found = {name: stored[name] for name in stored.files if name != SEAL}
        if stored[SEAL].tobytes() == _seal(found):
            return found
    return None


def _make_kept(path: Path, make: Callable[[], Arrays]) -> Arrays:
    made = make()
    held = io.BytesIO()
    np.savez(held, **made, **{SEAL: np.frombuffer(_seal(made), dtype=np.uint8)})  # type: ignore[arg-type]
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, not truth
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".making-")
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(held.getvalue())
        os.replace(name, path)  # noqa: PTH105
    return made
