"""The floor: every ONNX backend case in one process, one after another, with nothing around it: session, run, compare.

    python benchmarks/bare_loop.py                    from the harness's warm cache
    python benchmarks/bare_loop.py cold               ONNX makes the cases, as its own runner does; no cache is read
    python benchmarks/bare_loop.py warm --threads 0   as many threads as the runtime likes

It runs the cases that the harness runs: all but those that are pinned as invalid upstream. `cold` asks ONNX's own loader,
unpatched, and reads the models that ONNX ships as files; from the harness it takes the pins and nothing else.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import os
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime as ort

from conformance.checks.support.compare import compare
from conformance.tensors import BITS_OF_PACKED, DTYPES, ONNX_TYPE_OF, pack_bits, type_name, unpack_bits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.tensors import Array, Value

KINDS = ("node", "real", "simple", "pytorch-converted", "pytorch-operator")
PLAIN = {
    "float",
    "float16",
    "double",
    "bool",
    "string",
    *(f"{s}int{bits}" for s in ("", "u") for bits in (8, 16, 32, 64)),
}
"""Element types, in the runtime's spelling, that it takes from numpy and gives back by itself."""
NAME_OF = {number: name for name, number in ONNX_TYPE_OF.items()}


class Bare(NamedTuple):
    """A case: the serialised model, data sets of inputs and outputs in graph order, and the tolerance."""

    model: bytes
    datasets: list[tuple[list[Value], list[Value]]]
    rtol: float
    atol: float


def warm_cases() -> Iterator[Bare]:
    """Yield the cases from the harness's cache."""
    from conformance.reference.suite import load_suite

    suite = load_suite()
    for entry in suite.entries:
        if not entry.invalid:
            count = range(len(entry.datasets))
            sets = [(list(suite.inputs(entry, at).values()), suite.expected(entry, at)) for at in count]
            yield Bare(suite.model(entry), sets, entry.rtol, entry.atol)


def cold_cases() -> Iterator[Bare]:
    """Yield the same cases, made by ONNX itself in this process."""
    from onnx.backend.test.loader import load_model_tests

    from conformance.reference.pins import load_pins

    pins = load_pins()
    for case in [case for kind in KINDS for case in load_model_tests(kind=kind)]:
        pin = pins.get(case.name)
        if pin is not None and pin.invalid:
            continue
        rtol = case.rtol if pin is None or pin.rtol is None else pin.rtol
        atol = case.atol if pin is None or pin.atol is None else pin.atol
        yield Bare(*_made(case), rtol, atol)


def _made(case: Any) -> tuple[bytes, list[tuple[list[Value], list[Value]]]]:
    if case.model is not None:
        sets = [([_value(one) for one in given], [_value(one) for one in wanted]) for given, wanted in case.data_sets]
        return case.model.SerializeToString(), sets
    if case.model_dir is None:
        return _light(case.url)
    import onnx

    folder = Path(case.model_dir)
    blob = (folder / "model.onnx").read_bytes()
    graph = onnx.load_model_from_string(blob).graph
    paths = sorted(folder.glob("test_data_set*"))
    return blob, [(_read(path, "input", graph.input), _read(path, "output", graph.output)) for path in paths]


def _read(folder: Path, prefix: str, infos: Any) -> list[Value]:
    import onnx
    from onnx import numpy_helper

    values: list[Value] = []
    for at in range(len(list(folder.glob(f"{prefix}_*.pb")))):
        blob = (folder / f"{prefix}_{at}.pb").read_bytes()
        kind = infos[at].type.WhichOneof("value")
        if kind == "sequence_type":
            values.append(_value(numpy_helper.to_list(onnx.SequenceProto.FromString(blob))))
        elif kind == "optional_type":
            values.append(_value(numpy_helper.to_optional(onnx.OptionalProto.FromString(blob))))
        else:
            values.append(_value(onnx.TensorProto.FromString(blob)))
    return values


def _light(url: str) -> tuple[bytes, list[tuple[list[Value], list[Value]]]]:
    """Return a model that is shipped without weights, fed a ramp as ONNX's runner does, with the output beside it."""
    import onnx

    path = Path(onnx.__file__).parent.parent / url
    blob = path.read_bytes()
    graph = onnx.load_model_from_string(blob).graph
    held = {tensor.name for tensor in graph.initializer}
    ramps: list[Value] = []
    for info in graph.input:
        if info.name not in held:
            dims = info.type.tensor_type.shape.dim
            shape = tuple(dim.dim_value if dim.HasField("dim_value") else 1 for dim in dims)
            count = math.prod(shape)
            ramps.append((np.arange(count).reshape(shape) / count).astype(np.float32))
    outputs = [Path(f"{path.with_suffix('')}_output_{at}.pb").read_bytes() for at in range(len(graph.output))]
    return blob, [(ramps, [_value(onnx.TensorProto.FromString(output)) for output in outputs])]


def _value(given: Any) -> Value:
    """Return a value as the comparison takes it: ONNX's cases hold arrays, scalars, TensorProtos, lists and None."""
    if given is None or isinstance(given, np.ndarray):
        return given
    if isinstance(given, list | tuple):
        return [_value(item) for item in given]
    if hasattr(given, "SerializeToString"):
        from onnx import numpy_helper

        return numpy_helper.to_array(given)
    return np.asarray(given)


def run_case(case: Bare, options: Any) -> bool:
    """Compile, run and compare one case; raises whatever the runtime does."""
    session = ort.InferenceSession(case.model, options, providers=["CPUExecutionProvider"])
    inputs, outputs = session.get_inputs(), session.get_outputs()
    names = [info.name for info in outputs]
    plain = all(info.type.rpartition("(")[2].rstrip(")") in PLAIN for info in (*inputs, *outputs))
    right = True
    for given, wanted in case.datasets:
        feeds = dict(zip([info.name for info in inputs], given, strict=False))
        if plain:
            results = session.run(names, feeds)
        else:
            typed = {name: _to_typed(value) for name, value in feeds.items()}
            results = [_from_typed(one) for one in session.run_with_ort_values(names, typed)]
        for want, got in zip(wanted, results, strict=True):
            right &= compare(want, np.asarray(got) if isinstance(got, np.generic) else got, case.rtol, case.atol).ok
    return right


def _to_typed(value: Any) -> Any:
    """Return an OrtValue of a type that numpy lacks, or of any other."""
    name, make = type_name(value), ort.OrtValue
    if name in BITS_OF_PACKED:
        packed = pack_bits(value, name)
        typed = make.ortvalue_from_shape_and_type(list(value.shape), ONNX_TYPE_OF[name])
        ctypes.memmove(typed.data_ptr(), packed.ctypes.data, packed.nbytes)
        return typed
    if DTYPES[name].isbuiltin == 1:
        return make.ortvalue_from_numpy(value)
    raw = np.ascontiguousarray(value).view(np.uint16 if value.itemsize == 2 else np.uint8)
    return make.ortvalue_from_numpy_with_onnx_type(raw.reshape(value.shape), ONNX_TYPE_OF[name])


def _from_typed(typed: Any) -> Array:
    name, shape = NAME_OF[typed.element_type()], tuple(typed.shape())
    if name == "string" or DTYPES[name].isbuiltin == 1:
        plain: Array = typed.numpy()
        return plain
    bits = BITS_OF_PACKED.get(name, 8 * DTYPES[name].itemsize)
    raw = np.empty(-(-math.prod(shape) * bits // 8), dtype=np.uint8)
    ctypes.memmove(raw.ctypes.data, typed.data_ptr(), raw.nbytes)
    return unpack_bits(raw, name, shape) if name in BITS_OF_PACKED else raw.view(DTYPES[name]).reshape(shape)


def main() -> None:
    """Run the loop and print what it did and how long it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", nargs="?", choices=["warm", "cold"], default="warm")
    parser.add_argument(
        "--threads", type=int, default=1, help="intra_op_num_threads; 0: the runtime's choice (default: %(default)s)"
    )
    arguments = parser.parse_args()
    begin = time.perf_counter()
    ort.set_default_logger_severity(4)
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = arguments.threads
    right = wrong = rejected = 0
    for case in warm_cases() if arguments.mode == "warm" else cold_cases():
        try:
            is_right = run_case(case, options)
        except Exception:  # noqa: BLE001 - a case that the runtime rejects is a result here
            rejected += 1
            continue
        right, wrong = right + is_right, wrong + (not is_right)
    print(f"bare loop: {right} right, {wrong} wrong, {rejected} rejected, {time.perf_counter() - begin:.2f} s")


if __name__ == "__main__":
    main()
