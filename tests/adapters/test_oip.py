"""The adapter for inference servers, against a server of ours: both REST encodings, publishing, opening, refusals."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from adapters.models import copying, sample, serialised, tensor, two_nodes
from onnx import helper
from servers.oip_client import OPENED, X, close_all, connected, options
from servers.oip_server import HEADER, Handler, Server, make_certificate

from conformance.adapters.runtime import adapter_class
from conformance.adapters.runtime.oip import Adapter
from conformance.adapters.runtime.port import Mode, RuntimeFault, Unavailable
from conformance.adapters.runtime.support.oip_values import DATATYPES
from conformance.errors import DeviceNotFound, UsageError

SECRET = "s3cret"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path) as one:
        yield one


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    close_all()


def test_it_is_found_by_its_name_and_tells_what_the_server_says(server: Server) -> None:
    assert adapter_class("oip") is Adapter
    adapter = Adapter(Adapter.read_options(options(server)), Path("/run/child-0-0"))
    OPENED.append(adapter)
    identity = adapter.open()
    assert (identity.runtime, identity.runtime_version, identity.provider) == ("tiny", "7", "tiny")
    assert identity.details["extensions"] == "binary_tensor_data, model_repository"
    assert identity.unit == f"127.0.0.1:{server.port}"
    assert not adapter.runs_on_host_cpu
    assert not adapter.has_witness
    assert adapter.modes() == (Mode.STRICT,)


@pytest.mark.parametrize("encoding", ["rest-json", "rest-binary"])
@pytest.mark.parametrize("by", ["folder", "inline"])
def test_a_model_is_published_run_and_taken_away(server: Server, encoding: str, by: str) -> None:
    adapter = connected(server, encoding, by)
    session = adapter.compile(two_nodes())
    assert [(one.name, one.type, one.shape) for one in session.inputs] == [
        ("a", "tensor(float32)", (2, 2)), ("b", "tensor(float32)", (2, 2))
    ]  # fmt: skip
    assert len(list(server.repository.iterdir())) == (1 if by == "folder" else 0)
    ((name, value),) = session.infer({"a": X, "b": np.eye(2, dtype=np.float32)})
    assert name == "y"
    assert np.array_equal(value, np.maximum(X, 0))
    assert value.flags.writeable
    assert session.witnesses() == ()
    session.close()
    assert server.models == {}
    assert list(server.repository.iterdir()) == []
    adapter.close()


@pytest.mark.parametrize("encoding", ["rest-json", "rest-binary"])
@pytest.mark.parametrize("kind", DATATYPES)
@pytest.mark.parametrize("shape", [(2, 3), (), (0, 2)])
def test_every_type_of_the_protocol_comes_back_as_it_was(
    server: Server, encoding: str, kind: str, shape: tuple[int, ...]
) -> None:
    session = connected(server, encoding).compile(copying(kind, list(shape)))
    given = sample(kind, shape)
    if kind == "bfloat16" and encoding == "rest-json":
        with pytest.raises(Unavailable, match="JSON has no form for"):
            session.infer({"x": given})
        return
    ((_, value),) = session.infer({"x": given})
    assert value.dtype == given.dtype
    assert value.shape == given.shape
    assert value.tolist() == given.tolist()


@pytest.mark.parametrize("encoding", ["rest-json", "rest-binary"])
@pytest.mark.parametrize("kind", ["int64", "uint64", "float64", "float32", "float16"])
def test_extreme_values_are_exact(server: Server, encoding: str, kind: str) -> None:
    dtype = np.dtype(kind)
    limits: Any = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    small = 1 if dtype.kind in "iu" else limits.smallest_subnormal
    given = np.array([limits.min, limits.max, small, 0], dtype=dtype)
    ((_, value),) = connected(server, encoding).compile(copying(kind, [4])).infer({"x": given})
    assert value.tobytes() == given.tobytes()


def test_binary_carries_what_json_cannot_say(server: Server) -> None:
    odd = np.array([np.nan, np.inf, -0.0], dtype=np.float32)
    ((_, value),) = connected(server, "rest-binary").compile(copying("float32", [3])).infer({"x": odd})
    assert value.tobytes() == odd.tobytes()
    session = connected(server).compile(copying("float32", [3]))
    with pytest.raises(Unavailable, match="holds NaN or infinity"):
        session.infer({"x": odd})
    divide = serialised(
        [helper.make_node("Div", ["x", "x"], ["y"])], [tensor("x", "float32", [1])], [tensor("y", "float32", [1])]
    )
    with pytest.raises(Unavailable, match="null came where a FP32 is due"):
        connected(server).compile(divide).infer({"x": np.zeros(1, np.float32)})


@pytest.mark.parametrize("encoding", ["rest-json", "rest-binary"])
@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "empty optional"),
        ([X], "a sequence"),
        (np.zeros(2, ml_dtypes.float8_e4m3fn), "is float8e4m3fn: .* has no such type"),
        (np.zeros(2, ml_dtypes.int4), "is int4"),
        (np.array(["\ud800"], dtype=object), "no Unicode"),
    ],
)
def test_what_the_protocol_has_no_way_to_say_is_unavailable(
    server: Server, encoding: str, value: Any, why: str
) -> None:
    session = connected(server, encoding).compile(copying("float32", [2]))
    with pytest.raises(Unavailable, match=why):
        session.infer({"x": value})
    assert server.bodies == []


def test_bytes_that_are_no_text_travel_in_binary_alone(server: Server) -> None:
    given = np.array([b"\xff", b"plain"], dtype=object)
    with pytest.raises(Unavailable, match="no UTF-8"):
        connected(server).compile(copying("string", [2])).infer({"x": given})
    adapter = connected(server, "rest-binary")
    server.twists["/infer"] = lambda handler: handler.send(
        200,
        (head := json.dumps({"outputs": [{"name": "y", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}}]}).encode()) + b"\1\0\0\0\xff",
        {HEADER: str(len(head))},
    )  # fmt: skip
    ((_, value),) = adapter.compile(copying("string", [2])).infer({"x": given})
    assert value.tolist() == [b"\xff"]
    assert server.bodies[-1].endswith(b"\1\0\0\0\xff\5\0\0\0plain")


@pytest.mark.parametrize("mode", [Mode.HOST, Mode.SHARED, Mode.UNFOLDED])
def test_a_server_cannot_be_told_where_nodes_run(server: Server, mode: Mode) -> None:
    with pytest.raises(Unavailable, match="cannot be told"):
        connected(server).compile(two_nodes(), mode)


@pytest.mark.parametrize("encoding", ["rest-json", "rest-binary"])
def test_wrong_feeds_reach_the_server_as_they_are(server: Server, encoding: str) -> None:
    session = connected(server, encoding).compile(two_nodes())
    eye = np.eye(2, dtype=np.float32)
    for feeds in ({"a": X}, {"a": X, "b": eye, "c": X}, {"a": X, "b": eye.astype(np.float64)}, {"a": X, "b": eye[:1]}):
        with pytest.raises(RuntimeFault) as caught:
            session.infer(dict(feeds))
        assert (caught.value.phase, caught.value.kind) == ("run", "HTTP 400")
        sent = json.JSONDecoder().raw_decode(server.bodies[-1].decode("latin-1"))[0]["inputs"]
        assert {one["name"]: one["shape"] for one in sent} == {name: list(v.shape) for name, v in feeds.items()}
        assert [one["datatype"] for one in sent] == [DATATYPES[str(v.dtype)] for v in feeds.values()]
    assert session.infer({"a": X, "b": eye})


def test_threads_have_connections_of_their_own(server: Server) -> None:
    adapter = connected(server, "rest-binary")
    session, found = adapter.compile(two_nodes()), []

    def work(factor: int) -> None:
        for _ in range(5):
            ((_, value),) = session.infer({"a": X * factor, "b": np.eye(2, dtype=np.float32)})
            found.append(bool(np.array_equal(value, np.maximum(X * factor, 0))))

    threads = [threading.Thread(target=work, args=(factor,)) for factor in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 20
    adapter.close()


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["folder", "inline"])
def test_a_model_that_the_server_refuses_is_refused_in_its_words_and_leaves_nothing(server: Server, by: str) -> None:
    adapter = connected(server, by=by)
    with pytest.raises(RuntimeFault, match="failed to load") as caught:
        adapter.compile(b"no model")
    assert (caught.value.phase, caught.value.kind) == ("compile", "HTTP 400")
    assert list(server.repository.iterdir()) == []
    assert adapter.compile(two_nodes())


def test_a_model_that_does_not_become_ready(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = connected(server)
    left = [3]

    def not_yet(handler: Handler) -> None:
        left[0] -= 1
        handler.send(503 if left[0] > 0 else 200, b'{"error": "still loading"}')

    server.twists["/ready"] = not_yet
    assert adapter.compile(two_nodes())
    server.twists["/ready"] = lambda handler: handler.send(503, b'{"error": "still loading"}')
    monkeypatch.setattr("conformance.adapters.runtime.oip.READY_S", 0.05)
    with pytest.raises(RuntimeFault, match="is not ready: HTTP 503: still loading") as caught:
        adapter.compile(two_nodes())
    assert (caught.value.phase, caught.value.kind) == ("compile", "NotReady")
    name = next(iter(server.models))
    server.twists["/index"] = lambda handler: handler.send(
        200, json.dumps([{"name": f"{name[: name.rindex('-')]}-2", "state": "UNAVAILABLE", "reason": "no kernel"}]).encode()
    )  # fmt: skip
    with pytest.raises(RuntimeFault, match="no kernel") as caught:
        adapter.compile(two_nodes())
    assert caught.value.kind == "UNAVAILABLE"
    server.twists = {"/ready": lambda handler: handler.send(401, b"")}
    with pytest.raises(RuntimeFault, match="no words") as caught:
        adapter.compile(two_nodes())
    assert caught.value.kind == "HTTP 401"


def test_an_unload_that_is_refused_is_told(server: Server) -> None:
    session = connected(server).compile(two_nodes())
    server.twists["/unload"] = lambda handler: handler.send(500, b"it is stuck")
    with pytest.raises(RuntimeFault, match="it is stuck") as caught:
        session.close()
    assert (caught.value.phase, caught.value.kind) == ("run", "HTTP 500")
    assert list(server.repository.iterdir()) == []


def test_sessions_that_were_left_open_go_with_the_adapter(server: Server) -> None:
    adapter = connected(server)
    adapter.compile(two_nodes())
    adapter.compile(two_nodes())
    assert len(server.models) == 2
    adapter.close()
    assert server.models == {}
    assert list(server.repository.iterdir()) == []


@pytest.mark.parametrize("by", ["folder", "inline"])
def test_what_a_killed_child_left_is_taken_away_by_the_next(server: Server, by: str) -> None:
    adapter = connected(server, by=by)
    adapter.compile(two_nodes())
    (mine,) = server.models
    left = "-".join([*mine.split("-")[:2], "4194999", "0"])
    for name in (left, "conformance-other-4194999-0"):
        server.models[name] = server.models[mine]
        (server.repository / name).mkdir()
    connected(server, by=by)
    assert set(server.models) == {mine, "conformance-other-4194999-0"}
    assert (server.repository / left).exists() == (by == "inline")


# -- opening ----------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def opening(**runtime: Any) -> Adapter:
    return Adapter(Adapter.read_options(options(None) | runtime), Path("/run/child-0-0"))


def test_nobody_there_is_no_device(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(DeviceNotFound, match=rf"no server answers at {url}: Connection refused"):
        opening(publish={"by": "inline"}, server={"url": url}).open()
    with pytest.raises(DeviceNotFound, match="no server answers at http://nobody.invalid:1"):
        opening(publish={"by": "inline"}, server={"url": "http://nobody.invalid:1"}).open()


def test_wrong_settings_are_one_line_with_the_remedy(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHORT", "12345")
    url = f"http://127.0.0.1:{server.port}"
    for runtime, why in (
        ({}, "give a bench file with bench.server.url"),
        ({"server": {"url": "grpc://127.0.0.1:1"}}, "rest-json needs http:// or https://, not grpc://"),
        ({"server": {"url": url}}, "bench.server.repository"),
        ({"server": {"url": url, "repository": str(tmp_path / "none")}}, "cannot be written to: No such file"),
        ({"server": {"url": url, "token_env": "NO_SUCH_VARIABLE"}}, "NO_SUCH_VARIABLE is not set"),
        ({"server": {"url": url, "token_file": str(tmp_path)}}, "cannot be read: Is a directory"),
        ({"server": {"url": "https://127.0.0.1:1", "ca_file": __file__}}, "certificates cannot be used"),
        ({"server": {"url": url}, "publish": {"by": "inline", "files": {"a.py": "/none.py"}}}, "/none.py cannot be read"),
        ({"server": {"url": url}, "publish": {"by": "inline", "files": {"a.py": "/dev/zero"}}}, "is no file"),
        ({"server": {"url": url}, "publish": {"by": "inline", "files": {"../a.py": "/none.py"}}}, "no path inside"),
        ({"server": {"url": url}, "publish": {"by": "inline", "model": "/etc/model"}}, "no path inside"),
        ({"server": {"url": url, "token_env": "SHORT"}}, "a token of less than 6 characters"),
        *(({"publish": {"by": "inline", "files": {path: "/none.py"}}}, why) for path, why in (
            ("1/model.onnx", "'1/model.onnx' would replace '1/model.onnx'"),
            ("./1//model.onnx", "'./1//model.onnx' would replace '1/model.onnx'"),
            ("1", "one of them would be the other's folder"),
            ("1/model.onnx/x", "one of them would be the other's folder"),
        )),
        ({"publish": {"by": "inline", "files": {"a/b.py": "/x", "a/./b.py": "/y"}}}, "'a/./b.py' would replace 'a/b.py'"),
        ({"publish": {"by": "inline", "model": "./m", "files": {"m": "/x"}}}, "'m' would replace './m'"),
        ({"publish": {"by": "inline", "config": {"name": "mine"}}}, "may not have a 'name'"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=why) as caught:
            opening(**runtime).open()
        assert "\n" not in str(caught.value)
    for runtime in ({"encoding": "soap"}, {"publish": {"by": "pigeon"}}, {"server": {"uri": url}}):
        with pytest.raises(UsageError, match="runtime: "):
            opening(**runtime)


def test_grpc_without_its_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tritonclient.grpc", None)
    with pytest.raises(UsageError, match=r"grpc needs tritonclient .*pip install 'tritonclient\[grpc\]"):
        opening(encoding="grpc", publish={"by": "inline"}, server={"url": "grpc://127.0.0.1:1"}).open()


def test_a_server_that_is_not_alive_or_another_thing_does_not_open(server: Server) -> None:
    server.twists["/health/live"] = lambda handler: handler.send(503, b"")
    with pytest.raises(RuntimeFault, match="not alive") as caught:
        connected(server)
    assert caught.value.phase == "open"
    server.twists = {"/v2": lambda handler: handler.send(404, b"<h1>It works!</h1>")}
    with pytest.raises(RuntimeFault, match="It works!") as caught:
        connected(server)
    assert (caught.value.phase, caught.value.kind) == ("open", "HTTP 404")
    server.twists = {"/v2": lambda handler: handler.send(200, b"[]")}
    with pytest.raises(RuntimeFault, match="not what the protocol says"):
        connected(server)


@pytest.mark.parametrize("by", ["token_env", "token_file"])
def test_a_token_opens_and_is_never_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    monkeypatch.setenv("THE_TOKEN", "s3cret")
    further = {by: "THE_TOKEN" if by == "token_env" else str(tmp_path / "token")}
    with Server(tmp_path, token=SECRET) as server:
        adapter = connected(server, **further)
        assert adapter.compile(two_nodes())
        assert "s3cret" not in repr(adapter.given)
        server.token = "other"  # and the server quotes the old one
        with pytest.raises(RuntimeFault) as fault:
            adapter.compile(two_nodes())
        assert fault.value.kind == "HTTP 401"
        assert "[token]" in str(fault.value)
        assert "s3cret" not in str(fault.value)
        with pytest.raises(DeviceNotFound, match="does not let us in: HTTP 401: no such token") as caught:
            connected(server, **further)
        assert "s3cret" not in str(caught.value)
    (tmp_path / "token").write_text("two words")
    with pytest.raises(UsageError, match="holds no token") as wrong:
        opening(server={"url": "http://localhost:1", "token_file": str(tmp_path / "token")}).open()
    assert "two words" not in str(wrong.value)


def test_certificates_are_verified_both_ways(tmp_path: Path) -> None:
    make_certificate(tmp_path / "client.pem")
    with Server(tmp_path, tls=True, client_ca=tmp_path / "client.pem.crt") as server:
        secure = {
            "url": f"https://127.0.0.1:{server.port}",
            "ca_file": f"{server.certificate}.crt",
            "client_certificate": str(tmp_path / "client.pem"),
        }
        adapter = connected(server, **secure)
        ((_, value),) = adapter.compile(copying("float32", [2, 2])).infer({"x": X})
        assert np.array_equal(value, X)
        for ca_file in (None, str(tmp_path / "client.pem.crt")):
            with pytest.raises(DeviceNotFound, match="is not trusted: .*bench.server.ca_file"):
                connected(server, **secure | {"ca_file": ca_file})
        with pytest.raises(DeviceNotFound, match="not trusted: IP address mismatch|not trusted: Hostname mismatch"):
            connected(server, **secure | {"url": f"https://localhost:{server.port}"})
        with pytest.raises(DeviceNotFound):
            connected(server, **secure | {"client_certificate": None})
