"""Answers of an inference server that are none: each is a fault of that request, and the next one is answered."""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adapters.models import casting, serialised, tensor, two_nodes
from onnx import helper
from servers.oip_client import X, close_all, connected
from servers.oip_server import HEADER, Handler, Server, Twist

from conformance.adapters.runtime.port import BAD_ANSWER, LOST, RuntimeFault
from conformance.adapters.runtime.support import oip_rest

ANSWER = {"model_name": None, "outputs": [{"name": "y", "datatype": "FP32", "shape": [2, 2], "data": [1, 0, 3, 4]}]}
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path) as one:
        yield one


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    close_all()


def raw(text: bytes) -> Twist:
    """Write bytes on the wire and hang up."""

    def twist(handler: Handler) -> None:
        handler.wfile.write(text)
        handler.close_connection = True

    return twist


def endless(handler: Handler) -> None:
    handler.wfile.write(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    handler.close_connection = True
    while True:
        handler.wfile.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


def answer(**changes: Any) -> Twist:
    told = json.loads(json.dumps(ANSWER))
    output = told["outputs"][0] | changes
    told["outputs"] = [{key: value for key, value in output.items() if value is not ...}]
    return lambda handler: handler.send(200, json.dumps(told).encode())


def binary(length: str | None, size: object, tail: bytes, **changes: Any) -> Twist:
    output = {"name": "y", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": size}} | changes
    head = json.dumps({"outputs": [output]}).encode()
    return lambda handler: handler.send(200, head + tail, {HEADER: length or str(len(head))})


def outputs(*given: dict[str, Any]) -> Twist:
    return lambda handler: handler.send(200, json.dumps({"outputs": list(given)}).encode())


GOOD = ANSWER["outputs"][0]  # type: ignore[index]
WRONG: dict[str, tuple[Twist, str]] = {
    "no-json": (raw(OK + b"Content-Length: 3\r\n\r\n}{}"), "not what the protocol says"),
    "nan-token": (lambda h: h.send(200, json.dumps(ANSWER).replace("[1, ", "[NaN, ").encode()), "NaN or Infinity for a number"),
    "empty": (lambda h: h.send(200, b""), "not what the protocol says"),
    "deeply-nested": (lambda h: h.send(200, b"[" * 100_000), "not what the protocol says"),
    "nothing": (raw(b""), "Remote end closed connection without response|Connection reset"),
    "no-http": (raw(b"SSH-2.0-OpenSSH\r\n"), "no answer of HTTP: BadStatusLine"),
    "truncated": (raw(OK + b"Content-Length: 500\r\n\r\n{"), "ends after 1 of the 500 bytes"),
    "truncated-chunk": (raw(OK + b"Transfer-Encoding: chunked\r\n\r\n50\r\n{"), "IncompleteRead"),
    "claims-too-much": (raw(OK + b"Content-Length: 99999999999999\r\n\r\n{"), "claims 99999999999999 bytes, the limit"),
    "never-ends": (endless, "does not end within"),
    "compressed": (lambda h: h.send(200, b"x", {"Content-Encoding": "gzip"}), "the encoding 'gzip', which nobody"),
    "redirect": (raw(b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n"), "no words"),
    "validation": (lambda h: h.send(422, b'{"detail": [{"msg": "bad"}]}'), "bad"),
    "no-outputs": (outputs(), "comes without y"),
    "other-name": (answer(name="z"), "comes without y and with unknown z"),
    "twice": (outputs(GOOD, GOOD), "holds an output twice"),
    "one-more": (outputs(GOOD, GOOD | {"name": "z"}), "with unknown z"),
    "other-model": (lambda h: h.send(200, json.dumps(ANSWER | {"model_name": "n"}).encode()), "of another model: n"),
    "unknown-type": (answer(datatype="FP8"), "no type 'FP8'"),
    "negative-shape": (answer(shape=[-2, -2]), "its shape is none"),
    "shape-of-texts": (answer(shape=["2", "2"]), "not what the protocol says"),
    "huge-shape": (answer(shape=[1 << 40, 1 << 40]), "4 elements came, shape .* needs more than 2"),
    "huger-shape": (answer(shape=[1 << 70]), "not what the protocol says|its shape is none"),
    "empty-and-huge": (answer(shape=[0, 1 << 61, 8], data=[]), "impossible shape"),
    "many-dimensions": (answer(shape=[1] * 65, data=[1]), "its shape is none"),
    "too-few": (answer(data=[1, 2, 3]), "3 elements came, shape .2, 2. needs 4"),
    "no-data": (answer(data=...), "has no data"),
    "ragged": (answer(data=[[1, 2], 3]), "a list of lists and of other things"),
    "texts": (answer(data=["1", "2", "3", "4"]), "an element of a FP32 tensor is a str"),
    "floats-as-integers": (answer(datatype="INT32", data=[1.5, 2, 3, 4]), "an element of a INT32 tensor is a float"),
    "too-large": (answer(datatype="UINT8", data=[256, 2, 3, 4]), "does not fit UINT8"),
    "far-too-large": (answer(datatype="FP64", data=[10**400, 2, 3, 4]), "does not fit|not what the protocol"),
    "numbers-as-texts": (answer(datatype="BYTES"), "BYTES tensor is no text"),
    "numbers-as-truths": (answer(datatype="BOOL"), "BOOL tensor is a int"),
    "binary-header-too-long": (binary("9999", 16, bytes(16)), "is 9999, the answer has"),
    "binary-header-no-number": (binary("-1", 16, bytes(16)), "is -1, the answer has"),
    "binary-much-json": (
        lambda h: h.send(200, b" " * (2 << 20), {HEADER: str(2 << 20)}), "2097152 bytes of JSON, the limit"
    ),
    "binary-size-no-number": (binary(None, "16", bytes(16)), "claims 16 bytes, 16 are left"),
    "binary-size-too-large": (binary(None, 1 << 60, bytes(16)), "bytes, 16 are left"),
    "binary-too-short": (binary(None, 12, bytes(12)), "12 bytes came, FP32 of shape .2, 2. needs 16"),
    "binary-left-over": (binary(None, 16, bytes(20)), "4 bytes behind the answer belong to no output"),
    "binary-huge-shape": (binary(None, 16, bytes(16), shape=[1 << 61, 1 << 61]), "needs more than 2"),
    "binary-no-bool": (binary(None, 4, b"\0\1\2\0", datatype="BOOL"), "neither 0 nor 1"),
    "binary-text-beyond": (binary(None, 5, b"\xff\0\0\0x", datatype="BYTES"), "reaches beyond the end"),
    "binary-texts-too-few": (binary(None, 5, b"\1\0\0\0x", datatype="BYTES"), "1 elements came"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_an_answer_that_is_none_is_a_fault_and_the_next_request_is_answered(
    server: Server, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oip_rest, "ANSWER_LIMIT", 4 << 20)
    monkeypatch.setattr(oip_rest, "JSON_LIMIT", 1 << 20)
    session = connected(server, "rest-binary" if wrong.startswith("binary") else "rest-json").compile(two_nodes())
    feeds = {"a": X, "b": np.eye(2, dtype=np.float32)}
    server.twists["/infer"], why = WRONG[wrong]
    with pytest.raises(RuntimeFault, match=why) as caught:
        session.infer(dict(feeds))
    assert caught.value.phase == "run"
    server.twists.clear()
    ((_, value),) = session.infer(dict(feeds))
    assert np.array_equal(value, np.maximum(X, 0))


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_answer_and_what_is_none_at_all_are_told_apart(
    server: Server, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oip_rest, "ANSWER_LIMIT", 4 << 20)
    monkeypatch.setattr(oip_rest, "JSON_LIMIT", 1 << 20)
    session = connected(server, "rest-binary" if wrong.startswith("binary") else "rest-json").compile(two_nodes())
    server.twists["/infer"], _ = WRONG[wrong]
    with pytest.raises(RuntimeFault) as caught:
        session.infer({"a": X, "b": X})
    wanted = {"validation": "HTTP 422"} | dict.fromkeys(("nothing", "truncated", "truncated-chunk"), LOST)
    assert caught.value.kind == wanted.get(wrong, BAD_ANSWER)


@pytest.mark.parametrize(
    ("twist", "kind", "words"),
    [
        (lambda h: h.send(502, b"upstream"), LOST, "HTTP 502: upstream"),
        (lambda h: h.send(504, b""), LOST, "HTTP 504: no words"),
        (lambda h: h.send(503, b"busy"), "HTTP 503", "busy"),
        (lambda h: h.send(400, b"x", {"Content-Encoding": "gzip"}), "HTTP 400", "the encoding 'gzip', which nobody"),
        (
            raw(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 99999999999\r\n\r\n{"),
            "HTTP 400",
            "claims 99999999999 bytes",
        ),
        (raw(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\n{"), LOST, "ends after 1 of the 9"),
    ],
)
def test_a_refusal_has_a_status_of_the_servers_own(server: Server, twist: Twist, kind: str, words: str) -> None:
    session = connected(server).compile(two_nodes())
    server.twists["/infer"] = twist
    with pytest.raises(RuntimeFault, match=words) as caught:
        session.infer({"a": X, "b": X})
    assert caught.value.kind == kind


def hang_up(handler: Handler) -> None:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("end", ["/infer", "/load"])
def test_a_request_that_the_server_died_of_is_not_made_again(server: Server, end: str) -> None:
    adapter = connected(server, by="inline")
    session = adapter.compile(two_nodes())
    for _ in range(3):
        assert session.infer({"a": X, "b": X})
    server.twists[end] = hang_up
    before = sum(path.endswith(end) for path in server.seen)
    with pytest.raises(RuntimeFault, match="RemoteDisconnected|ConnectionResetError") as caught:
        session.infer({"a": X, "b": X}) if end == "/infer" else adapter.compile(two_nodes())
    assert (caught.value.kind, sum(path.endswith(end) for path in server.seen)) == (LOST, before + 1)


def test_what_only_reads_is_asked_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oip_rest.select, "select", lambda *_: ([], [], []))  # as if the close were still on its way
    server.twists["v2"] = lambda h: (h.send(200, b'{"name": "tiny"}'), hang_up(h))[0]
    assert connected(server).compile(two_nodes())


def test_ports_that_are_used_up_are_waited_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = oip_rest.http.client.HTTPConnection.connect, [2]

    def connect(self: Any) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        real(self)

    session = connected(server).compile(two_nodes())
    monkeypatch.setattr(oip_rest.http.client.HTTPConnection, "connect", connect)
    assert session.infer({"a": X, "b": X})
    assert left == [-1]


def test_a_connection_that_the_server_closed_meanwhile_is_made_again(server: Server) -> None:
    session = connected(server).compile(two_nodes())
    server.twists["/infer"] = lambda handler: (answer()(handler), setattr(handler, "close_connection", True))[0]
    for _ in range(3):
        ((_, value),) = session.infer({"a": X, "b": X})
        assert value.tolist() == [[1, 0], [3, 4]]


def test_more_than_was_claimed_does_not_spoil_the_next_answer(server: Server) -> None:
    session = connected(server).compile(two_nodes())
    good = json.dumps(ANSWER).encode()

    def twist(handler: Handler) -> None:
        handler.wfile.write(OK + f"Content-Length: {len(good)}\r\n\r\n".encode() + good + b"HTTP/1.1 500 Wrong\r\n\r\n")

    server.twists["/infer"] = twist
    for _ in range(3):
        ((_, value),) = session.infer({"a": X, "b": X})
        assert value.tolist() == [[1, 0], [3, 4]]


def test_outputs_come_in_the_models_order_and_nested_data_are_taken(server: Server) -> None:
    model = serialised(
        [helper.make_node("Identity", ["x"], ["p"]), helper.make_node("Neg", ["x"], ["q"])],
        [tensor("x", "float32", [2, 2])],
        [tensor("p", "float32", [2, 2]), tensor("q", "float32", [2, 2])],
    )
    session = connected(server).compile(model)
    server.twists["/infer"] = outputs(GOOD | {"name": "q", "data": [[1, 2], [3, 4]]}, GOOD | {"name": "p"})
    found = session.infer({"x": X})
    assert [name for name, _ in found] == ["p", "q"]
    assert found[1][1].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"name": "m"}, ""),
        ({"inputs": [], "outputs": [{"name": "y", "datatype": "FP8", "shape": [-1]}]}, ""),
        ({"inputs": [], "outputs": [{"name": "y" * 5000, "datatype": "FP32", "shape": [1]}]}, "name of 5000"),
        ({"outputs": [{"name": "y"}]}, "missing required field"),
        ({"outputs": 7}, "not what the protocol says"),
    ],
)
def test_metadata_are_not_believed_either(server: Server, told: dict[str, Any], why: str) -> None:
    adapter = connected(server)
    real = Handler.reply

    def twist(handler: Handler) -> None:
        is_metadata = handler.command == "GET" and handler.path.count("/") == 3 and "/models/" in handler.path
        handler.send(200, json.dumps(told).encode() if is_metadata else real(handler))

    server.twists[""] = twist
    if why:
        with pytest.raises(RuntimeFault, match=why) as caught:
            adapter.compile(two_nodes())
        assert (caught.value.phase, caught.value.kind) == ("compile", "BadAnswer")
        assert list(server.repository.iterdir()) == []
        return
    session = adapter.compile(casting("float32", "float64", [2, 2]))
    assert session.infer({"x": X})[0][0] == "y"


def test_a_server_that_goes_away_is_a_fault_of_that_request(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        session = connected(server).compile(two_nodes())
    feeds: Callable[[], dict[str, Any]] = lambda: {"a": X, "b": X}  # noqa: E731
    server.twists["/infer"] = raw(b"")  # threads that serve a connection outlive the listening socket
    for _ in range(2):
        with pytest.raises(RuntimeFault, match="refused|closed|reset") as caught:
            session.infer(feeds())
    assert caught.value.kind == LOST
    assert str(caught.value).startswith("ConnectionRefusedError: ")
