"""Any module with the ONNX Backend API is a runtime: bound, asked, and its words kept."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from conformance.adapters.runtime import onnx_backend as adapter
from conformance.adapters.runtime.port import Mode, RuntimeFault, Unavailable
from conformance.errors import DeviceNotFound, UsageError
from conformance.records import TensorInfo

BACKENDS = str(Path(__file__).resolve().parent.parent / "backends")


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The backends of the tests can be imported, and are forgotten afterwards."""
    monkeypatch.syspath_prepend(BACKENDS)
    yield
    for name in ("reference_backend", "hostile_backend", "vendor_backend"):
        sys.modules.pop(name, None)


def made(module: str, **runtime: Any) -> adapter.Adapter:
    return adapter.Adapter(adapter.Adapter.read_options({"module": module, **runtime}), Path())


def opened(module: str = "reference_backend", **runtime: Any) -> adapter.Adapter:
    bound = made(module, **runtime)
    bound.open()
    return bound


def vendor(monkeypatch: pytest.MonkeyPatch, **members: Any) -> str:
    module = types.ModuleType("vendor_backend")
    for name, member in members.items():
        setattr(module, name, member)
    monkeypatch.setitem(sys.modules, "vendor_backend", module)
    return "vendor_backend"


def add(shape: Any = (2,), initialised: bool = False) -> bytes:
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "aby"]
    constants = [helper.make_tensor("b", TensorProto.FLOAT, [2], [10.0, 20.0])] if initialised else []
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["y"])], "g", infos[:2], infos[2:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


A, B = np.array([1, 2], np.float32), np.array([3, 5], np.float32)


def test_a_model_runs_with_inputs_in_the_graph_s_order() -> None:
    session = opened().compile(add())
    ((name, value),) = session.infer({"b": B, "a": A})

    assert name == "y"
    assert isinstance(value, np.ndarray)
    assert value.tolist() == [4, 7]
    assert session.inputs == tuple(TensorInfo(name=n, type="tensor(float32)", shape=(2,)) for n in "ab")
    assert session.witnesses() == ()
    session.close()


def test_an_input_that_is_initialised_is_not_asked_for() -> None:
    session = opened().compile(add(initialised=True))
    ((_, value),) = session.infer({"a": A})

    assert [info.name for info in session.inputs] == ["a"]
    assert isinstance(value, np.ndarray)
    assert value.tolist() == [11, 22]


def test_who_the_module_is() -> None:
    bound = made("reference_backend")
    identity = bound.open()

    assert (identity.runtime, identity.provider, identity.hardware) == ("reference_backend", "CPU", "cpu")
    assert identity.runtime_version
    assert bound.runs_on_host_cpu
    assert not bound.has_witness
    assert bound.modes() == (Mode.STRICT,)
    bound.close()


def test_a_class_of_the_module_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import reference_backend  # type: ignore[import-not-found]

    class Backend:
        """As several in the wild do it."""

        prepare = staticmethod(reference_backend.prepare)

    module = vendor(monkeypatch, Backend=Backend, __version__="7")
    bound = made(module, device="NPU:0")
    identity = bound.open()

    assert (identity.runtime_version, identity.hardware, bound.runs_on_host_cpu) == ("7", "", False)
    ((_, value),) = bound.compile(add()).infer({"a": A, "b": B})
    assert isinstance(value, np.ndarray)
    assert value.tolist() == [4, 7]


def test_options_are_keyword_arguments_of_prepare(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def prepare(model: Any, device: str, **options: Any) -> Any:
        seen.append((device, options))
        return types.SimpleNamespace(run=lambda inputs: [inputs[0]])

    opened(vendor(monkeypatch, prepare=prepare), device="NPU", options={"threads": 2, "fast": True}).compile(add())
    assert seen == [("NPU", {"threads": 2, "fast": True})]


@pytest.mark.parametrize(
    ("members", "error", "message"),
    [
        ({}, UsageError, "has neither prepare\\(\\) nor a class Backend with it"),
        ({"Backend": object}, UsageError, "has neither prepare"),
        ({"prepare": len, "supports_device": lambda _: False}, DeviceNotFound, "does not support device 'CPU'"),
    ],
)
def test_modules_that_will_not_do(
    monkeypatch: pytest.MonkeyPatch, members: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        opened(vendor(monkeypatch, **members))


def test_a_module_that_is_missing_is_a_device_that_is_missing() -> None:
    with pytest.raises(DeviceNotFound, match="runtime.module 'no_such_backend' is not installed"):
        opened("no_such_backend")


def test_a_module_that_breaks_when_imported_is_the_vendor_s_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_backend.py").write_text("raise OSError('libvendor.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(RuntimeFault, match="libvendor.so.1") as caught:
        opened("broken_backend")
    assert (caught.value.phase, caught.value.kind) == ("open", "OSError")


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda _: [A, B], "run\\(\\) returned 2 outputs, the model has 1"),
        (lambda _: [], "run\\(\\) returned 0 outputs, the model has 1"),
        (lambda _: None, "NoneType"),
    ],
)
def test_a_wrong_count_of_outputs(monkeypatch: pytest.MonkeyPatch, run: Any, message: str) -> None:
    module = vendor(monkeypatch, prepare=lambda model, device: types.SimpleNamespace(run=run))
    session = opened(module).compile(add())

    with pytest.raises(RuntimeFault, match=message) as caught:
        session.infer({"a": A, "b": B})
    assert caught.value.phase == "run"


def test_prepare_that_returns_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeFault, match="prepare\\(\\) returned None") as caught:
        opened(vendor(monkeypatch, prepare=lambda model, device: None)).compile(add())
    assert (caught.value.phase, caught.value.kind) == ("compile", "NoneReturned")


def test_a_model_that_cannot_be_read() -> None:
    with pytest.raises(RuntimeFault) as caught:
        opened().compile(b"no model at all")
    assert caught.value.phase == "compile"


@pytest.mark.parametrize("mode", [Mode.HOST, Mode.SHARED])
def test_it_cannot_choose_where_nodes_run(mode: Mode) -> None:
    with pytest.raises(Unavailable, match="cannot choose where nodes run"):
        opened().compile(add(), mode)


def test_what_inputs_and_outputs_are_declared_as() -> None:
    sequence = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    kinds = [
        (helper.make_tensor_value_info("x", TensorProto.BFLOAT16, ["n", 3, None]), "tensor(bfloat16)", ("n", 3, None)),
        (helper.make_tensor_value_info("x", TensorProto.FLOAT, None), "tensor(float32)", None),
        (helper.make_tensor_value_info("x", TensorProto.STRING, []), "tensor(string)", ()),
        (helper.make_value_info("x", sequence), "sequence", None),
    ]
    for info, kind, shape in kinds:
        assert adapter._info(info) == TensorInfo(name="x", type=kind, shape=shape)
