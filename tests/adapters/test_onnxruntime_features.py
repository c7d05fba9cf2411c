"""What the ONNX Runtime adapter offers beside plain runs, on the CPU provider: bound memory, dimensions, compiled models, options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from adapters.models import CPU, FEEDS, casting, opened, two_nodes

from conformance.adapters.runtime import onnxruntime as adapter
from conformance.adapters.runtime.onnx_backend import Adapter as BackendAdapter
from conformance.adapters.runtime.port import Feature, Mode, RuntimeFault, Setting, Unavailable
from conformance.reference import probes
from conformance.tensors import DTYPES

OPENVINO = "OpenVINOExecutionProvider"


def features(**runtime: Any) -> frozenset[Feature]:
    return adapter.Adapter.features(adapter.Adapter.read_options(runtime))


def test_a_cache_folder_is_offered_where_its_option_is_known() -> None:
    plain = set(Feature) - {Feature.CACHE_FOLDER}
    assert features(provider=CPU) == plain
    assert features(provider=OPENVINO) == set(Feature)
    assert features(provider=OPENVINO, module="its_plugin") == plain, "a plugin's options are its own"
    assert features(provider="AcmeExecutionProvider", library="x.so", cache_option="acme_cache") == set(Feature)


def test_the_cache_folder_goes_to_the_provider_by_its_own_option(tmp_path: Path) -> None:
    for runtime, wanted in [
        ({"provider": OPENVINO, "options": {"device_type": "CPU"}}, {"device_type": "CPU", "cache_dir": str(tmp_path)}),
        ({"provider": OPENVINO, "cache_option": "mine"}, {"mine": str(tmp_path)}),
        (
            {"provider": "TensorrtExecutionProvider"},
            {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(tmp_path)},
        ),
    ]:
        made = adapter.Adapter(adapter.Adapter.read_options(runtime), tmp_path)
        made.ort = onnxruntime
        _, arguments = made.session_options(Mode.SHARED, cache=tmp_path)
        assert arguments["providers"] == [(runtime["provider"], wanted)]
    with pytest.raises(Unavailable, match="no option of CPUExecutionProvider is known that names a cache folder"):
        opened(tmp_path).compile(two_nodes(), cache=tmp_path)


def test_bound_memory_is_read_and_written_where_it_lies(cpu: adapter.Adapter) -> None:
    session = cpu.compile(two_nodes())
    first, second = (np.full((2, 2), -1, np.float32) for _ in range(2))
    bound = session.bind(dict(FEEDS), {"y": first})
    bound.run()
    assert np.array_equal(first, np.eye(2))

    bound.rebind({"a": FEEDS["a"] * 3, "b": FEEDS["b"]}, {"y": second})
    bound.run()
    assert np.array_equal(first, np.eye(2))
    assert np.array_equal(second, 3 * np.eye(2))


def test_what_cannot_be_bound_is_told(cpu: adapter.Adapter) -> None:
    session = cpu.compile(casting("float32", "bfloat16", [2]))
    with pytest.raises(Unavailable, match="numpy has no memory of type bfloat16"):
        session.bind({"x": np.ones(2, np.float32)}, {"y": np.zeros(2, DTYPES["bfloat16"])})
    with pytest.raises(RuntimeFault):
        cpu.compile(two_nodes()).bind({"nobody": np.ones(2, np.float32)}, {})
    with pytest.raises(RuntimeFault):
        cpu.compile(two_nodes()).bind({"a": FEEDS["a"]}, {"y": np.zeros((2, 2), np.float32)}).run()


def test_a_dimension_is_fixed_by_its_name(cpu: adapter.Adapter) -> None:
    session = cpu.compile(probes.probe_model("matmul_relu_batch"), dimensions={"n": 3})

    assert [info.shape for info in session.inputs] == [(3, 16), (16, 8)]
    inputs, (wanted,) = probes.matmul_relu_batch(3, 1)
    assert np.array_equal(session.infer(dict(inputs))[0][1], wanted)
    with pytest.raises(RuntimeFault, match="invalid dimensions"):
        session.infer(dict(probes.matmul_relu_batch(2, 1)[0]))


def test_a_compiled_model_is_a_model(cpu: adapter.Adapter) -> None:
    compiled = cpu.precompile(probes.weighted_model(5))

    assert not list(cpu.scratch.glob("profile-*")), "compiling leaves no profile behind"
    assert [node.op_type for node in onnx.load_model_from_string(compiled).graph.node] == ["MatMul", "Relu"]
    inputs, (wanted,) = probes.matmul_weights(7, 5)
    assert np.array_equal(cpu.compile(compiled).infer(dict(inputs))[0][1], wanted)
    with pytest.raises(RuntimeFault, match="parsing failed"):
        cpu.precompile(b"no model")


def test_an_onnxruntime_without_a_model_compiler_says_so(cpu: adapter.Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(onnxruntime, "ModelCompiler")
    with pytest.raises(Unavailable, match="has no ModelCompiler"):
        cpu.precompile(two_nodes())


def test_options_are_read_back(tmp_path: Path) -> None:
    given = {
        "intra_op_num_threads": 2,
        "enable_mem_pattern": False,
        "graph_optimization_level": "ORT_ENABLE_BASIC",
        "session.intra_op.allow_spinning": "0",
    }
    made = opened(tmp_path, session_options=given, options={"use_arena": False})

    assert set(made.compile(two_nodes()).settings()) == {
        Setting("session_options.intra_op_num_threads", "2", "2"),
        Setting("session_options.enable_mem_pattern", "0", "0"),
        Setting("session_options.graph_optimization_level", "ORT_ENABLE_BASIC", "ORT_ENABLE_BASIC"),
        Setting("session_options.session.intra_op.allow_spinning", "0", "0"),
        Setting("session_options.session.record_ep_graph_assignment_info", "1", "1"),
        Setting("options.use_arena", "0", None),
    }


def test_options_that_a_session_lost_or_tells_otherwise_are_seen(tmp_path: Path) -> None:
    made = opened(tmp_path, session_options={"intra_op_num_threads": 2}, options={"a": 1, "b": 2})
    session: Any = made.compile(two_nodes())

    class Forgetful:
        def get_session_options(self) -> Any:
            return onnxruntime.SessionOptions()

        def get_provider_options(self) -> dict[str, dict[str, str]]:
            return {CPU: {"a": "3"}}

    session._session = Forgetful()
    told = {one.name: one.actual for one in session.settings()}
    assert told["session_options.intra_op_num_threads"] == "0"
    assert told["session_options.session.record_ep_graph_assignment_info"] == ""
    assert (told["options.a"], told["options.b"]) == ("3", "")

    class Silent(Forgetful):
        get_session_options = None  # type: ignore[assignment]

    session._session = Silent()
    assert session.settings()[0].actual is None


def test_an_in_tree_provider_is_let_go_and_bound_again(cpu: adapter.Adapter) -> None:
    cpu.compile(two_nodes()).close()
    cpu.release()

    assert cpu.open().provider == CPU
    assert np.array_equal(cpu.compile(two_nodes()).infer(dict(FEEDS))[0][1], np.eye(2))


def test_an_adapter_that_offers_nothing_says_so(tmp_path: Path) -> None:
    made = BackendAdapter(BackendAdapter.read_options({"module": "x"}), tmp_path)

    assert BackendAdapter.features(made.options) == frozenset()
    for call, words in [
        (lambda: made.precompile(b""), "cannot give a compiled model out"),
        (lambda: made.compile(b"", dimensions={"n": 1}), "cannot fix dimensions"),
        (lambda: made.compile(b"", cache=tmp_path), "cannot name a cache folder"),
    ]:
        with pytest.raises(Unavailable, match=words):
            call()  # type: ignore[no-untyped-call]
    made.release()
