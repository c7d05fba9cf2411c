"""A gRPC server with mutual TLS and a token, and the adapter at its door; run by the interpreter that holds tritonclient.

Prints one JSON object: what became of opening, by what was wrong.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from conformance.adapters.runtime.oip import Adapter
from conformance.errors import AdapterError


class Service(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        given = dict(context.invocation_metadata()).get("authorization")
        if given != "Bearer s3cret":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, f"no: {given}")
        return service_pb2.ServerMetadataResponse(name="tiny", version="1")

    def ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ServerLiveResponse(live=True)

    def RepositoryIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.RepositoryIndexResponse()


def main(mine: Path, theirs: Path) -> None:
    """Serve with the first certificate to who shows the second."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Service(), server)
    pair = (mine.read_bytes(), Path(f"{mine}.crt").read_bytes())
    asked = grpc.ssl_server_credentials([pair], Path(f"{theirs}.crt").read_bytes(), require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", asked)
    server.start()
    os.environ |= {"RIGHT": "s3cret", "WRONG": "another-one"}
    good = {
        "url": f"grpcs://127.0.0.1:{port}", "ca_file": f"{mine}.crt", "client_certificate": f"{theirs}.crt",
        "client_key": str(theirs), "token_env": "RIGHT",
    }  # fmt: skip
    changes: dict[str, dict[str, Any]] = {
        "good": {},
        "ca": {"ca_file": f"{theirs}.crt"},
        "client": {"client_certificate": None, "client_key": None},
        "token": {"token_env": "WRONG"},
        "open": {"url": f"grpc://127.0.0.1:{port}"},
        "name": {"url": f"grpcs://localhost:{port}"},
    }
    told = {}
    for name, change in changes.items():
        runtime = {"provider": "tiny", "encoding": "grpc", "publish": {"by": "inline"}, "server": good | change}
        adapter = Adapter(Adapter.read_options(runtime), Path("/run/child-0-0"))
        try:
            told[name] = adapter.open().provider
            adapter.close()
        except AdapterError as error:
            told[name] = f"{type(error).__name__}: {error}"
    server.stop(0)
    print(json.dumps(told))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
