"""An inference server of ours for tests: the Open Inference Protocol v2 over http.server, with onnxruntime behind it.

It reads models from a folder (`repository/NAME/1/model.onnx`) or takes them inside the request to load. `twists` makes it
misbehave: a function by the end of a path, which gets the request's handler and answers instead.

    with Server(tmp_path) as server:
        ...  # http://127.0.0.1:{server.port}
"""

from __future__ import annotations

import base64
import ctypes
import json
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

OF_ONNX = {
    "tensor(float)": "FP32", "tensor(double)": "FP64", "tensor(float16)": "FP16", "tensor(bool)": "BOOL",
    "tensor(int8)": "INT8", "tensor(int16)": "INT16", "tensor(int32)": "INT32", "tensor(int64)": "INT64",
    "tensor(uint8)": "UINT8", "tensor(uint16)": "UINT16", "tensor(uint32)": "UINT32", "tensor(uint64)": "UINT64",
    "tensor(string)": "BYTES", "tensor(bfloat16)": "BF16",
}  # fmt: skip
NUMPY = {
    "FP32": np.float32, "FP64": np.float64, "FP16": np.float16, "BOOL": np.bool_, "INT8": np.int8, "INT16": np.int16,
    "INT32": np.int32, "INT64": np.int64, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32,
    "UINT64": np.uint64, "BYTES": np.object_, "BF16": np.uint16,
}  # fmt: skip
HEADER = "Inference-Header-Content-Length"
Twist = Callable[["Handler"], None]


class Wrong(Exception):
    """A request that the server refuses: status and words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder: Path, *, token: str = "", tls: bool = False, client_ca: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.token, self.port = token, self.server_address[1]
        self.repository = folder / "repository"
        self.repository.mkdir(exist_ok=True)
        self.models: dict[str, onnxruntime.InferenceSession] = {}
        self.twists: dict[str, Twist] = {}
        self.seen: list[str] = []
        self.bodies: list[bytes] = []
        self.certificate = folder / "server.pem"
        if tls:
            make_certificate(self.certificate)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            if client_ca is not None:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(client_ca)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def __enter__(self) -> Server:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet: clients that go away in the middle are what is tested."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.further: dict[str, str] = {}
        self.server.seen.append(f"{self.command} {self.path}")
        if self.path.endswith("/infer"):
            self.server.bodies.append(self.body)
        try:
            self._let_in()
            twist = next((f for end, f in self.server.twists.items() if self.path.endswith(end)), None)
            if twist is not None:
                twist(self)
                return
            reply = self.reply()
            self.send(200, reply, self.further)
        except Wrong as error:
            self.send(error.status, json.dumps({"error": str(error)}).encode())
        except Exception as error:  # noqa: BLE001 - as servers do
            self.send(500, json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())

    def _let_in(self) -> None:
        if self.server.token and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            raise Wrong(401, f"no such token: {self.headers.get('Authorization')}")

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        given = {"Content-Type": "application/json", "Content-Length": str(len(body))} | (headers or {})
        for name, value in given.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def reply(self) -> bytes:
        parts = self.path.strip("/").split("/")
        if parts == ["v2"]:
            told = {"name": "tiny", "version": "7", "extensions": ["model_repository", "binary_tensor_data"]}
            return json.dumps(told).encode()
        if parts[:2] == ["v2", "health"]:
            return b""
        if parts == ["v2", "repository", "index"]:
            return json.dumps([{"name": name, "state": "READY"} for name in self.server.models]).encode()
        if parts[:3] == ["v2", "repository", "models"]:
            return self._repository(parts[3], parts[4])
        if parts[:2] == ["v2", "models"]:
            session = self.server.models.get(parts[2])
            if session is None:
                raise Wrong(404, f"there is no model {parts[2]}")
            if parts[3:] == ["ready"]:
                return b""
            return self.infer(parts[2], session) if parts[3:] == ["infer"] else self._metadata(parts[2], session)
        raise Wrong(404, "not found")

    def _repository(self, name: str, verb: str) -> bytes:
        if verb == "unload":
            if self.server.models.pop(name, None) is None:
                raise Wrong(400, f"{name} is not loaded")
            return b""
        parameters = json.loads(self.body).get("parameters", {})
        inline = next((value for key, value in parameters.items() if key.endswith(".onnx")), None)
        path = self.server.repository / name / "1" / "model.onnx"
        model = base64.b64decode(inline) if inline is not None else path.read_bytes()
        try:
            self.server.models[name] = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise Wrong(400, f"failed to load '{name}': {error}") from error
        return b""

    def _metadata(self, name: str, session: onnxruntime.InferenceSession) -> bytes:
        sides = {
            side: [
                {
                    "name": one.name,
                    "datatype": OF_ONNX[one.type],
                    "shape": [dim if isinstance(dim, int) else -1 for dim in one.shape],
                }
                for one in found
            ]
            for side, found in (("inputs", session.get_inputs()), ("outputs", session.get_outputs()))
        }
        return json.dumps({"name": name, "versions": ["1"], "platform": "onnx", **sides}).encode()

    def infer(self, name: str, session: onnxruntime.InferenceSession) -> bytes:
        length = int(self.headers.get(HEADER, len(self.body)))
        request, tail = json.loads(self.body[:length]), self.body[length:]
        feeds: dict[str, Any] = {}
        for given in request["inputs"]:
            kind, size = given["datatype"], given.get("parameters", {}).get("binary_data_size")
            if size is None:
                array = np.array(given["data"], dtype=NUMPY[kind])
            else:
                array = from_bytes(tail[:size], kind)
                tail = tail[size:]
            feeds[given["name"]] = array.reshape(given["shape"])
        outputs = session.get_outputs()
        try:
            results = run(session, [one.name for one in outputs], feeds)
        except Exception as error:
            raise Wrong(400, str(error)) from error
        binary = request.get("parameters", {}).get("binary_data_output", False)
        told, behind = [], b""
        for one, result in zip(outputs, results, strict=True):
            value = np.asarray(result)
            head: dict[str, Any] = {"name": one.name, "datatype": OF_ONNX[one.type], "shape": list(value.shape)}
            if binary:
                raw = to_bytes(value)
                head["parameters"] = {"binary_data_size": len(raw)}
                behind += raw
            else:
                head["data"] = [null_where_odd(item) for item in value.reshape(-1).tolist()]
            told.append(head)
        head_bytes = json.dumps({"model_name": name, "model_version": "1", "outputs": told}).encode()
        if binary:
            self.further[HEADER] = str(len(head_bytes))
        return head_bytes + behind


def run(session: onnxruntime.InferenceSession, names: list[str], feeds: dict[str, Any]) -> list[Any]:
    """Run; bfloat16 comes and goes as its bits in uint16, which onnxruntime's own binding to numpy lacks."""
    if not any(one.type == "tensor(bfloat16)" for one in (*session.get_inputs(), *session.get_outputs())):
        return list(session.run(names, feeds))
    given = {name: onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, 16) for name, array in feeds.items()}
    found = []
    for value in session.run_with_ort_values(names, given):
        raw = np.empty(int(np.prod(value.shape())), dtype=np.uint16)
        ctypes.memmove(raw.ctypes.data, value.data_ptr(), raw.nbytes)
        found.append(raw.reshape(value.shape()))
    return found


def null_where_odd(item: object) -> object:
    return None if isinstance(item, float) and not np.isfinite(item) else item


def to_bytes(array: np.ndarray[Any, Any]) -> bytes:
    if array.dtype.kind != "O":
        return array.tobytes()
    return b"".join(struct.pack("<I", len(item.encode())) + item.encode() for item in array.reshape(-1))


def from_bytes(raw: bytes, kind: str) -> np.ndarray[Any, Any]:
    if kind != "BYTES":
        return np.frombuffer(raw, dtype=NUMPY[kind])
    items, at = [], 0
    while at < len(raw):
        (size,) = struct.unpack_from("<I", raw, at)
        items.append(raw[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return np.array(items, dtype=object)


def make_certificate(path: Path) -> None:
    """Write a key with a self-signed certificate for 127.0.0.1, valid for two days."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=conformance test", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", f"{path}.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    with path.open("ab") as stream:
        stream.write(Path(f"{path}.crt").read_bytes())
