"""How a model reaches an inference server: by a folder that it reads, or inside the request to load it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from conformance.adapters.runtime.support.oip_values import Refused
from conformance.errors import HarnessError, UsageError

if TYPE_CHECKING:
    from conformance.adapters.runtime.support.oip_access import Server
    from conformance.adapters.runtime.support.oip_grpc import GrpcClient
    from conformance.adapters.runtime.support.oip_rest import RestClient

FILE_LIMIT = 16 << 20
"""Bytes of a file that goes beside the model."""


class Publish(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """`runtime.publish`."""

    by: Literal["folder", "inline"]
    model: str = "1/model.onnx"
    """Where the ONNX model lies in the folder of a model."""
    files: dict[str, str] = {}
    """Further files: path in the folder of a model to a file on this host, absolute by now."""
    config: dict[str, Any] | None = None
    """For `inline`: the model's configuration, as the server's load request takes it. Its name is not the profile's to say."""

    def __post_init__(self) -> None:
        """Refuse what would put another thing in the model's place; ValueError, which msgspec tells with the key."""
        taken: dict[str, str] = {}
        for path in (self.model, *self.files):
            plain = _plain(path)
            if not plain or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(plain).parts or "\\" in path:
                raise ValueError(f"'{path}' is no path inside the folder of a model")
            for other, told in taken.items():
                if plain == other:
                    raise ValueError(f"files: '{path}' would replace '{told}': they are one path")
                if (
                    PurePosixPath(plain) in PurePosixPath(other).parents
                    or PurePosixPath(other) in PurePosixPath(plain).parents
                ):
                    raise ValueError(f"files: '{path}' and '{told}': one of them would be the other's folder")
            taken[plain] = path
        if "name" in (self.config or {}):
            raise ValueError("config: it may not have a 'name': each model is published under one of the run's own")


class Publisher:
    """Puts models on one server and takes them away again."""

    def __init__(self, client: RestClient | GrpcClient, publish: Publish, server: Server) -> None:
        self._client, self._publish = client, publish
        self._files = {_plain(path): _read(source) for path, source in publish.files.items()}
        self._root = _repository(server) if publish.by == "folder" else None

    def put(self, name: str, model: bytes) -> None:
        """Publish a model and ask the server to load it. Refused, or OSError."""
        # The model first and what describes it last: a server that looks in between finds nothing to load.
        content = {_plain(self._publish.model): model, **self._files}
        if self._root is None:
            config = {**(self._publish.config or {}), "name": name}
            self._client.load(name, json.dumps(config), content)
            return
        for path, data in content.items():
            target = self._root / name / path
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
            except OSError as error:  # ours, and no word of the server
                raise HarnessError(f"bench.server.repository: {target} cannot be written: {error.strerror}") from error
        self._client.load(name)

    def take_away(self, name: str) -> None:
        """Unload a model and remove its folder, the folder also where the server refuses. Refused, or OSError."""
        try:
            self._client.unload(name)
        finally:
            if self._root is not None:
                shutil.rmtree(self._root / name, ignore_errors=True)

    def sweep(self, prefix: str) -> None:
        """Take away what processes of this run that are no more have left behind, as far as the server lets us.

        The name of a model is `prefix`, the number of the process that published it, and a count.
        """
        names: set[str] = set()
        with suppress(Refused):
            names = {one.name for one in self._client.index() if one.state != "UNAVAILABLE"}
        if self._root is not None:
            names |= {path.name for path in self._root.iterdir()}
        for name in sorted(names):
            process = name.removeprefix(prefix).partition("-")[0]
            if name.startswith(prefix) and process.isdecimal() and not Path("/proc", process).exists():
                with suppress(Refused):
                    self.take_away(name)


def _plain(path: str) -> str:
    """Return a path without `.` and doubled slashes; empty where nothing is left of it."""
    return "/".join(PurePosixPath(path).parts)


def _read(source: str) -> bytes:
    try:
        with Path(source).open("rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise UsageError(f"runtime.publish.files: {source} is no file")
            content = stream.read(FILE_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"runtime.publish.files: {source} cannot be read: {error.strerror}") from None
    if len(content) > FILE_LIMIT:
        raise UsageError(f"runtime.publish.files: {source} is larger than {FILE_LIMIT >> 20} MiB")
    return content


def _repository(server: Server) -> Path:
    if server.repository is None:
        raise UsageError(
            "the profile publishes by folder: name the folder that the server reads models from, "
            "as bench.server.repository"
        )
    root = Path(server.repository)
    try:
        with tempfile.TemporaryDirectory(prefix=".conformance-", dir=root):
            pass
    except OSError as error:
        raise UsageError(f"bench.server.repository: {root} cannot be written to: {error.strerror}") from None
    return root
