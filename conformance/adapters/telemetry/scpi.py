"""Power analysers, multimeters and supplies that speak SCPI, through PyVISA and its own backend in Python (no vendor's VISA).

    telemetry:
      - source: scpi
        name: wall
        scope: wall
        bound_to: outlet 3
        uncertainty_percent: 0.3
        calibration: DKD 2026-0815
        calibrated_until: "2027-05-31"
        period_ms: 200
        options:
          resource: TCPIP0::192.0.2.7::5025::SOCKET
          identification: YOKOGAWA,WT310E
          channels:
            - {name: power, quantity: power_w, query: ":NUMERIC:NORMAL:VALUE? 1", kind: averaged, window_ms: 100}

Who answers is asked before anything else: an instrument that is not the one named is not read. SCPI has numbers that mean no
number: 9.91E37 is not-a-number, ±9.9E37 over and under range (SCPI-99 vol. 1, 7.2.1.4 and 7.2.1.5); they are no readings. After a
time-out the connection is made anew, for a late answer would be taken for the next question's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from conformance.adapters.telemetry.port import (
    NoReading,
    TelemetrySource,
    TelemetryUnavailable,
    ask,
    load_package,
)
from conformance.metering.trace import Descriptor, Kind, Quantity, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.metering.trace import Reading

NOT_A_NUMBER = 9.91e37
INFINITY = 9.9e37
_NEAR = 1e-4
"""Instruments write the sentinels with four digits and more."""
_SHOWN = 60


class Channel(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One query of the instrument."""

    name: str
    query: str
    quantity: Quantity
    kind: Kind
    scope: Scope = "wall"
    index: int = 0
    """Which number of an answer with several, counted from 0; channels with the same query share one answer."""
    factor: float = 1.0
    """From the instrument's unit to the quantity's: 0.001 for milliwatts."""
    window_ms: float | None = None
    period_ms: float | None = None
    """How often the instrument itself makes a new value."""
    resolution: float | None = None
    valid_low: float | None = None
    valid_high: float | None = None
    wraps_at: float | None = None

    def __post_init__(self) -> None:
        """ValueError where it asks nothing."""
        if not self.query.strip().endswith("?") and "? " not in self.query:
            raise ValueError(f"query: '{self.query}' asks nothing: a query of SCPI holds a question mark")
        if self.index < 0:
            raise ValueError("index: counted from 0")


class SourceOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Options beside those of every meter."""

    resource: str
    """VISA's address, such as `TCPIP0::192.0.2.7::5025::SOCKET` or `USB0::0x0B21::0x0039::C3QB01234::INSTR`."""
    identification: str
    """What the answer to `*IDN?` begins with: maker and model, better the serial number too."""
    channels: list[Channel]
    setup: list[str] = []
    """Commands sent once the instrument is known, such as a fixed range."""
    timeout_ms: int = 1000
    termination: str = "\n"
    library: str = "@py"
    """VISA library as PyVISA names it."""

    def __post_init__(self) -> None:
        """ValueError where a channel is missing or named twice."""
        names = [one.name for one in self.channels]
        if not names or len(set(names)) != len(names):
            raise ValueError("channels: at least one is wanted, each with a name of its own")
        if not self.identification.strip():
            raise ValueError("identification: what the answer to *IDN? begins with is wanted")
        if not 1 <= self.timeout_ms <= 60_000:
            raise ValueError("timeout_ms: between 1 and 60000 are wanted")


class Source(TelemetrySource):
    """One instrument. It cannot tell its uncertainty, which depends on range and wiring: the bench file has to."""

    Options = SourceOptions
    options: SourceOptions
    knows_uncertainty: ClassVar[bool] = False

    def _open(self) -> Iterator[Descriptor]:
        self._instrument: Any = None
        self._visa = load_package("pyvisa", "scpi")
        if self.options.library.endswith("@py"):
            load_package("pyvisa_py", "scpi")
        try:
            self._manager = self._visa.ResourceManager(self.options.library)
        except Exception as error:
            raise TelemetryUnavailable(
                f"VISA's library '{self.options.library}' does not load ({error})",
                "name '@py' as `library`, or install it",
            ) from error
        identity = self._connect()
        self._set_up()
        for one in self.options.channels:
            yield Descriptor(
                channel=one.name,
                quantity=one.quantity,
                scope=one.scope,
                kind=one.kind,
                window_ms=one.window_ms,
                period_ms=one.period_ms,
                resolution=one.resolution,
                valid_low=one.valid_low,
                valid_high=one.valid_high,
                wraps_at=one.wraps_at,
                bound_to=f"{identity} at {self.options.resource}",
            )

    def _set_up(self) -> None:
        for command in self.options.setup:
            self._instrument.write(command)

    def _connect(self) -> str:
        """Connect, make sure who answers, and return the identification. TelemetryUnavailable where it is somebody else."""
        options = self.options
        self._disconnect()
        try:
            self._instrument = self._manager.open_resource(
                options.resource, read_termination=options.termination, write_termination=options.termination
            )
            self._instrument.timeout = options.timeout_ms
            identity = str(self._instrument.query("*IDN?")).strip()
        except Exception as error:  # PyVISA, its backend and sockets raise many kinds
            self._disconnect()
            raise TelemetryUnavailable(
                f"{options.resource} does not answer *IDN? ({type(error).__name__}: {_short(error)})",
                "see whether it is switched on, its remote control is enabled, and no other program holds it",
            ) from error
        if not identity.startswith(options.identification):
            self._disconnect()
            raise TelemetryUnavailable(
                f"{options.resource} is '{identity[:_SHOWN]}', not '{options.identification}'",
                "connect the instrument that the bench file names, or correct options.identification",
            )
        return identity

    def _read(self) -> Iterator[Reading]:
        answers: dict[str, str | NoReading] = {}
        for one in self.options.channels:
            yield ask(one.name, lambda one=one: self._value(one, answers))  # type: ignore[misc]

    def _value(self, channel: Channel, answers: dict[str, str | NoReading]) -> float:
        if channel.query not in answers:
            answers[channel.query] = self._answer(channel.query)
        answer = answers[channel.query]
        if isinstance(answer, NoReading):
            raise answer
        return number_of(answer, channel.index) * channel.factor

    def _answer(self, query: str) -> str | NoReading:
        """Return the answer to a query, or why there is none this time."""
        if self._instrument is None:
            try:
                self._connect()
                self._set_up()
            except TelemetryUnavailable as error:
                return NoReading(error.reason)
        try:
            return str(self._instrument.query(query)).strip()
        except Exception as error:  # noqa: BLE001
            self._disconnect()
            return NoReading(
                f"no answer to '{query}' ({type(error).__name__}: {_short(error)}): the connection is made anew"
            )

    def _disconnect(self) -> None:
        instrument, self._instrument = self._instrument, None
        if instrument is None:
            return
        try:
            instrument.close()
        except Exception:  # noqa: BLE001 - it is being given up
            return

    def _close(self) -> None:
        self._disconnect()
        self._manager.close()


def number_of(answer: str, index: int = 0) -> float:
    """Return one number of an answer. NoReading for SCPI's sentinels, for what is no number and for what is missing."""
    parts = [part.strip() for part in answer.split(",")]
    if index >= len(parts) or not parts[index]:
        raise NoReading(f"the instrument answered '{answer[:_SHOWN]}', which has no number {index}")
    try:
        value = float(parts[index])
    except ValueError:
        raise NoReading(f"the instrument answered '{parts[index][:_SHOWN]}', which is no number") from None
    if abs(abs(value) - NOT_A_NUMBER) <= _NEAR * NOT_A_NUMBER:
        raise NoReading("the instrument says that it has no number (9.91E37)")
    if abs(value) >= INFINITY * (1 - _NEAR):
        raise NoReading(f"the instrument says {'over' if value > 0 else 'under'} range ({parts[index][:_SHOWN]})")
    return value


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:_SHOWN]
