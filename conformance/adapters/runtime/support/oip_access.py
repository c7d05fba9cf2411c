"""How a server is reached: the bench file's `server:` section as the adapter gets it. Secrets come by reference only."""

from __future__ import annotations

import os
import re
import urllib.parse
from pathlib import Path
from typing import NamedTuple

import msgspec

from conformance.errors import UsageError

_SECRET_LIMIT = 16 << 10
_SHORTEST_TOKEN = 6
"""Characters: a shorter one is found by chance in answers that do not quote it."""
_MARK = "[token]"
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


class Censor:
    """Takes a token out of whatever a server says, before anything else looks at it or cuts it: a server may quote it.

    JSON may escape each of its characters and a URL may quote it, so these forms go too. A server that means to tell what it
    was given in a form of its own making cannot be kept from it.
    """

    def __init__(self, token: str) -> None:
        self._pattern = re.compile(b"".join(map(_forms, token))) if token else None

    def raw(self, content: bytes) -> bytes:
        """Return bytes of the same length, for what is framed by lengths."""
        return content if self._pattern is None else self._pattern.sub(_masked, content)

    def content(self, content: bytes) -> bytes:
        """Return bytes without the token, for what is a text as a whole."""
        return content if self._pattern is None else self._pattern.sub(_MARK.encode(), content)

    def text(self, text: object) -> str:
        """Return a text without the token."""
        if self._pattern is None:
            return str(text)
        return self.content(str(text).encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


def _forms(character: str) -> bytes:
    code = f"{ord(character):02x}"
    either_case = "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in code)
    return rf"(?:{re.escape(character)}|\\{{1,8}}(?:u00{either_case}|{re.escape(character)})|%{either_case})".encode()


def _masked(found: re.Match[bytes]) -> bytes:
    size = len(found[0])
    return _MARK.encode()[:size].ljust(size, b"*")


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
    if len(token) < _SHORTEST_TOKEN:
        raise UsageError(
            f"{where} holds a token of less than {_SHORTEST_TOKEN} characters: give the server a longer one"
        )
    return token
