"""By how much the generator makes a query look slower: against a bare loop of the same session, in pairs that take turns.

    python benchmarks/latency_bias.py                 bias per query, the null device beside it; LoadGen where it is installed
    python benchmarks/latency_bias.py --model mobile-cnn --queries 500

Bare is `session.run(None, feeds)` of onnxruntime between two readings of the clock, and nothing else. Ours is the closed loop
of `conformance.load` over the adapter, as a latency case has it, with outputs kept and the parent told. Both use one session.
A pair is a block of each, whoever comes first taking turns; its difference is that of the two medians. LoadGen drives the same
session, and its summary is held against our own clock on the same queries.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _measure import Figure, make_parser, print_figures, print_machine, spread

from conformance.adapters.runtime import onnxruntime as adapter
from conformance.adapters.runtime.port import Mode
from conformance.load import mlperf
from conformance.load.closed import run_single_stream
from conformance.load.null_device import asking, measure_itself
from conformance.load.quiet import quiet
from conformance.reference import timed
from conformance.reference.model_index import find_model
from conformance.tensors import from_ref

if TYPE_CHECKING:
    from conformance.adapters.runtime.port import RuntimeSession
    from conformance.load.quiet import Ask
    from conformance.tensors import Array
    from conformance.timing.samples import Samples

LIMIT_US = 5.0
RUNTIME = {
    "provider": "CPUExecutionProvider",
    "session_options": {"intra_op_num_threads": 1, "inter_op_num_threads": 1},
}


def open_session(model_name: str) -> tuple[RuntimeSession, list[dict[str, Any]]]:
    """Return a timed session of a model at batch 1 and its inputs."""
    made = adapter.Adapter(adapter.Adapter.read_options(RUNTIME), Path(tempfile.mkdtemp()))
    made.open()
    model = find_model(model_name)
    workload = timed.workload(model, model.variant("float32"), 0, 1)
    assert workload.model.data is not None
    session = made.compile(workload.model.data, Mode.STRICT, timed=True)
    return session, [{one.name: from_ref(one.value) for one in dataset} for dataset in workload.datasets]


def run_bare(session: Any, feeds: list[dict[str, Any]], count: int) -> Array:
    """Return int64[count]: the loop that anybody would write."""
    run, now, took, length = session.run, time.monotonic_ns, np.zeros(count, np.int64), len(feeds)
    with quiet():
        for at in range(count):
            given = feeds[at % length]
            begin = now()
            run(None, given)
            took[at] = now() - begin
    return took


def compare(session: Any, feeds: list[dict[str, Any]], queries: int, pairs: int) -> list[float]:
    """Return the bias of each pair in microseconds, and print it."""
    ask = asking(session, feeds)
    kept: list[Any] = []

    def ours() -> float:
        made = run_single_stream(ask, queries, after=_keeping(kept), tick=lambda: None)
        return float(np.median(made.latency_ns))

    def bare() -> float:
        return float(np.median(run_bare(session._session, feeds, queries)))

    found = []
    ours(), bare()
    for at in range(pairs):
        if at % 2:
            first = bare()
            bias = (ours() - first) / 1e3
        else:
            first = ours()
            bias = (first - bare()) / 1e3
        found.append(bias)
    return found


def _keeping(kept: list[Any]) -> Any:
    def keep(at: int, outputs: Any) -> None:
        if at == 0:
            kept[:] = [outputs]

    return keep


def compare_loadgen(ask: Ask, inputs: int, count: int) -> None:
    """Print LoadGen's summary beside what our clock saw of the same queries."""
    told = mlperf.run_loadgen(ask, inputs, mlperf.Settings("single-stream", count, percentile=0.9, expected_ns=200_000))
    latency = np.sort(told.samples.latency_ns)
    print(f"\nLoadGen, single-stream, {len(latency)} queries: {told.summary.get('Result is')}")
    for percentile in (50, 90, 99, 99.9):
        theirs = told.ns(f"{percentile:.2f} percentile latency (ns)")
        own = int(latency[min(len(latency) - 1, int(np.ceil(percentile / 100 * len(latency))) - 1)])
        print(
            f"  p{percentile:g}: LoadGen {theirs / 1e3:.1f} µs, ours {own / 1e3:.1f} µs, apart {(theirs - own) / 1e3:+.1f} µs"
        )


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__)
    parser.set_defaults(pairs=60)
    parser.add_argument("--model", default="cnn-shapes", help="a reference model (default: %(default)s)")
    parser.add_argument("--queries", type=int, default=200, help="queries of a block (default: %(default)s)")
    arguments = parser.parse_args()
    print_machine()
    session, feeds = open_session(arguments.model)
    outputs = session.infer(dict(feeds[0]))

    def generate(ask: Ask) -> Samples:
        return run_single_stream(ask, 5000)

    itself = measure_itself(generate, feeds, outputs)
    null = itself.null.latency_ns / 1e3
    print(
        f"null device: median {np.median(null):.2f} µs, p99.9 {np.percentile(null, 99.9):.2f} µs, max {null.max():.1f} µs"
    )
    print(f"busy-wait device of {itself.busy_ns / 1e3:g} µs: measured {itself.busy_error_ns / 1e3:+.2f} µs beyond it")
    biases = compare(session, feeds, arguments.queries, arguments.pairs)
    print(f"bias per query: {spread(biases, 'µs', 2)}")
    if mlperf.is_installed():
        compare_loadgen(asking(session, feeds), len(feeds), 4096)
    else:
        print("LoadGen is not installed: pip install 'resonance-conformance[loadgen]'")
    bias = statistics.median(biases)
    print_figures([Figure("median bias over a bare loop", max(bias, 0.0), LIMIT_US, "µs")])


if __name__ == "__main__":
    main()
