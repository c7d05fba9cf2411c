"""Real inference servers under the harness: MLServer and Triton, in each encoding that they speak.

A server's numbers are onnxruntime's; what is shown here is the way there and back: loading, every type, refusals, and that
what an encoding cannot say is neither PASS nor FAIL.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.conftest import Ran, peer_python
from tests.peers.servers import Running, mlserver, profile_with, triton

TESTS = str(Path(__file__).parents[1])
if TESTS not in sys.path:
    sys.path.append(TESTS)

pytestmark = pytest.mark.peer

SESSION = ("--case", "interface/session/*", "--case", "interface/sessions/t*")
REQUESTS = (
    "--case", "must-reject/request/input-*", "--case", "must-reject/request/type-float64",
    "--case", "must-reject/model/random-bytes", "--case", "must-reject/model/cycle",
)  # fmt: skip
MADE = "operators/ai.onnx.MatMul-13/float32/made"
GENERATED = ("--case", f"{MADE}/batched", "--case", f"{MADE}/empty-rows", "--case", f"{MADE}/k-[07]")
SCALAR = "operators/ai.onnx.MatMul-13/float32/test_matmul_1d_1d"
NAN = "operators/ai.onnx.IsNaN-20/float32/test_isnan"


def operators(*names: str) -> list[str]:
    """Return the arguments that select ONNX's own cases of some operators: a server takes a second and more to load a model."""
    return [word for name in names for word in ("--case", f"operators/ai.onnx.{name}-*/*/test_*")]


@pytest.fixture(scope="module")
def seldon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with mlserver(tmp_path_factory.mktemp("mlserver"), peer_python("CONFORMANCE_PEER_MLSERVER")) as one:
        yield one


@pytest.fixture(scope="module")
def nvidia(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with triton(tmp_path_factory.mktemp("triton"), peer_python("CONFORMANCE_PEER_TRITON")) as one:
        yield one


@pytest.fixture
def run_server(run_device, tmp_path: Path):
    def run(name: str, encoding: str, server: Running, *arguments: str) -> Ran:
        lab: dict[str, object] = {"server": server.bench(encoding)}
        if encoding == "grpc":
            lab["python"] = peer_python("CONFORMANCE_PEER_OIP")
        bench = tmp_path / "lab.yaml"
        bench.write_text(json.dumps({"conformance": 1, "bench": lab}))
        ran = run_device(profile_with(tmp_path, name, encoding), *arguments, "--bench", str(bench))
        assert not list(server.repository.glob("conformance-*")), "a model was left behind"
        return ran

    return run


def not_passed(ran: Ran) -> dict[str, str]:
    """Return the cases that did not pass, with their reasons; what is outside the claims does not count."""
    return {
        case: f"{record['outcome']}: {record['reason']}"
        for case, record in ran.records.items()
        if record["outcome"] not in ("PASS", "UNSUPPORTED")
    }


@pytest.mark.parametrize("encoding", ["rest-json", "grpc"])
def test_mlserver_answers_and_refuses(run_server, seldon, encoding):
    ran = run_server(
        "mlserver", encoding, seldon, *SESSION, *REQUESTS, *GENERATED, *operators("MatMul", "IsNaN", "StringConcat")
    )
    bad = not_passed(ran)
    if encoding == "rest-json":
        told = bad.pop(NAN)
        assert told.startswith("ERROR"), "what JSON cannot say is no word about the server"
        assert "JSON has neither" in told
        bad = {case: told for case, told in bad.items() if not case.startswith("operators/ai.onnx.IsNaN-")}
    assert bad == {}
    assert ran.code == (30 if encoding == "rest-json" else 0)
    assert ran.records[SCALAR]["outcome"] == "PASS"
    identity = ran.result["info"]["identity"]
    assert (identity["provider"], identity["details"]["encoding"]) == ("mlserver", encoding)
    assert ran.result["verdict"]["placement_shown"] is False


def test_mlserver_has_no_binary_rest_and_says_so(run_server, seldon):
    ran = run_server("mlserver", "rest-binary", seldon, "--case", "interface/session/inputs-unchanged")
    reason = ran.records["interface/session/inputs-unchanged"]["reason"]
    assert reason.startswith("rejected at run: HTTP 500"), "422 was due: docs/findings/mlserver.md"
    assert ran.result["info"]["identity"]["details"]["extensions"] == ""
    assert ran.code == 20


@pytest.mark.parametrize("encoding", ["rest-binary", "rest-json", "grpc"])
def test_triton_answers_and_refuses(run_server, nvidia, encoding):
    ran = run_server(
        "triton", encoding, nvidia, *SESSION, *REQUESTS, *GENERATED, *operators("MatMul", "IsNaN", "StringConcat")
    )
    bad = not_passed(ran)
    unsayable = ("must specify 'dims'", "dimension must be integer >= 1")  # docs/findings/triton.md
    without_dims = {case for case, told in bad.items() if any(one in told for one in unsayable)}
    assert {SCALAR, f"{MADE}/empty-rows", f"{MADE}/k-0"} <= without_dims
    if encoding == "rest-json":
        assert "JSON has neither" in bad[NAN]
        without_dims |= {case for case in bad if case.startswith("operators/ai.onnx.IsNaN-")}
    assert {case: told for case, told in bad.items() if case not in without_dims} == {}
    identity = ran.result["info"]["identity"]
    assert (identity["provider"], identity["details"]["encoding"]) == ("triton", encoding)
    assert "binary_tensor_data" in identity["details"]["extensions"]


@pytest.mark.parametrize("encoding", ["rest-binary", "grpc"])
def test_a_server_that_is_not_there_is_incomplete(run_server, tmp_path, encoding):
    ran = run_server("triton", encoding, Running(1, 1, tmp_path, tmp_path), "--case", "interface/session/*")
    assert ran.code == 30
    assert set(ran.outcomes("").values()) == {"NOT_RUN"}
    assert "no server answers at" in ran.result["info"]["interrupted"]


SCRIPT = """
import json, sys, numpy as np, tritonclient.http as http
url, name, binary = sys.argv[1], sys.argv[2], sys.argv[3] == "rest-binary"
values = {k: np.array(v["data"], dtype=v["dtype"]) for k, v in json.load(sys.stdin).items()}
with http.InferenceServerClient(url) as client:
    told = client.get_model_metadata(name)
    inputs = []
    for one in told["inputs"]:
        value = values[one["name"]]
        inputs.append(http.InferInput(one["name"], list(value.shape), one["datatype"]))
        inputs[-1].set_data_from_numpy(value, binary_data=binary)
    outputs = [http.InferRequestedOutput(one["name"], binary_data=binary) for one in told["outputs"]]
    result = client.infer(name, inputs, outputs=outputs)
    print(json.dumps({one["name"]: result.as_numpy(one["name"]).tolist() for one in told["outputs"]}))
"""


@pytest.mark.parametrize("encoding", ["rest-json", "rest-binary"])
@pytest.mark.parametrize("kind", ["float32", "float64", "int64", "uint8", "bool", "float16"])
def test_tritons_own_client_understands_what_our_test_server_says(tmp_path, encoding, kind):
    """The adapter's REST is ours on both ends in the ordinary tests: here the other end is the standard client."""
    import numpy as np
    from adapters.models import copying
    from servers.oip_client import close_all, connected
    from servers.oip_server import Server

    given = (np.arange(6).reshape(2, 3) % 2).astype(kind)
    with Server(tmp_path) as server:
        session = connected(server, encoding).compile(copying(kind, [2, 3]))
        (name,) = server.models
        arguments = [f"127.0.0.1:{server.port}", name, encoding]
        told = json.dumps({"x": {"data": given.tolist(), "dtype": kind}})
        done = subprocess.run(
            [peer_python("CONFORMANCE_PEER_OIP"), "-c", SCRIPT, *arguments],
            input=told, text=True, capture_output=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"y": given.tolist()}
        ours, theirs = server.bodies[-1], None
        ((_, value),) = session.infer({"x": given})
        theirs, ours = ours, server.bodies[-1]
        assert value.tolist() == given.tolist()
        close_all()
    decode = json.JSONDecoder().raw_decode
    (mine, at), (their, behind) = decode(ours.decode("latin-1")), decode(theirs.decode("latin-1"))
    assert mine["inputs"] == their["inputs"], "the same request, head and tail"
    assert ours.decode("latin-1")[at:] == theirs.decode("latin-1")[behind:]


def test_grpc_verifies_certificates_both_ways_and_carries_a_token(tmp_path):
    from servers.oip_server import make_certificate

    for name in ("server.pem", "client.pem"):
        make_certificate(tmp_path / name)
    script = Path(__file__).with_name("grpc_tls.py")
    done = subprocess.run(
        [peer_python("CONFORMANCE_PEER_OIP"), str(script), str(tmp_path / "server.pem"), str(tmp_path / "client.pem")],
        text=True, capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told.pop("good") == "tiny"
    assert "gRPC UNAUTHENTICATED: no: Bearer [token]" in told["token"]
    assert "is not trusted" in told["ca"]
    for name, text in told.items():
        assert text.startswith("DeviceNotFound: "), name
        assert "s3cret" not in text + done.stderr
        assert "wr0ng" not in text + done.stderr
