"""Whole runs against an inference server of ours: what is shown, what is not, and that no secret leaves the child."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.__main__ import main
from conformance.adapters.runtime.support.oip_values import DATATYPES

TESTS = str(Path(__file__).resolve().parent)
if TESTS not in sys.path:
    sys.path.append(TESTS)

from servers.oip_server import Handler, Server  # noqa: E402

SECRET = "tok3n-of-the-lab"
CHOSEN = ("interface/session/*", "interface/*/threads", "must-reject/request/*", "operators/ai.onnx.MatMul-*")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, token=SECRET) as one:
        yield one


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run the command line; return its exit code, the records by case, and everything it wrote."""
    monkeypatch.setenv("LAB_TOKEN", SECRET)

    def _run(port: int, encoding: str = "rest-binary", provider: str = "tiny", chosen: tuple[str, ...] = CHOSEN) -> Any:
        types = [name for name in DATATYPES if name != "bfloat16"]
        profile = {
            "conformance": 1,
            "device": {"vendor": "Ours", "model": "tiny", "category": "inference-server"},
            "runtime": {"adapter": "oip", "provider": provider, "encoding": encoding, "publish": {"by": "inline"}},
            "declares": {"opsets": {"ai.onnx": [13, 21]}, "types": types, "operators": "all"},
        }
        (tmp_path / "tiny.yaml").write_text(json.dumps(profile))
        lab = {"server": {"url": f"http://127.0.0.1:{port}", "token_env": "LAB_TOKEN"}}
        (tmp_path / "lab.yaml").write_text(json.dumps({"conformance": 1, "bench": lab}))
        out = tmp_path / f"run-{encoding}"
        arguments = ["run", str(tmp_path / "tiny.yaml"), "--bench", str(tmp_path / "lab.yaml"), "--out", str(out)]
        with pytest.raises(SystemExit) as ended:
            main([*arguments, *(word for glob in chosen for word in ("--case", glob))])
        written = "".join(capfd.readouterr())
        written += "".join(path.read_text() for path in out.rglob("*") if path.is_file())
        records = [json.loads(line) for line in (out / "cases.jsonl").read_text().splitlines()]
        return ended.value.code, {record["case"]: record for record in records}, written

    return _run


@pytest.mark.parametrize("encoding", ["rest-json", "rest-binary"])
def test_a_good_server_passes_and_its_token_is_nowhere(server: Server, run: Callable[..., Any], encoding: str) -> None:
    code, records, written = run(server.port, encoding)
    beyond = {"must-reject/request/nothing", "must-reject/request/sequence", "must-reject/request/sequence-empty"}
    assert {records.pop(case)["outcome"] for case in beyond} == {"UNMEASURED"}, "the protocol cannot say them"
    assert {record["outcome"] for record in records.values()} <= {"PASS", "UNSUPPORTED"}
    assert sum(case.startswith("operators/") for case in records) >= 3
    assert code == 30, "a MUST with cases that could not be asked is open"
    assert SECRET not in written
    assert "PLACEMENT NOT SHOWN" in written.upper()
    assert server.models == {}


def test_another_server_than_the_profile_names_is_not_the_device(server: Server, run: Callable[..., Any]) -> None:
    code, records, _ = run(server.port, provider="other", chosen=("interface/session/registration",))
    assert code == 20
    assert records["interface/session/registration"]["outcome"] == "FAIL"


def test_a_wrong_answer_fails_and_a_wrong_token_is_no_verdict(server: Server, run: Callable[..., Any]) -> None:
    def wrong(handler: Handler) -> None:
        told = {"outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": [1, 2]}]}
        handler.send(200, json.dumps(told).encode())

    server.twists["/infer"] = wrong
    code, records, _ = run(server.port, chosen=("interface/session/inputs-unchanged",))
    assert code == 20
    assert "BadAnswer: output y: 2 elements came, shape [1] needs 1" in str(records)
    server.token = "another"
    code, records, written = run(server.port, "rest-json", chosen=("interface/session/inputs-unchanged",))
    assert code == 30
    assert {record["outcome"] for record in records.values()} == {"NOT_RUN"}
    assert "does not let us in: HTTP 401" in written
    assert SECRET not in written
