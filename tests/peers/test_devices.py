"""Real runtimes under the harness: what each shows, and that no wrong one comes out green.

Each test states what is true of that runtime on any host; where the host decides (OpenVINO's plugin offers its CPU device on
Intel hosts only), the runtime itself is asked first, independently of the harness.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from conformance.reference.packs import PACKS
from tests.peers.conftest import BACKENDS, peer_python

pytestmark = pytest.mark.peer

PLACEMENT = "placement/model/device-nodes"
HOST_CPU = "placement/host-cpu/contraction-load"
GATE = ("--case", "interface/*", "--case", "placement/*")


def cases(*operators: str) -> list[str]:
    """Return the arguments that select ONNX's own cases of some of its operators."""
    return [word for name in operators for word in ("--case", f"operators/ai.onnx.{name}-*/*/test_*")]


def test_onnxruntime_cpu_is_a_conformant_host_reference(run_device):
    ran = run_device("reference-cpu")
    assert ran.code == 0
    assert ran.result["verdict"]["name"] == "CONFORMANT"
    assert ran.result["verdict"]["certifiable"] is False
    assert ran.result["verdict"]["placement_shown"] is True
    outcomes = ran.outcomes("")
    assert set(outcomes.values()) == {"PASS", "UNSUPPORTED", "INCONCLUSIVE"}
    assert all(case.startswith("exact/") for case, outcome in outcomes.items() if outcome == "INCONCLUSIVE"), "advisory"
    for record in ran.records.values():
        assert record["outcome"] == "PASS" or record["reason"], f"{record['case']} is not explained"
    upstream = [record for record in ran.records.values() if record["check"] == "operators"]
    assert len(upstream) + len(ran.result["info"]["pinned"]) == 2033
    assert len(ran.records) > 13_000


def test_webgpu_without_an_adapter_is_non_conformant_on_placement(run_device):
    ran = run_device("webgpu-no-adapter", python=peer_python("CONFORMANCE_PEER_WEBGPU"))
    assert ran.code == 20
    witness = ran.records[PLACEMENT]
    assert witness["outcome"] == "FAIL"
    assert "CPUExecutionProvider" in witness["reason"]
    assert "adapter" in witness["context"], "the cause is the one of the session that could not fall back"
    assert ran.requirement("PL-001")["result"] == "not met"
    assert "PASS" not in ran.outcomes("operators/").values()
    assert ran.result["verdict"]["placement_shown"] is False


def test_absent_cuda_provider_is_incomplete_and_nothing_is_green(run_device):
    ran = run_device("cuda")
    assert ran.code == 30
    assert "PASS" not in ran.outcomes("").values()
    assert "CUDAExecutionProvider" in ran.result["info"]["interrupted"]
    assert "device not found" in ran.records[PLACEMENT]["reason"]


def openvino_plugin_offers_a_device() -> bool:
    """Ask the runtime itself, without the harness."""
    script = (
        "import onnxruntime as o, onnxruntime_ep_openvino as m\n"
        "o.register_execution_provider_library('x', m.get_library_path())\n"
        "print(any(d.ep_name == 'OpenVINOExecutionProvider' for d in o.get_ep_devices()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.strip().endswith("True")


@pytest.mark.parametrize("profile", ["openvino-plugin-f32", "openvino-plugin-default"])
def test_openvino_plugin_beside_stock_onnxruntime(run_device, profile):
    ran = run_device(profile, *GATE)
    if openvino_plugin_offers_a_device():
        assert ran.records[PLACEMENT]["outcome"] == "PASS", ran.records[PLACEMENT]
        assert ran.records["placement/control/forced-to-host"]["outcome"] == "PASS"
        assert ran.records[HOST_CPU]["outcome"] == "PASS", "its device is the host's CPU, and must cost CPU time"
        assert set(ran.outcomes("interface/").values()) <= {"PASS", "UNSUPPORTED"}
    else:
        assert ran.code == 30
        assert "offers no device 'OpenVINOExecutionProvider'" in ran.result["info"]["interrupted"]
        assert set(ran.outcomes("").values()) == {"NOT_RUN", "UNSUPPORTED"}
        assert ran.outcomes("interface/offers/cache-folder") == {"interface/offers/cache-folder": "UNSUPPORTED"}


def test_openvino_in_tree_is_placed_where_it_says(run_device):
    python = peer_python("CONFORMANCE_PEER_OPENVINO")
    ran = run_device("openvino-intree", *GATE, python=python)
    failed = {case for case, outcome in ran.outcomes("").items() if outcome != "PASS"}
    assert failed == {f"interface/offers/compiled-{what}" for what in ("model", "other-weights")}, "docs/findings"
    assert ran.code == 20
    options = ran.records["interface/offers/options"]
    assert options["context"] == "unverified, the runtime does not report it: options.device_type, options.precision"


def test_openvino_in_tree_leaves_the_output_of_a_one_input_max_unwritten(run_device):
    python = peer_python("CONFORMANCE_PEER_OPENVINO")
    ran = run_device("openvino-intree", *cases("MatMul", "Max"), python=python)
    outcomes = ran.outcomes("")
    assert outcomes["operators/ai.onnx.MatMul-13/float32/test_matmul_2d"] == "PASS"
    assert outcomes["operators/ai.onnx.Max-13/float32/test_max_one_input"] == "FAIL"  # docs/findings/openvino.md
    assert ran.code == 20


def test_qnn_simulator_is_caught_computing_on_the_host(run_device):
    ran = run_device("qnn-htp", "--case", "placement/*")
    assert ran.records[PLACEMENT]["outcome"] == "PASS", "the runtime's own records say that the NPU ran it"
    assert ran.records["placement/control/forced-to-host"]["outcome"] == "PASS"
    assert ran.records[HOST_CPU]["outcome"] == "FAIL", "the witness outside the runtime says that the host did"
    assert ran.code == 20


def test_qnn_crash_in_stft_is_the_devices_and_ends_nothing_else(run_device):
    ran = run_device("qnn-htp", *cases("STFT", "Sin"))
    crashed = ran.records["operators/ai.onnx.STFT-17/float32/test_stft"]
    assert crashed["outcome"] == "CRASH"
    assert [attempt["outcome"] for attempt in crashed["attempts"]] == ["CRASH", "CRASH"]
    assert "CRASH" not in ran.outcomes("operators/ai.onnx.Sin").values()
    assert ran.code == 20


def test_openvino_native_agrees_with_the_reference_models_and_takes_models_that_onnx_forbids(run_device):
    python = peer_python("CONFORMANCE_PEER_OPENVINO_NATIVE")
    selected = [
        "--case",
        "models/*",
        "--case",
        "interface/*",
        *cases("MatMul", "Conv"),
        "--case",
        "must-reject/model/c*",
    ]
    ran = run_device("openvino-native", *selected, python=python, env={"PYTHONPATH": str(BACKENDS)})
    assert set(ran.outcomes("models/").values()) == {"PASS", "UNSUPPORTED"}
    unclaimed = {case: record["observed"] for case, record in ran.records.items() if record["outcome"] == "UNSUPPORTED"}
    differs = {case for case, seen in unclaimed.items() if case.startswith("models/") and seen != "works"}
    assert differs == {f"models/{name}/bfloat16/agreement" for name in ("cnn-shapes", "mobile-cnn")}, "docs/findings"
    assert set(ran.outcomes("interface/").values()) <= {"PASS", "UNSUPPORTED"}
    assert set(ran.outcomes("operators/ai.onnx.MatMul").values()) == {"PASS"}
    assert ran.records["must-reject/model/cycle"]["outcome"] == "FAIL"  # docs/findings/openvino.md
    assert ran.records["must-reject/model/cycle-of-one"]["outcome"] == "CRASH"
    assert ran.code == 20


def test_packs_are_real_models_and_a_right_device_gives_their_answers(run_device):
    ran = run_device("reference-cpu", "--case", "packs/*")
    assert sorted(ran.outcomes("packs/")) == sorted(f"packs/{pack.name}/answers" for pack in PACKS)
    assert set(ran.outcomes("packs/").values()) == {"PASS"}


def test_onnx_backend_module_runs_and_cannot_show_placement(run_device, tmp_path):
    profile = tmp_path / "reference-evaluator.yaml"
    profile.write_text(
        "conformance: 1\n"
        "device: {vendor: ONNX, model: reference evaluator, category: host-reference, hardware: cpu}\n"
        "runtime: {adapter: onnx-backend, module: reference_backend, device: CPU}\n"
        "declares:\n"
        "  opsets: {ai.onnx: [7, 28]}\n"
        "  types: [float32, int64, bool]\n"
        "  operators: [Add, MatMul, Relu, Softmax, Conv]\n"
    )
    ran = run_device(profile, env={"PYTHONPATH": str(BACKENDS)})
    claimed = {case: record for case, record in ran.records.items() if record["basis"] != "unclaimed"}
    assert {r["outcome"] for c, r in claimed.items() if c.startswith(("operators/", "interface/"))} == {"PASS"}
    assert ran.records[PLACEMENT]["outcome"] == "UNMEASURED"
    assert ran.requirement("PL-001")["result"] == "open"
    assert ran.requirement("MR-001")["result"] == "not met", "the evaluator computes what it should refuse"
    assert ran.code == 20
    assert ran.result["verdict"]["placement_shown"] is False
    assert "placement not shown" in ran.text
