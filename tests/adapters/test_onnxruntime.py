"""The ONNX Runtime adapter on the CPU provider: what it binds, its options, its modes, and the runtime's own words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from adapters.models import CPU, FEEDS, opened, serialised, tensor, two_nodes
from onnx import helper

from conformance.adapters.runtime import onnxruntime as adapter
from conformance.adapters.runtime.port import Mode, RuntimeFault
from conformance.adapters.runtime.support import ort_values
from conformance.errors import DeviceNotFound, UsageError


def test_who_the_device_says_it_is(tmp_path: Path) -> None:
    identity = opened(tmp_path).open()

    assert (identity.runtime, identity.runtime_version) == ("onnxruntime", onnxruntime.__version__)
    assert (identity.provider, identity.hardware, identity.details["kind"]) == (CPU, "cpu", "in-tree")
    assert opened(tmp_path).runs_on_host_cpu
    assert opened(tmp_path).modes() == (Mode.STRICT,)


@pytest.mark.parametrize(
    ("runtime", "error", "message"),
    [
        ({"provider": "CUDAExecutionProvider"}, DeviceNotFound, "has no CUDAExecutionProvider; it offers"),
        ({"library": "/no/such/library.so"}, DeviceNotFound, "runtime.library /no/such/library.so does not exist"),
        ({"module": "no_such_plugin"}, DeviceNotFound, "runtime.module 'no_such_plugin' is not installed"),
        ({"module": "json"}, UsageError, "'json' has no get_library_path\\(\\); name the library instead"),
        ({"library": __file__}, RuntimeFault, "."),
    ],
)
def test_what_cannot_be_opened(tmp_path: Path, runtime: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        opened(tmp_path, **runtime)


@pytest.mark.parametrize(
    ("runtime", "message"),
    [
        ({}, "missing required field `provider`"),
        ({"provider": CPU, "providr": 1}, "unknown field `providr`"),
        ({"provider": CPU, "options": {"a": [1]}}, "at `\\$.options"),
        ({"provider": 3}, "Expected `str`, got `int`"),
    ],
)
def test_options_are_typed(runtime: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^runtime: .*{message}"):
        adapter.Adapter.read_options({"adapter": "onnxruntime", "deadlines": {}, **runtime})


def test_session_options_reach_the_runtime(tmp_path: Path) -> None:
    given = {
        "intra_op_num_threads": 1,
        "graph_optimization_level": "ORT_DISABLE_ALL",
        "execution_mode": "ORT_SEQUENTIAL",
        "session.intra_op.allow_spinning": False,
    }
    options, arguments = opened(tmp_path, session_options=given).session_options(Mode.STRICT)

    assert options.intra_op_num_threads == 1
    assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    assert options.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert arguments == {"providers": [CPU], "enable_fallback": 0}


@pytest.mark.parametrize("key", ["no_such_option", "_private", "add_session_config_entry"])
def test_an_unknown_session_option_names_the_known_ones(tmp_path: Path, key: str) -> None:
    cpu = opened(tmp_path)
    cpu.options.session_options[key] = 1
    with pytest.raises(UsageError, match=f"onnxruntime has no '{key}'; known are .*intra_op_num_threads"):
        cpu.session_options(Mode.STRICT)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "no_such_option",
            1,
            "runtime.session_options: onnxruntime has no 'no_such_option'; known are .*, and keys with",
        ),
        ("intra_op_num_threads", "two", "runtime.session_options.intra_op_num_threads: 'two' is no int"),
        ("intra_op_num_threads", 1.5, "'1.5' is no int"),
        ("intra_op_num_threads", 10**15, "'1000000000000000' is no int"),
        ("enable_mem_pattern", "yes", "runtime.session_options.enable_mem_pattern: 'yes' is no bool"),
        ("logid", 3, "runtime.session_options.logid: '3' is no str"),
        ("graph_optimization_level", "ORT_ENABLE_SOME", "there is no 'ORT_ENABLE_SOME'; known are ORT_DISABLE_ALL, "),
        ("graph_optimization_level", 99, "there is no '99'; known are "),
        ("execution_mode", "ORT_FAST", "runtime.session_options.execution_mode: there is no 'ORT_FAST'; known are "),
        ("execution_mode", "__class__", "there is no '__class__'; known are ORT_SEQUENTIAL, ORT_PARALLEL$"),
    ],
)
def test_a_wrong_session_option_is_found_before_any_model(
    tmp_path: Path, key: str, value: str | int | float, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        opened(tmp_path, session_options={key: value})


def test_session_options_are_looked_at_before_the_device(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="runtime.session_options"):
        opened(tmp_path, library="/no/such/library.so", session_options={"intra_op_num_threads": "two"})


@pytest.mark.parametrize(("value", "text"), [(True, "1"), (False, "0"), (7, "7"), (0.5, "0.5"), ("a b", "a b")])
def test_an_option_with_a_dot_is_the_runtime_s_own_to_judge(tmp_path: Path, value: Any, text: str) -> None:
    options, _ = opened(tmp_path, session_options={"vendor.key": value}).session_options(Mode.STRICT)

    assert options.get_session_config_entry("vendor.key") == text


def test_a_device_is_never_given_a_silent_way_out(tmp_path: Path) -> None:
    made = adapter.Adapter(
        adapter.Adapter.read_options({"provider": "XExecutionProvider", "options": {"a": True}}), tmp_path
    )
    made.ort = onnxruntime
    strict, arguments = made.session_options(Mode.STRICT)
    assert strict.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"
    assert arguments == {"providers": [("XExecutionProvider", {"a": "1"})], "enable_fallback": 0}

    shared, arguments = made.session_options(Mode.SHARED)
    with pytest.raises(RuntimeError):
        shared.get_session_config_entry("session.disable_cpu_ep_fallback")
    assert arguments["enable_fallback"] == 0, "sharing nodes is not retrying elsewhere"

    _, arguments = made.session_options(Mode.USER)
    assert "enable_fallback" not in arguments
    _, arguments = made.session_options(Mode.HOST)
    assert arguments == {"providers": [CPU]}
    _, arguments = made.session_options(Mode.UNFOLDED)
    assert arguments["disabled_optimizers"] == ["ConstantFolding"]
    assert made.modes() == (Mode.STRICT, Mode.SHARED)


def test_a_user_s_option_cannot_allow_the_fallback_again(tmp_path: Path) -> None:
    runtime = {"provider": "XExecutionProvider", "session_options": {"session.disable_cpu_ep_fallback": "0"}}
    made = adapter.Adapter(adapter.Adapter.read_options(runtime), tmp_path)
    made.ort = onnxruntime

    assert made.session_options(Mode.STRICT)[0].get_session_config_entry("session.disable_cpu_ep_fallback") == "1"


@pytest.mark.parametrize(
    ("model", "phase"),
    [
        (b"no model", "compile"),
        (
            serialised(
                [helper.make_node("NoSuchOperator", ["x"], ["y"])],
                [tensor("x", "float32", [1])],
                [tensor("y", "float32", [1])],
            ),
            "compile",
        ),
    ],
)
def test_a_rejected_model_keeps_the_runtime_s_words(cpu: adapter.Adapter, model: bytes, phase: str) -> None:
    with pytest.raises(RuntimeFault) as caught:
        cpu.compile(model)
    assert caught.value.phase == phase
    assert caught.value.kind in ("InvalidProtobuf", "InvalidGraph", "Fail", "NotImplemented")
    assert str(caught.value)


def test_a_failed_run_keeps_the_runtime_s_words(cpu: adapter.Adapter) -> None:
    session = cpu.compile(two_nodes())

    with pytest.raises(RuntimeFault) as caught:
        session.infer({"a": np.ones((3, 3), np.float32), "b": FEEDS["b"]})
    assert (caught.value.phase, caught.value.kind) == ("run", "InvalidArgument")


def test_onnx_s_names_for_types_are_used_throughout() -> None:
    assert onnx.__version__
    for text, named in [
        ("tensor(float)", "tensor(float32)"),
        ("tensor(double)", "tensor(float64)"),
        ("seq(tensor(float))", "seq(tensor(float32))"),
        ("optional(seq(tensor(double)))", "optional(seq(tensor(float64)))"),
        ("tensor(float16)", "tensor(float16)"),
        ("opaque", "opaque"),
    ]:
        assert ort_values.named(text) == named
