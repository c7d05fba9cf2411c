"""What a process of its own costs a case: the same case through the pool's child and in this process, in alternation.

    python benchmarks/isolation.py                    seven large pairs, 50 small ones for each of them
    python benchmarks/isolation.py --pairs 3 --mb 20  shorter, and with less data than the requirement is about

All sides use the same adapter with the options of the profile `reference-cpu`, and do the same with it: compile, run, read the
witnesses, close. Isolated counts from the moment the case is handed to the pool until its outputs can be read in this process:
inputs go through shared memory, phases are told, the parent's clock runs. Journal, hashing and judging take no part. That the
child compares its inputs with what was sent, to catch a device that changes them, is judging too: the comparison is timed by
itself on the same arrays and taken off the large case, whose figure with it is printed as well.

In-process there are two ways to get 100 MB out. A plain call lets the runtime allocate: fresh pages each time, and a copy. A
careful caller binds memory that he holds, as the child does with its shared memory. The large case is told against both.
"""

from __future__ import annotations

import math
import os
import statistics
import sys
import tempfile
import time
from collections import deque
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from _measure import Figure, make_parser, print_figures, print_machine, spread

from conformance import prepare
from conformance.adapters.runtime import adapter_class
from conformance.checks.support.port import Planned
from conformance.execution.pool import Observed, Opened, Pool, Task
from conformance.execution.protocol import LARGE_OUTPUT, Deadlines
from conformance.execution.stores import sealed_copy
from conformance.execution.worker import Launch
from conformance.records import Case
from conformance.reference import probes
from conformance.tensors import DTYPES, equal_bits, from_ref, to_ref
from conformance.workload import ModelRef, NamedValue, Workload

if TYPE_CHECKING:
    from conformance.adapters.runtime.port import PlaceOutput, RuntimeAdapter
    from conformance.tensors import Array, Value

SMALL_PER_PAIR = 50
WARM_UP = 3
PROFILE = "reference-cpu"


class Work(NamedTuple):
    """A model with one set of inputs, as arrays and as a case."""

    model: bytes
    feeds: dict[str, Array]
    case: Case


class Sample(NamedTuple):
    """One round, in milliseconds."""

    isolated: float
    inside: float
    """In this process, the runtime allocates its output."""
    held: float
    """In this process, the output goes into memory that is held from run to run."""
    check: float
    """The child's comparison of its inputs, repeated here."""


def make_work(name: str, model: bytes, feeds: dict[str, Array]) -> Work:
    """Return the work, as the operator check would be asked to measure it."""
    inputs = [NamedValue(key, to_ref(value)) for key, value in feeds.items()]
    workload = Workload(model=ModelRef(data=model), datasets=[inputs])
    case = Case(
        id=f"benchmark/{name}", check="operators", requirements=(), why="", params={"needs": []}, workload=workload
    )
    return Work(model, feeds, case)


def make_large(megabytes: int) -> Work:
    """Return one Relu over that many millions of bytes of float32."""
    from onnx import TensorProto, helper

    count = megabytes * 1_000_000 // 4
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [count]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "large", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    values = np.random.default_rng(1).standard_normal(count, dtype=np.float32)
    return make_work("large", model.SerializeToString(), {"x": values})


class Inside:
    """The device in this process."""

    def __init__(self, adapter: RuntimeAdapter) -> None:
        self._adapter = adapter
        self._held: dict[tuple[str, tuple[int, ...]], Array] = {}
        adapter.open()

    def run(self, work: Work, place: PlaceOutput | None = None) -> list[tuple[str, Value]]:
        """Compile, run, read the witnesses and close, as `running.run_session` does."""
        session = self._adapter.compile(work.model, self._adapter.modes()[0])
        outputs = session.infer(dict(work.feeds), place)
        session.witnesses()
        session.close()
        return outputs

    def place(self, name: str, shape: tuple[int, ...]) -> Array | None:
        """Return the same memory for an output of one type and shape, run after run; None for small ones, as the child does."""
        if math.prod(shape) * DTYPES[name].itemsize < LARGE_OUTPUT:
            return None
        return self._held.setdefault((name, shape), np.zeros(shape, DTYPES[name]))


class Isolated:
    """The device in one child of a pool, which stays between cases."""

    def __init__(self, launch: Launch) -> None:
        self._pool = Pool(launch)
        self._slots = self._pool.slots(1)
        self._deadlines = launch.deadlines

    def run(self, work: Work) -> list[tuple[str, Value]]:
        """Measure the case and return its outputs, views of shared memory where they are large."""
        tasks = deque([Task(Planned(work.case))])
        found: list[tuple[str, Value]] = []
        for event in self._pool.run(tasks, self._slots, self._deadlines, lambda *_: None):
            if isinstance(event, Observed):
                inference = event.observation.sessions[-1].inferences[0]
                stores = event.worker.stores(sum(_end(output.value) for output in inference.outputs))
                found = [(output.name, from_ref(output.value, stores)) for output in inference.outputs]
            elif not isinstance(event, Opened):
                raise RuntimeError(  # noqa: TRY004 - no wrong argument: the child failed
                    f"the child did not measure {work.case.id}: {event}"
                )
        return found

    def close(self) -> None:
        """End the child."""
        self._pool.close()


def _end(ref: Any) -> int:
    return int(ref.offset + ref.nbytes) if ref.data is None else 0


def take_samples(isolated: Isolated, inside: Inside, work: Work, count: int) -> list[Sample]:
    """Time all sides in alternation, after three rounds that do not count. RuntimeError where they do not agree."""
    sent = {key: value.copy() for key, value in work.feeds.items()}
    samples = []
    for at in range(count + WARM_UP):
        marks = [time.perf_counter()]
        theirs = isolated.run(work)
        marks.append(time.perf_counter())
        plain = inside.run(work)
        marks.append(time.perf_counter())
        held = inside.run(work, inside.place)
        marks.append(time.perf_counter())
        unchanged = all(equal_bits(value, sent[key]) for key, value in work.feeds.items())
        marks.append(time.perf_counter())
        if not unchanged:
            raise RuntimeError(f"{work.case.id}: the inputs were changed")
        if at < WARM_UP:
            for ours in (plain, held):
                if not all(a == b and equal_bits(v, w) for (a, v), (b, w) in zip(ours, theirs, strict=True)):
                    raise RuntimeError(f"{work.case.id}: the child and this process have different outputs")
        else:
            samples.append(Sample(*((end - begin) * 1e3 for begin, end in pairwise(marks))))
    return samples


def tell(samples: list[Sample]) -> None:
    """Print all sides."""
    for what, values in (
        ("isolated", [one.isolated for one in samples]),
        ("in-process, the runtime allocates its output", [one.inside for one in samples]),
        ("in-process, the output goes into memory that is held", [one.held for one in samples]),
        ("comparison of the inputs with what was sent", [one.check for one in samples]),
    ):
        print(f"  {what}: {spread(values, 'ms')}")


def make_figures(small: list[Sample], large: list[Sample], megabytes: int) -> list[Figure]:
    """Return small as a difference, large as a ratio, each against both ways to run in-process."""
    size = f"isolation, {megabytes} MB: isolated / in-process"
    return [
        Figure(name, statistics.median(values), limit, unit)
        for name, values, limit, unit in (
            ("isolation, small: isolated − in-process", [one.isolated - one.inside for one in small], 0.5, "ms"),
            (f"{size}, runtime allocates", [(one.isolated - one.check) / one.inside for one in large], 1.5, "×"),
            (f"{size}, memory held", [(one.isolated - one.check) / one.held for one in large], 1.5, "×"),
        )
    ]


def main() -> None:
    """Time both sizes and print their figures."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--mb", type=int, default=100, metavar="N", help="millions of bytes in, and as many out (default: %(default)s)"
    )
    arguments = parser.parse_args()
    print_machine()
    loaded, _ = prepare.prepare(PROFILE)
    options = prepare.runtime_options(loaded)
    with tempfile.TemporaryDirectory(prefix="conformance-bench-") as name:
        folder = Path(name)
        kind = adapter_class(loaded.profile.runtime.adapter)
        launch = Launch(
            python=sys.executable,
            adapter=loaded.profile.runtime.adapter,
            runtime=options,
            deadlines=Deadlines(),
            scratch=folder,
            env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"},
            memory_mb=loaded.category.caps.host_memory_mb,
            inputs_fd=sealed_copy("inputs", b""),
        )
        inside, isolated = Inside(kind(kind.read_options(options), folder)), Isolated(launch)
        try:
            print("\nsmall: matmul_relu, 8 × 16 by 16 × 8")
            small = take_samples(
                isolated,
                inside,
                make_work("small", probes.probe_model("matmul_relu"), probes.matmul_relu(1)[0]),
                SMALL_PER_PAIR * arguments.pairs,
            )
            tell(small)
            print(f"\nlarge: Relu, {arguments.mb} MB in and {arguments.mb} MB out")
            large = take_samples(isolated, inside, make_large(arguments.mb), arguments.pairs)
            tell(large)
        finally:
            isolated.close()
    gross = [one.isolated / one.inside for one in large]
    print(f"  isolated / in-process, the comparison of the inputs not taken off: {spread(gross, '×')}")
    print_figures(make_figures(small, large, arguments.mb))


if __name__ == "__main__":
    main()
