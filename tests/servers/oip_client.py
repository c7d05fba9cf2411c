"""The adapter for inference servers, connected to a server of ours: what its tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from servers.oip_server import Server

from conformance.adapters.runtime.oip import Adapter

X = np.array([[1, -2], [3, 4]], dtype=np.float32)
OPENED: list[Adapter] = []


def close_all() -> None:
    """Close what a test left open, whatever became of its server."""
    while OPENED:
        OPENED.pop().client.close()


def options(server: Server | None, encoding: str = "rest-json", by: str = "folder", **further: Any) -> dict[str, Any]:
    runtime: dict[str, Any] = {"provider": "tiny", "encoding": encoding, "publish": {"by": by}}
    if server is not None:
        runtime["server"] = {"url": f"http://127.0.0.1:{server.port}", "repository": str(server.repository)} | further
    return runtime


def connected(server: Server, encoding: str = "rest-json", by: str = "folder", **further: Any) -> Adapter:
    adapter = Adapter(Adapter.read_options(options(server, encoding, by, **further)), Path("/run/child-0-0"))
    adapter.open()
    OPENED.append(adapter)
    return adapter
