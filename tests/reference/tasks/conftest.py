"""What the tests of every task share: a digest of its samples, bad answers, and the committed models run over them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest
import yaml

MODELS = Path(__file__).resolve().parents[3] / "fixtures" / "models"
BATCH = 128

Arrays = dict[str, Any]


@pytest.fixture
def digest() -> Callable[[ModuleType], str]:
    """The first sixteen digits of the SHA-256 of a task's first four samples, after checks that hold for every task."""

    def of(task: ModuleType) -> str:
        inputs, labels = task.draw(4, 0)
        more, more_labels = task.draw(8, 0)
        others = task.draw(4, 1)[0]
        for name, value in inputs.items():
            assert (value.dtype, len(value)) == (np.float32, 4)
            assert np.array_equal(value * 256, np.round(value * 256)), "a multiple of 1/256"
            assert np.array_equal(more[name][:4], value), "a sample depends on the salt and its place alone"
            assert not np.array_equal(others[name], value)
        assert np.array_equal(more_labels[:4], labels)
        assert task.SAMPLES >= 459
        everything = b"".join(np.ascontiguousarray(value).tobytes() for value in [*inputs.values(), labels])
        return hashlib.sha256(everything).hexdigest()[:16]

    return of


@pytest.fixture
def bad_answers() -> Callable[[Arrays], Iterator[Arrays]]:
    """Outputs that are right for no sample, made from right ones: other shapes, other types, NaN, infinities, nothing."""

    def of(right: Arrays) -> Iterator[Arrays]:
        yield {}
        for name, value in right.items():
            yield right | {name: None}
            yield right | {name: value[:-1]}
            yield right | {name: value[..., None]}
            yield right | {name: value.tolist()}
            yield right | {name: value.astype(str)}
            yield right | {name: value.astype(np.complex64)}
            yield right | {name: np.zeros(value.shape, "V4")}
            for odd in (np.nan, np.inf, -np.inf):
                yield right | {name: np.full_like(value, odd, dtype=np.float32)}
                yield right | {name: np.full_like(value, odd, dtype=np.float16)}

    return of


@pytest.fixture
def measured() -> Callable[..., tuple[float, float]]:
    """Run a committed model over its task's samples: the share that is right, and what its card promises."""

    def of(name: str, task: ModuleType, variant: str = "float32") -> tuple[float, float]:
        metric = yaml.safe_load((MODELS / name / "card.yaml").read_text(encoding="utf-8"))["model"]["metric"]
        path = MODELS / name / f"{variant}.onnx"
        session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        inputs, labels = task.draw(metric["samples"], metric["salt"])
        names = [output.name for output in session.get_outputs()]
        right = []
        for start in range(0, len(labels), BATCH):
            rows = slice(start, start + BATCH)
            outputs = session.run(names, {key: value[rows] for key, value in inputs.items()})
            right.append(task.is_right(dict(zip(names, outputs, strict=True)), labels[rows]))
        return float(np.mean(np.concatenate(right))), float(metric["value"])

    return of
