"""Judging, counting and telling: what is caught is counted as caught, and correct devices are let through."""

from __future__ import annotations

import io
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from conformance import cli
from conformance.errors import EXIT_CONFORMANT, EXIT_INCOMPLETE, EXIT_NON_CONFORMANT, UsageError
from conformance.numerics.limits import Exact
from conformance.selftest import entry, plotting, running, telling
from conformance.selftest.defects import DEFECTS
from conformance.selftest.judging import judge_run, usual
from conformance.selftest.matrix import Matrix, count, share
from conformance.selftest.subjects import DETECTOR, Subject, exact_recipes, load
from conformance.selftest.units import Row, Unit, is_same, work

DETECTION = Subject("spread", DETECTOR, "float32")
SOME = ("bfloat16-operands", "small-values-inverted", "mask-missing", "output-of-earlier-run", "truncated-casts")


def row(**told: object) -> Row:
    given: dict[str, object] = {
        "tier": "spread",
        "subject": "a/float32",
        "cluster": "a",
        "mode": "float32",
        "salt": 0,
        "device": "blocked",
    }
    return Row(**{**given, "asked": ("spread",), **told})  # type: ignore[arg-type]


def counted(*rows: Row, is_complete: bool = True) -> Matrix:
    return count(rows, DEFECTS, seed=0, is_quick=True, is_complete=is_complete, seconds=1.0)


# -- judging ----------------------------------------------------------------------------------------------------------


def test_the_usual_measures_refuse_what_they_are_known_to() -> None:
    reference = np.random.default_rng(0).standard_normal(1000)
    assert usual(reference, reference.astype(np.float32), 24) == set()
    assert usual(reference, reference * (1 + 2e-3), 24) == {"onnx", "sqnr"}
    assert usual(reference, -reference, 24) == {"onnx", "cosine", "sqnr"}
    assert (
        usual(reference, reference.astype(np.float16), 11) == {"onnx"}
        or usual(reference, reference.astype(np.float16), 11) == set()
    )
    assert usual(reference, reference[:10], 24) == {"onnx", "cosine", "sqnr"}
    assert usual(np.array(["a"], object), np.array(["b"], object), 24) == {"onnx", "cosine", "sqnr"}
    assert usual(np.array([1.0, np.nan]), np.array([np.nan, np.nan]), 24) == {"onnx", "cosine", "sqnr"}


def test_a_run_is_judged_by_its_limits() -> None:
    limits = {"y": Exact(name="y", expected=np.array([1, 2]))}
    told, asked = judge_run(limits, {"y": np.array([1, 2])}, 24)
    assert (told.refused, asked) == (frozenset(), frozenset({"bound"}))
    told, _ = judge_run(limits, {"y": np.array([1, 3])}, 24)
    assert "bound" in told.refused
    assert "y[1]" in told.reason


def test_same_means_every_bit() -> None:
    assert is_same([np.array([1.0])], [np.array([1.0])])
    assert not is_same(np.array([0.0]), np.array([-0.0]))
    assert not is_same(np.array([1], np.int32), np.array([1], np.int64))
    assert is_same(np.array(["a"], object), np.array(["a"], object))


# -- units ------------------------------------------------------------------------------------------------------------


def test_a_model_lets_correct_devices_through_and_catches_wrong_ones() -> None:
    rows = work(Unit((DETECTION,), SOME))
    correct = [one for one in rows if not one.defect]
    assert len(correct) == 3
    assert not any("spread" in one.refused for one in correct)
    by_defect = {one.defect: one for one in rows if one.defect and one.place == "all"}
    assert set(by_defect) == {"bfloat16-operands", "small-values-inverted", "output-of-earlier-run"}
    assert all("spread" in one.refused for one in by_defect.values())
    assert "cosine" not in by_defect["small-values-inverted"].refused, "a whole tensor's cosine does not see the scores"


def test_an_exact_probe_catches_a_dropped_term() -> None:
    name = next(one for one in exact_recipes() if "MatMul" in one and "/float32/" in one)
    rows = work(Unit((Subject("exact", name, "float32"),), ("last-term-dropped",), ("sequential",)))
    assert [one.refused for one in rows if not one.defect] == [()]
    assert ["exact" in one.refused for one in rows if one.defect and one.changed] == [True]


def test_what_cannot_be_run_is_told() -> None:
    rows = work(Unit((Subject("bound", "operators/ai.onnx.Nothing-1/float32/made/none", "float32"),)))
    assert [one.asked for one in rows] == [()]
    assert "Nothing-1" in rows[0].reason


def test_inputs_follow_the_salt() -> None:
    first, second, again = (load(Subject("spread", DETECTOR, "float32", salt)).inputs["x"] for salt in (1, 2, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)


# -- counting ---------------------------------------------------------------------------------------------------------


def test_shares_have_their_interval() -> None:
    assert share(0, 0).high == 1.0
    found = share(5, 10)
    assert found.low == pytest.approx(0.1871, abs=2e-4)  # Clopper and Pearson's own example
    assert found.high == pytest.approx(0.8129, abs=2e-4)
    assert share(0, 22).high == pytest.approx(1 - 0.025 ** (1 / 22), abs=2e-4)


def test_kinds_are_counted_once_however_often_they_are_caught() -> None:
    matrix = counted(
        row(defect="bias-twice", refused=("spread", "onnx")),
        row(defect="bias-twice", salt=1),
        row(defect="bias-skipped", changed=False),
        row(defect="bias-shifted", share=0.4),
        row(tier="task", defect="bias-twice", asked=("task",)),
    )
    kinds = {one.name: one for one in matrix.kinds}
    assert kinds["bias-twice"].is_caught
    assert kinds["bias-twice"].caught["spread"] == (1, 2)
    assert kinds["bias-twice"].caught["onnx"] == (1, 2), "labelled samples have no tensor to compare"
    assert kinds["bias-twice"].caught["task"] == (0, 1)
    assert (kinds["bias-skipped"].runs, kinds["bias-skipped"].unchanged) == (0, 1)
    assert not kinds["bias-shifted"].is_caught
    assert kinds["bias-shifted"].nearest == 0.4
    assert (matrix.shares["all"]["tiers"].hits, matrix.shares["all"]["tiers"].trials) == (1, 2)
    parts = [matrix.shares[one]["tiers"].trials for one in ("set-aside", "open")]
    assert sum(parts) == 2


def test_what_only_the_usual_measures_refuse_is_not_caught() -> None:
    matrix = counted(row(defect="bias-twice", refused=("onnx", "sqnr")))
    assert not next(one for one in matrix.kinds if one.name == "bias-twice").is_caught


def test_false_alarms_are_counted_by_run_and_by_model() -> None:
    matrix = counted(
        row(), row(device="pairwise", refused=("spread",), reason="too far"), row(cluster="b", refused=("onnx",))
    )
    alarms = {one.column: one for one in matrix.alarms}
    assert (alarms["spread"].runs.hits, alarms["spread"].runs.trials) == (1, 3)
    assert (alarms["spread"].clusters.hits, alarms["spread"].clusters.trials) == (1, 2)
    assert "too far" in alarms["spread"].which[0]
    assert alarms["bound"].runs.trials == 0
    assert alarms["onnx"].runs.hits == 1
    assert matrix.alarms_by_mode["float32"].trials == 3


# -- telling ----------------------------------------------------------------------------------------------------------


def test_the_page_names_what_escapes() -> None:
    matrix = counted(row(), row(defect="bias-twice", refused=("spread",)), row(defect="bias-shifted", share=0.4))
    page = telling.markdown(matrix)
    assert "| bias-shifted |" in page
    assert "within every limit (at most 40% of one)" in page
    assert "no subject of this run has a place for it" in page
    stream = io.StringIO()
    telling.render(matrix, stream)
    assert "tier 3" in stream.getvalue()
    assert telling.title(counted(is_complete=False)).endswith("was done")


def test_the_json_can_be_read_back() -> None:
    matrix = counted(row(), row(defect="bias-twice", refused=("spread",)))
    assert msgspec.json.decode(msgspec.json.encode(matrix), type=Matrix) == matrix


def test_the_exit_code_says_whether_a_correct_device_was_refused() -> None:
    assert entry.exit_code(counted(row())) == EXIT_CONFORMANT
    assert entry.exit_code(counted(row(), is_complete=False)) == EXIT_INCOMPLETE
    assert entry.exit_code(counted(row(refused=("spread",)))) == EXIT_NON_CONFORMANT
    assert entry.exit_code(counted(row(refused=("onnx",)))) == EXIT_CONFORMANT


def test_a_picture_is_refused_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"\.svg"):
        plotting.check_path(tmp_path / "plot.txt")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(UsageError, match="pip install"):
        plotting.check_path(tmp_path / "plot.svg")


def test_the_picture_is_written(tmp_path: Path) -> None:
    path = tmp_path / "plot.svg"
    plotting.plot(counted(row(defect="bias-twice", refused=("spread",))), path)
    assert b"<svg" in path.read_bytes()


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_writes_what_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "plan", lambda seed, is_quick: [Unit((DETECTION,), SOME)])
    told, page = tmp_path / "told.json", tmp_path / "page.md"
    arguments = ["selftest", "--quick", "--workers", "1", "--json", str(told), "--markdown", str(page)]
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == 0, result.output
    assert "small-values-inverted" in result.stdout
    matrix = json.loads(told.read_bytes())
    assert matrix["is_quick"]
    assert matrix["shares"]["all"]["tiers"]["hits"] == 3
    assert page.read_text(encoding="utf-8").startswith("# What the harness catches")


def test_a_missing_folder_is_told_before_anything_runs() -> None:
    result = CliRunner().invoke(cli.main, ["selftest", "--json", "/nowhere/at/all.json"])
    assert result.exit_code == 2
    assert "no folder" in result.stderr


def test_ctrl_c_tells_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def interrupted(title: str, done: int, total: int) -> None:
        calls.append(title)
        raise KeyboardInterrupt

    units = [Unit((DETECTION,), SOME[:1]), Unit((DETECTION,), SOME[1:])]
    matrix = running.run(units, seed=0, is_quick=True, workers=1, progress=interrupted)
    assert len(calls) == 1
    assert not matrix.is_complete
    assert [one.name for one in matrix.kinds if one.runs] == ["bfloat16-operands"]


def test_the_plan_is_the_same_for_the_same_seed() -> None:
    chosen = [list(running.model_subjects(["float32", "float16"], range(1))) for _ in range(2)]
    assert chosen[0] == chosen[1]
    assert {one.mode for one in chosen[0] if one.name == "cnn-shapes/float16"} == {"float16"}
    assert {one.mode for one in chosen[0] if one.name == "cnn-shapes/float32"} == {"float32", "float16"}
