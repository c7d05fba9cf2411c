"""What a parent would hold while a child works in this process: the stores, and the pipe that the child writes to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from conformance.execution import child, protocol, stores
from conformance.tensors import from_ref

PATIENT = protocol.Deadlines(open_s=60, compile_s=60, run_s=60)
CPU = {"provider": "CPUExecutionProvider"}


class Desk:
    """What a parent would hold: the stores, and the pipe that the child writes to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.read_fd, self.write_fd = os.pipe()
        self.inbox, self.outbox = stores.region("inbox"), stores.region("outbox")
        self.clock = stores.region("clock")
        self.fds = {"inbox": self.inbox, "outbox": self.outbox}
        self.inputs = stores.Writer(self.inbox, "inbox")

    def message(
        self, adapter: str = "misbehaving", version: int = protocol.PROTOCOL_VERSION, **runtime: Any
    ) -> protocol.Open:
        return protocol.Open(
            protocol=version,
            adapter=adapter,
            runtime=CPU | runtime if adapter != "onnx-backend" else runtime,
            scratch=str(self.folder / "child"),
            stores=self.fds,
            deadlines=PATIENT,
        )

    def open(self, adapter: str = "misbehaving", **runtime: Any) -> child.ChildDevice:
        (self.folder / "child").mkdir(exist_ok=True)
        device = child.open_device(self.message(adapter, **runtime), self.write_fd)
        assert isinstance(device, child.ChildDevice), device
        return device

    def said(self) -> list[protocol.ToParent]:
        """Return the messages written since the last time."""
        os.set_blocking(self.read_fd, False)
        try:
            data = os.read(self.read_fd, 1 << 20)
        except BlockingIOError:
            return []
        return [protocol.TO_PARENT.decode(frame) for frame in protocol.FrameBuffer().feed(data)]

    def received(self, ref: Any) -> Any:
        """Return an output as the parent would read it."""
        needed = ref.offset + ref.nbytes
        return from_ref(ref, {"outbox": stores.Reader(self.outbox).view(needed)})

    def close(self) -> None:
        """Let everything go."""
        for fd in (self.read_fd, self.write_fd, self.inbox, self.outbox, self.clock):
            os.close(fd)
