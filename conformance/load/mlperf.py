"""MLPerf's own generator, LoadGen, as a second opinion: the four MLPerf scenarios on the same session, and its summary read.

It is an extra (`pip install resonance-conformance[loadgen]`), imported when it is used. While it drives the session, our own
clock runs beside it, so that its summary and our samples are of the same queries. One LoadGen test may run per process at a
time, which is how a child works.
"""

from __future__ import annotations

import importlib
import importlib.util
import queue
import re
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from conformance.errors import HarnessError
from conformance.load.quiet import quiet
from conformance.timing.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.load.quiet import Ask

MODULE = "mlperf_loadgen"
SCENARIOS = {
    "single-stream": "SingleStream",
    "multi-stream": "MultiStream",
    "server": "Server",
    "offline": "Offline",
}
SUMMARY = "mlperf_log_summary.txt"
MOST_QUERIES = 1 << 24
"""As many queries as are recorded at most."""
_DISCARDED = re.compile(r"[Ww]ould discard (\d+) highest latency quer")
_ESTIMATE = re.compile(r"[Ee]arly stopping ([\d.]+)(?:st|nd|rd|th)? percentile estimate:\s*(\d+)")


class Settings(NamedTuple):
    """What a test is asked for; counts and durations are minima, as LoadGen has them."""

    scenario: str
    queries: int
    duration_ms: int = 0
    streams: int = 8
    """Samples of one query of multi-stream."""
    rate_per_s: float = 100.0
    bound_ns: int = 100_000_000
    """For `server`: the latency that its percentile is held against."""
    percentile: float = 0.99
    expected_ns: int = 1_000_000
    """What one query is expected to take; LoadGen sizes its first batch of queries by it."""
    seed: int = 1


class Told(NamedTuple):
    """What LoadGen concluded, and what our own clock saw of the same queries."""

    summary: dict[str, str]
    """Every `name : value` line of its summary."""
    samples: Samples
    """Of the queries in the order of issue: from LoadGen's call until our answer was complete."""
    text: str = ""
    """The summary as it was written."""

    @property
    def is_valid(self) -> bool:
        """Whether LoadGen found the run valid: long enough, enough queries, early stopping satisfied."""
        return self.summary.get("Result is") == "VALID"

    def ns(self, name: str) -> int:
        """Return a time of the summary, such as `99.00 percentile latency (ns)`; HarnessError where it has none."""
        try:
            return int(self.summary[name])
        except (KeyError, ValueError):
            raise HarnessError(
                f"LoadGen's summary has no time '{name}'; it has {', '.join(sorted(self.summary))}"
            ) from None

    def discarded(self) -> int | None:
        """Return how many of the slowest queries early stopping discarded; None where it does not say."""
        found = _DISCARDED.search(self.text)
        return int(found.group(1)) if found else None

    def early_stopping_ns(self) -> dict[str, int]:
        """Return the estimates of early stopping by percentile: `{"90": 2543022}`."""
        return {percentile.rstrip("0").rstrip("."): int(ns) for percentile, ns in _ESTIMATE.findall(self.text)}


def is_installed() -> bool:
    """Whether LoadGen can be imported; nothing is loaded for it."""
    return importlib.util.find_spec(MODULE) is not None


def run_loadgen(
    ask: Ask, inputs: int, settings: Settings, *, tick: Callable[[], None] | None = None, folder: Path | None = None
) -> Told:
    """Let LoadGen drive `ask`, which is given the number of one of `inputs` inputs, and return what it and we saw.

    HarnessError where LoadGen is not installed or its summary cannot be read; what `ask` raises is raised again.
    """
    if not is_installed():
        raise HarnessError(
            "MLPerf LoadGen is not installed: pip install 'resonance-conformance[loadgen]' in this environment"
        )
    loadgen = importlib.import_module(MODULE)
    with tempfile.TemporaryDirectory(prefix="loadgen-") as made:
        out = folder if folder is not None else Path(made)
        system = _System(loadgen, ask, settings, tick)
        under_test = loadgen.ConstructSUT(system.issue, lambda: None)
        library = loadgen.ConstructQSL(inputs, inputs, lambda _: None, lambda _: None)
        try:
            with quiet():
                loadgen.StartTestWithLogSettings(
                    under_test, library, _test_settings(loadgen, settings), _log_settings(loadgen, out), "none"
                )
        finally:
            loadgen.DestroyQSL(library)
            loadgen.DestroySUT(under_test)
            system.close()
        text = _read(out / SUMMARY)
        return Told(read_summary(text), system.samples(), text)


def read_summary(text: str) -> dict[str, str]:
    """Return the `name : value` lines of a LoadGen summary."""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise HarnessError(f"LoadGen wrote no summary: {error}") from error


class _System:
    """The system under test as LoadGen sees it: one thread that answers what `issue` brings, or the issuing thread itself."""

    def __init__(self, loadgen: Any, ask: Ask, settings: Settings, tick: Callable[[], None] | None) -> None:
        self._loadgen, self._ask, self._tick = loadgen, ask, tick
        self._is_direct = settings.scenario in ("single-stream", "multi-stream")
        self._issued: list[int] = []
        self._done: list[int] = []
        self._error: BaseException | None = None
        self._next_tick = 0
        self._waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        if not self._is_direct:
            self._thread = threading.Thread(target=self._serve, name="loadgen-system", daemon=True)
            self._thread.start()

    def issue(self, query: Any) -> None:
        """Take a query: a list of samples with `id` and `index`. LoadGen must get its thread back soon in server mode."""
        begin = time.monotonic_ns()
        if self._is_direct:
            self._answer(query, begin)
        else:
            self._waiting.put((query, begin))

    def _serve(self) -> None:
        while True:
            given = self._waiting.get()
            if given is None:
                return
            query, begin = given
            for sample in query:  # offline brings all samples as one query; each is answered when it is ready
                self._answer([sample], begin)

    def _answer(self, query: Any, begin: int) -> None:
        if self._error is None:
            try:
                for sample in query:
                    self._ask(sample.index)
            except BaseException as error:  # noqa: BLE001 - it may not pass through LoadGen's own threads
                self._error = error
        end = time.monotonic_ns()
        response = self._loadgen.QuerySampleResponse
        self._loadgen.QuerySamplesComplete([response(sample.id, 0, 0) for sample in query])
        self._issued.append(begin)
        self._done.append(end)
        if self._tick is not None and end >= self._next_tick:
            self._next_tick = end + 250_000_000
            self._tick()

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()

    def samples(self) -> Samples:
        """Return the times; raise what the device raised."""
        if self._error is not None:
            raise self._error
        issued, done = (np.array(one, dtype=np.int64) for one in (self._issued, self._done))
        order = np.argsort(issued, kind="stable")
        return Samples(issued[order], issued[order], done[order], is_scheduled=False)


def _test_settings(loadgen: Any, settings: Settings) -> Any:
    made = loadgen.TestSettings()
    try:
        made.scenario = getattr(loadgen.TestScenario, SCENARIOS[settings.scenario])
    except KeyError:
        raise HarnessError(f"LoadGen has no scenario '{settings.scenario}': {', '.join(SCENARIOS)}") from None
    made.mode = loadgen.TestMode.PerformanceOnly
    made.min_query_count = settings.queries
    made.max_query_count = MOST_QUERIES if settings.duration_ms else settings.queries
    made.min_duration_ms = settings.duration_ms
    made.qsl_rng_seed = made.sample_index_rng_seed = made.schedule_rng_seed = settings.seed
    made.single_stream_expected_latency_ns = made.multi_stream_expected_latency_ns = settings.expected_ns
    made.single_stream_target_latency_percentile = settings.percentile
    made.multi_stream_target_latency_percentile = settings.percentile
    made.multi_stream_samples_per_query = settings.streams
    made.server_target_qps = settings.rate_per_s
    made.server_target_latency_ns = settings.bound_ns
    made.server_target_latency_percentile = settings.percentile
    made.offline_expected_qps = 1e9 / settings.expected_ns
    return made


def _log_settings(loadgen: Any, folder: Path) -> Any:
    output = loadgen.LogOutputSettings()
    output.outdir = str(folder)
    output.copy_summary_to_stdout = False
    made = loadgen.LogSettings()
    made.log_output = output
    made.enable_trace = False
    return made
