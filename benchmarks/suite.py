"""The whole operator suite: `conformance run` against a bare loop, warm and cold, and against `onnx.backend.test` under pytest.

    python benchmarks/suite.py                        all three comparisons, seven pairs each (about ten minutes)
    python benchmarks/suite.py --only warm --pairs 3
    python benchmarks/suite.py --threads 0            the two peers with as many threads as the runtime likes

`conformance run reference-cpu --level full --case 'operators/*'` does it all: isolation, witnesses, journal, judging,
reports. Both sides are whole processes, timed from start to end, and read one cache, made for this script in a temporary
folder; cold, each run of `conformance` gets an empty one and the loop lets ONNX make the cases. Warm, the loops alone are
compared too, without the start of the interpreter, the imports and the plan, since those are paid once and not per case.
The peers compute with one thread, as the profile says for the device under test: on small models, one thread is faster
than many.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import tempfile
from datetime import datetime
from pathlib import Path

from _measure import (
    Command,
    Figure,
    Pair,
    alternate,
    make_parser,
    print_figures,
    print_machine,
    run_process,
    spread,
)

HERE = Path(__file__).resolve().parent
PARTS = ("warm", "cold", "pytest")
RAN = frozenset({0, 10, 20, 30})
"""Exit codes of a run that reached its verdict, whatever that is."""
CACHE = "CONFORMANCE_CACHE"
MAKE_CACHE = (
    "from conformance.reference.suite import load_suite; print(len(load_suite().entries), 'cases in the cache')"
)


class Bench:
    """The commands, below one temporary folder."""

    def __init__(self, folder: Path, threads: int) -> None:
        self.folder = folder
        self._threads = threads
        self._numbers = itertools.count()
        self._warm = {CACHE: str(folder / "cache")}
        self.runs: list[Path] = []

    def make_cache(self) -> Command:
        """Return what fills the cache that all warm runs share."""
        return Command("cache", [sys.executable, "-c", MAKE_CACHE], self.folder, self._warm)

    def conformance(self) -> Command:
        """Return a run of the harness from the warm cache."""
        return self._run("conformance", self._warm)

    def conformance_cold(self) -> Command:
        """Return a run of the harness with a cache of its own, which is empty."""
        return self._run("conformance, cold", {CACHE: str(self.folder / f"empty-{next(self._numbers)}")})

    def _run(self, name: str, env: dict[str, str]) -> Command:
        self.runs.append(self.folder / f"run-{next(self._numbers)}")
        argv = [sys.executable, "-m", "conformance", "run", "reference-cpu", "--level", "full", "--case", "operators/*"]
        return Command(name, [*argv, "--out", str(self.runs[-1])], self.folder, env, RAN)

    def loop(self) -> Command:
        """Return the bare loop over the warm cache."""
        return self._loop("warm")

    def loop_cold(self) -> Command:
        """Return the bare loop over cases that ONNX makes."""
        return self._loop("cold")

    def _loop(self, mode: str) -> Command:
        argv = [sys.executable, str(HERE / "bare_loop.py"), mode, "--threads", str(self._threads)]
        return Command(f"bare loop, {mode}", argv, self.folder, self._warm)

    def onnx_pytest(self) -> Command:
        """Return ONNX's own tests under pytest, kept quick: no tracebacks, no plugins, no configuration of a checkout."""
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=no", "-c", "/dev/null"]
        env = {
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_ADDOPTS": "",
            "ONNX_HOME": str(self.folder / "onnx"),
            "BENCH_THREADS": str(self._threads),
        }
        argv += [f"--rootdir={self.folder}", str(HERE / "_onnx_backend_pytest.py")]
        return Command("onnx.backend.test under pytest", argv, self.folder, env, frozenset({0, 1}))

    def tell_last_run(self) -> None:
        """Print what the last run of the harness came to, so that a figure of a run that did less cannot pass."""
        verdict = json.loads((self.runs[-1] / "run.json").read_text(encoding="utf-8"))["verdict"]
        counts = ", ".join(f"{count} {name}" for name, count in verdict["counts"].items() if count)
        print(f"  the last run of conformance: {verdict['name']}, {counts}")


def _loop_ratio(bench: Bench, pairs: list[Pair]) -> Figure:
    """Compare the loops alone: from the first line of the journal, before any device is opened, to the verdict."""
    ratios = []
    for folder, pair in zip(bench.runs[-len(pairs) :], pairs, strict=True):
        info = json.loads((folder / "run.json").read_text(encoding="utf-8"))["info"]
        took = datetime.fromisoformat(info["finished"]) - datetime.fromisoformat(info["started"])
        bare_s = float(pair.second.last_line.rpartition(",")[2].removesuffix("s"))
        ratios.append(took.total_seconds() / bare_s)
    print(f"  ratio of the loops: {spread(ratios, '×')}")
    return Figure("all cases, warm, the loops alone", statistics.median(ratios), 0.9, "×")


def _ratio(name: str, pairs: list[Pair], limit: float) -> Figure:
    ratios = [pair.ratio for pair in pairs]
    print(f"  ratio: {spread(ratios, '×')}")
    return Figure(name, statistics.median(ratios), limit, "×")


def _peak(name: str, pairs: list[Pair]) -> Figure:
    peaks = [pair.first.peak_mb for pair in pairs]
    print(f"  parent's peak memory: {spread(peaks, 'MB', 0)}")
    return Figure(name, max(peaks), 300, "MB")


def compare_warm(bench: Bench, pairs: int) -> list[Figure]:
    """Compare with the bare loop, both from the same warm cache."""
    print("\nwarm: conformance run against the bare loop")
    found = alternate(bench.conformance, bench.loop, pairs)
    bench.tell_last_run()
    return [
        _loop_ratio(bench, found),
        _ratio("all cases, warm, whole processes", found, 0.9),
        _peak("parent, warm, greatest peak", found),
    ]


def compare_cold(bench: Bench, pairs: int) -> list[Figure]:
    """Compare with the bare loop, neither with a cache."""
    print("\ncold: conformance run with an empty cache against the bare loop that lets ONNX make the cases")
    found = alternate(bench.conformance_cold, bench.loop_cold, pairs)
    bench.tell_last_run()
    return [_ratio("all cases, cold, against the bare loop", found, 1.3), _peak("parent, cold, greatest peak", found)]


def compare_pytest(bench: Bench, pairs: int) -> list[Figure]:
    """Compare with ONNX's own tests under pytest."""
    print("\npytest: onnx.backend.test under pytest against conformance run, warm")
    found = alternate(bench.onnx_pytest, bench.conformance, pairs)
    bench.tell_last_run()
    ratios = [pair.ratio for pair in found]
    print(f"  ratio: {spread(ratios, '×')}")
    name = "times faster than onnx.backend.test under pytest"
    return [Figure(name, statistics.median(ratios), 3, "×", at_least=True)]


def main() -> None:
    """Run the comparisons and print their figures."""
    parser = make_parser(__doc__)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="which comparisons (default: all)")
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="threads of the peers; 0: the runtime's choice (default: 1)"
    )
    arguments = parser.parse_args()
    print_machine()
    print(f"peers with intra_op_num_threads = {arguments.threads}")
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="conformance-bench-") as name:
        bench = Bench(Path(name), arguments.threads)
        print(f"  {run_process(bench.make_cache()).last_line}")
        for part, compare in zip(PARTS, (compare_warm, compare_cold, compare_pytest), strict=True):
            if part in arguments.only:
                figures += compare(bench, arguments.pairs)
    print_figures(figures)


if __name__ == "__main__":
    main()
