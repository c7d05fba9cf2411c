"""Generates the operator suite from `onnx.backend.test` and writes it as two packs and an index.

Only this module of the room imports onnx, and it is imported only when there is no cache.
"""

from __future__ import annotations

import hashlib
import warnings
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import TYPE_CHECKING, Any, BinaryIO
from unittest.mock import patch

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test import loader
from onnx.backend.test.case import base

from conformance.errors import HarnessError
from conformance.reference import models
from conformance.reference.entries import Dataset, Index, Region, SuiteEntry
from conformance.tensors import TensorRef, to_ref, type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from conformance.tensors import Array, Value

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator", "real")
ALIGNMENT = 64
NODE_COST_MS, REAL_COST_MS = 1.0, 500.0


class Pack:
    """Appends blobs at 64-byte boundaries; equal blobs are stored once (expanded variants share their inputs)."""

    def __init__(self, file: BinaryIO, store: str) -> None:
        self._file = file
        self._store = store
        self._digest = hashlib.blake2b(digest_size=32)
        self._places: dict[bytes, int] = {}
        self.nbytes = 0

    @property
    def digest(self) -> bytes:
        """BLAKE2b-256 of all bytes written so far."""
        return self._digest.digest()

    def add(self, blob: bytes) -> Region:
        """Write `blob` and return where it lies."""
        known = hashlib.blake2b(blob, digest_size=16).digest()
        offset = self._places.get(known)
        if offset is None:
            offset = -(-self.nbytes // ALIGNMENT) * ALIGNMENT
            self._write(b"\0" * (offset - self.nbytes))
            self._write(blob)
            self._places[known] = offset
        return Region(offset, len(blob))

    def place(self, array: Array) -> TensorRef:
        """Write a tensor's elements in row-major order and return its reference."""
        region = self.add(array.tobytes())
        return TensorRef(type_name(array), array.shape, None, self._store, region.offset, region.nbytes)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.nbytes += len(data)


class RawCase:
    """A case as upstream gives it, normalised: a model and data sets of (inputs, outputs) in graph order."""

    def __init__(self, case: Any) -> None:
        self.name: str = case.name
        self.kind: str = case.kind
        self.rtol = float(case.rtol)
        self.atol = float(case.atol)
        self._case = case

    def load(self) -> tuple[onnx.ModelProto, list[tuple[list[Value], list[Value]]]]:
        """Return the model and its data sets."""
        case = self._case
        if case.model is not None:
            return case.model, [(_values(inputs), _values(outputs)) for inputs, outputs in case.data_sets]
        if case.model_dir is not None:
            folder = Path(case.model_dir)
            model = onnx.load(folder / "model.onnx")
            return model, [_read_set(path, model) for path in sorted(folder.glob("test_data_set*"))]
        return _light(case.url)


def generate(key: str, inputs: BinaryIO, expected: BinaryIO, progress: Callable[[str, int, int], None]) -> Index:
    """Generate every case, write the packs and return the index. numpy's global generator is left as it was."""
    # ONNX seeds the global generator before every group of cases.
    state = np.random.get_state()
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            raw = _collect(progress)
            return _write(key, raw, Pack(inputs, "inputs"), Pack(expected, "expected"), progress)
    finally:
        np.random.set_state(state)


def _collect(progress: Callable[[str, int, int], None]) -> list[RawCase]:
    package = import_module("onnx.backend.test.case.node")
    modules = [info.name for info in walk_packages(package.__path__, package.__name__ + ".")]
    # ONNX keeps every case's source text for its documentation and parses it all for that: not needed here.
    with patch.object(base, "process_snippet", lambda *_: ("", "")):
        for done, name in enumerate(modules):
            progress("generating ONNX cases", done, len(modules))
            import_module(name)
    return [RawCase(case) for kind in KINDS for case in loader.load_model_tests(kind=kind)]


def _write(
    key: str, raw: list[RawCase], inputs: Pack, expected: Pack, progress: Callable[[str, int, int], None]
) -> Index:
    entries = []
    subjects: dict[str, str] = {}
    # A base case comes before its expanded variants, which take its subject.
    for done, case in enumerate(sorted(raw, key=lambda case: case.name)):
        if done % 50 == 0:
            progress("indexing ONNX cases", done, len(raw))
        entries.append(_entry(case, subjects, inputs, expected))
    entries.sort(key=lambda entry: entry.case_id)
    if len({entry.case_id for entry in entries}) != len(entries):
        raise HarnessError(
            f"onnx {onnx.__version__} has two backend cases of one name; install the version named in pyproject"
        )
    progress("indexing ONNX cases", len(raw), len(raw))
    return Index(key, inputs.nbytes, inputs.digest, expected.nbytes, expected.digest, entries)


def _entry(case: RawCase, subjects: dict[str, str], inputs: Pack, expected: Pack) -> SuiteEntry:
    model, data_sets = case.load()
    graph = model.graph
    facts = models.examine(model)
    stem = case.name.rpartition("_expanded")[0]
    expanded = case.kind == "node" and stem in subjects
    if case.kind != "node":
        subject = f"{case.kind}/{facts.subject_type}"
    elif expanded:
        subject = subjects[stem]
    elif len(graph.node) == 1:
        subject = f"{facts.first.key}/{facts.subject_type}"
        subjects[case.name] = subject
    else:
        raise HarnessError(
            f"the node case {case.name} of onnx {onnx.__version__} has {len(graph.node)} nodes and no base case"
        )
    fed = models.fed_inputs(graph)
    produced = [info.name for info in graph.output]
    datasets = []
    for given, wanted in data_sets:
        if len(given) > len(fed) or len(wanted) != len(produced):
            raise HarnessError(f"case {case.name} of onnx {onnx.__version__}: values and graph inputs do not pair up")
        datasets.append(
            Dataset(
                [(name, to_ref(value, inputs.place)) for name, value in zip(fed, given, strict=False)],
                [(name, to_ref(value, expected.place)) for name, value in zip(produced, wanted, strict=True)],
            )
        )
    if not datasets:
        raise HarnessError(f"case {case.name} of onnx {onnx.__version__} has no data: reinstall onnx")
    return SuiteEntry(
        name=case.name,
        kind=case.kind,
        case_id=f"operators/{subject}/{case.name}",
        model=inputs.add(model.SerializeToString(deterministic=True)),
        datasets=datasets,
        output_infos=facts.output_infos,
        opset_imports=facts.opset_imports,
        ir_version=model.ir_version,
        uses=facts.uses,
        types=facts.types,
        rtol=case.rtol,
        atol=case.atol,
        expanded=expanded,
        cost_ms=REAL_COST_MS if case.kind == "real" else NODE_COST_MS + 0.05 * len(graph.node),
        dynamic_shapes=facts.dynamic_shapes,
    )


def _values(values: Iterable[Any]) -> list[Value]:
    return [_value(value) for value in values]


def _value(value: Any) -> Value:
    """Normalise what ONNX's Python cases use for a value: arrays, numpy scalars, TensorProtos, lists and None."""
    if value is None:
        return None
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, list | tuple):
        return [_value(item) for item in value]
    return np.asarray(value)


def _read_set(folder: Path, model: onnx.ModelProto) -> tuple[list[Value], list[Value]]:
    return list(_read(folder, "input", model.graph.input)), list(_read(folder, "output", model.graph.output))


def _read(folder: Path, prefix: str, infos: Any) -> Iterator[Value]:
    # By number: input_10 comes after input_9. The n-th file belongs to the n-th graph input.
    for number in range(len(list(folder.glob(f"{prefix}_*.pb")))):
        blob = (folder / f"{prefix}_{number}.pb").read_bytes()
        kind = infos[number].type.WhichOneof("value")
        if kind == "sequence_type":
            yield _value(numpy_helper.to_list(onnx.SequenceProto.FromString(blob)))
        elif kind == "optional_type":
            yield _value(numpy_helper.to_optional(onnx.OptionalProto.FromString(blob)))
        else:
            yield numpy_helper.to_array(onnx.TensorProto.FromString(blob))


def _light(url: str) -> tuple[onnx.ModelProto, list[tuple[list[Value], list[Value]]]]:
    """Load a "real" model: shipped without weights, fed a ramp as ONNX's own runner does, with the shipped output."""
    path = Path(onnx.__file__).parent.parent / url
    model = onnx.load(path)
    ramps: list[Value] = []
    named = {info.name: info for info in model.graph.input}
    for name in models.fed_inputs(model.graph):
        dims = named[name].type.tensor_type.shape.dim
        shape = tuple(dim.dim_value if dim.HasField("dim_value") else 1 for dim in dims)
        count = int(np.prod(shape))
        ramps.append((np.arange(count).reshape(shape) / count).astype(np.float32))
    outputs: list[Value] = [
        numpy_helper.to_array(onnx.TensorProto.FromString(Path(f"{path.with_suffix('')}_output_{n}.pb").read_bytes()))
        for n in range(len(model.graph.output))
    ]
    return model, [(ramps, outputs)]
