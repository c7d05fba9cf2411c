"""Redfish: what a board or rack controller measures, through DMTF's own client.

    telemetry:
      - source: redfish
        period_ms: 1000
        options: {url: "https://bmc.example", chassis: "1", username: monitor, password_env: BMC_PASSWORD}

Read are the chassis' EnvironmentMetrics, ThermalSubsystem/ThermalMetrics and the metrics of PowerSubsystem's supplies, and Sensors
that are named. Controllers are slow, some renew a value once a minute: how long an answer took stands with each reading, and
`SensingInterval` in the descriptor where the service tells it. A service's certificate is checked; one of the lab's own is named by
`ca_file`. Secrets are named by a variable or a file and never stand in the bench file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit

import msgspec

from conformance.adapters.telemetry.port import (
    NoReading,
    TelemetrySource,
    TelemetryUnavailable,
    ask,
    load_package,
)
from conformance.adapters.telemetry.support.redfish_tree import Finder, Point, link
from conformance.adapters.telemetry.support.secrets import secret_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.metering.trace import Descriptor, Reading

_ROOT = "/redfish/v1/"
_THIS_HOST = frozenset({"localhost", "127.0.0.1", "::1"})
_SHOWN = 120


class SourceOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Options beside those of every meter."""

    url: str
    chassis: str = ""
    """Id of the chassis that holds the device; left out where the service has one only."""
    sensors: list[str] = []
    """Ids of Sensors of that chassis to read beside what its metrics give."""
    only: list[str] = []
    """Channels to read; left out, all that were found. Each resource costs a request per reading."""
    username: str = ""
    password_env: str | None = None
    password_file: str | None = None
    """Relative to the bench file."""
    auth: Literal["session", "basic"] = "session"
    ca_file: str | None = None
    """Certificates (PEM) that the service's own must be signed by, instead of the host's; relative to the bench file."""
    timeout_s: float = 5.0

    def __post_init__(self) -> None:
        """ValueError where the address is none or a secret would travel in the open."""
        url = urlsplit(self.url)
        if url.scheme not in ("http", "https") or not url.hostname or url.username is not None or url.query:
            raise ValueError("url: an address such as https://bmc.example is wanted, without secrets in it")
        if self.username and url.scheme == "http" and url.hostname not in _THIS_HOST:
            raise ValueError("url: a password would travel in the open: write https://")
        if self.password_env is not None and self.password_file is not None:
            raise ValueError("the password is named twice, by password_env and by password_file: keep one")
        if bool(self.username) != (self.password_env is not None or self.password_file is not None):
            raise ValueError("username goes with password_env or password_file: give both or neither")
        if not 0 < self.timeout_s <= 60:
            raise ValueError("timeout_s: between 0 and 60 seconds are wanted")


class Source(TelemetrySource):
    """One chassis of one service."""

    Options = SourceOptions
    options: SourceOptions
    paths: ClassVar[tuple[str, ...]] = ("password_file", "ca_file")

    def _open(self) -> Iterator[Descriptor]:
        self._client: Any = None
        self._redfish = load_package("redfish", "redfish")
        self._login()
        chassis, unit = self._chassis()
        found = list(Finder(self._get, unit).points(chassis, self.options.sensors))
        self._points = [one for one in found if not self.options.only or one.descriptor.channel in self.options.only]
        missing = set(self.options.only) - {one.descriptor.channel for one in self._points}
        if missing or not self._points:
            names = ", ".join(f"'{one.descriptor.channel}'" for one in found) or "nothing"
            what = ", ".join(sorted(missing)) or "any power, energy or temperature"
            raise TelemetryUnavailable(f"{self.options.url} does not measure {what}", f"its chassis measures {names}")
        yield from (one.descriptor for one in self._points)

    def _login(self) -> None:
        """Connect and log in. Without `ca_file` DMTF's client would check no certificate, so it gets the host's."""
        options = self.options
        password = secret_of(options.password_env, options.password_file, f"password of {options.username}")
        cafile = options.ca_file or load_package("certifi", "redfish").where()
        self._let_go()
        try:
            self._client = self._redfish.redfish_client(
                base_url=options.url.rstrip("/"),
                username=options.username or None,
                password=password or None,
                cafile=cafile,
                timeout=options.timeout_s,
                max_retry=0,
            )
            if options.username:
                self._client.login(auth=options.auth)
        except Exception as error:  # noqa: BLE001 - the client and what it stands on raise many kinds
            refused = type(error).__name__ == "InvalidCredentialsError"
            if refused:
                remedy = f"see whether {options.username} and its password are right"
            else:
                remedy = f"see whether curl {options.url}{_ROOT} answers; ca_file names a certificate of the lab's own"
            raise TelemetryUnavailable(f"the Redfish service at {options.url} {_words(error)}", remedy) from None

    def _chassis(self) -> tuple[dict[str, Any], str]:
        """Return the chassis that holds the device, and its name with the service's address.

        TelemetryUnavailable where the service does not say which it is.
        """
        root = self._get(_ROOT) or {}
        collection = self._get(link(root.get("Chassis"))) if link(root.get("Chassis")) else None
        uris = [uri for uri in map(link, (collection or {}).get("Members") or ()) if uri]
        names = {uri.rstrip("/").rpartition("/")[2]: uri for uri in uris}
        wanted = self.options.chassis or (next(iter(names)) if len(names) == 1 else "")
        found = self._get(names[wanted]) if wanted in names else None
        if found is None:
            what = f"no chassis '{wanted}'" if wanted else f"{len(names)} chassis"
            raise TelemetryUnavailable(
                f"{self.options.url} has {what}",
                f"name by `chassis` one of {', '.join(names) or 'those that the service has'}",
            )
        serial = found.get("SerialNumber")
        return found, f"{f'serial {serial}, ' if serial else ''}{self.options.url.rstrip('/')}"

    def _get(self, uri: str) -> dict[str, Any] | None:
        """Return a resource, None where there is none. TelemetryUnavailable where the service refuses."""
        try:
            answer = self._client.get(uri)
            status = answer.status
            content = answer.dict if status == 200 else None
        except Exception as error:  # noqa: BLE001
            raise TelemetryUnavailable(
                f"{self.options.url}{uri}: the service {_words(error)}", "see whether it answers, and its own log"
            ) from None
        if status in (401, 403):
            raise TelemetryUnavailable(
                f"{self.options.url}{uri}: the service refuses with HTTP {status}",
                "give username and password of an account that may read sensors (role ReadOnly)",
            )
        return content if isinstance(content, dict) else None

    def _read(self) -> Iterator[Reading]:
        resources: dict[str, dict[str, Any] | str] = {}
        silent = ""
        for point in self._points:

            def value(point: Point = point) -> float:
                nonlocal silent
                if point.uri not in resources:
                    resources[point.uri] = silent or self._once(point.uri)
                    silent = silent or _after_silence(resources[point.uri])
                held = resources[point.uri]
                if isinstance(held, str):
                    raise NoReading(held)
                return point.value(held)

            yield ask(point.descriptor.channel, value)

    def _once(self, uri: str) -> dict[str, Any] | str:
        """Return a resource, or why there is none this time. A session that ran out is renewed once."""
        for is_last in (False, True):
            try:
                answer = self._client.get(uri)
                status = answer.status
                content = answer.dict if status == 200 else None
            except Exception as error:  # noqa: BLE001
                return f"{_SILENT}{_words(error)}"
            if status == 401 and self.options.username and not is_last:
                self._login()
                continue
            if status == 401:
                break
            return content if isinstance(content, dict) else f"the service answers with HTTP {status}"
        raise TelemetryUnavailable(
            f"{self.options.url}{uri}: the service refuses with HTTP 401", "see whether the account still exists"
        )

    def _let_go(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        try:
            client.logout()
        except Exception:  # noqa: BLE001 - a session that the service ended already
            return

    def _close(self) -> None:
        self._let_go()


_SILENT = "the service "


def _after_silence(held: dict[str, Any] | str) -> str:
    """Return what the other resources of this round are told once one got no answer: waiting for each would take too long."""
    return (
        "not asked: the service had just not answered"
        if isinstance(held, str) and held.startswith(_SILENT + "does")
        else ""
    )


def _words(error: Exception) -> str:
    """Return in words how a request ended, from the error and what caused it."""
    cause = error.__cause__ or error
    name = type(cause).__name__
    if "Timeout" in name:
        return "does not answer in time"
    if "SSL" in name:
        return "shows no certificate that is trusted"
    if "Connection" in name:
        return "does not take the connection"
    return f"cannot be read: {name}: {' '.join(str(cause).split())[:_SHOWN]}"
