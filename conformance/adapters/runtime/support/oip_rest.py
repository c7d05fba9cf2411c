"""The Open Inference Protocol v2 over HTTP: JSON, or JSON with raw tensors behind it (the binary extension).

No client library is needed for it. tritonclient's HTTP client was weighed and left: it keeps the lab's environment at
old versions (ml_dtypes, protobuf), is bound to one thread, reads answers of any length, and verifies no certificate
unless told how. The peers' tests hold its answers against ours.
"""

from __future__ import annotations

import base64
import errno
import http.client
import re
import select
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from conformance.adapters.runtime.port import LOST
from conformance.adapters.runtime.support.oip_access import Censor
from conformance.adapters.runtime.support.oip_values import (
    IndexEntry,
    ModelMetadata,
    Refused,
    ServerMetadata,
    bad,
    from_json,
    from_raw,
    shown,
    to_json,
    to_raw,
    to_tensor,
)

if TYPE_CHECKING:
    from conformance.adapters.runtime.support.oip_access import Access
    from conformance.tensors import Value

T = TypeVar("T")
ANSWER_LIMIT = 256 << 20
"""Bytes of an answer to an inference, far above the suite's outputs."""
JSON_LIMIT = 64 << 20
"""Bytes of it that are JSON: `[],[],…` of this size takes a gigabyte of memory."""
OTHER_LIMIT = 16 << 20
"""Bytes of any other answer, errors included."""
CONNECT_S = 10.0
"""Who does not take a connection within this is not there."""
REUSE_S = 1.0
"""A connection that was idle for longer is not used again: the server may be about to close it, and that is no fault."""
_PAUSE_S = 0.05
_LOST_BEHIND = frozenset({502, 504})
"""What a gateway says where the server behind it went away or said nothing (RFC 9110, 15.6.3 and 15.6.5)."""
_NO_NUMBER = re.compile(rb"[\[,]\s*-?(NaN|Infinity)\b")
_HEADER = "Inference-Header-Content-Length"


class _Output(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | None = None
    data: Any = None


class _Inference(msgspec.Struct):
    outputs: list[_Output]
    model_name: str | None = None


class _Answer(NamedTuple):
    status: int
    header_length: str | None
    body: bytes


class RestClient:
    """One server by its URL. Threads may use it at once: each has its own connection.

    A request that changes or runs something goes out once, on a connection of its own: a server may close a connection that it
    kept at any time (RFC 9112, 9.3.1), and on one that it kept nobody could tell that from dying of the request. What only
    reads goes over a connection that is kept, and is asked once more where that one turns out to be closed.
    """

    def __init__(self, access: Access, *, binary: bool) -> None:
        self._access, self._binary = access, binary
        self._tls = _verifying(access) if access.is_secure else None
        self._own = threading.local()
        self._connections: list[http.client.HTTPConnection] = []
        self._censor = Censor(access.token)
        self._headers = {"Authorization": f"Bearer {access.token}"} if access.token else {}

    def close(self) -> None:
        """Close every connection."""
        for connection in self._connections:
            connection.close()

    def server_metadata(self) -> ServerMetadata:
        """Return who the server says it is."""
        return _decoded(self._checked("GET", "v2").body, ServerMetadata)

    def is_live(self) -> bool:
        """Return whether the server says that it is alive."""
        return self._exchange("GET", "v2/health/live").status == 200

    def readiness(self, model: str) -> str:
        """Return why a model is not ready, in the server's words; empty where it is. Refused where nobody may ask."""
        answer = self._exchange("GET", f"v2/models/{model}/ready")
        if answer.status in (401, 403):
            raise self._refusal(answer)
        if answer.status == 200:
            return ""
        refusal = self._refusal(answer)
        return f"{refusal.kind}: {refusal}"

    def model_metadata(self, model: str) -> ModelMetadata:
        """Return the inputs and outputs of a model."""
        return _decoded(self._checked("GET", f"v2/models/{model}").body, ModelMetadata)

    def index(self) -> list[IndexEntry]:
        """Return the models of the repository."""
        return _decoded(self._checked("POST", "v2/repository/index", b"{}").body, list[IndexEntry])

    def load(self, model: str, config: str | None = None, files: dict[str, bytes] | None = None) -> None:
        """Load a model from the repository, or from these files."""
        parameters: dict[str, str] = {} if config is None else {"config": config}
        for path, content in (files or {}).items():
            parameters[f"file:{path}"] = base64.b64encode(content).decode()
        body = msgspec.json.encode({"parameters": parameters} if parameters else {})
        self._checked("POST", f"v2/repository/models/{model}/load", body)

    def unload(self, model: str) -> None:
        """Unload a model."""
        self._checked("POST", f"v2/repository/models/{model}/unload", b"{}")

    def infer(self, model: str, feeds: dict[str, Value]) -> list[tuple[str, Value]]:
        """Run once; return the outputs as they came, by name. Refused, OSError or Unavailable."""
        inputs: list[dict[str, Any]] = []
        tail: list[bytes] = []
        for name, value in feeds.items():
            datatype, array = to_tensor(name, value)
            head: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": datatype}
            if self._binary:
                tail.append(to_raw(name, array))
                head["parameters"] = {"binary_data_size": len(tail[-1])}
            else:
                head["data"] = to_json(name, array)
            inputs.append(head)
        request: dict[str, Any] = {"inputs": inputs}
        if self._binary:
            request["parameters"] = {"binary_data_output": True}
        body, headers = msgspec.json.encode(request), {"Content-Type": "application/json"}
        if self._binary:
            headers = {"Content-Type": "application/octet-stream", _HEADER: str(len(body))}
        limit = ANSWER_LIMIT if self._binary else min(JSON_LIMIT, ANSWER_LIMIT)
        answer = self._checked("POST", f"v2/models/{model}/infer", b"".join([body, *tail]), headers, limit)
        return _read_outputs(answer, model)

    # -- the wire -----------------------------------------------------------------------------------------------------

    def _checked(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        limit: int = OTHER_LIMIT,
    ) -> _Answer:
        answer = self._exchange(method, path, body, headers, limit)
        if not 200 <= answer.status < 300:
            raise self._refusal(answer)
        return answer

    def _refusal(self, answer: _Answer) -> Refused:
        words = _words(answer.body) or "no words"
        if answer.status in _LOST_BEHIND:
            return Refused(LOST, f"HTTP {answer.status}: {words}")
        if answer.status < 400:
            return bad(f"HTTP {answer.status}, which is neither an answer nor a refusal: {words}")
        return Refused(f"HTTP {answer.status}", words)

    def _exchange(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        limit: int = OTHER_LIMIT,
    ) -> _Answer:
        may_repeat = method == "GET"
        connection, is_reused = self._connection() if may_repeat else (self._connect(), False)
        asked = self._headers | (headers or {}) | ({} if may_repeat else {"Connection": "close"})
        try:
            try:
                response = self._send(connection, method, path, body, asked)
            except ConnectionError:
                if not is_reused:
                    raise
                self._drop(connection)
                connection, _ = self._connection()
                response = self._send(connection, method, path, body, asked)
            answer, is_whole = self._read(response, limit)
        except BaseException as error:
            self._drop(connection)
            if isinstance(error, http.client.IncompleteRead):
                raise Refused(LOST, f"the answer breaks off: {self._censor.text(error)}") from None
            if isinstance(error, http.client.HTTPException) and not isinstance(error, OSError):
                told = shown(self._censor.text(error))
                raise bad(f"no answer of HTTP: {type(error).__name__}: {told}") from None
            raise
        if is_whole and may_repeat and not response.will_close:
            self._own.connection, self._own.used = connection, time.monotonic()
        else:
            self._drop(connection)
        return answer

    def _read(self, response: http.client.HTTPResponse, limit: int) -> tuple[_Answer, bool]:
        """Return what came, without the token wherever it was quoted, and whether all of it was read."""
        length = response.headers.get(_HEADER)
        try:
            content = _read(response, limit if response.status < 300 else OTHER_LIMIT, self._censor)
        except Refused as error:  # who refuses in words that cannot be read has refused
            if response.status < 400 or error.kind == LOST:
                raise
            return _Answer(response.status, None, str(error).encode()), False
        if length is None:
            return _Answer(response.status, None, self._censor.content(content)), True
        return _Answer(response.status, self._censor.text(length), self._censor.raw(content)), True

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
    ) -> http.client.HTTPResponse:
        connection.request(method, f"{self._access.path}/{path}", body, headers)
        connection.sock.settimeout(None)  # how long an answer may take is the deadlines' to say, not the socket's
        return connection.getresponse()

    def _connection(self) -> tuple[http.client.HTTPConnection, bool]:
        """Return this thread's kept connection, and whether it has served before.

        One that the server has closed, or says more on than it was asked, is left.
        """
        kept: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if kept is not None and kept.sock is not None:
            if time.monotonic() - self._own.used < REUSE_S and not select.select([kept.sock], [], [], 0)[0]:
                return kept, True
            self._drop(kept)
        return self._connect(), False

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._access.host, self._access.port
        made = (
            http.client.HTTPSConnection(host, port, timeout=CONNECT_S, context=self._tls)
            if self._tls is not None
            else http.client.HTTPConnection(host, port, timeout=CONNECT_S)
        )
        end = time.monotonic() + CONNECT_S
        while True:
            try:
                made.connect()
                break
            except (
                OSError
            ) as error:  # this host's ports are used up for the moment: nothing was asked of the server yet
                if error.errno != errno.EADDRNOTAVAIL or time.monotonic() > end:
                    raise
                time.sleep(_PAUSE_S)
        self._connections.append(made)
        return made

    def _drop(self, connection: http.client.HTTPConnection) -> None:
        connection.close()
        if getattr(self._own, "connection", None) is connection:
            self._own.connection = None
        if connection in self._connections:
            self._connections.remove(connection)


def _verifying(access: Access) -> ssl.SSLContext:
    """Return a context that verifies the server: by the lab's own certificate where there is one, else by the host's."""
    context = ssl.create_default_context(cafile=access.ca_file or None)
    if access.client_certificate:
        context.load_cert_chain(access.client_certificate, access.client_key or None)
    return context


def _read(response: http.client.HTTPResponse, limit: int, censor: Censor) -> bytes:
    coding = response.headers.get("Content-Encoding", "identity")
    if coding != "identity":
        raise bad(f"the answer is in the encoding '{shown(censor.text(coding), 40)}', which nobody asked for")
    claimed = response.length
    if claimed is not None and claimed > limit:
        raise bad(f"the answer claims {claimed} bytes, the limit is {limit}")
    parts: list[bytes] = []
    size = 0
    while part := response.read(1 << 20):
        size += len(part)
        if size > limit:
            raise bad(f"the answer does not end within {limit} bytes")
        parts.append(part)
    if claimed is not None and size < claimed:
        raise Refused(LOST, f"the answer ends after {size} of the {claimed} bytes that it claims")
    return b"".join(parts)


def _words(body: bytes) -> str:
    """Return what a server says of an error: `error` or `detail` of its JSON, else its text."""
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        told = body.decode("utf-8", "replace")
    if isinstance(told, dict):
        told = told.get("error") or told.get("detail") or told
    return shown(told, 2000)


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if _NO_NUMBER.search(body):
            raise bad("the answer is no JSON: it has NaN or Infinity for a number (RFC 8259, 6)") from error
        raise bad(f"the answer is not what the protocol says: {shown(error)}; it begins {shown(body[:60])}") from error


def _read_outputs(answer: _Answer, model: str) -> list[tuple[str, Value]]:
    head, tail = answer.body, memoryview(b"")
    if answer.header_length is not None:
        length = int(answer.header_length) if answer.header_length.isdecimal() else -1
        if not 0 <= length <= len(answer.body):
            raise bad(f"{_HEADER} is {shown(answer.header_length, 40)}, the answer has {len(answer.body)} bytes")
        head, tail = answer.body[:length], memoryview(answer.body)[length:]
    if len(head) > JSON_LIMIT:
        raise bad(f"the answer has {len(head)} bytes of JSON, the limit is {JSON_LIMIT}")
    told: _Inference = _decoded(head, _Inference)
    if told.model_name not in (None, model):
        raise bad(f"the answer is of another model: {shown(told.model_name, 60)}")
    found: list[tuple[str, Value]] = []
    at = 0
    for output in told.outputs:
        size = (output.parameters or {}).get("binary_data_size")
        if size is None:
            found.append((output.name, from_json(output.name, output.datatype, output.shape, output.data)))
            continue
        if type(size) is not int or not 0 <= size <= len(tail) - at:
            raise bad(f"output {shown(output.name)} claims {shown(size, 40)} bytes, {len(tail) - at} are left")
        found.append((output.name, from_raw(output.name, output.datatype, output.shape, tail[at : at + size])))
        at += size
    if at != len(tail):
        raise bad(f"{len(tail) - at} bytes behind the answer belong to no output")
    return found
