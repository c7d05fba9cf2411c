"""The gRPC side of the adapter for inference servers, over a stand-in for tritonclient; the peers' tests have the real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adapters.models import copying, sample, two_nodes
from servers.stub_tritonclient import Client, InferenceServerException, Message, answer, install

from conformance.adapters.runtime.oip import Adapter
from conformance.adapters.runtime.port import BAD_ANSWER, LOST, RuntimeFault, Unavailable
from conformance.errors import DeviceNotFound

SECRET = "tok3n/of+the-lab=="
SERVER = {"url": "grpc://localhost:8001", "token_env": "THE_TOKEN"}
RUNTIME: dict[str, Any] = {
    "provider": "tiny",
    "encoding": "grpc",
    "publish": {"by": "inline", "config": {"backend": "b"}},
}
X = np.array([[1, -2], [3, 4]], dtype=np.float32)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("THE_TOKEN", "s3cret")
    return install(monkeypatch)


def opened(**server: Any) -> Adapter:
    adapter = Adapter(Adapter.read_options(RUNTIME | {"server": SERVER | server}), Path("/run/child-0-0"))
    identity = adapter.open()
    assert (identity.provider, identity.details["encoding"]) == ("tiny", "grpc")
    return adapter


def fails(kind: str, message: str) -> Any:
    def twist(*_: object, **__: object) -> None:
        raise InferenceServerException(message, f"StatusCode.{kind}")

    return twist


def test_a_model_goes_there_runs_and_goes_away(client: Client) -> None:
    adapter = opened()
    session = adapter.compile(two_nodes())
    assert [(one.name, one.shape) for one in session.inputs] == [("a", (2, 2)), ("b", (2, 2))]
    ((_, value),) = session.infer({"a": X, "b": np.eye(2, dtype=np.float32)})
    assert np.array_equal(value, np.maximum(X, 0))
    session.close()
    assert client.models == {}
    adapter.close()
    assert client.is_closed
    assert client.headers == [{"authorization": "Bearer s3cret"}] * len(client.headers)
    assert client.made[0] == ("localhost:8001",)
    assert client.made[1]["ssl"] is False


def test_certificates_are_handed_on(client: Client) -> None:
    opened(url="grpcs://[::1]:9", ca_file="/ca.pem", client_certificate="/c.pem", client_key="/k.pem")
    (address,), further = client.made
    assert address == "[::1]:9"
    assert (further["ssl"], further["root_certificates"]) == (True, "/ca.pem")
    assert (further["certificate_chain"], further["private_key"]) == ("/c.pem", "/k.pem")


@pytest.mark.parametrize("kind", ["float16", "int8", "uint64", "bool", "string"])
def test_types_come_back_as_they_were(client: Client, kind: str) -> None:
    given = sample(kind, (2, 3))
    ((_, value),) = opened().compile(copying(kind, [2, 3])).infer({"x": given})
    assert value.dtype == given.dtype
    assert value.tolist() == given.tolist()


def test_what_the_library_cannot_say_is_unavailable(client: Client) -> None:
    session = opened().compile(copying("float32", [1]))
    with pytest.raises(Unavailable, match="cannot be made into a request: this client has no FP64"):
        session.infer({"x": np.zeros(1)})
    with pytest.raises(Unavailable, match="cannot be made into a request: 'utf-8' codec can't encode"):
        session.infer({"x": np.array(["\ud800"], dtype=object)})


def test_who_is_not_there_or_lets_nobody_in_is_no_device(client: Client) -> None:
    for kind in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
        client.twists["get_server_metadata"] = fails(kind, "failed to connect to all addresses")
        why = f"no server answers at grpc://localhost:8001: gRPC {kind}: failed to connect"
        with pytest.raises(DeviceNotFound, match=why):
            opened()
    client.twists["get_server_metadata"] = fails("UNAUTHENTICATED", "not with s3cret")
    with pytest.raises(DeviceNotFound, match=r"does not let us in: gRPC UNAUTHENTICATED: not with \[token\]"):
        opened()
    client.twists["get_server_metadata"] = fails("UNIMPLEMENTED", "no such service")
    with pytest.raises(RuntimeFault, match="no such service") as caught:
        opened()
    assert (caught.value.phase, caught.value.kind) == ("open", "gRPC UNIMPLEMENTED")
    assert client.is_closed


def test_refusals_are_told_in_the_servers_words(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = opened()
    with pytest.raises(RuntimeFault, match="failed to load") as caught:
        adapter.compile(b"no model")
    assert (caught.value.phase, caught.value.kind) == ("compile", "gRPC INTERNAL")
    session = adapter.compile(two_nodes())
    with pytest.raises(RuntimeFault) as caught:
        session.infer({"a": X})
    assert (caught.value.phase, caught.value.kind) == ("run", "gRPC INVALID_ARGUMENT")
    monkeypatch.setattr("conformance.adapters.runtime.oip.READY_S", 0.0)
    client.twists["is_model_ready"] = lambda name: False
    with pytest.raises(RuntimeFault, match="the server says that it is not ready"):
        adapter.compile(two_nodes())
    client.twists["is_model_ready"] = fails("NOT_FOUND", "who?")
    with pytest.raises(RuntimeFault, match=r"not ready: gRPC NOT_FOUND: who\?"):
        adapter.compile(two_nodes())
    client.twists["is_model_ready"] = fails("PERMISSION_DENIED", "")
    with pytest.raises(RuntimeFault, match="no words"):
        adapter.compile(two_nodes())


@pytest.mark.parametrize("code", ["UNAVAILABLE", "DEADLINE_EXCEEDED"])
def test_a_channel_that_breaks_is_no_refusal(client: Client, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = opened()
    session = adapter.compile(two_nodes())
    client.twists["infer"] = fails(code, "Socket closed")
    with pytest.raises(RuntimeFault, match=f"gRPC {code}: Socket closed") as caught:
        session.infer({"a": X})
    assert (caught.value.phase, caught.value.kind) == ("run", LOST)
    client.twists["load_model"] = client.twists.pop("infer")
    with pytest.raises(RuntimeFault) as caught:
        adapter.compile(two_nodes())
    assert (caught.value.phase, caught.value.kind) == ("compile", LOST)
    monkeypatch.setattr("conformance.adapters.runtime.oip.READY_S", 0.0)
    client.twists["is_model_ready"] = client.twists.pop("load_model")
    with pytest.raises(RuntimeFault, match="Socket closed") as caught:
        adapter.compile(two_nodes())
    assert (caught.value.phase, caught.value.kind) == ("compile", LOST)


def test_an_answer_that_is_no_message_is_no_refusal(client: Client) -> None:
    session = opened().compile(two_nodes())
    client.twists["infer"] = fails("INTERNAL", "Exception deserializing response!")
    with pytest.raises(RuntimeFault) as caught:
        session.infer({"a": X})
    assert caught.value.kind == BAD_ANSWER


def test_a_token_that_is_quoted_anywhere_is_never_told(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_TOKEN", SECRET)
    metadata = Message(name="tiny", version=SECRET, extensions=[f"for {SECRET}"])
    client.twists["get_server_metadata"] = lambda: metadata
    adapter = Adapter(Adapter.read_options(RUNTIME | {"server": SERVER}), Path("/run/child-0-0"))
    assert SECRET not in repr(adapter.open())
    session = adapter.compile(copying("string", [1]))
    given = {"x": np.array(["v"], object)}
    for told in (
        answer([], [], SECRET),
        answer([Message(name=SECRET, datatype="BYTES", shape=(1,), contents=Message())], [b"\1\0\0\0x"]),
        answer([output(SECRET)], [b"1"]),
    ):
        client.twists["infer"] = lambda *_, told=told: told
        with pytest.raises(RuntimeFault) as caught:
            session.infer(given)
        assert SECRET not in str(caught.value)
    raw = bytes([len(SECRET), 0, 0, 0]) + SECRET.encode()
    client.twists["infer"] = lambda *_: answer([output("BYTES", (1,))], [raw])
    assert SECRET not in repr(session.infer(given))
    for code, words in (
        ("INTERNAL", f"{'.' * 1990}{SECRET}"),
        (SECRET, "no"),
        ("INTERNAL", SECRET.replace("/", "%2F")),
    ):
        client.twists["infer"] = fails(code, words)
        with pytest.raises(RuntimeFault) as caught:
            session.infer(given)
        assert not any(part in f"{caught.value.kind} {caught.value}" for part in (SECRET[:8], SECRET[-8:]))
    entry = Message(name="", state="UNAVAILABLE", reason=f"denied for {SECRET}")
    client.twists |= {"is_model_ready": lambda _: False, "get_model_repository_index": lambda: Message(models=[entry])}
    real = client.twists["load_model"] = lambda name, **_: setattr(entry, "name", name)
    assert real
    with pytest.raises(RuntimeFault, match="denied for") as caught:
        adapter.compile(two_nodes())
    assert SECRET not in str(caught.value)


def output(datatype: str = "FP32", shape: tuple[int, ...] = (2,), **contents: list[Any]) -> Any:
    return Message(name="y", datatype=datatype, shape=shape, contents=Message(**contents))


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        (answer([output(fp32_contents=[1.5, float("nan")])], []), np.array([1.5, np.nan], np.float32)),
        (answer([output("INT8", int_contents=[1, -2])], []), np.array([1, -2], np.int8)),
        (answer([output("BYTES", bytes_contents=[b"a", b"\xff"])], []), np.array(["a", b"\xff"], object)),
        (answer([output("BF16")], [b"\x80\x3f\0\0"]), None),
    ],
)
def test_typed_contents_and_raw_ones_are_read(client: Client, told: Any, wanted: Any) -> None:
    session = opened().compile(copying("float32", [2]))
    client.twists["infer"] = lambda *_: told
    ((_, value),) = session.infer({"x": np.zeros(2, np.float32)})
    if wanted is None:
        assert (str(value.dtype), value.tolist()) == ("bfloat16", [1, 0])
        return
    assert value.dtype == wanted.dtype
    assert str(value.tolist()) == str(wanted.tolist())


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (answer([output()], [b"1234", b"1234"]), "1 outputs and 2 raw contents"),
        (answer([output()], [b"1234"]), "4 bytes came, FP32 of shape .2. needs 8"),
        (answer([output(fp32_contents=[])], []), "0 elements came"),
        (answer([output("FP16")], []), "has no data"),
        (answer([output("FP32", (-1,))], [b""]), "its shape is none"),
        (answer([output("UINT8", uint_contents=[1, 300])], []), "does not fit UINT8"),
        (answer([], [], "another"), "of another model: another"),
        (answer([], []), "comes without y"),
    ],
)
def test_answers_that_are_none(client: Client, told: Any, why: str) -> None:
    session = opened().compile(copying("float32", [2]))
    client.twists["infer"] = lambda *_: told
    with pytest.raises(RuntimeFault, match=why) as caught:
        session.infer({"x": np.zeros(2, np.float32)})
    assert (caught.value.phase, caught.value.kind) == ("run", "BadAnswer")
