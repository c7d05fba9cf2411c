"""What a bench file says of the lab's machines: the host that holds the device, and commands that bring it back."""

import hashlib
import json
import re
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field

from conformance.profile.model import Many, Name, Strict, refuse

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._:%-]*[A-Za-z0-9])?")
_USER = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_$])?")
_UNQUOTABLE = re.compile(r"[\"$\\\x00-\x1f]")


def _host(value: str) -> str:
    if not _HOST.fullmatch(value):
        refuse("a host is a name or an address: letters, digits, dots, colons and hyphens, no hyphen in front")
    return value


def _user(value: str) -> str:
    if not _USER.fullmatch(value):
        refuse("a user's name holds letters, digits, dots, hyphens and underscores, no hyphen in front")
    return value


def _key_path(value: str) -> str:
    if _UNQUOTABLE.search(value):
        refuse("OpenSSH reads quotes, dollars and backslashes in a path in its own way: give the file another name")
    return value


def _word(value: str) -> str:
    if value.startswith("-"):
        refuse("a path that begins with a hyphen would be taken for an option: write ./ in front")
    return value


Host = Annotated[Name, AfterValidator(_host)]
User = Annotated[Name, AfterValidator(_user)]
KeyFile = Annotated[Name, AfterValidator(_word), AfterValidator(_key_path)]
RemotePath = Annotated[Name, AfterValidator(_word)]
Seconds = Annotated[float, Field(ge=0, le=3600)]
Command = Annotated[Many[Annotated[str, Field(min_length=1, max_length=4000)]], Field(min_length=1, max_length=100)]


class Ssh(Strict):
    """The host that holds the device, for `transport: ssh`. Its key must be known; nothing is asked and nothing forwarded."""

    host: Host
    user: User | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    identity_file: KeyFile | None = None
    """Private key, relative to this file; left out, the client's own."""
    known_hosts_file: KeyFile | None = None
    """The keys of hosts that are trusted, relative to this file; left out, the client's own."""
    config_file: KeyFile | None = None
    """A configuration of the client, relative to this file; left out, none is read."""

    @property
    def name(self) -> str:
        """The host as a person would write it."""
        return f"{f'{self.user}@' if self.user else ''}{self.host}{f':{self.port}' if self.port else ''}"


class Hooks(Strict):
    """Commands of the lab that bring a device back. Lists of words: no shell reads them. A secret does not belong into
    them but into a file or a variable that the command reads: the host's process list shows words to everybody.
    """

    reset: Command | None = None
    """After a crash or a time-out."""
    power_cycle: Command | None = None
    """Where `reset` fails or is missing, or the device does not open after it."""
    settle_s: Seconds = 0.0
    """How long the device takes to come back once a command has ended."""
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """How long a command may take."""

    def told(self) -> str:
        """Return the commands in one line, to be published: each program's name, and a digest of its words."""
        given = (("reset", self.reset), ("power_cycle", self.power_cycle))
        return "; ".join(f"{name}: {_told(words)}" for name, words in given if words)


def _told(words: tuple[str, ...]) -> str:
    digest = hashlib.sha256(json.dumps(words).encode()).hexdigest()
    return f"{PurePosixPath(words[0]).name or words[0]} (words: sha256 {digest[:16]})"
