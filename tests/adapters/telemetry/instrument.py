"""A power analyser on a TCP socket, spoken to in SCPI: a server of ours in a thread, whose answers a test sets."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

IDENTITY = "ACME,PA-1,S0815,1.2"


class Instrument:
    """Answers each line that asks, by the text in `answers`; what it has no answer for stays silent, as instruments do."""

    def __init__(self) -> None:
        self.answers = {"*IDN?": IDENTITY, ":POW?": "6.150E+01", ":NUM:VAL?": "230.1,0.267,61.5"}
        self.heard: list[str] = []
        self.late: dict[str, threading.Event] = {}
        """Queries whose answer waits for an event: it may come when nobody waits for it any more."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def resource(self) -> str:
        return f"TCPIP0::127.0.0.1::{self.port}::SOCKET"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rwb", buffering=0) as stream:
            for line in stream:
                query = line.decode().strip()
                self.heard.append(query)
                if query in self.late:
                    self.late[query].wait(10)
                if query in self.answers:
                    stream.write(self.answers[query].encode() + b"\n")

    def hang_up(self) -> None:
        """Break every connection off."""
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._connections.clear()

    def close(self) -> None:
        """Switch it off."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for event in self.late.values():
            event.set()
        self.hang_up()
        for thread in self._threads:
            thread.join(5)


@contextlib.contextmanager
def switched_on() -> Iterator[Instrument]:
    """An instrument on loopback for as long as a test runs."""
    instrument = Instrument()
    try:
        yield instrument
    finally:
        instrument.close()
