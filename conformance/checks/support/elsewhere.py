"""The same device opened in a process of its own: what it says there of itself and of a model.

`ask` starts `python -m conformance.checks.support.elsewhere` in the child's own environment, hands it the adapter's name,
its options and a model on standard input, and reads a `Told` from a file. Whatever the device prints there goes where it
always goes; a process that dies, or leaves no file, is a fault of the device's.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from conformance.adapters.runtime.port import Mode, RuntimeAdapter, RuntimeFault, Unavailable
from conformance.checks.support.running import fault_of
from conformance.errors import AdapterError
from conformance.observation import InferenceSeen, SessionSeen
from conformance.records import DeviceFault, Identity
from conformance.tensors import equal_bits, from_ref, to_ref
from conformance.workload import NamedValue

if TYPE_CHECKING:
    from conformance.tensors import Array


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Which device, and what to do with it."""

    module: str
    options: dict[str, Any]
    scratch: str
    model: bytes
    mode: str
    datasets: list[list[NamedValue]]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """Who the device was there, None where it did not open, and what its session showed."""

    identity: Identity | None = None
    session: SessionSeen


def ask(adapter: RuntimeAdapter, model: bytes, mode: Mode, datasets: list[list[NamedValue]]) -> Told:
    """Open the device in a fresh process and run a model there. It must be free: `adapter.release()` comes first."""
    scratch = adapter.scratch / f"elsewhere-{os.getpid()}"
    scratch.mkdir(exist_ok=True)
    answer = scratch / "told"
    answer.unlink(missing_ok=True)
    asked = Asked(
        module=type(adapter).__module__,
        options=msgspec.to_builtins(adapter.given),
        scratch=str(scratch),
        model=model,
        mode=mode.value,
        datasets=datasets,
    )
    command = [sys.executable, "-m", __name__, str(answer)]
    ended = subprocess.run(command, input=msgspec.msgpack.encode(asked), stdout=2, check=False)
    if ended.returncode == 0 and answer.is_file():
        return msgspec.msgpack.decode(answer.read_bytes(), type=Told)
    how = f"signal {-ended.returncode}" if ended.returncode < 0 else f"exit code {ended.returncode}"
    fault = DeviceFault(phase="open", kind="ProcessEnded", message=f"a fresh process with the device ended by {how}")
    return Told(session=SessionSeen(mode=mode.value, fault=fault))


def tell(asked: Asked) -> Told:
    """Open the device, run every data set in one session, and say what was seen."""
    mode, adapter_type = Mode(asked.mode), cast("type[RuntimeAdapter]", importlib.import_module(asked.module).Adapter)
    identity = None
    try:
        adapter = adapter_type(msgspec.convert(asked.options, adapter_type.Options), Path(asked.scratch))
        identity = adapter.open()
        session = adapter.compile(asked.model, mode)
        inferences = []
        for feeds in asked.datasets:
            given = {one.name: cast("Array", from_ref(one.value)).copy() for one in feeds}
            outputs = session.infer(dict(given))
            sent = [NamedValue(name, to_ref(value)) for name, value in outputs]
            changed = [one.name for one in feeds if not equal_bits(given[one.name], from_ref(one.value))]
            inferences.append(InferenceSeen(outputs=sent, inputs_changed=changed))
        seen = SessionSeen(mode=mode.value, inputs=session.inputs, outputs=session.outputs, inferences=inferences)
        session.close()
        adapter.close()
    except (RuntimeFault, Unavailable) as error:
        seen = SessionSeen(mode=mode.value, fault=fault_of(error, "open" if identity is None else "compile"))
    except AdapterError as error:  # the device is not there
        fault = DeviceFault(phase="open", kind=type(error).__name__, message=str(error))
        seen = SessionSeen(mode=mode.value, fault=fault)
    return Told(identity=identity, session=seen)


def main() -> int:
    """Read what is asked, do it, write what is told."""
    told = tell(msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Asked))
    Path(sys.argv[1]).write_bytes(msgspec.msgpack.encode(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
