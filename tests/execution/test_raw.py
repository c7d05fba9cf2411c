"""Raw measurements are kept beside the records, and nothing that a child calls a name leaves their folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from execution.staging import Make, Stage

from conformance.errors import HarnessError
from conformance.execution import raw
from conformance.execution.raw import keep_raw
from conformance.metering.trace import Reading, Trace
from conformance.records import Outcome

CASE = "latency/cnn/paced"


def test_files_are_kept_by_case_and_name(tmp_path: Path) -> None:
    keep_raw(tmp_path, CASE, {"samples.npy": b"12", "note.txt": b""})
    keep_raw(tmp_path, CASE, {"samples.npy": b"34"})
    assert (tmp_path / "raw" / CASE / "samples.npy").read_bytes() == b"34"
    assert (tmp_path / "raw" / CASE / "note.txt").read_bytes() == b""


def test_nothing_is_made_for_nothing(tmp_path: Path) -> None:
    keep_raw(tmp_path, CASE, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "..", "../x", "/etc/x", "a/b", "a\0b", "a\n", ".hidden", "x" * 200, "ä"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(HarnessError, match="is no name for a file"):
        keep_raw(tmp_path, CASE, {"good": b"1", name: b"2"})
    assert not list(tmp_path.iterdir()), "nothing is written before all is looked at"


def test_a_link_that_lies_there_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"mine")
    (tmp_path / "raw" / CASE).mkdir(parents=True)
    (tmp_path / "raw" / CASE / "samples.npy").symlink_to(elsewhere)
    keep_raw(tmp_path, CASE, {"samples.npy": b"theirs"})
    assert elsewhere.read_bytes() == b"mine"


def test_too_much_and_no_room_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "LARGEST", 3)
    with pytest.raises(HarnessError, match="4 bytes of raw measurements, 3 are allowed"):
        keep_raw(tmp_path, CASE, {"a": b"12", "b": b"34"})
    (tmp_path / "raw").write_text("a file where a folder is wanted")
    with pytest.raises(HarnessError, match="cannot be written"):
        keep_raw(tmp_path, CASE, {"a": b"1"})


class Meters:
    """Meters that say one thing, and count how often they are begun and stopped."""

    def __init__(self) -> None:
        self.begun = self.stopped = 0

    def __call__(self) -> Meters:
        self.begun += 1
        return self

    def stop(self) -> Trace:
        self.stopped += 1
        return Trace(readings=[Reading("power", 1, 2, 3.5)], failures=["redfish: no answer: see the cable"])


LYING = """
begin()
while True:
    asked = hear()
    if isinstance(asked, protocol.Close): sys.exit(0)
    forged = {"telemetry": {"readings": [["power", 1, 2, 0.1]]}, "phases": [["busy", 1, 2, 3]]}
    seen = Observation(facts=forged, kept={"telemetry.json": b"forged", "samples.npy": b"raw"})
    say(protocol.Observed(seq=asked.seq, observation=seen))
"""


def test_the_trace_is_the_labs_whatever_the_child_says(
    stage: Stage, case: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []

    def judge_observation(planned: Any, observation: Any, _: Any) -> Any:
        from conformance.records import Judgement

        seen.append(observation.facts)
        return Judgement(outcome=Outcome.PASS)

    monkeypatch.setattr("conformance.execution.crew.judge_observation", judge_observation)
    stage.meters = meters = Meters()
    stage.child(LYING)
    metered, plain = stage.run([case("a", telemetry=True, timed=True), case("b", timed=True)])
    assert seen[0]["telemetry"]["readings"] == [["power", 1, 2, 3.5, ""]]
    assert seen[0]["phases"] == [["busy", 1, 2, 3]]
    assert "readings" in seen[1]["telemetry"], "a case that asks for no meters is not touched"
    assert (meters.begun, meters.stopped) == (1, 1)
    folder = stage.folder / "raw" / metered.case
    kept = msgspec.json.decode((folder / "telemetry.json").read_bytes(), type=Trace)
    assert kept.readings[0].value == 3.5
    assert (folder / "samples.npy").read_bytes() == b"raw"
    assert metered.output_digest != plain.output_digest


def test_without_meters_there_is_no_trace(stage: Stage, case: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def judge_observation(planned: Any, observation: Any, _: Any) -> Any:
        from conformance.records import Judgement

        seen.append(observation)
        return Judgement(outcome=Outcome.PASS)

    monkeypatch.setattr("conformance.execution.crew.judge_observation", judge_observation)
    stage.child(LYING)
    stage.run([case("a", telemetry=True, timed=True)])
    assert "telemetry" not in seen[0].facts
    assert not (stage.folder / "raw" / "interface/session/a" / "telemetry.json").exists()


def test_meters_stop_with_the_run_that_loses_its_device(stage: Stage, case: Make) -> None:
    stage.meters = meters = Meters()
    stage.child("begin(); hear(); os.abort()")
    (record,) = stage.run([case("a", telemetry=True, timed=True)])
    assert record.outcome is Outcome.CRASH
    assert meters.begun == meters.stopped == 2


def test_evidence_that_cannot_be_kept_is_no_pass(stage: Stage, case: Make) -> None:
    stage.child(LYING.replace('"samples.npy"', '"../samples.npy"'))
    (record,) = stage.run([case("a")])
    assert record.outcome is Outcome.ERROR
    assert "'../samples.npy' is no name for a file of raw measurements" in record.reason
