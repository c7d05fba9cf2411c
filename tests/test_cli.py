"""The command line as a user meets it: help with examples, exit codes, one line per error, pipes that close early."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import click
import pytest
from click.testing import CliRunner

from conformance import __version__
from conformance.cli import main
from conformance.errors import EXIT_CONFORMANT, EXIT_HARNESS, EXIT_NON_CONFORMANT

Conformance = Callable[..., "subprocess.CompletedProcess[str]"]
COMMANDS = sorted(main.commands)
WRONG_RELU = """\
conformance: 1
extends: builtin:misbehaving
runtime: {adapter: misbehaving, options: {behaviour: wrong-value, trigger: Relu}}
"""
WAIVED = """\
conformance: 1
waivers:
  - {case: "operators/ai.onnx.Relu-*", reason: known, owner: lab, issued: 2026-01-01, expires: %s}
"""
RELU_AND_ABS = ("--case", "operators/ai.onnx.Relu-*", "--case", "operators/ai.onnx.Abs-*")


def invoke(*arguments: str) -> tuple[int, str, str]:
    """Run a command in this process; return exit code, standard output and standard error."""
    result = CliRunner().invoke(main, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


# -- help -------------------------------------------------------------------------------------------------------------


def test_the_commands_are_those_of_the_documents() -> None:
    assert COMMANDS == ["bisect", "check", "doctor", "explain", "init", "list", "run", "schema", "selftest"]


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_commands_examples_and_exit_codes(flag: str) -> None:
    code, text, _ = invoke(flag)
    assert code == 0
    assert "Examples:\n" in text
    assert "conformance run" in text
    for number in ("0 conformant", "10 ", "20 ", "30 ", "2 ", "70 "):
        assert number in text
    assert all(f"\n  {name} " in text for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example_that_parses(name: str) -> None:
    code, text, _ = invoke(name, "--help")
    assert code == 0
    examples = re.findall(r"^\s+conformance (.+)$", text, re.MULTILINE)
    assert examples
    for example in examples:
        words = shlex.split(example.partition(" > ")[0].partition(" | ")[0])
        command = main.commands[words[0]]
        command.make_context(words[0], words[1:], resilient_parsing=False)


def test_the_version_is_the_packages() -> None:
    assert invoke("--version")[1] == f"conformance, version {__version__}\n"


# -- what needs no device ---------------------------------------------------------------------------------------------


def test_check_describes_a_profile_and_list_its_cases(suite_cache: Path) -> None:
    code, text, _ = invoke("check", "reference-cpu")
    assert code == 0
    assert "category: host-reference" in text
    code, text, told = invoke("list", "--case", "placement/*")
    rows = [line.split("\t") for line in text.splitlines()]
    assert code == 0
    assert rows
    assert all(len(row) == 4 and row[0].startswith("placement/") and row[1] == "PL-001" for row in rows)
    assert re.search(rf"^{len(rows)} cases, [\d,]+ not selected", told)


def test_list_names_the_requirements_that_have_no_check_yet(suite_cache: Path) -> None:
    _, text, _ = invoke("list", "cuda")
    assert re.search(r"^-\tDOC-001\tnot planned\tno check yet$", text, re.MULTILINE)


@pytest.mark.parametrize("category", ["accelerator-card", "host-reference"])
def test_init_prints_a_profile_that_check_accepts(category: str, tmp_path: Path) -> None:
    code, text, _ = invoke("init", "--category", category)
    assert code == 0
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    assert invoke("check", str(tmp_path / "mine.yaml"))[0] == 0


def test_schema_lists_names_and_prints_each() -> None:
    code, text, _ = invoke("schema")
    assert code == 0
    assert "device-profile" in text.split()
    for name in text.split():
        assert json.loads(invoke("schema", name)[1])["$schema"].startswith("https://json-schema.org/")


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("check", "no-such-profile"), "no-such-profile"),
        (("run", "nowhere/mine.yaml"), "nowhere/mine.yaml"),
        (("run", "reference-cpuu"), "reference-cpu"),
        (("list", "--case", "nothing/*"), "selects none of"),
        (("init", "--category", "acelerator-card"), "accelerator-card"),
        (("schema", "nothing"), "known are"),
        (("run", "--out", "/dev/null/below"), "give another --out"),
        (("run", "--resume"), "to resume"),
    ],
)
def test_a_usage_error_is_one_line_with_the_remedy(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, text, errors = invoke(*arguments)
    assert (code, text) == (2, "")
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert said in lines[0]


def test_an_unknown_option_is_clicks_usage_error() -> None:
    code, _, errors = invoke("run", "--leevl", "smoke")
    assert code == 2
    assert "--level" in errors


def test_every_defect_of_a_profile_has_its_own_line(tmp_path: Path) -> None:
    profile = tmp_path / "bad.yaml"
    profile.write_text(
        "conformance: 1\ndevice: {vendor: A, model: B, category: host-reference, colour: red}\n"
        "runtime: {adapter: onnxruntime, provider: P}\ndeclares:\n  opsets: {ai.onnx: [21, 13]}\n  types: [float31]\n"
    )
    code, text, errors = invoke("check", str(profile))
    assert (code, text) == (2, "")
    lines = errors.splitlines()
    assert len(lines) >= 3
    assert all(re.match(rf"error: {re.escape(str(profile))}:\d+:\d+: ", line) for line in lines)


def test_an_adapters_option_is_placed_in_the_file(tmp_path: Path) -> None:
    profile = tmp_path / "bad.yaml"
    profile.write_text(WRONG_RELU.replace("adapter: misbehaving,", "adapter: misbehaving, session_options: {a: [1]},"))
    code, _, errors = invoke("run", str(profile))
    assert code == 2
    assert re.match(rf"error: {re.escape(str(profile))}:\d+:\d+: ", errors)


def test_a_bug_is_not_dressed_up_as_a_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str, **__: object) -> list[str]:
        raise ZeroDivisionError

    monkeypatch.setattr("conformance.profile.loader.check_profile", fail)
    with pytest.raises(ZeroDivisionError):
        invoke("check", "reference-cpu")


# -- exit codes of a run ----------------------------------------------------------------------------------------------


def test_the_main_job_ends_conformant_with_every_case_explained(
    conformance: Conformance, tmp_path: Path, checkout: Path
) -> None:
    """README's main job: the reference device is clean, nothing fails, the books close, the reports agree.

    The full level, minutes long, is run by `nox -s peers`.
    """
    done = conformance("run", "--level", "smoke", "--out", "run")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "CLEAN-PARTIAL against host-reference" in done.stdout
    assert "\x1b" not in done.stdout, "piped output is plain"
    shown = (checkout / "README.md").read_text(encoding="utf-8").partition("```text\n")[2].partition("```")[0]
    promised = [line for line in shown.splitlines() if re.search(r"\d|: ", line)]
    assert promised
    assert [line for line in promised if line not in done.stdout] == [], "README shows what this run does not say"
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (told["verdict"]["name"], told["verdict"]["exit_code"]) == ("CLEAN-PARTIAL", 0)
    results = {one["id"]: one["result"] for one in told["verdict"]["requirements"] if one["level"] == "MUST"}
    assert set(results.values()) == {"met"}, "the smoke level shows something of every MUST"
    assert not told["verdict"]["certifiable"]
    assert told["verdict"]["placement_shown"]
    records = [json.loads(line) for line in (tmp_path / "run" / "cases.jsonl").read_text().splitlines()]
    assert {record["outcome"] for record in records} == {"PASS", "UNSUPPORTED"}
    assert all(record["reason"] for record in records if record["outcome"] != "PASS")
    assert len({record["case"] for record in records}) == len(records) == told["info"]["planned"]
    assert len(records) > 500
    assert len(records) + told["info"]["not_selected"] + len(told["info"]["pinned"]) > 13_000
    suites = ET.parse(tmp_path / "run" / "junit.xml").getroot()
    assert sum(1 for suite in suites if suite.get("name") != "requirements" for _ in suite.iter("testcase")) == len(
        records
    )
    assert not list(suites.iter("failure")) + list(suites.iter("error"))


@pytest.mark.parametrize(
    ("expires", "code", "name", "outcome"),
    [("2099-12-31", 10, "CONDITIONAL", "WAIVED"), ("2026-01-02", 20, "NON-CONFORMANT", "FAIL")],
    ids=["waiver holds", "waiver expired"],
)
def test_a_wrong_device_is_non_conformant_unless_the_lab_waives_it(
    conformance: Conformance, tmp_path: Path, expires: str, code: int, name: str, outcome: str
) -> None:
    (tmp_path / "wrong.yaml").write_text(WRONG_RELU)
    (tmp_path / "lab.yaml").write_text(WAIVED % expires)
    done = conformance("run", "wrong.yaml", "--bench", "lab.yaml", "--out", "run", *RELU_AND_ABS)
    assert done.returncode == code, done.stdout + done.stderr
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    assert told["verdict"]["name"] == name
    records = [json.loads(line) for line in (tmp_path / "run" / "cases.jsonl").read_text().splitlines()]
    bodies = "/made-expanded/"  # there is no Relu in them: they are what the device still does right
    relu = [one for one in records if one["case"].startswith("operators/ai.onnx.Relu-") and bodies not in one["case"]]
    assert [record["outcome"] for record in relu] == [outcome] * len(relu)
    assert relu


def test_a_device_that_is_not_there_is_incomplete_and_nothing_is_green(
    conformance: Conformance, tmp_path: Path
) -> None:
    (tmp_path / "absent.yaml").write_text(
        "conformance: 1\ndevice: {vendor: A, model: B, category: host-reference}\n"
        "runtime: {adapter: onnxruntime, provider: AbsentExecutionProvider, library: ./absent.so}\n"
        "declares: {opsets: {ai.onnx: [13, 21]}, types: [float32]}\n"
    )
    done = conformance("run", "absent.yaml", "--level", "smoke", "--out", "run")
    assert done.returncode == 30
    records = [json.loads(line) for line in (tmp_path / "run" / "cases.jsonl").read_text().splitlines()]
    assert records
    assert not [record for record in records if record["outcome"] == "PASS"]
    assert "absent.so does not exist" in done.stdout


def test_a_fault_of_the_host_is_a_harness_error(conformance: Conformance, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    env = os.environ | {"CONFORMANCE_CACHE": str(tmp_path / "file" / "below")}
    done = conformance("run", "--case", "interface/session/*", env=env)
    assert done.returncode == 70
    assert done.stderr.startswith("error: cannot make the cache folder ")
    assert "Traceback" not in done.stderr


def test_a_run_folder_is_not_overwritten_and_can_be_resumed(conformance: Conformance, tmp_path: Path) -> None:
    first = conformance("run", "--case", "interface/session/*", "--out", "run")
    assert first.returncode == 0
    before = (tmp_path / "run" / "cases.jsonl").read_bytes()
    again = conformance("run", "--case", "interface/session/*", "--out", "run")
    assert again.returncode == 2
    assert "--resume" in again.stderr
    other = conformance("run", "--case", "placement/*", "--out", "run", "--resume")
    assert other.returncode == 2
    assert "cannot be resumed" in other.stderr
    resumed = conformance("run", "--case", "interface/session/*", "--out", "run", "--resume")
    assert resumed.returncode == 0
    assert (tmp_path / "run" / "cases.jsonl").read_bytes() == before, "what was finished is not run again"


# -- pipes ------------------------------------------------------------------------------------------------------------


def test_a_reader_that_stops_early_is_no_error(suite_cache: Path, tmp_path: Path) -> None:
    """`conformance list | head -1`, with the pipe closed long before the 2,000 lines are written."""
    with subprocess.Popen(
        [sys.executable, "-m", "conformance", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"interface/")
        process.stdout.close()
        told = process.stderr.read().decode()
        assert process.wait(timeout=120) == 0, told
    assert "Traceback" not in told
    assert "BrokenPipe" not in told


BREAKS = """
import sys
from conformance import cli, conduct, prepare
def break_pipe(*_):
    raise BrokenPipeError
conduct.run = prepare.prepare = break_pipe
cli.main(sys.argv[1:])
"""


@pytest.mark.parametrize(("command", "code"), [("run", EXIT_HARNESS), ("list", EXIT_CONFORMANT)])
def test_a_pipe_that_breaks_costs_a_run_its_verdict_and_nothing_else_anything(command: str, code: int) -> None:
    done = subprocess.run([sys.executable, "-c", BREAKS, command], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_a_run_that_nobody_reads_keeps_its_verdict(suite_cache: Path, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "conformance", "run", "--case", "interface/session/identity", "--out", "run"]
    try:
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, cwd=tmp_path, timeout=120, check=False)
    finally:
        os.close(write)

    assert (done.returncode, done.stderr) == (EXIT_CONFORMANT, b"")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["verdict"]["name"] == "CLEAN-PARTIAL"


def test_how_a_case_is_run_again_names_the_bench(conformance: Conformance, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(WRONG_RELU)
    (tmp_path / "room 7.yaml").write_text("conformance: 1\nbench: {lab: Room 7, workers: 1}\n")
    case = "operators/ai.onnx.Relu-14/float32/test_relu"
    done = conformance("run", "wrong.yaml", "--bench", "room 7.yaml", "--out", "run", "--case", case)

    assert done.returncode == EXIT_NON_CONFORMANT, done.stderr
    line = f"conformance run wrong.yaml --bench 'room 7.yaml' --case '{case}'"
    assert line in done.stdout
    assert line in (tmp_path / "run" / "junit.xml").read_text()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["info"]["bench_file"] == "room 7.yaml"
    again = conformance(*shlex.split(line)[1:], "--out", "again")
    assert again.returncode == EXIT_NON_CONFORMANT, again.stderr


def test_python_dash_m_is_the_command(conformance: Conformance) -> None:
    assert conformance("--version").stdout == f"conformance, version {__version__}\n"
    assert isinstance(main, click.Group)


@pytest.mark.parametrize(
    "arguments", [("check", "reference-cpu"), ("schema", "device-profile"), ("init", "--category", "accelerator-card")]
)
def test_a_full_disk_behind_standard_output_is_one_line(arguments: tuple[str, ...], tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "conformance", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False)

    assert (done.returncode, done.stderr) == (EXIT_HARNESS, "error: standard output: No space left on device\n")


def test_a_run_with_standard_output_closed_keeps_its_verdict(suite_cache: Path, tmp_path: Path) -> None:
    line = f"'{sys.executable}' -m conformance run --case interface/session/identity --out run >&-"
    done = subprocess.run(line, shell=True, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False)

    assert (done.returncode, done.stderr) == (EXIT_CONFORMANT, "")
    assert (tmp_path / "run" / "junit.xml").is_file()


def test_a_run_folder_has_a_name() -> None:
    code, _, errors = invoke("run", "--out", "")

    assert code == 2
    assert errors == "error: --out needs a folder of its own; give it a name, such as --out runs/today\n"


def test_check_looks_at_the_options_of_meters_too(conformance: Conformance, tmp_path: Path) -> None:
    bench = "conformance: 1\nbench:\n  telemetry:\n    - {source: hwmon, options: {chip: k10temp, sensor: temp1}}\n"
    (tmp_path / "lab.yaml").write_text(bench)
    done = conformance("check", "lab.yaml")
    assert done.returncode == 2
    assert "lab.yaml: bench.telemetry: hwmon: " in done.stderr
    assert "sensor" in done.stderr
    (tmp_path / "lab.yaml").write_text(bench.replace(", sensor: temp1", ""))
    assert conformance("check", "lab.yaml").returncode == 0
