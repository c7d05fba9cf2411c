"""Sampling in processes of their own: whatever a meter does, the run goes on, the others are heard, and nothing is made up."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from conformance.errors import UsageError
from conformance.execution import keeping, sampler, sampler_line
from conformance.execution import sampling as module
from conformance.execution.sampler import MESSAGES, Closed, Config, Failed, Opened, Taken
from conformance.execution.sampling import NO_METER, Limits, Sampling, read_meters
from conformance.metering.trace import Trace

QUICK = Limits(open_s=60.0, read_s=2.0, close_s=60.0)
PATIENT = Limits(open_s=60.0, read_s=60.0, close_s=60.0)
PERIOD_MS = 10.0


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """Install the meters that misbehave, here and for samplers; return a function that names one."""
    folder = tmp_path / "site"
    info = folder / "odd_meters-1.0.dist-info"
    info.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("odd_meters.py"), folder)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-meters\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[conformance.telemetry]\nodd = odd_meters\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))

    def meter(name: str = "m", *, period_ms: float = PERIOD_MS, source: str = "odd", **options: Any) -> Config:
        (config,) = read_meters(
            [{"source": source, "name": name, "options": options, "period_ms": period_ms}], tmp_path
        )
        return config

    return meter


def readings(sampling: Sampling) -> list[Any]:
    return [one for line in sampling._lines for one in line.readings]


def wait_for(condition: Callable[[], object], limit_s: float = 30.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.005)


def sample(*meters: Config, limits: Limits = PATIENT, until: Callable[[Sampling], object] | None = None) -> Trace:
    """Sample until a condition holds, by default until each meter has given three readings."""
    with Sampling(meters, limits=limits) as sampling:
        done = until or (lambda one: all(len(line.readings) >= 3 for line in one._lines))
        wait_for(lambda: done(sampling))
        return sampling.stop()


def of(trace: Trace, name: str) -> list[float | None]:
    return [one.value for one in trace.readings if one.channel == f"{name}/count"]


def is_over(sampling: Sampling) -> bool:
    return any(line.is_over for line in sampling._lines)


def test_several_meters_are_read_at_once_and_every_reading_is_kept(odd: Callable[..., Config]) -> None:
    trace = sample(odd("a"), odd("b", period_ms=20.0))
    assert [one.channel for one in trace.descriptors] == ["a/count", "b/count"]
    for name in ("a", "b"):
        assert of(trace, name) == [float(at) for at in range(1, len(of(trace, name)) + 1)]
    assert trace.failures == []
    assert (trace.period_ms, trace.started_ns < trace.ended_ns) == (10.0, True)
    assert max(one.at_ns for one in trace.readings) < time.monotonic_ns()


def test_ticks_lie_on_a_grid_and_missed_ones_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    period, now, asked = 100, [5_000], []
    lasts = iter([10, 10, 350, 100, 10, 10])  # how long each reading takes

    def waits(readable: list[int], *_: object) -> tuple[list[int], list[int], list[int]]:
        now[0] += round(_[-1] * 1e9)  # type: ignore[call-overload]
        return (readable if len(asked) == 6 else []), [], []

    class Slow:
        def read(self) -> list[Any]:
            asked.append(now[0] - 5_000)
            now[0] += next(lasts)
            return []

    class Nowhere:
        def send(self, message: object) -> None:
            assert message == Taken([])

    monkeypatch.setattr(sampler.time, "monotonic_ns", lambda: now[0])
    monkeypatch.setattr(sampler.select, "select", waits)
    sampler.sample(Slow(), period, 0, Nowhere())  # type: ignore[arg-type]
    assert asked == [0, 100, 200, 600, 700, 800]


FAILING = {
    "gone": "the bus is dead: replug it",
    "raise": "the source of raise failed with KeyError: 'libvendor.so' (odd_meters.py:",
    "crash": "its sampler was ended by SIGSEGV while it was read, and said last ",
    "exit": "its sampler ended with exit code 3 while it was read, and said last '': see the vendor's library",
    "garbage": "its sampler sent what is no message",
}


def test_a_meter_that_fails_stands_in_the_trace_and_the_others_go_on(odd: Callable[..., Config]) -> None:
    def lasts(sampling: Sampling) -> bool:
        *bad, good = sampling._lines
        return all(line.is_over for line in bad) and len(good.readings) >= 5

    trace = sample(*(odd(deed, deed=deed) for deed in FAILING), odd("good"), until=lasts)
    assert len(trace.failures) == len(FAILING)
    for told, (deed, why) in zip(trace.failures, FAILING.items(), strict=True):
        assert told.startswith(f"{deed}: {why}")
        assert of(trace, deed) == [1.0, 2.0]
    good = of(trace, "good")
    assert good == [float(at) for at in range(1, len(good) + 1)]


def test_a_meter_that_hangs_while_read_is_killed_and_what_it_gave_is_kept(odd: Callable[..., Config]) -> None:
    trace = sample(odd("bad", deed="hang"), limits=QUICK, until=is_over)
    (told,) = trace.failures
    assert told.startswith("bad: it hung: nothing was heard for ")
    assert told.endswith("and it was killed: see the driver's log, reset the meter")
    assert of(trace, "bad") == [1.0, 2.0]


def test_a_meter_that_hangs_when_opened_is_killed(odd: Callable[..., Config]) -> None:
    trace = sample(odd("bad", deed="hang", at="open"), limits=Limits(open_s=1.5), until=is_over)
    assert trace.failures == [
        "bad: it could not be opened within 1.5 s and was killed: see whether the meter answers at all"
    ]
    assert (trace.readings, trace.descriptors) == ([], [])


def test_a_meter_that_does_not_let_go_is_killed_and_told(odd: Callable[..., Config]) -> None:
    limits = msgspec.structs.replace(PATIENT, close_s=0.3)
    trace = sample(odd("bad", deed="hang", at="close"), limits=limits)
    assert trace.failures == ["bad: it did not let its meter go within 0.3 s and was killed: see the vendor's library"]
    assert len(of(trace, "bad")) >= 3


def test_what_a_vendors_library_prints_is_no_message(odd: Callable[..., Config]) -> None:
    trace = sample(odd("loud", deed="print", after=0))
    assert trace.failures == []
    assert None not in of(trace, "loud")


def test_a_meter_without_a_number_gives_none_and_never_zero(odd: Callable[..., Config]) -> None:
    trace = sample(odd(deed="nan", after=10**9))
    assert set(of(trace, "m")) == {None}
    assert {one.note for one in trace.readings} == {"the source gave nan"}


def test_a_meter_with_nothing_new_is_not_silent(odd: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    line = sampler_line.SamplerLine(odd("quiet"))
    monkeypatch.setattr(sampler_line.time, "monotonic", lambda: line.heard + 60)
    before = line.heard
    line._take(b'{"type":"taken","readings":[]}\n')
    assert (line.heard, line.readings, line.failure) == (before + 60, [], "")
    trace = sample(odd("quiet", deed="silent", after=10**9), until=lambda one: one._lines[0].is_open)
    assert (trace.readings, trace.failures) == ([], [])


def test_whatever_a_meter_spawned_dies_with_it(odd: Callable[..., Config], tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    sample(odd(deed="spawn", after=0, pid_file=str(pid_file)))
    pid = int(pid_file.read_text())
    wait_for(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])


def test_samplers_die_with_the_parent(odd: Callable[..., Config], tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = (
        "import sys, time\nfrom pathlib import Path\n"
        "from conformance.execution.sampling import Sampling, read_meters\n"
        f"given = [{{'source': 'odd', 'options': {{'deed': 'spawn', 'after': 0, 'pid_file': {str(pid_file)!r}}}}}]\n"
        "sampling = Sampling(read_meters(given, Path('.')))\nsampling.start()\nprint('started', flush=True)\ntime.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "started\n"
    wait_for(lambda: pid_file.exists() and pid_file.read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    pid = int(pid_file.read_text())
    wait_for(lambda: not Path(f"/proc/{pid}").exists())


def held() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def test_nothing_of_a_sampling_is_left_in_this_process(odd: Callable[..., Config]) -> None:
    sample(odd("warm-up"))
    before = (held(), threading.active_count())
    sample(odd("a"), odd("bad", deed="crash"), until=is_over)
    assert (held(), threading.active_count()) == before


def test_a_meter_that_cannot_be_opened_does_not_keep_the_others(odd: Callable[..., Config]) -> None:
    absent = odd("gpu", source="nvml", uuid="GPU-none")
    with Sampling([absent, odd("good")], limits=PATIENT) as sampling:
        wait_for(lambda: len(readings(sampling)) >= 3)
        trace = sampling.stop()
    (told,) = trace.failures
    assert told.startswith("gpu: ")
    assert [one.channel for one in trace.descriptors] == ["good/count"]


def test_what_a_meter_does_not_offer_is_told_beside_what_failed(odd: Callable[..., Config], tmp_path: Path) -> None:
    zone = tmp_path / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    for name, text in (("name", "package-0"), ("energy_uj", "5000000"), ("max_energy_range_uj", "262143328850")):
        (zone / name).write_text(text)
    (zone.with_name("intel-rapl:1")).mkdir()
    (zone.with_name("intel-rapl:1") / "name").write_text("psys")
    trace = sample(odd("rapl", source="powercap", root=str(tmp_path / "sys")))
    assert trace.failures == [
        "rapl: intel-rapl:1 has no energy counter (No such file or directory): the zone is left out"
    ]
    assert {one.value for one in trace.readings} == {5.0}


def test_no_meter_is_told_and_costs_no_process() -> None:
    with Sampling([]) as sampling:
        trace = sampling.stop()
        assert sampling.stop() is trace
    assert (trace.failures, trace.readings) == ([NO_METER], [])


def test_a_sampling_starts_once_and_has_no_trace_before() -> None:
    sampling = Sampling([])
    with pytest.raises(AssertionError, match="not started"):
        sampling.stop()
    with sampling, pytest.raises(AssertionError, match="starts once"):
        sampling.start()


def test_an_error_of_ours_in_the_thread_is_not_swallowed(
    odd: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("a slip")

    monkeypatch.setattr(module.Sampling, "_hold_to_limits", breaks)
    sampling = Sampling([odd()])
    sampling.start()
    for _ in range(2):
        with pytest.raises(module.HarnessError, match="the sampling of meters broke: a slip"):
            sampling.stop()


def test_a_sampler_that_even_the_keeper_cannot_end_is_given_up(
    odd: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = tmp_path / "keeper.py"
    deaf.write_text("import time\ntime.sleep(600)\n")  # as a keeper whose child waits in the kernel
    monkeypatch.setattr(keeping, "KEEPER", deaf)
    monkeypatch.setattr(module, "KEEPER_GRACE_S", 0.1)
    trace = sample(odd("stuck"), limits=Limits(open_s=0.1), until=is_over)
    assert trace.failures == [
        "stuck: it could not be opened within 0.1 s and was killed; "
        "its sampler cannot be killed, it waits inside the kernel: see dmesg for the driver, restart the host"
    ]


def test_a_deaf_keeper_does_not_hold_up_an_error_of_ours(
    odd: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = tmp_path / "keeper.py"
    deaf.write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setattr(keeping, "KEEPER", deaf)
    monkeypatch.setattr(sampler_line, "KEEPER_GRACE_S", 0.1)
    line = sampler_line.SamplerLine(odd())
    line.start(tmp_path, {})
    line.destroy()
    line.destroy()
    assert line.is_over


def test_a_keeper_that_is_killed_leaves_an_end_that_nobody_saw(odd: Callable[..., Config]) -> None:
    def kill(sampling: Sampling) -> bool:
        (line,) = sampling._lines
        if line.readings and not line.is_over:
            line._keeper.kill()
        return line.is_over

    (told,) = sample(odd("m"), until=kill).failures
    assert told.startswith("m: its sampler ended in a way that nobody saw while it was read")


def test_a_host_that_starts_no_process_is_an_error_of_the_harness(
    odd: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    warm = held()
    monkeypatch.setattr(sampler_line.subprocess, "Popen", refuses)
    with pytest.raises(module.HarnessError, match="cannot start the sampler of m: Resource temporarily unavailable"):
        Sampling([odd()]).start()
    assert held() == warm


@pytest.mark.parametrize(
    ("limit", "value", "why"),
    [
        ("LONGEST_LINE", 10, "its sampler sent a line without an end: a defect of the source"),
        ("MOST_READINGS", 3, "it gave more than 3 readings: give it a longer period_ms"),
    ],
)
def test_a_meter_that_floods_is_killed(
    odd: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, limit: str, value: int, why: str
) -> None:
    monkeypatch.setattr(sampler_line, limit, value)
    options = {"deed": "flood", "after": 1} if limit == "LONGEST_LINE" else {}
    assert sample(odd("m", **options), until=is_over).failures == [f"m: {why}"]


def test_ctrl_c_while_a_meter_opens_ends_its_sampler(
    odd: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    warm = held()
    sampling = Sampling([odd("slow", deed="hang", at="open")], limits=Limits(open_s=60.0, close_s=0.1))
    monkeypatch.setattr(sampling._changed, "wait_for", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        sampling.start()
    assert held() == warm


def test_a_trace_survives_the_record(odd: Callable[..., Config]) -> None:
    trace = sample(odd())
    assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(trace))), Trace) == trace


def run_sampler(config: bytes) -> list[Any]:
    """Run the sampler alone, its input ended at once; return its messages."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "conformance.execution.sampler"],
        input=config,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return [MESSAGES.decode(line) for line in done.stdout.splitlines()]


def test_the_sampler_speaks_in_lines_of_json(odd: Callable[..., Config]) -> None:
    first, *taken, last = run_sampler(msgspec.json.encode(odd()) + b"\n")
    assert isinstance(first, Opened)
    assert all(isinstance(one, Taken) for one in taken)
    assert last == Closed()
    assert run_sampler(b"") == []
    (told,) = run_sampler(msgspec.json.encode(msgspec.structs.replace(odd(), source="od")) + b"\n")
    assert isinstance(told, Failed)
    assert told.reason.startswith("there is no 'od' among conformance.telemetry")


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ({"source": "nvmll"}, "did you mean 'nvml'"),
        ({"source": "nvml"}, "bench.telemetry: nvml: give one of uuid"),
        (
            {"source": "nvml", "options": {"uuid": "G", "password": "secret"}},
            "nvml: Object contains unknown field `password`",
        ),
        (
            {"source": "replay", "options": {"path": "none.jsonl"}},
            "path: there is no 'none.jsonl' beside the bench file",
        ),
        ({"source": "powercap", "options": {"zones": ["z" * 60_000]}}, "its options are longer than 49152 bytes"),
    ],
)
def test_what_only_a_source_can_check_is_checked_before_the_run(item: dict[str, Any], why: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_meters([item], tmp_path)
    assert why in str(caught.value)
    assert "secret" not in str(caught.value)


def test_paths_start_from_the_bench_file(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("")
    (one,) = read_meters(
        [{"source": "replay", "options": {"path": "t.jsonl"}, "scope": "wall", "period_ms": 50}], tmp_path
    )
    assert one.options == {"path": f"{tmp_path}/t.jsonl"}
    assert (one.given.name, one.given.scope, one.period_ms) == ("replay", "wall", 50.0)
