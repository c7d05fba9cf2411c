"""The bad requests: bad by ONNX's own reading too, the same every time, and each bad in the one way that its name says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError

from conformance.adapters.runtime import onnxruntime as ort_adapter
from conformance.adapters.runtime.port import RuntimeFault
from conformance.reference import broken_models, probes, wire
from conformance.reference.malformed import Malformed, malformed, tolerated

ALL = malformed()
MODELS = [bad for bad in ALL if bad.name.startswith("model/")]
REQUESTS = [bad for bad in ALL if bad.name.startswith("request/")]
GOOD, RIGHT = probes.matmul_relu(3)
ONNX_KINDS = (DecodeError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError, ValueError)
UNCHECKED = {
    "model/opset-too-new": "the checker reads no operator set from the future",
    "model/opset-too-new-beside-a-good-one": "the same",
    "model/unknown-domain": "the checker leaves domains that it does not know alone",
    "model/data-too-long": "the checker looks whether there is enough",
}
"""What onnx's checker lets pass, and why that says nothing."""


@pytest.fixture
def compile_model(tmp_path: Path) -> Callable[[bytes], Any]:
    """Compile on onnxruntime's CPU provider."""
    options = ort_adapter.Adapter.read_options({"provider": ort_adapter.HOST_PROVIDER})
    device = ort_adapter.Adapter(options, tmp_path)
    device.open()
    return device.compile


def named(cases: list[Malformed]) -> Any:
    return pytest.mark.parametrize("bad", cases, ids=[bad.name for bad in cases])


def test_there_are_enough_and_each_has_its_own_name() -> None:
    names = [bad.name for bad in ALL + tolerated()]
    assert len(names) == len(set(names))
    assert (len(MODELS) >= 100, len(REQUESTS) >= 25) == (True, True)
    assert all(name.isascii() and not set(name) & set("*?[] ") for name in names), "names are parts of case ids"
    assert all(bad.breaks for bad in ALL + tolerated())


def test_they_are_the_same_every_time() -> None:
    def plain(cases: list[Malformed]) -> list[Any]:
        told = [[(key, repr(value)) for key, value in bad.feeds.items()] for bad in cases]
        return [(bad.name, bad.model, feeds) for bad, feeds in zip(cases, told, strict=True)]

    assert plain(malformed()) == plain(ALL)
    assert plain(tolerated()) == plain(tolerated())


def test_no_model_is_given_twice_and_none_is_large() -> None:
    models = [bad.model for bad in MODELS]
    assert len(set(models)) == len(models)
    assert max(map(len, models)) < 1 << 16, "a claim of gigabytes in a small file"


@named([bad for bad in MODELS if bad.name not in UNCHECKED])
def test_onnx_refuses_the_model_too(bad: Malformed) -> None:
    with pytest.raises(ONNX_KINDS):
        onnx.checker.check_model(onnx.load_model_from_string(bad.model), full_check=True)


def test_what_onnx_lets_pass_is_listed() -> None:
    for bad in MODELS:
        if bad.name in UNCHECKED:
            onnx.checker.check_model(onnx.load_model_from_string(bad.model), full_check=True)


def test_the_model_that_all_are_made_from_is_good(compile_model: Callable[[bytes], Any]) -> None:
    """So each is bad for what was done to it and for nothing else."""
    whole = broken_models._whole()
    onnx.checker.check_model(onnx.load_model_from_string(whole), full_check=True)
    ((name, value),) = compile_model(whole).infer(dict(GOOD))
    assert (name, np.array_equal(value, RIGHT[0])) == ("y", True)


@pytest.mark.parametrize(
    "held",
    [
        wire.tensor("w", [8, 8], wire.FLOAT, wire.raw(bytes(256))),
        wire.tensor("w", [8], wire.FLOAT, wire.field(4, bytes(32))),
        wire.tensor("w", [1, 8], wire.FLOAT, wire.raw(bytes(32))),
    ],
)
def test_initialisers_are_good_where_data_and_claim_agree(compile_model: Callable[[bytes], Any], held: bytes) -> None:
    for model in (broken_models._added(held), broken_models._reduced(held)):
        onnx.checker.check_model(onnx.load_model_from_string(model), full_check=True)
        assert compile_model(model).infer(dict(GOOD))[0][1].shape == (8, 8)


@named(ALL)
def test_the_reference_refuses(compile_model: Callable[[bytes], Any], bad: Malformed) -> None:
    with pytest.raises(RuntimeFault) as error:
        compile_model(bad.model).infer(dict(bad.feeds))
    assert error.value.kind in {"InvalidProtobuf", "InvalidGraph", "InvalidArgument", "Fail"}


@named(tolerated())
def test_what_is_tolerated_is_answered(compile_model: Callable[[bytes], Any], bad: Malformed) -> None:
    """The day that this fails, onnxruntime has mended it: the model belongs into the check, and the findings page changes."""
    assert compile_model(bad.model).infer(dict(bad.feeds))[0][0] == "y"


@named(REQUESTS)
def test_wrong_inputs_differ_from_the_good_ones_in_names_or_one_way(bad: Malformed) -> None:
    assert bad.model == probes.probe_model("matmul_relu")
    right = {"a": (8, 16), "b": (16, 8)}
    told = {
        name: value.shape if isinstance(value, np.ndarray) and value.dtype == np.float32 else None
        for name, value in bad.feeds.items()
    }
    assert told != right


def test_requests_take_the_opset_that_the_device_claims() -> None:
    made = {bad.model for bad in malformed(17) if bad.name.startswith("request/")}
    assert [onnx.load_model_from_string(model).opset_import[0].version for model in made] == [17]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, b"\0"), (127, b"\x7f"), (300, b"\xac\x02"), (-1, b"\xff" * 9 + b"\x01"), (1 << 62, b"\x80" * 8 + b"\x40")],
)
def test_varints(number: int, text: bytes) -> None:
    assert wire.varint(number) == text


def test_what_is_written_is_what_onnx_reads() -> None:
    made = wire.model(
        wire.graph(
            [wire.node("Elu", ["x"], ["y"], wire.attribute("alpha", "f", 2.5), domain="d")],
            [wire.value_info("x", wire.FLOAT, [2, 3])],
            [wire.value_info("y", None)],
            [wire.tensor("w", [2], wire.INT64, wire.external(location="w.bin"))],
        ),
        [wire.opset(13), wire.opset(1, "d")],
    )
    model = onnx.load_model_from_string(made)
    (node,), (held,) = model.graph.node, model.graph.initializer

    assert (model.ir_version, [(o.domain, o.version) for o in model.opset_import]) == (8, [("", 13), ("d", 1)])
    assert (node.op_type, node.domain, list(node.input), list(node.output)) == ("Elu", "d", ["x"], ["y"])
    assert onnx.helper.get_attribute_value(node.attribute[0]) == 2.5
    assert node.attribute[0].type == onnx.AttributeProto.FLOAT
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [2, 3]
    assert not model.graph.output[0].HasField("type")
    assert (list(held.dims), held.data_type, held.data_location) == (
        [2],
        onnx.TensorProto.INT64,
        onnx.TensorProto.EXTERNAL,
    )
    assert {entry.key: entry.value for entry in held.external_data} == {"location": "w.bin"}
