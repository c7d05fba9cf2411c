"""Whole runs against an inference server of ours: what is shown, what is not, and that no secret leaves the child."""

from __future__ import annotations

import json
import socket
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.__main__ import main
from conformance.adapters.runtime.support.oip_values import DATATYPES

TESTS = str(Path(__file__).resolve().parent)
if TESTS not in sys.path:
    sys.path.append(TESTS)

from servers.oip_server import HEADER, Handler, Server, Twist  # noqa: E402

SECRET = "tok3n/of+the-lab=="
PARTS = (SECRET[:8], SECRET[-10:])
ONE = ("interface/session/create-run-destroy",)
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
    told = {(records[case]["outcome"], records.pop(case)["reason"]) for case in beyond}
    assert told == {("UNSUPPORTED", "the Open Inference Protocol has no way to say this")}
    assert {record["outcome"] for record in records.values()} <= {"PASS", "UNSUPPORTED"}
    assert {record["outcome"] for case, record in records.items() if case.startswith("must-reject/")} == {"PASS"}
    assert sum(case.startswith("operators/") for case in records) >= 3
    assert code == 0, "what cannot be asked keeps no MUST open"
    assert SECRET not in written
    assert "PLACEMENT NOT SHOWN" in written.upper()
    assert server.models == {}


def quoted(handler: Handler) -> str:
    return handler.headers.get("Authorization", "")


def telling(change: Callable[[str], object], status: int = 200, header: str = "") -> Twist:
    """Answer with what becomes of the token, in a body or, where one is named, in a header."""

    def twist(handler: Handler) -> None:
        told = change(quoted(handler))
        body = told.encode() if isinstance(told, str) else json.dumps(told).encode()
        handler.send(status, b"{}" if header else body, {header: str(told)} if header else None)

    return twist


def escaped(given: str) -> str:
    return "".join(f"\\u{ord(one):04X}" for one in given)


def on_the_status_line(handler: Handler) -> None:
    handler.wfile.write(f"HTTP/1.1 {quoted(handler)}\r\n\r\n".encode())
    handler.close_connection = True


def as_the_protocol(handler: Handler) -> None:
    handler.wfile.write(f"{quoted(handler)} 200 OK\r\n\r\n".encode())
    handler.close_connection = True


def reasons(handler: Handler) -> None:
    told = [{"name": name, "state": "UNAVAILABLE", "reason": quoted(handler)} for name in handler.server.models]
    handler.send(200, json.dumps(told).encode())


Y = {"name": "y", "datatype": "BYTES", "shape": [1], "data": ["x"]}
QUOTES: dict[str, dict[str, Twist]] = {
    "no-json": {"/infer": telling(lambda token: f"Hello {token}")},
    "no-answer": {"/infer": telling(lambda token: f'{{"outputs": "{token}"}}')},
    "model-name": {"/infer": telling(lambda token: {"model_name": token, "outputs": []})},
    "output-name": {"/infer": telling(lambda token: {"outputs": [Y | {"name": token}]})},
    "datatype": {"/infer": telling(lambda token: {"outputs": [Y | {"datatype": token}]})},
    "value": {"/infer": telling(lambda token: {"outputs": [Y | {"data": [token]}]})},
    "escaped": {"/infer": telling(lambda token: f'{{"outputs": [], "model_name": "{escaped(token)}"}}')},
    "slashes": {"/infer": telling(lambda token: {"error": token.replace("/", "\\/")}, 400)},
    "in-a-url": {"/infer": telling(lambda token: f"?token={urllib.parse.quote(token, safe='')}", 400)},
    "cut": {"/infer": telling(lambda token: f"{'.' * 1985}{token}", 400)},
    "length": {"/infer": telling(lambda token: token, 200, HEADER)},
    "coding": {"/infer": telling(lambda token: token, 200, "Content-Encoding")},
    "status-line": {"/infer": on_the_status_line},
    "protocol": {"/infer": as_the_protocol},
    "version": {"v2": telling(lambda token: {"name": "tiny", "version": token, "extensions": [token]})},
    "name": {"v2": telling(lambda token: {"name": token})},
    "live": {"/live": telling(lambda token: token, 503)},
    "load": {"/load": telling(lambda token: {"detail": [{"msg": token}]}, 422)},
    "unload": {"/unload": telling(lambda token: token, 500)},
    "ready": {"/ready": telling(lambda token: token, 401)},
    "index": {"/ready": telling(lambda _: "", 503), "/index": reasons},
}


@pytest.mark.parametrize("where", QUOTES)
def test_a_token_that_a_server_quotes_is_nowhere(server: Server, run: Callable[..., Any], where: str) -> None:
    server.twists.update(QUOTES[where])
    _, records, written = run(server.port, chosen=ONE)
    assert set(ONE) <= set(records)
    for part in PARTS:
        assert part not in written
    assert escaped(SECRET) not in written
    assert urllib.parse.quote(SECRET, safe="") not in written


def test_a_server_that_dies_of_bad_requests_does_not_refuse_them(server: Server, run: Callable[..., Any]) -> None:
    def dies(handler: Handler) -> None:
        try:
            handler.send(200, handler.reply(), handler.further)
        except Exception:  # noqa: BLE001
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)

    server.twists["/infer"] = dies
    code, records, _ = run(server.port, chosen=("must-reject/request/rank-*",))
    assert code == 20
    assert {(one["outcome"], one["reason"]) for one in records.values()} == {
        ("FAIL", "not refused: the connection was lost")
    }


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
