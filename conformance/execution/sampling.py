"""Sampling meters while a case runs: one process per meter, all on CLOCK_MONOTONIC, and a trace at the end whatever happens.

    with Sampling(meters, scratch) as sampling:
        …                                # the case
        trace = sampling.stop()

A meter that cannot be opened, hangs, crashes or falls silent stands in `Trace.failures` as `meter: reason: remedy`, and the others
go on. What it gave before stays in the trace. Nothing is ever filled in.
"""

from __future__ import annotations

import os
import selectors
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

from conformance.adapters.telemetry import source_class
from conformance.adapters.telemetry.port import Given
from conformance.errors import HarnessError, UsageError
from conformance.execution.sampler import LONGEST_CONFIG, Config
from conformance.execution.sampler_line import KEEPER_GRACE_S, SamplerLine
from conformance.metering.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

NO_METER = "no meter is named: name one in the bench file, below bench.telemetry (docs/telemetry.md)"
DEFAULT_PERIOD_MS = 100.0
_ROUND_S = 0.25
"""How often deadlines are looked at while nothing is heard."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How long a meter may take, in seconds, before its process is killed."""

    open_s: float = 30.0
    read_s: float = 10.0
    """Without a word, beside the meter's own period."""
    close_s: float = 10.0


class Sampling:
    """One case's sampling. `start` and `stop` block no longer than the limits say."""

    def __init__(
        self,
        meters: Sequence[Config],
        scratch: Path | None = None,
        *,
        env: Mapping[str, str] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._lines = [SamplerLine(meter) for meter in meters]
        self._scratch = scratch
        self._env = dict(os.environ if env is None else env)
        self._limits = limits or Limits()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._trace: Trace | None = None
        self._broken: BaseException | None = None
        self._started_ns = 0

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, where nobody has."""
        self.stop()

    def start(self) -> None:
        """Start a sampler for each meter and return once every one has opened its meter or failed to."""
        if self._thread is not None or self._trace is not None:
            raise AssertionError("a sampling starts once")
        self._folder = tempfile.TemporaryDirectory(prefix="sampling-", dir=self._scratch, ignore_cleanup_errors=True)
        started = []
        try:
            for line in self._lines:
                line.start(Path(self._folder.name), self._env)
                started.append(line)
        except BaseException:
            for line in started:
                line.destroy()
            self._folder.cleanup()
            raise
        self._wake_r, self._wake_w = os.pipe()
        self._thread = threading.Thread(target=self._watch, name="sampling", daemon=True)
        self._thread.start()
        try:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._broken or all(line.is_open or line.is_over for line in self._lines)
                )
        except BaseException:  # Ctrl-C while a meter takes its time
            self.stop()
            raise
        self._started_ns = time.monotonic_ns()

    def stop(self) -> Trace:
        """Stop every sampler and return what the meters said; the same trace where it is asked again."""
        if self._trace is not None:
            return self._trace
        if self._thread is None and self._broken is not None:
            raise self._harness_error()
        if self._thread is None:
            raise AssertionError("a sampling that was not started has no trace")
        ended_ns = time.monotonic_ns()
        os.write(self._wake_w, b"s")
        self._thread.join()
        for fd in (self._wake_r, self._wake_w):
            os.close(fd)
        self._folder.cleanup()
        self._thread = None
        if self._broken is not None:
            raise self._harness_error() from self._broken
        readings = [one for line in self._lines for one in line.readings]
        failures = [told for line in self._lines for told in (*line.told_remarks, line.failure) if told]
        periods = [line.config.period_ms for line in self._lines]
        self._trace = Trace(
            descriptors=[one for line in self._lines for one in line.descriptors],
            readings=readings,
            failures=failures if self._lines else [NO_METER],
            period_ms=min(periods, default=0.0),
            started_ns=self._started_ns,
            ended_ns=ended_ns,
        )
        return self._trace

    def _harness_error(self) -> HarnessError:
        return HarnessError(f"the sampling of meters broke: {self._broken}")

    def _watch(self) -> None:
        """Hear all samplers until each is over. Runs in a thread of its own, which alone touches them."""
        try:
            with selectors.DefaultSelector() as selector:
                self._hear_all(selector)
        except BaseException as error:  # noqa: BLE001 - told to whoever waits for this thread
            self._broken = error
            for line in self._lines:
                line.destroy()
        with self._changed:
            self._changed.notify_all()

    def _hear_all(self, selector: selectors.BaseSelector) -> None:
        selector.register(self._wake_r, selectors.EVENT_READ)
        for line in self._lines:
            for fd in line.descriptors_to_hear:
                selector.register(fd, selectors.EVENT_READ, line)
        stopping = False
        while not (stopping and all(line.is_over for line in self._lines)):
            for key, _ in selector.select(_ROUND_S):
                if key.data is None:
                    stopping = True
                    selector.unregister(self._wake_r)
                    for line in self._lines:
                        line.ask_to_stop()
                elif key.fd in selector.get_map() and not key.data.hear(key.fd):
                    selector.unregister(key.fd)
                    if key.data.is_over:
                        _release(selector, key.data)
            for line in self._lines:
                if not line.is_over:
                    self._hold_to_limits(selector, line)
            with self._changed:
                self._changed.notify_all()

    def _hold_to_limits(self, selector: selectors.BaseSelector, line: SamplerLine) -> None:
        """Kill a sampler whose time is over, and give up one that cannot be killed."""
        silent = time.monotonic() - line.heard
        limits = self._limits
        if line.is_killed:
            if silent > KEEPER_GRACE_S:
                line.abandon()
                _release(selector, line)
        elif line.is_stopping and silent > limits.close_s:
            line.fail(
                f"it did not let its meter go within {limits.close_s:g} s and was killed", "see the vendor's library"
            )
            line.kill()
        elif not line.is_open and silent > limits.open_s:
            line.fail(
                f"it could not be opened within {limits.open_s:g} s and was killed",
                "see whether the meter answers at all",
            )
            line.kill()
        elif line.is_open and silent > limits.read_s + line.config.period_ms / 1000:
            line.fail(
                f"it hung: nothing was heard for {silent:.1f} s, and it was killed",
                "see the driver's log, reset the meter",
            )
            line.kill()


def _release(selector: selectors.BaseSelector, line: SamplerLine) -> None:
    for fd in line.descriptors_to_hear:
        if fd in selector.get_map():
            selector.unregister(fd)
    line.release()


def read_meters(given: Sequence[Mapping[str, Any]], folder: Path) -> list[Config]:
    """Return the meters of a bench file, its `telemetry:` list as plain data, with what only the sources can check checked.

    `folder` is where the bench file lies: paths start from it. UsageError names the meter and the key that is wrong.
    """
    meters: list[Config] = []
    for item in given:
        lab = dict(item)
        source = lab.pop("source")
        options, period = dict(lab.pop("options", {})), lab.pop("period_ms", DEFAULT_PERIOD_MS)
        name = lab.setdefault("name", source)
        where = f"bench.telemetry: {name}"
        kind = source_class(source)
        for key in kind.paths:
            if isinstance(options.get(key), str):
                path = (folder / options[key]).absolute()
                if not path.exists():
                    raise UsageError(f"{where}: {key}: there is no '{options[key]}' beside the bench file")
                options[key] = str(path)
        try:
            kind.read_options(options)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
        one = Config(source=source, options=options, given=msgspec.convert(lab, Given), period_ms=float(period))
        if len(msgspec.json.encode(one)) > LONGEST_CONFIG:
            raise UsageError(f"{where}: its options are longer than {LONGEST_CONFIG} bytes")
        meters.append(one)
    return meters
