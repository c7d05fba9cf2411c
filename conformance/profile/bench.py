"""The bench file: what the lab adds to a run, and the waivers that it answers for."""

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from conformance.profile.category import RequirementId
from conformance.profile.days import Day
from conformance.profile.lab import Hooks, RemotePath, Ssh
from conformance.profile.meters import OF_THIS_HOST, Meter, doubly_named
from conformance.profile.model import Celsius, FormatVersion, Many, Name, Strict, Text, refuse
from conformance.profile.tree import KeyPath
from conformance.profile.wording import Message

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _glob(value: str) -> str:
    if not value.isascii():
        refuse("case ids are ASCII: this pattern matches none")
    return value


def _variable(value: str) -> str:
    if not _VARIABLE.fullmatch(value):
        refuse("the name of an environment variable holds letters, digits and underscores only")
    return value


CaseGlob = Annotated[Name, AfterValidator(_glob)]
Variable = Annotated[Name, AfterValidator(_variable)]


def _server_url(value: str) -> str:
    try:
        url = urlsplit(value)
        port = url.port
    except ValueError:
        refuse("this is no URL; write one such as https://server.example:8000")
    if url.scheme not in _SERVER_SCHEMES or not url.hostname or port == 0:
        refuse("a URL is wanted here: http://, https://, grpc:// or grpcs://, then a host and a port")
    if url.username is not None or url.query or url.fragment:
        refuse("the URL holds more than an address: secrets are named by token_env or token_file")
    return value


_SERVER_SCHEMES = {"http": False, "https": True, "grpc": False, "grpcs": True}
"""Schemes of a server's URL, and whether they are encrypted."""
_THIS_HOST = frozenset({"localhost", "127.0.0.1", "::1"})
ServerUrl = Annotated[Name, AfterValidator(_server_url)]


class Server(Strict):
    """Where an inference server is and what opens it. Secrets stand here by reference only."""

    url: ServerUrl
    """`https://host:port`, with a path where the protocol's does not begin at the root; `grpcs://host:port` for gRPC."""
    token_env: Variable | None = None
    """The environment variable that holds a bearer token."""
    token_file: Name | None = None
    """The file that holds a bearer token, relative to this file."""
    ca_file: Name | None = None
    """Certificates (PEM) that the server's own must be signed by, instead of the host's; relative to this file."""
    client_certificate: Name | None = None
    """The certificate (PEM) that the server asks for, relative to this file."""
    client_key: Name | None = None
    """Its key, where the certificate's file does not hold it."""
    repository: Name | None = None
    """The folder that the server reads models from, as this host sees it; relative to this file."""

    def sense(self) -> Iterator[tuple[KeyPath, Message]]:
        """One token, and nothing secret in the open."""
        url = urlsplit(self.url)
        if self.token_env is not None and self.token_file is not None:
            yield ("token_file",), "the token is named twice, by token_env and by token_file: keep one"
        if not _SERVER_SCHEMES[url.scheme]:
            for key in ("ca_file", "client_certificate"):
                if getattr(self, key) is not None:
                    yield (
                        (key,),
                        f"{key} has no use with {url.scheme}://, which is not encrypted: write {url.scheme}s://",
                    )
            if (self.token_env or self.token_file) and url.hostname not in _THIS_HOST:
                yield ("url",), f"a token would travel in the open: write {url.scheme}s://"
        if self.client_key is not None and self.client_certificate is None:
            yield ("client_key",), "client_key without client_certificate: name the certificate too"


class Bench(Strict):
    """Where the unit is and how the lab runs it."""

    lab: Name | None = None
    operator: Name | None = None
    unit_serial: Name | None = None
    ambient_c: Celsius | None = None
    transport: Literal["local", "ssh"] = "local"
    """Where the device is: on this host, or on another one, which `ssh` names."""
    ssh: Ssh | None = None
    python: RemotePath | None = None
    """Interpreter for the child process, in the environment that holds the vendor's runtime: relative to this file, or with
    `transport: ssh` a path on that host."""
    workdir: RemotePath | None = None
    """Folder on the other host below which each child gets a temporary one; left out, that host's own for temporary files."""
    workers: Annotated[int, Field(ge=1, le=64)] | None = None
    """How many children may run untimed cases at once."""
    env: dict[Variable, Annotated[str, Field(max_length=4000)]] | None = None
    """Environment variables of the child process."""
    server: Server | None = None
    """The inference server under test, for profiles whose runtime needs one."""
    telemetry: Many[Meter] = ()
    """The meters that are read while power and temperature are measured."""
    hooks: Hooks | None = None
    crash_budget: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """Crashes and time-outs of claimed cases, repeats included, beyond which the run stops; left out, the harness's own limits
    alone count."""

    def sense(self) -> Iterator[tuple[KeyPath, Message]]:
        """What belongs to another host is named together with it; no two meters share a name."""
        yield from doubly_named(self.telemetry)
        if self.transport == "ssh" and self.ssh is None:
            yield ("transport",), "transport ssh needs the host: write ssh: {host: NAME} beside it"
        for index, meter in enumerate(self.telemetry):
            if self.transport == "ssh" and meter.source in OF_THIS_HOST:
                what = f"{meter.source} would measure this host, and the device is on another one: name a meter that is asked over a network"
                yield ("telemetry", index, "source"), what
        if self.transport == "ssh" and self.server is not None:
            yield ("server",), "an inference server is asked from this host: leave transport and ssh out"
        if self.transport != "ssh":
            for name in ("ssh", "workdir"):
                if getattr(self, name) is not None:
                    yield (name,), f"'{name}' is for transport: ssh, and the transport is {self.transport}"

    def digest(self, python: str = "") -> str:
        """Return a digest of what decides which device is tested and how: a resumed run has to have the same.

        `python` is the interpreter's absolute path. Who runs it, hooks, workers and the crash budget may change.
        """
        given = self.model_dump(mode="json", include=set(_DECIDES), exclude_none=True)
        if python:
            given["python"] = python
        return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()

    def settings(self) -> dict[str, str]:
        """Return what was given as texts, for the stamp of the run. Values of `env`, words of hooks and options of meters
        stay out: they may be secret.
        """
        given: dict[str, Any] = self.model_dump(exclude_none=True, exclude={"telemetry"})
        if self.telemetry:
            given["telemetry"] = ", ".join(f"{one.label} ({one.source})" for one in self.telemetry)
        if "env" in given:
            given["env"] = ", ".join(sorted(given["env"]))
        if "server" in given:
            given["server"] = given["server"]["url"]
        if self.ssh is not None:
            given["ssh"] = self.ssh.name
        if self.hooks is not None:
            given["hooks"] = self.hooks.told()
        return {name: str(value) for name, value in given.items()}


_DECIDES = ("unit_serial", "transport", "ssh", "python", "workdir", "env", "server", "telemetry")


class Waiver(Strict):
    """Somebody's signature under a known failure, with an end. It shows in the verdict, which becomes conditional."""

    case: CaseGlob
    """A pattern over case ids."""
    requirement: RequirementId | None = None
    reason: Text
    owner: Name
    issued: Day
    expires: Day
    """The last day on which it counts."""
    reference: Name | None = None

    def sense(self) -> Iterator[tuple[KeyPath, Message]]:
        """A waiver ends after it begins."""
        if self.expires < self.issued:
            yield ("expires",), f"the waiver expires on {self.expires}, before it was issued on {self.issued}"


class BenchFile(Strict):
    """One bench file."""

    conformance: FormatVersion
    """Version of this format."""
    bench: Bench = Field(default_factory=Bench)
    waivers: Many[Waiver] = ()
