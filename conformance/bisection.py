"""Where a model went wrong: the first result that leaves its bound, found by halving, and the smallest piece that shows it.

Every probe runs the model on the device with one result of its nodes given out, and judges that result as a model's output is
judged (Monte Carlo arithmetic, docs/numerics.md). Of n results about log2(n) are looked at: once a result is wrong, those that
follow from it are taken to be wrong too. The piece that is written is run on the device by itself, on exact inputs: it grows from
the one node until it fails there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from conformance.errors import HarnessError
from conformance.numerics.formats import round_to
from conformance.numerics.modes import native
from conformance.numerics.spread import judge_spread
from conformance.reference.cutting import Cutter, Piece, write_test
from conformance.reference.evaluate import widen
from conformance.reference.exposing import expose, results
from conformance.reference.interpreter import Interpreter
from conformance.reference.montecarlo.runs import spreads
from conformance.tensors import DTYPES, type_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conformance.numerics.judged import Judged
    from conformance.numerics.modes import PrecisionMode
    from conformance.reference.exposing import Result
    from conformance.tensors import Array, Value

    Run = Callable[[bytes, dict[str, Array]], dict[str, Value]]
    """Runs a model on the device: outputs by name. What it raises ends the search."""

SEED = 20261125


class Found(NamedTuple):
    """What the search came to."""

    node: str
    """The node as a reader finds it; empty where no result of a node is wrong by itself."""
    result: str
    at: int
    """The node's place among the results that were searched, from 1."""
    of: int
    reason: str
    looks_like: str
    device_runs: int
    nodes: int
    """Nodes of the piece that was written."""
    shows_alone: bool
    """Whether the piece fails on the device by itself."""


class Search:
    """One search in one model, on the inputs with which it failed."""

    def __init__(
        self, run: Run, model: bytes, inputs: dict[str, Array], mode: PrecisionMode, told: Callable[[str], None]
    ) -> None:
        self._run, self._model, self._inputs, self._mode, self._told = run, model, inputs, mode, told
        self.device_runs = 0
        wide = Interpreter(widen(model))
        self._right = wide.run(inputs, keep_all=True)
        self._nodes = len(wide.nodes)
        graph_outputs = set(wide.output_names)
        self._results = [
            one for one in results(model) if _is_float(self._right.get(one.name)) or one.name in graph_outputs
        ]

    def find(self, folder: Path) -> Found:
        """Search, and write the piece below `folder`; HarnessError where nothing can be searched."""
        low, high = 0, len(self._results) - 1
        if high < 0:
            raise HarnessError("the model has no result that could be searched")
        wrong: Judged | None = self._judge(self._results[high])
        if wrong is None:
            return self._whole(folder)
        while low < high:
            middle = (low + high) // 2
            self._told(f"  results {low + 1} to {high + 1} of {len(self._results)}: {self._results[middle].node}")
            judged = self._judge(self._results[middle])
            if judged is None:
                low = middle + 1
            else:
                high, wrong = middle, judged
        return self._piece(folder, high, wrong)

    def _judge(self, result: Result) -> Judged | None:
        """Return how a result is wrong on the device; None where it is right or cannot be judged."""
        exposed = expose(self._model, [result.name])
        return self._judge_output(exposed, self._inputs, result.name)

    def _judge_output(self, model: bytes, inputs: dict[str, Array], name: str) -> Judged | None:
        actual = self._run(model, inputs)[name]
        self.device_runs += 1
        if not isinstance(actual, np.ndarray) or not _is_float(actual):
            return None
        kinds = dict.fromkeys([name], type_name(actual))
        judged = judge_spread(self._spread(model, inputs, name, kinds), actual, name)
        return None if judged.ok else judged

    def _spread(self, model: bytes, inputs: dict[str, Array], name: str, kinds: dict[str, str]) -> Any:
        wide = widen(model)
        kept = [info for info in wide.graph.output if info.name == name]
        del wide.graph.output[:]
        wide.graph.output.extend(kept)
        return spreads(wide, inputs, self._mode, SEED, kinds)[name]

    def _piece(self, folder: Path, at: int, wrong: Judged) -> Found:
        result = self._results[at]
        cutter, nodes = Cutter(self._model), 1
        best: tuple[Piece, Judged | None] | None = None
        while True:
            piece = cutter.cut(result.name, nodes)
            self._told(f"  does a piece of {piece.nodes} nodes show it by itself?")
            inputs = self._inputs_of(piece)
            judged = self._judge_output(piece.model, inputs, result.name)
            best = (piece, judged)
            if judged is not None or set(piece.inputs) <= set(self._inputs):
                break
            nodes = max(2 * nodes, piece.nodes + 1)
        self._write(folder, best[0].model, self._inputs_of(best[0]), [result.name])
        told = best[1] or wrong
        return Found(
            result.node,
            result.name,
            at + 1,
            len(self._results),
            wrong.reason,
            told.looks_like or wrong.looks_like,
            self.device_runs,
            best[0].nodes,
            best[1] is not None,
        )

    def _whole(self, folder: Path) -> Found:
        """Write the model as it is: with a result given out it is right, so the fault lies in what the device makes of it whole."""
        self._write(folder, self._model, self._inputs, None)
        reason = "with its results given out one at a time, the device's last one is within its bound"
        count = len(self._results)
        return Found("", "", 0, count, reason, "", self.device_runs, self._nodes, shows_alone=False)

    def _inputs_of(self, piece: Piece) -> dict[str, Array]:
        """Return what a piece is given: the model's own inputs, and right results rounded to the type they have there."""
        import onnx

        proto = onnx.load_model_from_string(piece.model)
        kinds = {info.name: info.type.tensor_type.elem_type for info in proto.graph.input}
        return {
            name: self._inputs[name] if name in self._inputs else narrowed(self._right[name], kinds[name])
            for name in piece.inputs
        }

    def _write(self, folder: Path, model: bytes, inputs: dict[str, Array], names: list[str] | None) -> None:
        import onnx

        proto = onnx.load_model_from_string(model)
        kinds = {info.name: info.type.tensor_type.elem_type for info in proto.graph.output}
        right = Interpreter(widen(model)).run(inputs)
        write_test(folder, model, inputs, {name: narrowed(right[name], kinds[name]) for name in names or right})


def narrowed(value: Any, onnx_type: int) -> Array:
    """Return a right result in a tensor type: floating-point ones rounded to nearest."""
    from conformance.reference.entries import TYPE_OF_ONNX

    kind = TYPE_OF_ONNX[onnx_type]
    array = np.asarray(value)
    if not _is_float(array):
        return array.astype(DTYPES[kind], copy=False)
    with np.errstate(over="ignore"):
        return round_to(array, native(kind).results).astype(DTYPES[kind])


def _is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and (value.dtype.kind == "f" or value.dtype.name == "bfloat16")
