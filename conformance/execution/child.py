"""The child: opens the device, measures one case after another, and tells the parent what it saw.

It judges nothing and writes no file outside its scratch folder. Vendor code runs here, so anything may happen: standard
output belongs to the protocol and is moved out of the way first, a timer dumps the stack into standard error when a
phase's budget is over, and the parent kills a little later.

    python -m conformance.execution.child
"""

from __future__ import annotations

import contextlib
import faulthandler
import math
import os
import resource
import signal
import sys
import time
import traceback
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from conformance import __version__
from conformance.adapters.runtime import adapter_class
from conformance.adapters.runtime.port import RuntimeFault
from conformance.checks import check_module
from conformance.errors import AdapterError, DeviceNotFound, HarnessError, UsageError
from conformance.execution import protocol
from conformance.execution.stdio import take_over_stdio
from conformance.execution.stores import Clock, Reader, Writer
from conformance.host import has_locale
from conformance.tensors import DTYPES, EmptyRef, SequenceRef, StringsRef, TensorRef, from_ref, to_ref

if TYPE_CHECKING:
    from conformance.adapters.runtime.port import Mode, RuntimeAdapter
    from conformance.records import Identity
    from conformance.tensors import Array, Value, ValueRef
    from conformance.workload import ModelRef

REPORTED_PACKAGES = ("onnxruntime", "onnx", "numpy", "ml_dtypes", "msgspec")


class ChildDevice:
    """The `Device` of `checks.support.port`: the adapter, the stores and the clock of one child."""

    def __init__(self, adapter: RuntimeAdapter, identity: Identity, stores: dict[str, int], out_fd: int) -> None:
        self.adapter = adapter
        self.identity = identity
        self.overtime = ""
        readable = {name: fd for name, fd in stores.items() if name not in ("outbox", "clock")}
        self._private = {name: Reader(fd, private=True) for name, fd in readable.items()}
        self._pristine = {name: Reader(fd) for name, fd in readable.items()}
        self._outbox = Writer(stores["outbox"], "outbox") if "outbox" in stores else None
        self._clock = Clock(stores["clock"]) if "clock" in stores else None
        self._out_fd = out_fd
        self._seq = 0
        self._lent: set[str] = set()
        self._deadlines = protocol.Deadlines()
        self._phase = "compile"
        self._began = time.monotonic()

    def begin(self, seq: int, deadlines: protocol.Deadlines) -> None:
        """Start a case: its clock runs from here."""
        self._seq, self._deadlines, self.overtime = seq, deadlines, ""
        for store in self._lent:  # whatever the device did to these pages, the next case gets its own inputs
            self._private[store].forget()
        self._lent.clear()
        if self._outbox is not None:
            self._outbox.restart()
        self._phase, self._began = "compile", time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, deadlines.compile_s)
        self._tell("compile")

    def end(self) -> None:
        """Stop the clock."""
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        self._check_time()
        self._tell(protocol.DONE)

    def _tell(self, phase: str) -> None:
        """Tell a parent that shares no memory: the way there and back is no time of the device's."""
        if self._clock is None:
            protocol.write_all(self._out_fd, protocol.encode(protocol.Phase(seq=self._seq, phase=phase)))

    def enter(self, phase: str) -> None:
        """Start the clock of a phase, and tell the parent: in shared memory where there is some, else by a message."""
        if phase == self._phase and phase == "compile":
            return
        self._check_time()
        self._phase, self._began = phase, time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, self._deadlines.of(phase))
        if self._clock is not None:
            self._clock.write(self._seq, phase)
        self._tell(phase)

    def _check_time(self) -> None:
        if not self.overtime and time.monotonic() - self._began > self._deadlines.of(self._phase):
            self.overtime = self._phase

    def modes(self) -> tuple[Mode, ...]:
        """Return the modes of the adapter."""
        return self.adapter.modes()

    def model(self, ref: ModelRef) -> bytes:
        """Return the bytes of a model."""
        if ref.data is not None:
            return ref.data
        return bytes(self._pristine[ref.store].view(ref.offset + ref.nbytes)[ref.offset : ref.offset + ref.nbytes])

    def fresh(self, ref: ValueRef) -> Value:
        """Return an input that may be scribbled on: small ones are copies, large ones copy-on-write pages."""
        if isinstance(ref, TensorRef) and ref.data is None and ref.nbytes > protocol.INLINE_LIMIT:
            self._lent.add(ref.store)
            return from_ref(ref, self._views(self._private, ref))
        return _copied(self.pristine(ref))

    def pristine(self, ref: ValueRef) -> Value:
        """Return an input as it was sent."""
        return from_ref(ref, self._views(self._pristine, ref))

    def restore(self, ref: ValueRef) -> None:
        """Undo what a device scribbled on the copy-on-write pages of a large input."""
        for store, end in _spans(ref):
            if isinstance(ref, TensorRef) and ref.nbytes > protocol.INLINE_LIMIT:
                self._private[store].view(end)[ref.offset : end] = self._pristine[store].view(end)[ref.offset : end]

    def _views(self, readers: dict[str, Reader], ref: ValueRef) -> dict[str, memoryview]:
        views: dict[str, memoryview] = {}
        for store, end in _spans(ref):
            reader = readers.get(store)
            if reader is None:
                raise HarnessError(f"there is no store '{store}' in this child")
            views[store] = reader.view(end)
        return views

    def place_output(self, name: str, shape: tuple[int, ...]) -> Array | None:
        """Return shared memory for an output of `LARGE_OUTPUT` bytes or more."""
        if self._outbox is None:
            return None
        if math.prod(shape) * DTYPES[name].itemsize < protocol.LARGE_OUTPUT:
            return None
        return self._outbox.reserve(name, shape, poison=True)

    def send(self, value: Value) -> ValueRef:
        """Turn an output into its wire form."""
        return to_ref(value, self._place)

    def _place(self, array: Array) -> TensorRef | None:
        if self._outbox is None or array.nbytes <= protocol.INLINE_LIMIT:
            return None
        return self._outbox.put(array)

    def missing(self, needs: list[str]) -> str:
        """Return what of `needs` the host lacks, with the remedy; empty where nothing is missing."""
        for need in needs:
            kind, _, name = need.partition(":")
            if kind != "locale":
                return f"the host precondition '{need}' is unknown to this version of the harness"
            if not has_locale(name):
                return f"the host lacks the locale {name}: install it (Debian: apt-get install locales, then locale-gen {name})"
        return ""


def _copied(value: Value) -> Value:
    if value is None:
        return None
    return [_copied(item) for item in value] if isinstance(value, list) else value.copy()


def _spans(ref: ValueRef) -> list[tuple[str, int]]:
    if isinstance(ref, SequenceRef):
        return [span for item in ref.items for span in _spans(item)]
    if isinstance(ref, EmptyRef | StringsRef) or ref.data is not None:
        return []
    return [(ref.store, ref.offset + ref.nbytes)]


def open_device(message: protocol.Open, out_fd: int) -> ChildDevice | protocol.Refused:
    """Bind the device; every way in which that can fail has its own kind."""
    if message.protocol != protocol.PROTOCOL_VERSION:
        text = f"the parent speaks protocol {message.protocol}, this child {protocol.PROTOCOL_VERSION}: install the same version in both"
        return protocol.Refused(kind="harness", message=text)
    try:
        adapter_type = adapter_class(message.adapter)
        adapter = adapter_type(adapter_type.read_options(message.runtime), Path(message.scratch))
        identity = adapter.open()
    except DeviceNotFound as error:
        return protocol.Refused(kind="not-found", message=str(error))
    except UsageError as error:
        return protocol.Refused(kind="usage", message=str(error))
    except RuntimeFault as error:
        return protocol.Refused(kind="rejected", message=f"{error.kind}: {error}")
    except AdapterError as error:
        return protocol.Refused(kind="rejected", message=str(error))
    return ChildDevice(adapter, identity, message.stores, out_fd)


def measure(message: protocol.Measure, device: ChildDevice) -> protocol.Observed | protocol.Failed:
    """Measure one case. A fault of the harness's own code becomes Failed, never a word about the device."""
    device.begin(message.seq, message.deadlines)
    try:
        observation = check_module(message.case.check).measure(message.case, device)
    except Exception:  # noqa: BLE001 - told to the parent, which calls it ERROR
        device.end()
        return protocol.Failed(seq=message.seq, message=traceback.format_exc(limit=-12))
    device.end()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return protocol.Observed(seq=message.seq, observation=observation, overtime=device.overtime, peak_rss_kb=peak)


def installed_versions() -> dict[str, str]:
    """Return the versions of the packages that matter to a result, as installed in this child's environment."""
    found = {"python": sys.version.split()[0]}
    for name in REPORTED_PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def main() -> int:
    """Speak the protocol until told to close, or until the parent is gone."""
    incoming, outgoing = take_over_stdio()
    faulthandler.enable()
    faulthandler.register(signal.SIGALRM, all_threads=True, chain=False)

    def send(message: protocol.ToParent) -> None:
        protocol.write_all(outgoing, protocol.encode(message))

    send(
        protocol.Hello(
            protocol=protocol.PROTOCOL_VERSION,
            harness_version=__version__,
            pid=os.getpid(),
            versions=installed_versions(),
        )
    )
    device: ChildDevice | None = None
    while (body := protocol.read_frame(incoming)) is not None:
        message = protocol.TO_CHILD.decode(body)
        if isinstance(message, protocol.Open):
            signal.setitimer(signal.ITIMER_REAL, message.deadlines.open_s)
            result = open_device(message, outgoing)
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            if isinstance(result, protocol.Refused):
                send(result)
                continue
            device = result
            send(
                protocol.Opened(
                    identity=device.identity,
                    runs_on_host_cpu=device.adapter.runs_on_host_cpu,
                    has_witness=device.adapter.has_witness,
                )
            )
        elif isinstance(message, protocol.Measure):
            if device is None:
                send(protocol.Failed(seq=message.seq, message="a case came before the device was opened"))
                continue
            answer = measure(message, device)
            try:
                send(answer)
            except HarnessError as error:  # too long for a message: without shared memory, outputs have to fit into one
                send(protocol.Failed(seq=message.seq, message=str(error)))
        else:
            if device is not None:
                device.adapter.close()
            return protocol.EXIT_CLOSED
    return protocol.EXIT_CLOSED


if __name__ == "__main__":
    sys.exit(main())
