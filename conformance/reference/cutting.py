"""A piece cut out of a model: some nodes before one result, with what goes into them as inputs.

It is what a vendor gets to look at when a device computes a model wrongly: the smallest piece that still shows it, written as
ONNX's own test folders are (`model.onnx`, `test_data_set_0/input_0.pb`, `output_0.pb`), which any runtime's test runner takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import onnx
from onnx import numpy_helper, shape_inference
from onnx.utils import Extractor

from conformance.errors import HarnessError

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.tensors import Array


class Piece(NamedTuple):
    """A model of its own."""

    model: bytes
    inputs: tuple[str, ...]
    """Names in the original graph: its own inputs, or results of its nodes."""
    nodes: int


class Cutter:
    """Cuts pieces out of one model; HarnessError where its types cannot be inferred."""

    def __init__(self, model: bytes) -> None:
        self._proto = shape_inference.infer_shapes(onnx.load_model_from_string(model))
        graph = self._proto.graph
        self._extractor = Extractor(self._proto)
        self._maker = {name: node for node in graph.node for name in node.output if name}
        self._weights = {tensor.name for tensor in graph.initializer}

    def cut(self, result: str, nodes: int) -> Piece:
        """Return the piece that gives `result`, of about `nodes` nodes: the nearest before it, level by level."""
        if result not in self._maker:
            raise HarnessError(f"no node of the model gives '{result}'")
        taken: dict[str, onnx.NodeProto] = {}
        level = [result]
        while level and len({id(node) for node in taken.values()}) < nodes:
            further: list[str] = []
            for name in level:
                node = self._maker.get(name)
                if node is None or name in taken:
                    continue
                taken |= {output: node for output in node.output if output}
                further += [one for one in _read(node) if one not in taken]
            level = further
        # Constants belong to whoever reads them.
        held = {id(node): node for node in taken.values()}
        needed = dict.fromkeys(name for node in held.values() for name in _read(node) if name not in taken)
        constants = {name for name in needed if name in self._maker and not _read(self._maker[name])}
        inputs = tuple(name for name in needed if name not in constants and name not in self._weights)
        try:
            model = self._extractor.extract_model(list(inputs), [result])
        except ValueError as error:
            raise HarnessError(f"no piece can be cut out before '{result}': {error}") from error
        return Piece(bytes(model.SerializeToString(deterministic=True)), inputs, len(model.graph.node))


def _read(node: onnx.NodeProto) -> list[str]:
    """Return what a node reads, the bodies of its subgraphs included."""
    names = [name for name in node.input if name]
    for attribute in node.attribute:
        for graph in [attribute.g, *attribute.graphs] if attribute.type in (5, 10) else []:
            own = {name for one in graph.node for name in one.output} | {info.name for info in graph.input}
            own |= {tensor.name for tensor in graph.initializer}
            names += [name for one in graph.node for name in _read(one) if name not in own]
    return names


def write_test(folder: Path, model: bytes, inputs: dict[str, Array], outputs: dict[str, Array]) -> None:
    """Write a model with its data as an ONNX test folder; inputs and outputs in the order of the graph."""
    proto = onnx.load_model_from_string(model)
    data = folder / "test_data_set_0"
    data.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    for what, infos, values in (("input", proto.graph.input, inputs), ("output", proto.graph.output, outputs)):
        for at, info in enumerate(infos):
            tensor = numpy_helper.from_array(values[info.name], info.name)
            (data / f"{what}_{at}.pb").write_bytes(tensor.SerializeToString(deterministic=True))
