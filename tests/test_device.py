"""A device in somebody's own tests: answers, refusals, crashes, and what is left of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance import device as own
from conformance.device import Device, DeviceFailed, load_reference
from conformance.errors import DeviceNotFound, HarnessError, UsageError
from conformance.reference import probes

PAGE = Path(__file__).resolve().parent.parent / "docs" / "pytest.md"
Open = Callable[..., Device]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """Open the misbehaving device with options."""

    def make(runtime: dict[str, Any] | None = None, **options: Any) -> Device:
        tree: dict[str, Any] = {
            "conformance": 1,
            "device": {"vendor": "Lab", "model": "M", "category": "host-reference", "hardware": "cpu"},
            "runtime": runtime or {"adapter": "misbehaving", "provider": "CPUExecutionProvider", "options": options},
            "declares": {"opsets": {"ai.onnx": [7, 26]}, "types": ["float32"]},
        }
        tree["runtime"].setdefault("deadlines", {"open_s": 15, "compile_s": 15, "run_s": 1})
        path = tmp_path / "device.yaml"
        path.write_text(json.dumps(tree), encoding="utf-8")
        return Device.open(path)

    return make


def ask(device: Device, salt: int = 1) -> own.Answer:
    inputs, _ = probes.matmul_relu(salt)
    return device.run(probes.probe_model("matmul_relu"), inputs)


def test_a_device_answers_and_says_where_it_ran(opened: Open) -> None:
    with opened() as device:
        assert device.identity is None
        for salt in (1, 5):
            answer = ask(device, salt)
            own.judge(answer.outputs, {"y": probes.matmul_relu(salt)[1][0]}, rtol=0, atol=0)
        assert device.identity is not None
        assert device.identity.provider == "CPUExecutionProvider"
    assert {one.source for one in answer.witnesses} == {"assignment", "profile"}
    assert answer.mode == "strict"
    assert answer.outputs["y"].flags.owndata  # type: ignore[union-attr]


def test_models_come_as_bytes_protos_and_paths(opened: Open, tmp_path: Path) -> None:
    import onnx

    data = probes.probe_model("matmul_relu")
    (tmp_path / "m.onnx").write_bytes(data)
    inputs, (want,) = probes.matmul_relu(3)
    with opened() as device:
        for model in (data, onnx.load_model_from_string(data), tmp_path / "m.onnx"):
            own.judge(device.run(model, inputs).outputs, {"y": want})


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("raise", "rejected at run: RuntimeError: the device refuses"),
        ("segv", "CRASH: the child died of SIGSEGV"),
        ("hang", "TIMEOUT: no answer within 1 s in phase run"),
        ("mutate-inputs", "the device changed its inputs: a, b"),
    ],
)
def test_what_goes_wrong_is_told_and_the_next_call_is_answered(opened: Open, behaviour: str, words: str) -> None:
    with opened(behaviour=behaviour, once=True) as device:
        with pytest.raises(DeviceFailed, match=re.escape(words)):
            ask(device)
        assert ask(device).outputs


def test_a_device_that_is_not_there(opened: Open) -> None:
    with (
        opened({"adapter": "onnxruntime", "provider": "CUDAExecutionProvider"}) as device,
        pytest.raises(DeviceNotFound),
    ):
        ask(device)


def test_a_device_that_refuses_to_open(opened: Open) -> None:
    with opened(behaviour="open-refuse") as device, pytest.raises(DeviceFailed, match="the driver refuses to load"):
        ask(device)


def test_a_device_is_held_by_one(opened: Open) -> None:
    with opened(), pytest.raises(HarnessError, match="is in use by process"):
        opened()
    with opened() as device:
        assert ask(device)


def test_a_reference_that_does_not_exist_names_its_neighbours() -> None:
    with pytest.raises(UsageError, match="near: .*ai.onnx.Relu-14"):
        load_reference("operators/ai.onnx.Relu-14/float32/test_rleu")


def test_judging_is_the_harness_s_own() -> None:
    y = np.ones(3, np.float32)
    own.judge({"y": y}, {"y": y})
    for wrong in ({"z": y}, {"y": y, "z": y}, {"y": y + 1}, {"y": y.astype(np.float64)}, {"y": y.reshape(1, 3)}):
        with pytest.raises(AssertionError):
            own.judge(wrong, {"y": y})


def test_the_page_s_example_runs(tmp_path: Path) -> None:
    (body,) = re.findall(r"```python\n# test_mine\.py\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "test_mine.py").write_text(body, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null"]
    good = ["--conformance-profile", "reference-cpu", "test_mine.py"]
    done = subprocess.run([*command, *good], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    done = subprocess.run([*command, "test_mine.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the fixture `device` needs --conformance-profile FILE" in done.stdout
