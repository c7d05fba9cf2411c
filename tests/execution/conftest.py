"""Small models, cases made of them, and the stage on which children are scripts; and a way to find `execution.staging`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from conformance.records import Case
from conformance.reference import probes
from conformance.tensors import to_ref
from conformance.workload import ModelRef, NamedValue, Workload

if TYPE_CHECKING:
    from execution.desk import Desk
    from execution.staging import Stage

TESTS = str(Path(__file__).resolve().parent.parent)
if TESTS not in sys.path:
    sys.path.append(TESTS)

MakeCase = Callable[..., Case]


@pytest.fixture
def make_case() -> MakeCase:
    """Make a case of the session check: a probe model with its inputs, in any number of data sets."""

    def make(name: str = "output-contract", model: str = "four_outputs", salts: tuple[int, ...] = (3,)) -> Case:
        datasets = [
            [NamedValue(key, to_ref(value)) for key, value in getattr(probes, model)(salt)[0].items()] for salt in salts
        ]
        outputs = ["sum", "difference", "product", "turned"] if model == "four_outputs" else ["y"]
        return Case(
            id=f"interface/session/{name}",
            check="session",
            requirements=("IF-001",),
            why="a test",
            params={"probe": name, "outputs": outputs},
            workload=Workload(model=ModelRef(data=probes.probe_model(model)), datasets=datasets),
        )

    return make


@pytest.fixture
def case(make_case: MakeCase) -> MakeCase:
    """Make a case under a name, with changes."""

    def make(name: str = "a", **changes: Any) -> Case:
        return msgspec.structs.replace(make_case(), id=f"interface/session/{name}", **changes)

    return make


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A stage in a folder of its own."""
    from execution.staging import Stage

    return Stage(tmp_path)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk; alarms are silent, since in this process nobody has made them dump the stack."""
    from execution.desk import Desk

    before = signal.signal(signal.SIGALRM, lambda *_: None)
    made = Desk(tmp_path)
    yield made
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    made.close()


@pytest.fixture
def identity_model() -> Callable[[tuple[int, ...]], bytes]:
    """Make a model that copies a float32 tensor of a shape."""

    def make(shape: tuple[int, ...]) -> bytes:
        from onnx import TensorProto, helper

        infos: list[Any] = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
        node = helper.make_node("Identity", ["x"], ["y"])
        graph = helper.make_graph([node], "copy", infos[:1], infos[1:])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        return bytes(model.SerializeToString())

    return make


@pytest.fixture
def large() -> np.ndarray[Any, Any]:
    """A tensor that travels through shared memory."""
    return np.arange(512 * 1024, dtype=np.float32).reshape(512, 1024)
