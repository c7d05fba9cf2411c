"""The cache: made once, verified always, replaced when damaged, never half there."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from conformance.errors import HarnessError
from conformance.reference import generate, suite
from conformance.reference.suite import EXPECTED, INDEX, INPUTS, load_suite
from conformance.tensors import StringsRef, TensorRef

if TYPE_CHECKING:
    from conformance.tensors import Array, ValueRef

GOLDEN = Path(__file__).with_name("case_ids.txt")


def made_in(cache: Path) -> list[Path]:
    """What lies in the cache of suites, the locks aside under which they are made."""
    return [path for path in (cache / "onnx-suite").iterdir() if path.suffix != ".lock"]


def folder_of(cache: Path) -> Path:
    (folder,) = made_in(cache)
    return folder


def test_generated_once_then_read(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, int]] = []
    cold = load_suite(lambda *news: told.append(news))
    assert told
    assert told[-1][1] == told[-1][2] == 3
    assert cold.notice == ""

    monkeypatch.setattr(generate, "generate", lambda *_: pytest.fail("generated again"))
    told.clear()
    warm = load_suite(lambda *news: told.append(news))
    assert told == []
    assert warm.entries == cold.entries
    assert [entry.case_id for entry in warm.entries] == [
        "operators/ai.onnx.Add-14/float32/test_add",
        "operators/ai.onnx.Add-14/float32/test_add_expanded_ver18",
        "operators/simple/float32/test_two",
    ]


def test_values_come_back(small: Path, answer: Array) -> None:
    with load_suite() as loaded:
        entry = loaded.entry("operators/ai.onnx.Add-14/float32/test_add")
        (expected,) = loaded.expected(entry)
        assert isinstance(expected, np.ndarray)
        assert expected.tolist() == answer.tolist()
        assert not expected.flags.writeable
        inputs = loaded.inputs(entry)
        assert list(inputs) == ["x", "y"]
        assert isinstance(inputs["x"], np.ndarray)
        assert isinstance(inputs["y"], np.ndarray)
        assert (inputs["x"] + inputs["y"]).tolist() == answer.tolist()

        two = loaded.entry("operators/simple/float32/test_two")
        second = loaded.expected(two, 1)[0]
        assert isinstance(second, np.ndarray)
        assert second.tolist() == [2.0, 3.0, 4.0]
        with pytest.raises(HarnessError, match="no case 'operators/nothing'"):
            loaded.entry("operators/nothing")


def test_child_descriptor_has_inputs_and_no_answers(small: Path, answer: Array) -> None:
    loaded = load_suite()
    descriptor = loaded.inputs_fd()
    try:
        held = os.pread(descriptor, 1 << 20, 0)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(descriptor, b"x")
    finally:
        os.close(descriptor)
    for entry in loaded.entries:
        assert held[entry.model.offset : entry.model.offset + entry.model_nbytes] == loaded.model(entry)
    assert answer.tobytes() not in held
    assert answer.tobytes() in (loaded.folder / EXPECTED).read_bytes()
    assert held == loaded.inputs_path.read_bytes()


def test_blobs_are_aligned_and_shared(small: Path) -> None:
    loaded = load_suite()
    plain, expanded = loaded.entries[:2]
    for entry in loaded.entries:
        assert entry.model.offset % 64 == 0
    assert plain.datasets[0].inputs == expanded.datasets[0].inputs  # the same bytes, stored once


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garble(path: Path) -> None:
    path.write_bytes(b"\xc1 not msgpack")


def seal_nonsense(path: Path) -> None:
    body = msgspec.msgpack.encode(["not", "an", "index"])
    path.write_bytes(msgspec.msgpack.encode(suite.Sealed(suite._digest(body), msgspec.Raw(body))))


def seal_another_key(path: Path) -> None:
    index = suite._open_index(path)
    suite.write_index(path.parent, msgspec.structs.replace(index, key="another host"))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *[(name, damage) for name in (INDEX, INPUTS, EXPECTED) for damage in (flip, truncate, empty, Path.unlink)],
        (INDEX, garble),
        (INDEX, seal_nonsense),
        (INDEX, seal_another_key),
    ],
)
def test_damage_is_noticed_and_repaired(small: Path, name: str, damage: object) -> None:
    before = load_suite()
    assert callable(damage)
    damage(before.folder / name)
    after = load_suite()
    assert name in after.notice
    assert "generated again" in after.notice
    assert after.entries == before.entries
    assert load_suite().notice == ""
    assert [path.name for path in made_in(small)] == [after.key]


def test_interrupted_generation_leaves_nothing(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(generate, "_entry", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load_suite()
    assert made_in(small) == []
    assert len(load_suite().entries) == 3


def test_slower_of_two_takes_what_the_faster_made(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = generate._collect
    raced: list[suite.Suite] = []

    def overtaken(progress: object) -> object:
        monkeypatch.setattr(generate, "_collect", real)
        raced.append(load_suite())
        return real(progress)  # type: ignore[arg-type]

    monkeypatch.setattr(generate, "_collect", overtaken)
    monkeypatch.setattr(suite, "making", lambda _: nullcontext())  # on a host that gives no locks
    slower = load_suite()
    assert slower.entries == raced[0].entries
    assert [path.name for path in made_in(small)] == [slower.key]


def test_unwritable_cache_names_the_remedy(small: Path) -> None:
    (small / "onnx-suite").write_text("in the way")
    with pytest.raises(HarnessError, match="set CONFORMANCE_CACHE"):
        load_suite()


def test_full_disk_is_told_apart_from_a_race(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(HarnessError, match="No space left on device; free space"):
        load_suite()
    assert made_in(small) == []


def test_damage_right_after_writing_is_an_error(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "write_index", lambda folder, _: (folder / INDEX).write_bytes(b""))
    with pytest.raises(HarnessError, match="right after writing"):
        load_suite()


def test_old_leftovers_are_swept_and_young_ones_kept(small: Path) -> None:
    root = small / "onnx-suite"
    old, young = root / ".1.23-abc-old", root / ".1.23-abc-young"
    for path in (old, young):
        path.mkdir(parents=True)
    os.utime(old, (0, 0))
    load_suite()
    assert not old.exists()
    assert young.exists()


def test_leftovers_that_others_sweep_are_no_error(tmp_path: Path) -> None:
    (tmp_path / ".a-b").symlink_to(tmp_path / "gone")
    suite._sweep(tmp_path)


def test_damaged_folder_that_another_process_took_is_no_error(tmp_path: Path) -> None:
    suite._discard(tmp_path / "gone")


def test_damaged_folder_that_cannot_go_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(HarnessError, match="Permission denied; remove it"):
        suite._discard(tmp_path)


def test_warm_load_needs_neither_onnx_nor_pydantic(small: Path) -> None:
    load_suite()
    code = (
        "import sys; from conformance.reference.suite import load_suite; n = len(load_suite().entries); "
        "heavy = {'onnx', 'onnxruntime', 'pydantic', 'rich', 'pytest'} & set(sys.modules); "
        "sys.exit(f'{n} {heavy}' if heavy or n != 3 else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# The whole suite.


def test_every_case_is_there_under_its_golden_id(whole: suite.Suite) -> None:
    golden = GOLDEN.read_text(encoding="ascii").split()
    found = [entry.case_id for entry in whole.entries]
    assert len(found) == 2033
    assert sorted(set(found)) == found
    assert found == golden


def test_kinds_add_up(whole: suite.Suite) -> None:
    kinds = [entry.kind for entry in whole.entries]
    counts = {kind: kinds.count(kind) for kind in generate.KINDS}
    assert counts == {"node": 1884, "simple": 23, "pytorch-converted": 82, "pytorch-operator": 35, "real": 9}


def test_expanded_variants_sit_with_their_operator(whole: suite.Suite) -> None:
    by_name = {entry.name: entry for entry in whole.entries}
    expanded = [entry for entry in whole.entries if entry.expanded]
    assert len(expanded) > 400
    for entry in expanded:
        base = by_name[entry.name.rpartition("_expanded")[0]]
        assert entry.case_id.rsplit("/", 1)[0] == base.case_id.rsplit("/", 1)[0]
    assert not by_name["test_swiglu"].expanded
    assert by_name["test_if_opt"].case_id == "operators/ai.onnx.If-16/bool/test_if_opt"


def spelled(ref: ValueRef) -> str:
    if isinstance(ref, TensorRef):
        return {"float32": "float", "float64": "double"}.get(ref.dtype, ref.dtype)
    return "string" if isinstance(ref, StringsRef) else ""


def test_expected_values_have_the_declared_types_and_shapes(whole: suite.Suite) -> None:
    for entry in whole.entries:
        for dataset in entry.datasets:
            assert [name for name, _ in dataset.outputs] == [info.name for info in entry.output_infos], entry.name
            for (_, ref), info in zip(dataset.outputs, entry.output_infos, strict=True):
                if not isinstance(ref, TensorRef | StringsRef):
                    continue
                assert info.type in (f"tensor({spelled(ref)})", f"optional(tensor({spelled(ref)}))"), entry.name
                fixed = info.shape or ()
                if info.type.startswith("tensor") and fixed:
                    pairs = zip(fixed, ref.shape, strict=True)
                    assert all(want == got for want, got in pairs if isinstance(want, int)), entry.name


def test_every_case_has_data_operators_and_types(whole: suite.Suite) -> None:
    for entry in whole.entries:
        assert entry.datasets, entry.name
        assert all(dataset.outputs for dataset in entry.datasets), entry.name
        assert entry.uses, entry.name
        assert entry.types, entry.name
        assert entry.model_nbytes > 0
        assert entry.cost_ms > 0
        assert entry.ir_version >= 3


def test_real_models_are_fed_the_ramp(whole: suite.Suite) -> None:
    entry = next(entry for entry in whole.entries if entry.name == "test_vgg19")
    ((name, value),) = whole.inputs(entry).items()
    assert name == "data_0"
    assert isinstance(value, np.ndarray)
    assert value.shape == (1, 3, 224, 224)
    flat = value.reshape(-1)
    assert flat[0] == 0
    assert flat[-1] == np.float32((flat.size - 1) / flat.size)
    assert entry.cost_ms > 100


def test_empty_optionals_and_sequences_survive(whole: suite.Suite) -> None:
    by_name = {entry.name: entry for entry in whole.entries}
    empty_input = whole.inputs(by_name["test_optional_has_element_empty_optional_input"])
    assert list(empty_input.values()) == [None]
    (sequence,) = whole.expected(by_name["test_sequence_map_identity_1_sequence"])
    assert isinstance(sequence, list)
    assert len(sequence) > 1


def test_answers_that_are_held_cannot_be_rewritten_by_a_child(small: Path, answer: Array) -> None:
    loaded = load_suite()
    loaded.hold()
    path = loaded.folder / EXPECTED
    path.write_bytes(bytes(path.stat().st_size))
    (expected,) = loaded.expected(loaded.entry("operators/ai.onnx.Add-14/float32/test_add"))

    assert isinstance(expected, np.ndarray)
    assert expected.tolist() == answer.tolist()


def test_pipes_in_the_place_of_a_cache_are_damage_and_nobody_waits_for_them(tmp_path: Path) -> None:
    for name in (INDEX, INPUTS, EXPECTED):
        os.mkfifo(tmp_path / name)

    with pytest.raises(suite.Damaged, match="not a regular file"):
        suite.read_index(tmp_path, "key")
