"""The ONNX Runtime adapter on the CPU provider: every type, every kind of value, every mode, and nothing left behind."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from conformance.adapters.runtime import onnxruntime as adapter
from conformance.adapters.runtime.port import Mode, RuntimeFault, Unavailable
from conformance.errors import DeviceNotFound, UsageError
from conformance.records import TensorInfo, Witness
from conformance.tensors import BITS_OF_PACKED, DTYPES, ONNX_TYPE_OF, equal_bits

CPU = adapter.HOST_PROVIDER
NOT_IN_IDENTITY = {"complex64", "complex128", "float8e8m0", "float6e2m3", "float6e3m2", *BITS_OF_PACKED}
"""Types that ONNX Runtime's Identity does not take."""


def opened(folder: Path, **runtime: Any) -> adapter.Adapter:
    made = adapter.Adapter(adapter.Adapter.read_options({"provider": CPU} | runtime), folder)
    made.open()
    return made


@pytest.fixture
def cpu(tmp_path: Path) -> adapter.Adapter:
    """The CPU provider, bound."""
    return opened(tmp_path)


def serialised(nodes: list[Any], inputs: list[Any], outputs: list[Any], opset: int = 21) -> bytes:
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return bytes(model.SerializeToString())


def tensor(name: str, kind: str, shape: Any) -> Any:
    return helper.make_tensor_value_info(name, ONNX_TYPE_OF[kind], shape)


def copying(kind: str, shape: Any) -> bytes:
    node = helper.make_node("Identity", ["x"], ["y"])
    return serialised([node], [tensor("x", kind, shape)], [tensor("y", kind, shape)])


def casting(source: str, target: str, shape: Any) -> bytes:
    node = helper.make_node("Cast", ["x"], ["y"], to=ONNX_TYPE_OF[target])
    opset = 23 if "float4e2m1" in (source, target) else 25
    return serialised([node], [tensor("x", source, shape)], [tensor("y", target, shape)], opset)


def sample(kind: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    count = int(np.prod(shape))
    if kind == "bool":
        return (np.arange(count) % 2 == 0).reshape(shape)
    if kind == "string":
        return np.array([f"ü{n}" for n in range(count)], dtype=object).reshape(shape)
    return (np.arange(count) % 7).astype(np.float32).astype(DTYPES[kind]).reshape(shape)


@pytest.mark.parametrize("shape", [(3, 5), (), (0, 4)])
@pytest.mark.parametrize("kind", sorted({*DTYPES, "string"} - NOT_IN_IDENTITY))
def test_every_type_goes_through_unchanged(cpu: adapter.Adapter, kind: str, shape: tuple[int, ...]) -> None:
    value = sample(kind, shape)
    session = cpu.compile(copying(kind, shape))
    ((name, result),) = session.infer({"x": value})
    gc.collect()

    assert name == "y"
    assert equal_bits(result, value)
    assert session.outputs == (TensorInfo(name="y", type=f"tensor({kind})", shape=shape or None),)
    session.close()


LOW_AND_HIGH = {
    "int4": [-8, -1, 0, 1, 7],
    "uint4": [0, 1, 8, 15, 3],
    "int2": [-2, -1, 0, 1, 1],
    "uint2": [0, 1, 2, 3, 3],
    "float4e2m1": [-6, -0.5, 0, 1.5, 6],
    "bfloat16": [-1, 0, 1, 2, 256],
    "float16": [-1, 0, 1, 2, 256],
    "float8e4m3fn": [-1, 0, 1, 2, 256],
    "float8e5m2": [-1, 0, 1, 2, 256],
    "float8e4m3fnuz": [-1, 0, 1, 2, 128],
}
"""Values that a type holds exactly; five of them, so that packed types end inside a byte."""


@pytest.mark.parametrize("kind", sorted(set(LOW_AND_HIGH) - {"float4e2m1"}))  # the provider has no Cast from it
def test_narrow_types_come_out_and_go_in_to_the_bit(cpu: adapter.Adapter, kind: str) -> None:
    value = np.array(LOW_AND_HIGH[kind], np.float32)
    ((_, narrow),) = cpu.compile(casting("float32", kind, [5])).infer({"x": value})
    assert isinstance(narrow, np.ndarray)
    assert narrow.dtype == DTYPES[kind]
    assert narrow.astype(np.float32).tolist() == value.tolist()

    ((_, wide),) = cpu.compile(casting(kind, "float32", [5])).infer({"x": value.astype(DTYPES[kind])})
    assert isinstance(wide, np.ndarray)
    assert wide.tolist() == value.tolist()


@pytest.mark.parametrize("kind", ["int4", "bfloat16"])
def test_nothing_at_all_can_be_narrow(cpu: adapter.Adapter, kind: str) -> None:
    ((_, narrow),) = cpu.compile(casting("float32", kind, [0])).infer({"x": np.zeros(0, np.float32)})
    ((_, wide),) = cpu.compile(casting(kind, "float32", [0])).infer({"x": np.zeros(0, DTYPES[kind])})

    assert isinstance(narrow, np.ndarray)
    assert isinstance(wide, np.ndarray)
    assert (narrow.shape, narrow.dtype, wide.shape) == ((0,), DTYPES[kind], (0,))


def test_a_sequence_goes_in_and_out(cpu: adapter.Adapter) -> None:
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    infos = [helper.make_value_info(name, kind) for name in "xy"]
    session = cpu.compile(serialised([helper.make_node("Identity", ["x"], ["y"])], infos[:1], infos[1:]))
    value: Any = [np.ones((2, 3), np.float32), np.zeros((1,), np.float32)]
    ((_, result),) = session.infer({"x": value})

    assert equal_bits(result, value)
    assert (
        session.inputs == (TensorInfo(name="x", type="seq(tensor(float32))", shape=None),)
        or session.inputs[0].shape == ()
    )


@pytest.mark.parametrize("full", [True, False])
def test_an_optional_may_be_empty(cpu: adapter.Adapter, full: bool) -> None:
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [2]))
    node = helper.make_node("OptionalHasElement", ["x"], ["y"])
    model = serialised([node], [helper.make_value_info("x", kind)], [tensor("y", "bool", [])])
    value = np.ones(2, np.float32) if full else None
    ((_, result),) = cpu.compile(model).infer({"x": value})

    assert isinstance(result, np.ndarray)
    assert result.tolist() is full


FLOATS = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))


def test_a_sequence_beside_a_type_that_numpy_lacks_is_unavailable_and_no_rejection(cpu: adapter.Adapter) -> None:
    nodes = [helper.make_node("SequenceLength", ["q"], ["n"]), helper.make_node("Identity", ["x"], ["y"])]
    inputs = [helper.make_value_info("q", FLOATS), tensor("x", "bfloat16", [2])]
    session = cpu.compile(serialised(nodes, inputs, [tensor("n", "int64", []), tensor("y", "bfloat16", [2])]))

    with pytest.raises(Unavailable, match="sequences and optionals"):
        session.infer({"q": [np.ones(2, np.float32)], "x": np.ones(2, DTYPES["bfloat16"])})


def test_a_sequence_out_of_a_typed_model_is_unavailable_and_no_failure(cpu: adapter.Adapter) -> None:
    nodes = [helper.make_node("SequenceConstruct", ["x"], ["q"]), helper.make_node("Identity", ["b"], ["y"])]
    inputs = [tensor("x", "float32", [2]), tensor("b", "bfloat16", [2])]
    session = cpu.compile(
        serialised(nodes, inputs, [helper.make_value_info("q", FLOATS), tensor("y", "bfloat16", [2])])
    )

    with pytest.raises(Unavailable, match="a sequence or optional among outputs"):
        session.infer({"x": np.ones(2, np.float32), "b": np.ones(2, DTYPES["bfloat16"])})


def test_large_outputs_are_written_in_place(cpu: adapter.Adapter) -> None:
    shape = (64, 64)
    given: list[np.ndarray[Any, Any]] = []

    def place(name: str, wanted: tuple[int, ...]) -> np.ndarray[Any, Any]:
        assert (name, wanted) == ("float32", shape)
        given.append(np.full(wanted, np.nan, np.float32))
        return given[-1]

    value = sample("float32", shape)
    session = cpu.compile(copying("float32", shape))
    ((_, result),) = session.infer({"x": value}, place)

    assert result is given[0]
    assert np.array_equal(given[0], value), "the runtime wrote into the memory that it was given"
    session.infer({"x": value}, place)
    assert session.witnesses()[1].nodes == {CPU: 2}, "bound runs are witnessed too"


def test_an_output_whose_shape_is_not_known_is_not_placed(cpu: adapter.Adapter) -> None:
    def place(name: str, wanted: tuple[int, ...]) -> None:
        raise AssertionError(name)

    value = sample("float32", (2, 4))
    ((_, result),) = cpu.compile(copying("float32", ["n", 4])).infer({"x": value}, place)

    assert equal_bits(result, value)


def test_an_output_of_unknown_rank_has_no_shape(cpu: adapter.Adapter) -> None:
    assert cpu.compile(copying("float32", None)).outputs[0].shape is None


def test_a_small_output_is_not_placed(cpu: adapter.Adapter) -> None:
    ((_, result),) = cpu.compile(copying("float32", [2])).infer({"x": np.ones(2, np.float32)}, lambda *_: None)

    assert equal_bits(result, np.ones(2, np.float32))


def test_strings_are_never_placed(cpu: adapter.Adapter) -> None:
    session = cpu.compile(copying("string", [1]))
    ((_, result),) = session.infer({"x": np.array(["a"], object)}, lambda *_: pytest.fail("placed"))

    assert isinstance(result, np.ndarray)
    assert result.tolist() == ["a"]


def test_string_inputs_keep_numbers_from_being_bound(cpu: adapter.Adapter) -> None:
    nodes = [helper.make_node("Size", ["x"], ["y"])]
    model = serialised(nodes, [tensor("x", "string", [2])], [tensor("y", "int64", [])])
    ((_, result),) = cpu.compile(model).infer(
        {"x": np.array(["a", "b"], object)}, lambda name, shape: np.empty(shape, DTYPES[name])
    )

    assert isinstance(result, np.ndarray)
    assert result.tolist() == 2


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


def two_nodes() -> bytes:
    nodes = [helper.make_node("MatMul", ["a", "b"], ["t"]), helper.make_node("Relu", ["t"], ["y"])]
    return serialised(nodes, [tensor(n, "float32", [2, 2]) for n in "ab"], [tensor("y", "float32", [2, 2])])


FEEDS: dict[str, Any] = {"a": np.eye(2, dtype=np.float32), "b": np.eye(2, dtype=np.float32)}


@pytest.mark.parametrize("mode", [Mode.STRICT, Mode.UNFOLDED, Mode.HOST])
def test_assignment_and_profile_agree(cpu: adapter.Adapter, tmp_path: Path, mode: Mode) -> None:
    session = cpu.compile(two_nodes(), mode)
    session.infer(FEEDS)

    assert session.witnesses() == (
        Witness(source="assignment", nodes={CPU: 2}),
        Witness(source="profile", nodes={CPU: 2}),
    )
    session.close()
    assert list(tmp_path.iterdir()) == [], "the profile is gone when it was read"


def test_a_plain_user_is_not_profiled(cpu: adapter.Adapter, tmp_path: Path) -> None:
    session = cpu.compile(two_nodes(), Mode.USER)
    session.infer(FEEDS)

    assert [witness.source for witness in session.witnesses()] == ["assignment"]
    assert list(tmp_path.iterdir()) == []


def test_a_session_that_never_ran_leaves_no_profile(cpu: adapter.Adapter, tmp_path: Path) -> None:
    session = cpu.compile(two_nodes())
    assert [witness.source for witness in session.witnesses()] == ["assignment"]
    session.close()

    assert list(tmp_path.iterdir()) == []


def test_each_session_has_a_profile_of_its_own(cpu: adapter.Adapter) -> None:
    sessions = [cpu.compile(two_nodes()) for _ in range(10)]
    for count, session in enumerate(sessions, start=1):
        for _ in range(count):
            session.infer(FEEDS)

    assert [session.witnesses()[1].nodes[CPU] for session in sessions] == [2 * n for n in range(1, 11)]


def test_a_graph_that_is_folded_away_has_a_node_again_when_unfolded(cpu: adapter.Adapter) -> None:
    model = serialised(
        [helper.make_node("Shape", ["x"], ["y"])], [tensor("x", "float32", [2, 3])], [tensor("y", "int64", [2])]
    )
    counts = []
    for mode in (Mode.STRICT, Mode.UNFOLDED):
        session = cpu.compile(model, mode)
        session.infer({"x": np.ones((2, 3), np.float32)})
        counts.append([sum(witness.nodes.values()) for witness in session.witnesses()])

    assert counts == [[0, 0], [1, 1]]


def test_the_host_has_nobody_to_share_with(cpu: adapter.Adapter) -> None:
    with pytest.raises(Unavailable, match="the CPU provider is the host"):
        cpu.compile(two_nodes(), Mode.SHARED)


class Parts:
    """A session that tells of nodes on two providers."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get_provider_graph_assignment_info(self) -> list[Any]:
        class Node:
            def __init__(self, op_type: str) -> None:
                self.op_type = op_type

        class Part:
            def __init__(self, ep_name: str, ops: list[str]) -> None:
                self.ep_name, self._ops = ep_name, ops

            def get_nodes(self) -> list[Node]:
                return [Node(op) for op in self._ops]

        return [Part("X", ["Conv"]), Part(CPU, ["Shape", "Gather", "Shape"]), Part("X", ["Relu", "Add"])]

    def end_profiling(self) -> str:
        events = [
            {"cat": "Session", "name": "model_loading"},
            {"cat": "Node", "args": {"provider": "X", "op_name": "FusedConv"}},
            {"cat": "Node", "args": {"provider": CPU, "op_name": "Shape"}},
            {"cat": "Node", "args": {"op_name": "fence"}},
            {"cat": "Node"},
        ]
        import msgspec

        self._path.write_bytes(msgspec.json.encode(events))
        return str(self._path)


def test_nodes_on_the_host_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = opened(tmp_path)
    session: Any = made.compile(two_nodes())
    monkeypatch.setattr(made, "is_host_provider", False)
    session._session, session._ran, session._guarded = Parts(tmp_path / "profile.json"), True, True

    assert session.witnesses() == (
        Witness(source="assignment", nodes={"X": 3, CPU: 3}, host_ops=("Gather", "Shape")),
        Witness(source="profile", nodes={"X": 1, CPU: 1}, host_ops=("Shape",)),
        Witness(source="refusal", refused=True, detail="session.disable_cpu_ep_fallback=1 was accepted"),
    )
    assert not (tmp_path / "profile.json").exists()


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


class Device:
    """An EP device as a plugin would offer it."""

    def __init__(self, name: str = "XExecutionProvider", kind: str = "NPU", **metadata: str) -> None:
        self.ep_name, self.ep_vendor, self.ep_metadata = name, "Acme", {"version": "1.2", "Description": "X1"}

        class Hardware:
            type = getattr(onnxruntime.OrtHardwareDeviceType, kind)
            vendor_id, device_id, vendor = 7, 9, "Acme"

        self.device = Hardware()
        self.device.metadata = metadata  # type: ignore[attr-defined]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., adapter.Adapter]:
    """Make an adapter whose library offers the devices of the test."""
    library = tmp_path / "libx.so"
    library.touch()

    def make(devices: list[Device], **runtime: Any) -> adapter.Adapter:
        registered: list[str] = []
        real = onnxruntime.get_ep_devices()
        monkeypatch.setattr(onnxruntime, "register_execution_provider_library", lambda name, _: registered.append(name))
        monkeypatch.setattr(onnxruntime, "get_ep_devices", lambda: real + (devices if registered else []))
        given = {"provider": "XExecutionProvider", "library": str(library)} | runtime
        return adapter.Adapter(adapter.Adapter.read_options(given), tmp_path)

    return make


Plugin = Callable[..., adapter.Adapter]


def test_a_plugin_s_device_is_bound_by_its_metadata(plugin: Plugin) -> None:
    devices = [Device(serial="1"), Device(serial="2"), Device("OtherExecutionProvider", serial="2")]
    made = plugin(devices, binding={"serial": "2"})
    identity = made.open()

    assert (identity.provider, identity.hardware, identity.vendor) == ("XExecutionProvider", "npu", "Acme")
    assert (identity.driver, identity.device_name, identity.unit) == ("1.2", "X1", "9")
    assert identity.details["serial"] == "2"
    assert identity.details["matching"] == "1"
    assert not made.runs_on_host_cpu


def test_a_plugin_on_the_host_s_cpu_is_one(plugin: Plugin) -> None:
    made = plugin([Device(kind="GPU"), Device(kind="CPU")], device="cpu")
    assert made.open().hardware == "cpu"
    assert made.runs_on_host_cpu


@pytest.mark.parametrize(
    ("devices", "runtime", "message"),
    [
        ([], {}, "libx.so registered, but offers no device 'XExecutionProvider' on this host \\(offered: none"),
        ([Device("Y")], {}, "offered: Y \\(npu\\)"),
        ([Device()], {"device": "gpu"}, "no device 'XExecutionProvider' with device=gpu"),
        ([Device(serial="1")], {"binding": {"serial": "2"}}, "with serial=2 on this host"),
    ],
)
def test_a_plugin_without_the_device(
    plugin: Plugin, devices: list[Device], runtime: dict[str, Any], message: str
) -> None:
    with pytest.raises(DeviceNotFound, match=message):
        plugin(devices, **runtime).open()


def test_a_plugin_may_be_named_by_its_module(plugin: Plugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x_plugin.py").write_text(f"def get_library_path():\n    return {str(tmp_path / 'libx.so')!r}\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert plugin([Device()], library=None, module="x_plugin").open().details["library"] == "libx.so"


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
        assert adapter._named(text) == named
