"""Conducting a run: from the request to the verdict, and everything that can stand in the way before a device is opened."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conformance import conduct, prepare
from conformance.conduct import Request
from conformance.errors import HarnessError, ProfileError, UsageError
from conformance.execution.journal import FILE_NAME
from conformance.records import Outcome, Record, RunResult

VICTIM = "interface/session/output-contract"
IDENTITY = "interface/session/identity"


class Quiet:
    """A display that remembers what it was told; `on_record` is called with each record."""

    def __init__(self, on_record: Callable[[Record], None] = lambda _: None) -> None:
        self.total = 0
        self.told: list[str] = []
        self.info: dict[str, str] = {}
        self.is_finished = False
        self._on_record = on_record

    def start(self, info: dict[str, str], total: int) -> None:
        self.info, self.total = info, total

    def finish(self) -> None:
        self.is_finished = True

    def case_started(self, case_id: str, worker: int) -> None:
        pass

    def case_finished(self, record: Record) -> None:
        self.told.append(record.case)
        self._on_record(record)

    def note(self, text: str) -> None:
        pass


@pytest.fixture
def profile(tmp_path: Path) -> Callable[..., str]:
    """Write a profile of the misbehaving device, with options and further keys, and return its path."""

    def write(name: str = "device.yaml", **sections: dict[str, Any]) -> str:
        tree: dict[str, Any] = {
            "conformance": 1,
            "device": {"vendor": "Läb", "model": "M 1", "category": "host-reference", "hardware": "cpu"},
            "runtime": {"adapter": "misbehaving", "provider": "CPUExecutionProvider"},
            "declares": {"opsets": {"ai.onnx": [7, 26]}, "types": ["float32"], "operators": "all"},
        }
        for section, keys in sections.items():
            tree[section] |= keys
        path = tmp_path / name
        path.write_text(json.dumps(tree), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., str]:
    """Write a bench file and return its path."""

    def write(waivers: list[dict[str, Any]] | None = None, **keys: Any) -> str:
        path = tmp_path / "bench.yaml"
        path.write_text(json.dumps({"conformance": 1, "bench": keys, "waivers": waivers or []}), encoding="utf-8")
        return str(path)

    return write


Write = Callable[..., str]


def run(profile: str, out: Path, display: Quiet | None = None, **request: Any) -> RunResult:
    given = {"selection": "interface/session/*"} | request
    result, folder = conduct.run(Request(profile, out=out, **given), display or Quiet())
    assert folder == out
    assert not list(folder.glob(f"{conduct.SCRATCH}*"))
    return result


def test_a_run_is_stamped(profile: Write, bench: Write, tmp_path: Path) -> None:
    display = Quiet()
    path = profile()
    lab = bench(lab="Room 7", operator="A. Nonymous", workers=1)
    result = run(path, tmp_path / "run", display, bench=lab)
    info = result.info

    assert (info.vendor, info.model, info.device_key) == ("Läb", "M 1", "Lab/M-1")
    assert (info.category, info.level, info.selection, info.profile) == (
        "host-reference",
        "full",
        "interface/session/*",
        path,
    )
    assert (info.planned, info.resumed, info.interrupted) == (len(result.records), 0, "")
    assert info.not_selected > 1000
    assert info.identity is not None
    assert info.identity.provider == "CPUExecutionProvider"
    assert info.versions.keys() >= {"conformance", "python", "onnxruntime", "numpy"}
    assert info.bench["lab"] == "Room 7"
    assert [Path(name).name for name, _ in info.sources] == ["device.yaml", "host-reference.yaml", "bench.yaml"]
    assert all(len(digest) == 64 for _, digest in info.sources)
    assert info.host["machine"]
    assert info.started < info.finished
    assert (display.total, len(display.told), display.is_finished) == (len(result.records),) * 2 + (True,)
    assert display.info["device"] == "Läb M 1"
    assert result.verdict.name == "CLEAN-PARTIAL"
    assert not result.verdict.certifiable


def test_records_stand_in_the_order_of_the_plan(profile: Write, tmp_path: Path) -> None:
    loaded, _ = prepare.prepare(profile())
    plan, _ = prepare.make_plan(loaded, selection="operators/ai.onnx.A[bd]*")
    result = run(profile(), tmp_path / "run", selection="operators/ai.onnx.A[bd]*")

    assert [record.case for record in result.records] == [planned.case.id for planned in plan.cases]
    assert {record.outcome for record in result.records} == {Outcome.PASS, Outcome.UNSUPPORTED}
    tried = [record for record in result.records if record.outcome is Outcome.UNSUPPORTED]
    assert {record.observed for record in tried} == {"works"}, "what nobody claims is tried on the full level"


def test_the_smoke_level_takes_what_it_is_given(profile: Write, tmp_path: Path) -> None:
    result = run(profile(), tmp_path / "run", level="smoke", selection="interface/session/*")

    assert result.info.level == "smoke"
    assert result.verdict.partial


def test_waivers_are_the_lab_s_and_stay_visible(profile: Write, bench: Write, tmp_path: Path) -> None:
    path = profile(runtime={"options": {"behaviour": "wrong-value", "trigger": "Transpose"}})
    waiver = {"case": VICTIM, "reason": "fixed in 1.3", "owner": "Q. Lab"} | {
        "issued": "2026-11-01",
        "expires": "2999-12-31",
    }
    result = run(path, tmp_path / "run", bench=bench([waiver]))
    record = next(one for one in result.records if one.case == VICTIM)

    assert (record.outcome, record.underlying) == (Outcome.WAIVED, Outcome.FAIL)
    assert result.verdict.name == "CONDITIONAL"
    assert result.verdict.exit_code == 10
    again = run(path, tmp_path / "run", bench=bench([]), resume=True)
    assert next(one for one in again.records if one.case == VICTIM).outcome is Outcome.FAIL, (
        "the journal has what was seen"
    )


def test_the_child_gets_the_lab_s_environment_and_interpreter(
    profile: Write, bench: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nenv > {seen}\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("CONFORMANCE_SECRET", "1")
    monkeypatch.setenv("VENDOR_HOME", "/opt/vendor")
    result = run(profile(), tmp_path / "run", selection=IDENTITY, bench=bench(python="python", env={"CARD": "3"}))
    environment = dict(line.split("=", 1) for line in seen.read_text().splitlines() if "=" in line)

    assert result.verdict.name == "CLEAN-PARTIAL"
    assert (environment["CARD"], environment["VENDOR_HOME"]) == ("3", "/opt/vendor")
    assert environment["ORT_DISABLE_TELEMETRY"] == "1"
    assert environment["TMPDIR"].startswith(str(tmp_path / "run"))
    assert not [name for name in environment if name.startswith(("CONFORMANCE_", "PYTEST_"))]


def test_a_run_is_resumed_only_as_it_was_begun(profile: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    run(profile(), out, selection=IDENTITY)

    with pytest.raises(UsageError, match="cannot be resumed, the plan \\(level, selection or suite\\) has changed"):
        run(profile(), out, resume=True)
    other = profile("device.yaml", device={"firmware": "2"})
    with pytest.raises(UsageError, match="cannot be resumed, the profile has changed"):
        run(other, out, selection=IDENTITY, resume=True)
    monkeypatch.setattr(conduct, "__version__", "0.0")
    with pytest.raises(UsageError, match="cannot be resumed, the version of the harness has changed"):
        run(profile(), out, selection=IDENTITY, resume=True)


def test_a_folder_is_not_used_twice(profile: Write, tmp_path: Path) -> None:
    run(profile(), tmp_path / "run", selection=IDENTITY)

    with pytest.raises(UsageError, match="exists already: continue that run with --resume"):
        run(profile(), tmp_path / "run", selection=IDENTITY)


def test_folders_have_names_of_their_own_and_the_newest_is_resumed(
    profile: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = profile()
    with pytest.raises(UsageError, match="there is no run of device below conformance-runs/ to resume"):
        conduct.run(Request(path, selection=IDENTITY, resume=True), Quiet())
    _, first = conduct.run(Request(path, selection=IDENTITY), Quiet())
    _, second = conduct.run(Request(path, selection=IDENTITY), Quiet())
    assert first != second
    assert first.parent == second.parent == Path(conduct.RUNS_FOLDER)
    os.utime(first / FILE_NAME, (0, 0))
    result, third = conduct.run(Request(path, selection=IDENTITY, resume=True), Quiet())

    assert third == second
    assert result.info.resumed == 1


def test_a_folder_that_cannot_be_made(profile: Write, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UsageError, match="the run folder cannot be made: .*; give another --out"):
        run(profile(), tmp_path / "file" / "run", selection=IDENTITY)


@pytest.mark.parametrize(
    ("runtime", "words"),
    [
        ({"adapter": "onnxrutime"}, "did you mean 'onnxruntime'"),
        ({"module": 3}, "module"),
        ({"adapter": "onnx-backend"}, "unknown field `provider`"),
    ],
)
def test_a_profile_that_its_adapter_does_not_understand(
    profile: Write, tmp_path: Path, runtime: dict[str, Any], words: str
) -> None:
    path = profile(runtime=runtime)

    with pytest.raises(ProfileError) as caught:
        run(path, tmp_path / "run")
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}:1:"), "a line and a column"
    assert not (tmp_path / "run").exists()


def test_nothing_selected_is_a_usage_error_and_leaves_no_folder(profile: Write, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="selects none of"):
        run(profile(), tmp_path / "run", selection="operators/ai.onnx.Ad")
    assert not (tmp_path / "run").exists()


def test_an_interrupt_gives_a_result(profile: Write, tmp_path: Path) -> None:
    def press(record: Record) -> None:
        if record.case == IDENTITY:
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    result = run(profile(), tmp_path / "run", Quiet(press))

    assert signal.getsignal(signal.SIGTERM) == before
    assert result.info.interrupted == "interrupted by the user; continue with --resume"
    assert {record.outcome for record in result.records} == {Outcome.PASS, Outcome.NOT_RUN}
    assert result.verdict.name == "INCOMPLETE"


def test_an_interrupt_between_unclaimed_cases_leaves_them_untried(profile: Write, tmp_path: Path) -> None:
    def press(record: Record) -> None:
        raise KeyboardInterrupt

    path = profile(declares={"types": ["int8"]})
    result = run(path, tmp_path / "run", Quiet(press))
    record = next(one for one in result.records if one.case == VICTIM)

    assert (record.outcome, record.observed) == (Outcome.UNSUPPORTED, "not tried")


def test_a_run_in_a_thread_leaves_signals_alone(profile: Write, tmp_path: Path) -> None:
    from threading import Thread

    results: list[RunResult] = []
    thread = Thread(target=lambda: results.append(run(profile(), tmp_path / "run", selection=IDENTITY)))
    thread.start()
    thread.join()

    assert results[0].verdict.name == "CLEAN-PARTIAL"


def test_a_display_that_breaks_leaves_no_child_and_a_journal(profile: Write, tmp_path: Path) -> None:
    def fail(_: Record) -> None:
        raise BrokenPipeError

    display = Quiet(fail)
    with pytest.raises(BrokenPipeError):
        run(profile(), tmp_path / "run", display)
    assert display.is_finished
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not [pid for pid in children if "keeper" in Path(f"/proc/{pid}/cmdline").read_text()]
    assert '"type":"record"' in (tmp_path / "run" / FILE_NAME).read_text(), "written before it is shown"
    result = run(profile(), tmp_path / "run", resume=True)
    assert {record.outcome for record in result.records} == {Outcome.PASS}


def test_elsewhere_than_on_linux_it_says_so(profile: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")

    with pytest.raises(HarnessError, match="running devices needs Linux"):
        run(profile(), tmp_path / "run", selection=IDENTITY)


def test_a_plugin_s_path_is_that_of_the_profile(profile: Write, tmp_path: Path) -> None:
    runtime = {"adapter": "onnxruntime", "library": "lib/libx.so", "provider": "X", "options": {"a": 1}}
    loaded, _ = prepare.prepare(profile(runtime=runtime, device={"binding": {"metadata": {"serial": "7"}}}))
    options = prepare.runtime_options(loaded)

    assert options["library"] == str(tmp_path / "lib" / "libx.so")
    assert options["binding"] == {"serial": "7"}
    assert options["options"] == {"a": 1}
    target = prepare.target_of(loaded)
    assert (target.provider, target.on_host_cpu, target.binding) == ("X", True, {"serial": "7"})


def test_an_adjacent_product_is_eligible_as_one(profile: Write) -> None:
    device = {"category": "accelerator-card", "adjacent_type": "general-purpose-gpu", "hardware": "gpu"}
    adjacent, _ = prepare.prepare(profile(device=device))
    named, _ = prepare.prepare(profile(device=device | {"adjacent_type": None, "category": "accelerator-card"}))
    pseudo, _ = prepare.prepare(profile())

    standing = prepare.standing_of(adjacent)
    assert standing.eligibility == "adjacent: general-purpose-gpu"
    assert standing.documents_wanted == tuple(adjacent.category.category.adjacent_types[0].documents)
    assert standing.documents_wanted
    assert standing.documents_given == ()
    assert prepare.standing_of(named)[:3] == (True, "", "named: accelerator-card")
    assert prepare.standing_of(pseudo)[:3] == (
        False,
        "the category host-reference is never certifiable",
        "none: a pseudo-category",
    )


def test_documents_for_an_adjacent_product_are_looked_up_below_the_profile(profile: Write, tmp_path: Path) -> None:
    (tmp_path / "modes.pdf").write_text("x")
    named = ["modes.pdf", "lost.pdf", "../secret.pdf", "/etc/passwd", "https://example.com/use", "."]
    device = {
        "category": "accelerator-card",
        "adjacent_type": "general-purpose-gpu",
        "hardware": "gpu",
        "documents": named,
    }
    loaded, _ = prepare.prepare(profile(device=device))

    states = [one.state for one in prepare.standing_of(loaded).documents_given]

    outside = "outside the profile's folder"
    assert states == ["there", "missing", outside, outside, "not looked up", "missing"]


@pytest.mark.parametrize(("category", "allowed"), [("host-reference", True), ("accelerator-card", False)])
def test_the_category_says_whether_the_host_s_cpu_may_be_the_device(
    profile: Write, category: str, allowed: bool
) -> None:
    loaded, _ = prepare.prepare(profile(device={"category": category}))
    plan, _ = prepare.make_plan(loaded, selection="placement/*")

    assert prepare.target_of(loaded).is_host_cpu_allowed == allowed
    assert {planned.case.params["is_host_cpu_allowed"] for planned in plan.cases} == {allowed}


def test_the_bench_file_is_told_as_it_was_named(
    profile: Write, bench: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bench(lab="Room 7")

    assert run(profile(), tmp_path / "one", selection=IDENTITY, bench="bench.yaml").info.bench_file == "bench.yaml"
    assert run(profile(), tmp_path / "two", selection=IDENTITY).info.bench_file == ""


def test_the_answers_are_held_before_any_device_is_opened(
    profile: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from conformance.reference.suite import Suite

    held: list[Suite] = []

    def hold(self: Suite, progress: object) -> None:
        held.append(self)

    monkeypatch.setattr(Suite, "hold", hold)
    asked = Request(profile(), out=tmp_path / "run", selection="operators/ai.onnx.Abs-*")
    with conduct.Run(asked, Quiet()):
        assert len(held) == 1


def test_answers_are_held_before_a_device_could_rewrite_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONFORMANCE_CACHE", str(tmp_path / "cache"))
    request = Request("reference-cpu", out=tmp_path / "run", selection="models/encoder/float32/agreement")
    with conduct.Run(request, Quiet()) as run:
        run.hold_answers()
        (planned,) = run.plan.cases
        poisoned = list((tmp_path / "cache" / "references").glob("*.npz"))
        for path in poisoned:
            path.write_bytes(b"zeros")
        before = run.record_of(planned.case.id)
        first = planned.expected()  # type: ignore[misc]

        assert poisoned
        assert before.outcome is Outcome.NOT_RUN
        assert all(one.reference.dtype == "float64" and one.reference.std() > 0 for one in first[0])  # type: ignore[union-attr]
