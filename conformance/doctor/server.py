"""The inference server of the bench file: whether its port answers, and whether what opens it is there. Nothing is asked of it."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from conformance.doctor.port import EVERY, Finding, Host, State
from conformance.errors import UsageError
from conformance.prepare import server_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from conformance.doctor.support.subject import Subject

TITLE = "inference server"
DEADLINE_S = 1.0
PORTS = {"http": 80, "https": 443, "grpc": 80, "grpcs": 443}


def examine(host: Host, subject: Subject) -> Iterator[Finding]:
    """Look whether the server that the runtime needs is named and takes connections."""
    if subject.profile is None:
        return
    try:
        server = server_options(subject.profile, subject.bench).get("server")
    except UsageError as error:
        yield Finding(
            name="server",
            state=State.MISSING,
            found=str(error).partition(": ")[2] or str(error),
            means="the run cannot begin",
            remedy="write `bench: {server: {url: http://HOST:8000}}` into a file, and give it by --bench",
            needed_by=(EVERY,),
        )
        return
    if server is None:
        return
    yield look_at_port(server["url"])
    if "token_env" in server:
        yield look_at_token(server["token_env"], host.environ)


def look_at_port(url: str, deadline_s: float = DEADLINE_S) -> Finding:
    """Look whether somebody listens where a URL points."""
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or PORTS.get(parts.scheme, 80))
    try:
        socket.create_connection(address, timeout=deadline_s).close()
    except OSError as error:
        return Finding(
            name="server",
            state=State.MISSING,
            found=f"{url}: {(error.strerror or str(error)).lower()}",
            means="the device is not found: every case is NOT_RUN",
            remedy="start the server, or mend bench.server.url",
            needed_by=(EVERY,),
        )
    return Finding(name="server", state=State.OK, found=f"{url} takes connections", needed_by=(EVERY,))


def look_at_token(name: str, environ: Mapping[str, str] = os.environ) -> Finding:
    """Look whether the variable that holds the token is set. Its value is looked at by nobody."""
    if environ.get(name):
        return Finding(name="token", state=State.OK, found=f"{name} is set", needed_by=(EVERY,))
    return Finding(
        name="token",
        state=State.MISSING,
        found=f"the variable {name} is not set",
        means="the server refuses every request",
        remedy=f"export {name}=…",
        needed_by=(EVERY,),
    )
