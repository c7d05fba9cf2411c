"""Real models from installed packages: found without an import, believed by digest only, judged by their answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from conformance.adapters.runtime.port import Mode, PlaceOutput, RuntimeFault, RuntimeSession
from conformance.checks import packs as check
from conformance.checks.support.port import Planned, Requested
from conformance.observation import Observation, Seen
from conformance.plan import Context
from conformance.prepare import prepare, target_of
from conformance.records import Judgement, Outcome, Witness
from conformance.reference import packs
from conformance.reference.packs import PACKS, Pack
from conformance.tensors import Value, from_ref

Install = Callable[..., Pack]


def _model() -> bytes:
    nodes = [helper.make_node("Sigmoid", ["x"], ["p"]), helper.make_node("Mul", ["x", "x"], ["q"])]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (4, 8)) for name in "pq"]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (4, 8))], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a package with a model on the path, which fails when it is imported, and make it the only pack."""

    def put(content: bytes | None = None) -> Pack:
        folder = tmp_path / "site" / "some_model_package" / "models"
        folder.mkdir(parents=True)
        (folder.parent / "__init__.py").write_text("raise SystemExit('a pack is never imported')")
        (folder / "m.onnx").write_bytes(_model() if content is None else content)
        monkeypatch.syspath_prepend(str(tmp_path / "site"))
        monkeypatch.setenv("CONFORMANCE_CACHE", str(tmp_path / "cache"))
        digest = hashlib.sha256(_model()).hexdigest()
        pack = Pack("some", "some_model_package", "models/m.onnx", digest, "MIT", "a model", {"x": (4, 8)}, {})
        monkeypatch.setattr(packs, "PACKS", (pack,))
        return pack

    return put


def _planned(profile: str = "reference-cpu") -> list[Planned]:
    loaded, _ = prepare(profile)
    return list(check.plan(Requested("NUM-003", "MAY", {}, "asked"), Context(loaded, target_of(loaded), lambda: None)))


class Right(RuntimeSession):
    """Computes what the graph says, in float32."""

    def _infer(self, feeds: dict[str, Value], place: PlaceOutput | None) -> list[tuple[str, Value]]:
        x: Any = feeds["x"]
        return self.change([("p", 1 / (1 + np.exp(-x))), ("q", x * x)])

    def change(self, outputs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        return outputs

    def _witnesses(self) -> tuple[Witness, ...]:
        return (Witness(source="assignment", nodes={"CPUExecutionProvider": 2}),)


def _judge(desk: Any, one: Planned, device: Callable[[], RuntimeSession]) -> Judgement:
    observation = check.measure(one.filled(), desk({Mode.STRICT: device}))
    observation = msgspec.msgpack.decode(msgspec.msgpack.encode(observation), type=Observation)
    values = [
        [[(out.name, from_ref(out.value)) for out in run.outputs] for run in session.inferences]
        for session in observation.sessions
    ]
    return check.judge(one.case, Seen(observation, values), one.expected())  # type: ignore[misc]


def test_a_model_is_found_without_importing_its_package_and_a_right_device_passes(install: Install, desk: Any) -> None:
    install()
    (one,) = _planned()
    judged = _judge(desk, one, Right)

    assert one.case.id == "packs/some/answers"
    assert judged.outcome is Outcome.PASS, judged.reason
    assert [one.case.id for one in _planned()] == ["packs/some/answers"]  # from the cache, this time


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda outputs: [(name, value + np.float32(0.03)) for name, value in outputs], "is off by"),
        (lambda outputs: [outputs[0], ("q", outputs[1][1] * np.float32(1.05))], "q is off by 0.04"),
        (lambda outputs: outputs[::-1], "not those of the model"),
        (lambda outputs: outputs[:1], "not those of the model"),
        (lambda outputs: [(name, value.astype(np.float64)) for name, value in outputs], "type float64, want float32"),
        (lambda outputs: [(name, value * np.float32(np.nan)) for name, value in outputs], "NaN or infinite"),
    ],
)
def test_a_wrong_answer_fails(change: Callable[[Any], Any], told: str, install: Install, desk: Any) -> None:
    class Wrong(Right):
        def change(self, outputs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
            return change(outputs)

    install()
    judged = _judge(desk, _planned()[0], Wrong)

    assert judged.outcome is Outcome.FAIL
    assert told in judged.reason


def test_a_refusal_fails_and_another_place_too(install: Install, desk: Any) -> None:
    class Elsewhere(Right):
        def _witnesses(self) -> tuple[Witness, ...]:
            return (Witness(source="assignment", nodes={"Other": 2}),)

    def refuse() -> RuntimeSession:
        raise RuntimeFault("compile", "TooLarge", "no room")

    install()
    assert _judge(desk, _planned()[0], refuse).reason == "rejected at compile: TooLarge: no room"
    assert _judge(desk, _planned()[0], Elsewhere).outcome is Outcome.FAIL


def test_a_file_of_another_version_is_not_this_model(install: Install) -> None:
    pack = install(_model() + b"\0")

    assert packs.find(pack) is None
    assert _planned() == []


@pytest.mark.parametrize("package", ["no_such_package_at_all", "", "os.path", "sys"])
def test_a_package_that_is_not_there_has_no_case(package: str, install: Install) -> None:
    assert packs.find(replace(install(), package=package)) is None


def test_a_device_that_does_not_claim_what_it_needs_is_not_asked(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    monkeypatch.setattr(
        "conformance.profile.claims.Claims.why_unclaimed", lambda *_: "profile does not declare Sigmoid"
    )

    assert _planned()[0].case.unsupported == "profile does not declare Sigmoid"


def test_each_pack_says_whose_it_is() -> None:
    assert len({pack.name for pack in PACKS}) == len(PACKS) >= 6
    for pack in PACKS:
        assert pack.licence in ("Apache-2.0", "MIT")
        assert len(pack.sha256) == 64
        assert pack.what
        assert not Path(pack.file).is_absolute()
        assert ".." not in pack.file


def test_the_stand_in_is_a_model() -> None:
    onnx.checker.check_model(onnx.load_model_from_string(_model()), full_check=True)


def test_probabilities_that_lie_close_together_are_measured_by_their_own_size(
    install: Install, desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A map that is nearly 0 everywhere, as on a page without text, must not be met by zeros."""

    class Zeros(Right):
        def change(self, outputs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
            return [(name, np.zeros_like(value)) for name, value in outputs]

    install()
    one = _planned()[0]
    small = [[value * 1e-3 for value in one.expected()[0]]]  # type: ignore[misc, operator, union-attr]
    judged = _judge(desk, one._replace(expected=lambda: small), Zeros)

    assert judged.outcome is Outcome.FAIL
    assert "is off by 1" in judged.reason
