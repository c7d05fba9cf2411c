"""How a server is reached: the bench file's `server:` section as the adapter gets it. Secrets come by reference only."""

from __future__ import annotations

import os
import urllib.parse
from pathlib import Path
from typing import NamedTuple

import msgspec

from conformance.errors import UsageError

_SECRET_LIMIT = 16 << 10
SCHEMES = {"rest-json": ("http", "https"), "rest-binary": ("http", "https"), "grpc": ("grpc", "grpcs")}
"""Schemes of the URL by encoding, the open one first."""
_PORTS = {"http": 80, "https": 443, "grpc": 8001, "grpcs": 8001}


class Server(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """`bench.server`; paths are absolute by now."""

    url: str
    token_env: str | None = None
    token_file: str | None = None
    ca_file: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    repository: str | None = None
    """The folder that the server reads models from, as this host sees it."""


class Access(NamedTuple):
    """A server's address with what opens it."""

    host: str
    port: int
    path: str
    """What stands before `/v2`; empty or beginning with a slash."""
    is_secure: bool
    token: str
    ca_file: str
    client_certificate: str
    client_key: str

    @property
    def address(self) -> str:
        """`host:port`, the host in brackets where it is an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def access_of(server: Server, encoding: str) -> Access:
    """Return how to reach the server; UsageError, with the remedy, where the section does not fit or a secret lacks."""
    url = urllib.parse.urlsplit(server.url)
    if url.scheme not in SCHEMES[encoding]:
        wanted = " or ".join(f"{scheme}://" for scheme in SCHEMES[encoding])
        raise UsageError(f"bench.server.url: the profile's encoding {encoding} needs {wanted}, not {url.scheme}://")
    return Access(
        host=url.hostname or "",
        port=url.port or _PORTS[url.scheme],
        path=url.path.rstrip("/"),
        is_secure=url.scheme.endswith("s"),
        token=_token(server),
        ca_file=server.ca_file or "",
        client_certificate=server.client_certificate or "",
        client_key=server.client_key or "",
    )


def _token(server: Server) -> str:
    if server.token_env is not None:
        where, token = f"bench.server.token_env: {server.token_env}", os.environ.get(server.token_env, "")
        if not token:
            raise UsageError(f"{where} is not set in the environment of the child: export it before the run")
    elif server.token_file is not None:
        where = f"bench.server.token_file: {server.token_file}"
        try:
            with Path(server.token_file).open(encoding="ascii") as stream:
                token = stream.read(_SECRET_LIMIT)
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{where} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}") from None
    else:
        return ""
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:  # the token itself is never told
        raise UsageError(f"{where} holds no token: one line of visible ASCII characters without blanks is wanted")
    return token
