"""How raw cases become rows and packs."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test import loader

from conformance.errors import HarnessError
from conformance.reference import generate
from conformance.reference.generate import Pack, RawCase

if TYPE_CHECKING:
    from pathlib import Path


def index_of(monkeypatch: pytest.MonkeyPatch, *cases: RawCase) -> Any:
    monkeypatch.setattr(generate, "_collect", lambda _: list(cases))
    return generate.generate("key", io.BytesIO(), io.BytesIO(), lambda *_: None)


def test_pack_aligns_shares_and_sums() -> None:
    file = io.BytesIO()
    pack = Pack(file, "inputs")
    first, again, other, nothing = pack.add(b"abc"), pack.add(b"abc"), pack.add(b"abcd"), pack.add(b"")
    assert first == again == (0, 3)
    assert other == (64, 4)
    assert nothing == (128, 0)
    assert file.getvalue() == b"abc" + bytes(61) + b"abcd" + bytes(60)
    assert pack.nbytes == 128
    twin = Pack(io.BytesIO(), "inputs")
    twin.add(b"abc")
    assert twin.digest != pack.digest
    twin.add(b"abcd")
    twin.add(b"")
    assert twin.digest == pack.digest


def test_pack_places_row_major_whatever_the_strides() -> None:
    file = io.BytesIO()
    ref = Pack(file, "expected").place(np.arange(6, dtype=np.int16).reshape(2, 3).T)
    assert (ref.dtype, ref.shape, ref.store, ref.nbytes) == ("int16", (3, 2), "expected", 12)
    assert np.frombuffer(file.getvalue(), np.int16).tolist() == [0, 3, 1, 4, 2, 5]


def test_values_are_normalised() -> None:
    packed = helper.make_tensor("t", TensorProto.INT4, [3], [1, -2, 7])
    array, scalar, none, sequence = generate._values([packed, np.float32(2.5), None, (np.float64(1), packed)])
    assert isinstance(array, np.ndarray)
    assert array.dtype == ml_dtypes.int4
    assert array.astype(int).tolist() == [1, -2, 7]
    assert isinstance(scalar, np.ndarray)
    assert scalar.shape == ()
    assert scalar.dtype == np.float32
    assert none is None
    assert isinstance(sequence, list)
    assert [type(item) for item in sequence] == [np.ndarray, np.ndarray]


def write_set(folder: Path, prefix: str, protos: list[Any]) -> None:
    folder.mkdir(exist_ok=True)
    for number, proto in enumerate(protos):
        (folder / f"{prefix}_{number}.pb").write_bytes(proto.SerializeToString())


def stored(tmp_path: Path, inputs: list[Any], given: list[Any]) -> RawCase:
    """A case in a folder, as the simple and converted kinds are, with one output that repeats the first input."""
    output = helper.make_value_info("out", inputs[0].type)
    graph = helper.make_graph([helper.make_node("Identity", [inputs[0].name], ["out"])], "g", inputs, [output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)]), tmp_path / "model.onnx")
    write_set(tmp_path / "test_data_set_0", "input", given)
    write_set(tmp_path / "test_data_set_0", "output", given[:1])
    return RawCase(
        SimpleNamespace(
            name="test_x",
            kind="simple",
            rtol=1e-3,
            atol=1e-7,
            model=None,
            data_sets=None,
            model_dir=str(tmp_path),
            url=None,
        )
    )


def test_files_pair_with_graph_inputs_by_number(tmp_path: Path) -> None:
    infos = [helper.make_tensor_value_info(f"x{n}", TensorProto.FLOAT, []) for n in range(12)]
    given = [numpy_helper.from_array(np.array(n, np.float32)) for n in range(12)]
    _, [(inputs, outputs)] = stored(tmp_path, infos, given).load()
    assert [float(value) for value in inputs if isinstance(value, np.ndarray)] == list(range(12))
    assert len(outputs) == 1


def test_sequences_and_optionals_are_read_as_such(tmp_path: Path) -> None:
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, [2])
    sequence = helper.make_value_info("s", helper.make_sequence_type_proto(tensor))
    optional = helper.make_value_info("o", helper.make_optional_type_proto(tensor))
    value = np.array([1, 2], np.float32)
    given = [numpy_helper.from_list([value, value + 1]), numpy_helper.from_optional(value)]
    _, [(inputs, _)] = stored(tmp_path, [sequence, optional], given).load()
    held, present = inputs
    assert isinstance(held, list)
    assert [item.tolist() for item in held if isinstance(item, np.ndarray)] == [[1, 2], [2, 3]]
    assert isinstance(present, np.ndarray)
    assert present.tolist() == [1, 2]


def test_initialisers_are_not_fed(monkeypatch: pytest.MonkeyPatch, raw_case: Any) -> None:
    x = np.array([1.0], np.float32)
    case = raw_case("test_a", [helper.make_node("Add", ["w", "x"], ["z"])], {"w": x, "x": x}, {"z": x + x})
    case._case.model.graph.initializer.append(numpy_helper.from_array(x, "w"))
    case._case.data_sets = [([x], [x + x])]
    (entry,) = index_of(monkeypatch, case).entries
    assert [name for name, _ in entry.datasets[0].inputs] == ["x"]


RELU = [helper.make_node("Relu", ["x"], ["z"])]
ONE = np.array([1.0], np.float32)


def test_more_values_than_inputs_are_refused(monkeypatch: pytest.MonkeyPatch, raw_case: Any) -> None:
    case = raw_case("test_a", RELU, {"x": ONE}, {"z": ONE}, data_sets=[([ONE, ONE], [ONE])])
    with pytest.raises(HarnessError, match=r"test_a .* do not pair up"):
        index_of(monkeypatch, case)


def test_a_case_without_data_is_refused(monkeypatch: pytest.MonkeyPatch, raw_case: Any) -> None:
    with pytest.raises(HarnessError, match=r"test_a .* has no data: reinstall onnx"):
        index_of(monkeypatch, raw_case("test_a", RELU, {"x": ONE}, {"z": ONE}, data_sets=[]))


def test_several_nodes_need_a_base_case(monkeypatch: pytest.MonkeyPatch, raw_case: Any) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["t"]), helper.make_node("Relu", ["t"], ["z"])]
    with pytest.raises(HarnessError, match=r"test_a .* has 2 nodes and no base case"):
        index_of(monkeypatch, raw_case("test_a", nodes, {"x": ONE}, {"z": ONE}))


def test_two_cases_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch, raw_case: Any) -> None:
    case = raw_case("test_a", RELU, {"x": ONE}, {"z": ONE})
    with pytest.raises(HarnessError, match="two backend cases of one name"):
        index_of(monkeypatch, case, case)


def test_the_global_generator_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(_: object) -> list[RawCase]:
        np.random.seed(0)  # as every ONNX case module does
        return []

    monkeypatch.setattr(generate, "_collect", draw)
    np.random.seed(7)
    want = np.random.random(3).tolist()
    np.random.seed(7)
    generate.generate("key", io.BytesIO(), io.BytesIO(), lambda *_: None)
    assert np.random.random(3).tolist() == want


def test_real_models_come_with_their_shipped_output() -> None:
    model, [(inputs, outputs)] = generate._light("onnx/backend/test/data/light/light_squeezenet.onnx")
    assert len(model.graph.node) > 50
    (ramp,), (wanted,) = inputs, outputs
    assert isinstance(ramp, np.ndarray)
    assert isinstance(wanted, np.ndarray)
    assert ramp.shape == (1, 3, 224, 224)
    assert wanted.size == 1000


def test_collecting_tells_its_progress_module_by_module(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, int]] = []
    monkeypatch.setattr(
        generate, "import_module", lambda name: onnx.backend.test.case.node if name.endswith("node") else None
    )
    monkeypatch.setattr(loader, "load_model_tests", lambda **_: [])
    assert generate._collect(lambda *news: told.append(news)) == []
    assert len(told) > 150
    assert {total for _, _, total in told} == {len(told)}


def test_a_case_of_kind_real_is_loaded_by_its_address() -> None:
    url = "onnx/backend/test/data/light/light_zfnet512.onnx"
    fields = {"name": "test_zfnet512", "kind": "real", "rtol": 1e-3, "atol": 1e-7, "model": None, "model_dir": None}
    model, data_sets = RawCase(SimpleNamespace(**fields, data_sets=None, url=url)).load()
    assert model.graph.output[0].name == "gpu_0/softmax_1"
    assert len(data_sets) == 1
