"""A right accelerator card, simulated: it computes in a process of its own, as a card computes beside the host.

An adapter of another distribution (entry point `conformance.runtimes`). What it says of placement is what its other
process's runtime recorded, told under the card's own name; the host's part stays with ONNX Runtime in this process.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from conformance.adapters.runtime import onnxruntime as honest
from conformance.adapters.runtime.port import Feature, Mode, RuntimeSession
from conformance.records import Identity, Witness

CARD = "SimulatedCardExecutionProvider"


class RuntimeOptions(honest.RuntimeOptions, forbid_unknown_fields=True, kw_only=True):
    provider: str = CARD


class _Session(RuntimeSession):
    def __init__(self, card: Adapter, model: bytes, mode: Mode) -> None:
        self._card = card
        self._number, self.inputs, self.outputs = card.ask("compile", model, mode)

    def _infer(self, feeds: Any, place: Any) -> Any:
        return self._card.ask("infer", self._number, feeds)

    def _witnesses(self) -> tuple[Witness, ...]:
        return tuple(self._card.ask("witnesses", self._number))

    def _close(self) -> None:
        self._card.ask("close", self._number)


class Adapter(honest.Adapter):
    Options = RuntimeOptions

    @classmethod
    def features(cls, options: Any) -> frozenset[Feature]:  # noqa: ARG003
        return frozenset()

    def modes(self) -> tuple[Mode, ...]:
        return (Mode.STRICT,)

    def _open(self) -> Identity:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()]
            )
        self._line: Any = Connection(ours.detach())
        self._turn = threading.Lock()
        import onnxruntime

        self.ort = onnxruntime
        self.runs_on_host_cpu = False
        return Identity(runtime="simulated card", runtime_version="1", provider=CARD, hardware="npu", driver="1.0")

    def ask(self, *request: Any) -> Any:
        with self._turn:
            self._line.send(request)
            answer = self._line.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _compile_with(self, model: bytes, mode: Mode, dimensions: Any, cache: Any) -> RuntimeSession:
        if mode is Mode.HOST:
            return super()._compile_with(model, mode, dimensions, cache)
        return _Session(self, model, mode)

    def _release(self) -> None:
        self._line.close()
        self._process.wait()


def _serve(line: Any) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        inside = honest.Adapter(honest.RuntimeOptions(provider=honest.HOST_PROVIDER), Path(scratch))
        inside.open()
        sessions: dict[int, RuntimeSession] = {}
        while True:
            try:
                what, *given = line.recv()
            except EOFError:
                return
            try:
                answer: Any = None
                if what == "compile":
                    session = inside.compile(*given)
                    sessions[number := len(sessions) + 1] = session
                    answer = number, session.inputs, session.outputs
                elif what == "infer":
                    answer = sessions[given[0]].infer(given[1])
                elif what == "witnesses":
                    answer = [
                        Witness(source=one.source, nodes={CARD: sum(one.nodes.values())})
                        for one in sessions[given[0]].witnesses()
                    ] + [Witness(source="refusal", refused=True, detail="the card has no host to fall back to")]
                else:
                    sessions.pop(given[0]).close()
            except Exception as error:  # noqa: BLE001 - told as the card's answer
                answer = RuntimeError(f"{type(error).__name__}: {error}")
            line.send(answer)


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
    os._exit(0)
