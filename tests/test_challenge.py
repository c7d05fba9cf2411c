"""`--challenge`: the certifier's text, from which inputs are drawn, through every door and into every report."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from conformance import conduct
from conformance.checks import models, session
from conformance.checks.support.port import Planned, Requested
from conformance.cli import main
from conformance.plan import Context
from conformance.prepare import prepare, target_of
from conformance.pytest_plugin import Silent
from conformance.reports.support.telling import run_line

QUICK = ("--case", "interface/session/identity")
CHALLENGE = "lot 7, it's audited"


def invoke(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def plan(challenge: str) -> dict[str, Planned]:
    loaded, _ = prepare("reference-cpu")
    context = Context(loaded, target_of(loaded), lambda: None, challenge)
    models_of, session_of = (Requested(name, "MUST", {"set": "all"}, "asked") for name in ("NUM-001", "IF-001"))
    return {one.case.id: one for one in (*models.plan(models_of, context), *session.plan(session_of, context))}


# -- what is drawn ----------------------------------------------------------------------------------------------------


def test_ids_stay_and_the_inputs_of_models_are_others() -> None:
    public, one, again, other = (plan(text) for text in ("", "lot 7", "lot 7", "lot 8"))
    assert list(public) == list(one) == list(other)
    assert not any("lot" in case_id for case_id in one)
    for case_id in ("models/encoder/float32/agreement", "models/decoder/float32/prefill"):
        filled = [found[case_id].filled() for found in (public, one, again, other)]
        workloads = [case.workload for case in filled]
        assert workloads[1] == workloads[2]
        assert None not in workloads
        datasets = [workload.datasets for workload in workloads if workload is not None]
        assert datasets[0] != datasets[1] != datasets[3] != datasets[0]
        assert len({workload.model.data for workload in workloads if workload is not None}) == 1
        assert filled[0].params["salt"] == 0
    assert public["interface/session/one-element"].case == one["interface/session/one-element"].case


def test_labels_are_drawn_anew() -> None:
    from conformance.reference import answers
    from conformance.reference.challenges import salted

    public, one = (answers.labels_of("shapes", salted(0, text)).tolist() for text in ("", "lot 7"))
    assert len(public) == len(one)
    assert public != one


# -- through the doors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "--challenge is empty"),
        ("x" * (10 << 20), "--challenge has 10485760 characters"),
        ("lot\x1b[2J", "--challenge holds the character U+001B"),
        ("lot\udcff", "--challenge holds the character U+DCFF"),
    ],
    ids=["empty", "10 MB", "control", "surrogate"],
)
def test_what_is_no_challenge_is_a_usage_error_of_one_line(text: str, told: str, tmp_path: Path) -> None:
    code, out, err = invoke("run", "--challenge", text, "--out", str(tmp_path / "run"), *QUICK)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {told}")
    assert err.count("\n") == 1
    assert len(err) < 120
    assert not (tmp_path / "run").exists()


def test_the_reports_carry_it_and_a_run_is_resumed_only_under_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    arguments = ("run", "--out", str(folder), *QUICK)
    code, out, _ = invoke(*arguments, "--challenge", CHALLENGE)

    assert code == 0
    assert f"drawn from the challenge '{CHALLENGE}'" in out
    info = json.loads((folder / "run.json").read_text(encoding="utf-8"))["info"]
    assert info["challenge"] == CHALLENGE
    properties = ET.parse(folder / "junit.xml").getroot().iter("property")
    assert {one.get("name"): one.get("value") for one in properties}["challenge"] == CHALLENGE
    first = json.loads((folder / "journal.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["challenge"] == CHALLENGE

    for other in ((), ("--challenge", "another")):
        code, _, err = invoke(*arguments, "--resume", *other)
        assert (code, err) == (
            2,
            f"error: {folder}: cannot be resumed, the challenge has changed since; start a new run\n",
        )
    code, _, _ = invoke(*arguments, "--resume", "--challenge", CHALLENGE)
    assert code == 0


def test_without_one_the_reports_say_that_inputs_are_public(tmp_path: Path) -> None:
    code, out, _ = invoke("run", "--out", str(tmp_path / "run"), *QUICK)
    assert code == 0
    assert "public: no challenge was given" in out
    properties = ET.parse(tmp_path / "run" / "junit.xml").getroot().iter("property")
    told = {one.get("name"): one.get("value") for one in properties}
    assert told["inputs"] == "public: no challenge was given"
    assert "challenge" not in told


def test_the_line_that_runs_a_case_again_draws_the_same_inputs() -> None:
    words = shlex.split(run_line("card.yaml", "models/encoder/float32/agreement", "", CHALLENGE))
    assert words[words.index("--challenge") + 1] == CHALLENGE
    assert "--challenge" not in run_line("card.yaml", "models/encoder/float32/agreement")


def test_pytest_takes_it_too(tmp_path: Path, checkout: Path) -> None:
    profile = tmp_path / "device.yaml"
    profile.write_text((checkout / "profiles/devices/reference-cpu.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", "/dev/null", f"--rootdir={tmp_path}"]
    command += ["-k", "session and identity", "--conformance-out", str(tmp_path / "out"), str(profile)]

    def told(challenge: str) -> str:
        asked = [*command, "--conformance-challenge", challenge]
        return subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False).stdout

    assert f"inputs: drawn from the challenge '{CHALLENGE}'" in told(CHALLENGE)
    assert json.loads((tmp_path / "out/run.json").read_text(encoding="utf-8"))["info"]["challenge"] == CHALLENGE
    assert "--challenge holds the character U+0007" in told("a\x07b")


# -- references ahead -------------------------------------------------------------------------------------------------


def test_where_references_take_their_time_others_help_and_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    asked: list[int] = []

    class Told(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    def ahead(calls: Any, told: Callable[[int], None]) -> int:
        asked.append(len(list(calls)))
        told(1)
        return 1

    monkeypatch.setattr(conduct, "TELL_S", -1.0)
    monkeypatch.setattr(conduct, "call_ahead", ahead)
    request = conduct.Request("reference-cpu", out=tmp_path / "run", selection="models/encoder/float32/agreement")
    with conduct.Run(request, Told()) as run:
        run.hold_answers()
        assert asked == [1]
        assert notes[-2:] == [
            f"first run with these models and inputs, computing references: {done}/1" for done in (1, 0)
        ]
