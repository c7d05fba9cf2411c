"""What reference models should answer: kept by digest, made again where the cache is damaged, the same for every request."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from conformance.errors import HarnessError
from conformance.records import TensorInfo
from conformance.reference import answers, feeds, workloads
from conformance.reference.model_index import ReferenceModel, find_model, load_models
from conformance.reference.tasks import find_task
from conformance.tensors import from_ref, type_name


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of its own."""
    monkeypatch.setenv("CONFORMANCE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "references"


@pytest.fixture
def evaluations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tells each evaluation of a graph."""
    from conformance.reference import evaluate as module

    seen: list[str] = []
    real = module.evaluate

    def counting(model: Any, inputs: Any) -> Any:
        seen.append(model.graph.name)
        return real(model, inputs)

    monkeypatch.setattr(module, "evaluate", counting)
    return seen


def test_an_answer_is_evaluated_once_and_then_read(cache: Path, evaluations: list[str]) -> None:
    model = find_model("encoder")
    first = answers.agreed(model, model.variant("float32"), 0)
    again = answers.agreed(model, model.variant("float32"), 0)
    other = answers.agreed(model, model.variant("float32"), 1)

    assert evaluations == ["encoder", "encoder"]
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["pooler_output"], other["pooler_output"])
    assert len(list(cache.glob("*.npz"))) == 2


def _forged() -> bytes:
    held = io.BytesIO()
    np.savez(held, x=np.zeros(3), seal=np.zeros(16, np.uint8))
    return held.getvalue()


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", b"\x93NUMPY", _forged()])
def test_a_damaged_cache_is_made_again(cache: Path, evaluations: list[str], damage: bytes) -> None:
    model = find_model("encoder")
    first = answers.agreed(model, model.variant("float32"), 0)
    next(cache.glob("*.npz")).write_bytes(damage)
    again = answers.agreed(model, model.variant("float32"), 0)

    assert len(evaluations) == 2
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_a_cache_that_cannot_be_written_costs_only_time(cache: Path, evaluations: list[str]) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    model = find_model("encoder")

    assert answers.agreed(model, model.variant("float32"), 0)["pooler_output"].shape == (8, 64)


def test_each_step_of_a_decoder_continues_the_one_before(cache: Path) -> None:
    model = find_model("decoder")
    steps = answers.decoded(model, model.variant("float32"), 0)

    assert len(steps) == 1 + feeds.TOKENS
    lengths = [step["present.0.key"].shape[2] for step in steps]
    assert lengths == list(range(feeds.PREFIX + feeds.PROMPT, feeds.PREFIX + feeds.PROMPT + feeds.TOKENS + 1))
    np.testing.assert_array_equal(steps[1]["present.0.key"][:, :, : lengths[0]], steps[0]["present.0.key"])


def test_a_variant_is_judged_by_the_graph_that_its_card_names(cache: Path) -> None:
    model = find_model("decoder")
    contrib, blocked = (answers.decoded(model, model.variant(name), 0) for name in ("int4-contrib", "int4"))

    np.testing.assert_array_equal(contrib[3]["logits"], blocked[3]["logits"])


@pytest.mark.parametrize("model", [one for one in load_models() if one.task], ids=lambda one: one.name)
def test_what_everybody_is_judged_by_is_shipped(model: ReferenceModel, cache: Path, evaluations: list[str]) -> None:
    """Else a first run has to evaluate it: `python fixtures/make_references.py` after a task or a graph has changed."""
    for variant in model.variants:
        if "accuracy" in variant.judged:
            answers.judged_right(model, variant, 0)

    assert evaluations == []


def test_labels_and_verdicts_of_the_reference_are_one_per_sample(cache: Path) -> None:
    model = find_model("cnn-shapes")
    labels, right = answers.labels_of("shapes", 0), answers.judged_right(model, model.variant("float32"), 0)

    assert labels.shape == right.shape == (answers.count_of("shapes"),)
    assert right.dtype == bool
    assert 0.9 < right.mean() < 1.0


@pytest.mark.parametrize("kind", ["prefill", "decode", "two-sequences"])
def test_a_decoder_is_fed_a_cache_once_and_tokens_ever_after(kind: str) -> None:
    model = find_model("decoder")
    work = workloads.make(model, model.variant("float32"), kind, 0)
    steps = {"prefill": 1, "decode": 1 + feeds.TOKENS, "two-sequences": 2 * (1 + feeds.TOKENS)}[kind]

    names = [[one.name for one in step] for step in work.datasets]
    assert len(names) == steps
    for at, given in enumerate(names):
        is_first = at % (1 + feeds.TOKENS) == 0
        assert given[:2] == ["input_ids", "position_ids"]
        assert len(given) == (6 if is_first else 2)


def test_samples_come_in_batches_of_a_fixed_size_and_the_types_of_the_variant() -> None:
    model = find_model("cnn-shapes")
    work = workloads.make(model, model.variant("float32"), "accuracy", 0)
    proto = onnx.load_model_from_string(work.model.data or b"")

    assert len(work.datasets) == answers.count_of("shapes") // feeds.BATCH
    assert {dim.dim_value for info in proto.graph.input for dim in info.type.tensor_type.shape.dim[:1]} == {feeds.BATCH}
    onnx.checker.check_model(proto, full_check=True)
    for named in work.datasets[0]:
        value = from_ref(named.value)
        assert isinstance(value, np.ndarray)
        assert (value.shape[0], type_name(value)) == (feeds.BATCH, "float32")


def test_feeds_do_not_depend_on_how_many_are_asked_for() -> None:
    model = find_model("decoder").variant("float32")
    short, long = (feeds.decoder(model.inputs, "float32", 7, steps=count) for count in (1, 5))

    np.testing.assert_array_equal(short.steps[0]["input_ids"], long.steps[0]["input_ids"])
    assert set(short.past) == {f"past_key_values.{at}.{what}" for at in (0, 1) for what in ("key", "value")}
    assert feeds.past_of("present.1.value") == "past_key_values.1.value"
    masks = feeds.encoder(64, 3)["attention_mask"]
    assert masks.sum(axis=1).min() == 16
    assert masks.sum(axis=1).max() == 24


def test_what_is_no_cache_or_no_task_is_refused() -> None:
    flat = (TensorInfo(name="past_key_values.0.key", type="tensor(float)", shape=(1, "P")),)
    with pytest.raises(HarnessError, match="no shape of four dimensions"):
        feeds.decoder(flat, "float32", 0)
    for name in ("no_such_task", "../x", "os.path", ""):
        with pytest.raises(HarnessError, match="there is no task"):
            find_task(name)
