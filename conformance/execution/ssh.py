"""How OpenSSH's client is called: nothing is asked, nothing is forwarded, the host's key must be known."""

from __future__ import annotations

import shlex
import shutil
from typing import NamedTuple

from conformance.errors import HarnessError

RELAY = "conformance.execution.relay"
CONNECT_S = 15
ALIVE_S = 5
"""The client asks the host for a sign of life so often, and gives up after three that did not come."""
UNREACHABLE = 255
"""The exit code with which the client ends where the connection is at fault."""


class Address(NamedTuple):
    """Where the device's host is. Paths are absolute; None leaves it to the client's own defaults."""

    host: str
    user: str | None = None
    port: int | None = None
    identity_file: str | None = None
    known_hosts_file: str | None = None
    config_file: str | None = None

    @property
    def name(self) -> str:
        """The host as a person would write it."""
        user = f"{self.user}@" if self.user else ""
        return f"{user}{self.host}{f':{self.port}' if self.port else ''}"


class Remote(NamedTuple):
    """A host that holds the device: where it is, what runs there, and what its child gets to see."""

    address: Address
    python: str
    workdir: str
    env: dict[str, str]


def command(remote: Remote) -> list[str]:
    """Return the command line of the connection; HarnessError where there is no client."""
    program = shutil.which("ssh")
    if program is None:
        raise HarnessError(
            "transport ssh needs OpenSSH's client, and there is no 'ssh' on PATH: install openssh-client"
        )
    address = remote.address
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "ClearAllForwardings": "yes",
        "PermitLocalCommand": "no",
        "RemoteCommand": "none",
        "ControlMaster": "no",
        "ControlPath": "none",
        "ConnectTimeout": str(CONNECT_S),
        "ServerAliveInterval": str(ALIVE_S),
        "ServerAliveCountMax": "3",
        "LogLevel": "ERROR",
    }
    if address.known_hosts_file is not None:
        options |= {"UserKnownHostsFile": _path(address.known_hosts_file), "GlobalKnownHostsFile": "/dev/null"}
    if address.identity_file is not None:
        options |= {"IdentityFile": _path(address.identity_file), "IdentitiesOnly": "yes"}
    words = [program, "-T", "-a", "-x", "-F", address.config_file or "none"]
    for name, value in options.items():
        words += ["-o", f"{name}={value}"]
    words += ["-p", str(address.port)] if address.port is not None else []
    words += ["-l", address.user] if address.user is not None else []
    asked = shlex.join([remote.python, "-P", "-m", RELAY])
    return [*words, "--", address.host, f"exec {asked}"]


def _path(path: str) -> str:
    """Return a path as the client reads it in an option: quoted, and a percent sign is no token."""
    return '"{}"'.format(path.replace("%", "%%"))
