"""Inference servers that speak the Open Inference Protocol v2 (KServe's), over REST as JSON or binary, or over gRPC.

The profile says which encoding is spoken and how a model reaches the server, the bench file where the server is
(docs/oip.md). Each model is published under a name of its own, loaded, asked for until it is ready, and taken away again
when its session is closed. A server is no witness of where nodes ran, so the verdict says "placement not shown".

A server is not believed: an answer that does not fit the protocol is a RuntimeFault of kind `BadAnswer`, and a connection
that breaks off is one of kind `ConnectionLost`: only what the server says with a status of its own is its refusal. How long it may
take is the deadlines' to say; a child that waits too long is killed, and the next one takes away what it left.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, ClassVar, Literal

import msgspec

from conformance.adapters.runtime.port import (
    BAD_ANSWER,
    LOST,
    Mode,
    PlaceOutput,
    RuntimeAdapter,
    RuntimeFault,
    RuntimeSession,
    Unavailable,
)
from conformance.adapters.runtime.support.oip_access import Server, access_of
from conformance.adapters.runtime.support.oip_grpc import GrpcClient
from conformance.adapters.runtime.support.oip_publish import Publish, Publisher
from conformance.adapters.runtime.support.oip_rest import RestClient
from conformance.adapters.runtime.support.oip_values import Refused, shown, tensor_info
from conformance.errors import DeviceNotFound, UsageError
from conformance.records import Identity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conformance.adapters.runtime.support.oip_values import ServerMetadata, TensorMetadata
    from conformance.records import TensorInfo
    from conformance.tensors import Value

READY_S = 60.0
"""How long a server may call a model not ready after it said that it had loaded it; the deadline may end it earlier."""
_LONGEST_PAUSE_S = 0.2
_NOT_LET_IN = frozenset({"HTTP 401", "HTTP 403", "gRPC UNAUTHENTICATED", "gRPC PERMISSION_DENIED"})
_SHOWN = 200
_CANNOT_SAY = "the Open Inference Protocol has no way to say this"


class RuntimeOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """`runtime:` of a profile for this adapter."""

    provider: str
    """What the server calls itself in its metadata, such as `triton`."""
    encoding: Literal["rest-json", "rest-binary", "grpc"]
    publish: Publish
    server: Server | None = None
    """From the bench file, never from the profile."""
    binding: dict[str, str] = {}


@contextmanager
def _told(phase: str) -> Iterator[None]:
    """Turn what a server refused into the port's fault of a phase."""
    try:
        yield
    except Refused as error:
        raise RuntimeFault(phase, error.kind, str(error)) from error
    except OSError as error:  # the wire's: what else can fail here with one is told as what it is before it comes here
        raise RuntimeFault(phase, LOST, f"{type(error).__name__}: {error}") from error


class _Session(RuntimeSession):
    def __init__(self, adapter: Adapter, name: str) -> None:
        self._adapter, self._name = adapter, name
        metadata = adapter.client.model_metadata(name)
        self.inputs = _infos(metadata.inputs)
        self.outputs = _infos(metadata.outputs)

    def _infer(self, feeds: dict[str, Value], place: PlaceOutput | None) -> list[tuple[str, Value]]:  # noqa: ARG002
        with _told("run"):
            found = self._adapter.client.infer(self._name, feeds)
        values = dict(found)
        if len(values) != len(found):
            raise RuntimeFault("run", BAD_ANSWER, "the answer holds an output twice")
        names = [info.name for info in self.outputs] or [name for name, _ in found]
        missing, further = [n for n in names if n not in values], [shown(n) for n in values if n not in names]
        if missing or further:
            told = [
                f"{word} {', '.join(which)[:_SHOWN]}"
                for word, which in (("without", missing), ("with unknown", further))
                if which
            ]
            raise RuntimeFault("run", BAD_ANSWER, f"the answer comes {' and '.join(told)}")
        return [(name, values[name]) for name in names]

    def _close(self) -> None:
        with _told("run"):
            self._adapter.withdraw(self._name)


class Adapter(RuntimeAdapter):
    """One device through an inference server."""

    Options = RuntimeOptions
    options: RuntimeOptions
    needs_server = True
    unsayable: ClassVar[dict[str, str]] = dict.fromkeys(
        ("request/nothing", "request/sequence", "request/sequence-empty"), _CANNOT_SAY
    )

    def __init__(self, options: msgspec.Struct, scratch: Path) -> None:
        super().__init__(options, scratch)
        run = hashlib.sha256(str(scratch.parent).encode()).hexdigest()[:8]  # what all children of a run share
        self._prefix = f"conformance-{run}-"
        self._count = itertools.count()
        self._published: set[str] = set()

    def _open(self) -> Identity:
        server, encoding = self.options.server, self.options.encoding
        if server is None:
            raise UsageError("no server is named: give a bench file with bench.server.url")
        access = access_of(server, encoding)
        try:
            self.client: RestClient | GrpcClient = (
                GrpcClient(access) if encoding == "grpc" else RestClient(access, binary=encoding == "rest-binary")
            )
        except OSError as error:  # ssl.SSLError too: a file of the lab that is no certificate or no key
            raise UsageError(f"bench.server: its certificates cannot be used: {error}") from None
        try:
            self._publisher = Publisher(self.client, self.options.publish, server)
            told = self._greet(server.url)
            self._publisher.sweep(self._prefix)
        except BaseException:
            self.client.close()
            raise
        return Identity(
            runtime=shown(told.name, _SHOWN),
            runtime_version=shown(told.version, _SHOWN),
            provider=shown(told.name, _SHOWN),
            unit=access.address,
            details={
                "kind": "open-inference-protocol",
                "encoding": encoding,
                "extensions": shown(", ".join(sorted(told.extensions)), 1000),
                **_client_version(encoding),
            },
        )

    def _greet(self, url: str) -> ServerMetadata:
        """Return who the server says it is; DeviceNotFound where nobody is there who can be trusted, or who lets us in."""
        try:
            told, is_live = self.client.server_metadata(), self.client.is_live()
        except OSError as error:
            raise DeviceNotFound(f"no server answers at {url}: {_cause(error)}") from error
        except Refused as error:
            if error.kind in _NOT_LET_IN:
                raise DeviceNotFound(
                    f"the server at {url} does not let us in: {error.kind}: {error}; see bench.server.token_env"
                ) from error
            raise RuntimeFault("open", error.kind, str(error)) from error
        if not is_live:
            raise RuntimeFault("open", "NotLive", "the server says that it is not alive")
        return told

    def _compile(self, model: bytes, mode: Mode) -> RuntimeSession:
        if mode not in (Mode.STRICT, Mode.USER):
            raise Unavailable("an inference server cannot be told where nodes run")
        name = f"{self._prefix}{os.getpid()}-{next(self._count)}"
        self._published.add(name)
        try:
            with _told("compile"):
                self._publisher.put(name, model)
                self._await_ready(name)
                return _Session(self, name)
        except BaseException:
            with suppress(Exception):  # whatever it is: the first fault is the one that counts
                self.withdraw(name)
            raise

    def _await_ready(self, name: str) -> None:
        end, pause = time.monotonic() + READY_S, 0.005
        while why := self.client.readiness(name):
            entry = None
            with suppress(Refused):  # the repository's index is an extension
                entry = next((one for one in self.client.index() if one.name == name), None)
            if entry is not None and entry.state == "UNAVAILABLE" and entry.reason:
                raise Refused("UNAVAILABLE", shown(entry.reason, 2000))
            if time.monotonic() > end:
                kind = LOST if why.startswith(LOST) else "NotReady"
                raise Refused(kind, f"{READY_S:g} s after the model was loaded it is not ready: {why}")
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def withdraw(self, name: str) -> None:
        """Take a model away from the server. Refused, or OSError."""
        self._published.discard(name)
        self._publisher.take_away(name)

    def _close(self) -> None:
        try:
            with _told("open"):
                for name in sorted(self._published):
                    self.withdraw(name)
        finally:
            self.client.close()


def _infos(tensors: list[TensorMetadata] | None) -> tuple[TensorInfo, ...]:
    return tuple(tensor_info(one.name, one.datatype, one.shape) for one in tensors or ())


def _cause(error: OSError) -> str:
    text = shown(getattr(error, "verify_message", "") or error.strerror or error)
    if "certificate" in str(error).lower():
        return f"its certificate is not trusted: {text}; bench.server.ca_file names the one that signed it"
    return text


def _client_version(encoding: str) -> dict[str, str]:
    with suppress(PackageNotFoundError):
        if encoding == "grpc":
            return {"client": f"tritonclient {version('tritonclient')}"}
    return {}
