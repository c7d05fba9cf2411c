"""Where ONNX Runtime ran the nodes: what its witnesses say in each mode, and nothing left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from adapters.models import CPU, FEEDS, opened, serialised, tensor, two_nodes
from onnx import helper

from conformance.adapters.runtime import onnxruntime as adapter
from conformance.adapters.runtime.port import Mode, Unavailable
from conformance.records import Witness


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
