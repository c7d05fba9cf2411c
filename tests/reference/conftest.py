"""A small suite that is generated in no time, and the real one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import helper

from conformance.reference import generate, suite

if TYPE_CHECKING:
    from pathlib import Path


def raw(
    name: str,
    nodes: list[Any],
    inputs: dict[str, Any],
    outputs: dict[str, Any],
    *,
    kind: str = "node",
    opset: int = 14,
    data_sets: list[Any] | None = None,
) -> generate.RawCase:
    """A case as upstream's generator would give it, with types and shapes taken from the arrays."""

    def info(key: str, value: Any) -> Any:
        return helper.make_tensor_value_info(key, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)

    graph = helper.make_graph(
        nodes, name, [info(*pair) for pair in inputs.items()], [info(*pair) for pair in outputs.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    sets = [(list(inputs.values()), list(outputs.values()))] if data_sets is None else data_sets
    return generate.RawCase(
        SimpleNamespace(
            name=name, kind=kind, rtol=1e-3, atol=1e-7, model=model, data_sets=sets, model_dir=None, url=None
        )
    )


ANSWER = np.array([1234.5, -8765.25, 0.0009765625], np.float32)


def small_cases() -> list[generate.RawCase]:
    """Three cases: an Add, its expanded variant, and one of another kind with two data sets."""
    x = np.array([1.0, 2.0, 3.0], np.float32)
    inputs = {"x": x, "y": ANSWER - x}
    add = helper.make_node("Add", ["x", "y"], ["z"])
    spelled_out = [helper.make_node("Identity", ["x"], ["t"]), helper.make_node("Add", ["t", "y"], ["z"])]
    relu = helper.make_node("Relu", ["x"], ["z"])
    return [
        raw("test_add_expanded_ver18", spelled_out, inputs, {"z": ANSWER}),
        raw("test_add", [add], inputs, {"z": ANSWER}),
        raw("test_two", [relu], {"x": x}, {"z": x}, kind="simple", data_sets=[([x], [x]), ([x + 1], [x + 1])]),
    ]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache whose suite has three cases; returns the cache folder."""
    monkeypatch.setenv("CONFORMANCE_CACHE", str(tmp_path))
    monkeypatch.setattr(generate, "_collect", lambda progress: (progress("generating", 0, 1), small_cases())[1])
    return tmp_path


@pytest.fixture(scope="session")
def whole() -> suite.Suite:
    """The whole suite, from the cache or generated once."""
    return suite.load_suite()


@pytest.fixture
def answer() -> Any:
    """The expected output of the small suite's Add cases."""
    return ANSWER


@pytest.fixture
def raw_case() -> Any:
    """The maker of raw cases: a test module cannot import this file under every import mode of pytest."""
    return raw
