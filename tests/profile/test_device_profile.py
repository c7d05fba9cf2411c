"""Device profiles: what a minimal and a full one say, and every defect with its place and remedy."""

from __future__ import annotations

import copy
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from conformance.errors import EXIT_USAGE, ProfileError
from conformance.profile import wording
from conformance.profile.device import ascii_key
from conformance.profile.loader import load_device

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conformance.profile.loader import LoadedProfile

CASES = {"test_each_defect_has_its_line": "device"}
FULL = """\
conformance: 1
device:
  vendor: 昇思科技
  model: NX-100 é
  category: accelerator-card
  subtype: pcie-card
  firmware: "1.10"
  driver: "2"
  hardware: npu
  binding: {metadata: {serial: "7"}}
runtime:
  adapter: onnxruntime
  provider: NxExecutionProvider
  library: ./libnx.so
  options: {device_id: 0, fast: true, scale: 0.5, mode: burst, empty: ""}
  session_options: {intra_op_num_threads: 1}
  deadlines: {run_s: 5}
declares:
  opsets: {ai.onnx: [13, 21], com.example: [1, 1]}
  types: [float32, float16]
  operators:
    include: all
    exclude: [Loop, {term: "Resize[mode=cubic]", reason: no kernel}]
  precision:
    float32: {input: tf32, transforms: winograd}
    float16: {accumulate: float16, transforms: [winograd, fft]}
  shapes: {dynamic: false, zero_size: false, max_rank: 6, max_elements: 1000000}
  determinism: bitwise-process
  allowed_host_ops: [Shape, Gather(int64)]
  interfaces: [{name: pcie, version: "5.0", features: [atomics]}]
  sensor_fusion: {api: none here, sensors: [lidar], time_source: ptp, max_skew_ms: 1, rate_hz: 30, latency_ms: 5}
  latency:
    - {model: resnet-tiny, scenario: paced, period_ms: 33.3, p50_ms: 2, p99_ms: 4, max_ms: 9, jitter_ms: 1,
       deadline_ms: 33.3, miss_rate: 0, warm_up_s: 10}
    - {model: resnet-tiny, scenario: back-to-back, batch: 8, p99_ms: 9}
  power:
    {idle_w: 15, typical_w: 60, tdp_w: 75, max_w: 75, supply_v: [11.4, 12.6], supply_connector: 8-pin,
     states: [{name: eco, cap_w: 40}], energy_per_inference: [{model: resnet-tiny, energy_mj: 3}], sensor: nvml}
  thermal:
    {ambient_c: [0, 55], storage_c: [-40, 85], throttle_c: 95, max_c: 105, shutdown_c: 110, cooling: passive,
     airflow_m_s: 2.5, soak_s: 1800, sensor: hwmon}
  documentation: {datasheet: docs/d.pdf, languages: [en, zh], notes: "two\\nlines"}
  sdk:
    {name: NX SDK, version: "3.1", licence: Apache-2.0, platforms: [linux-x86_64], languages: [python],
     support_years: 5}
"""

FULL_TREE = yaml.safe_load(FULL)


def test_a_minimal_profile_is_valid(load: Callable[[str], LoadedProfile], minimal: str) -> None:
    loaded = load(minimal)
    assert loaded.profile.device.key == "Acme/A1"
    assert loaded.profile.declares.opsets == {"ai.onnx": (13, 21)}
    assert loaded.profile.declares.operators is None
    assert loaded.profile.runtime.as_options() == {"adapter": "onnxruntime", "provider": "AcmeExecutionProvider"}
    assert loaded.category.category.name == "host-reference"
    with pytest.raises(ValidationError):
        loaded.profile.device.model = "other"


def test_a_full_profile_says_what_it_says(load: Callable[[str], LoadedProfile]) -> None:
    loaded = load(FULL)
    declares = loaded.profile.declares
    assert loaded.profile.device.key == "u6607u601du79d1u6280/NX-100-e"
    assert loaded.profile.runtime.as_options()["options"] == {
        "device_id": 0, "fast": True, "scale": 0.5, "mode": "burst", "empty": "",
    }  # fmt: skip
    assert loaded.profile.runtime.as_options()["deadlines"] == {"run_s": 5.0}
    assert loaded.deadlines == {"open_s": 120, "compile_s": 600, "run_s": 5}
    assert declares.operators is not None
    assert [str(item.term) for item in declares.operators.exclude] == ["Loop", "Resize[mode=cubic]"]
    precision = declares.precision
    assert precision is not None
    assert precision["float32"].transforms == ("winograd",)
    completed = precision["float32"].completed("float32")
    assert (completed.input, completed.accumulate, completed.output) == ("tf32", "float32", "float32")
    assert precision["float16"].completed("float16").accumulate == "float16"
    assert declares.latency[1].batch == 8


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Acme GmbH & Co. KG", "Acme-GmbH---Co.-KG"),
        ("É-1", "E-1"),
        ("华为", "u534eu4e3a"),
        ("  x ", "x"),
        ("!!!", "unnamed"),
        ("a/b", "a-b"),
    ],
)
def test_names_become_ascii_keys(name: str, key: str) -> None:
    assert ascii_key(name) == key
    assert ascii_key(name).isascii()


def edit(old: str, new: str, text: str = FULL) -> str:
    assert old in text
    return text.replace(old, new, 1)


def test_each_defect_has_its_line(defects: Callable[[str], list[str]], old: str, new: str, line: str) -> None:
    found = defects(edit(old, new))
    assert any(line in each for each in found), found
    assert len(found) == 1, "one mistake, one line"


def test_all_defects_of_a_file_come_together(defects: Callable[[str], list[str]]) -> None:
    text = edit("hardware: npu", "hardware: nppu")
    text = edit("idle_w: 15", "idle_w: .nan", text)
    text = edit("throttle_c: 95", "throttle_c: 120", text)
    text = edit("[13, 21]", "[21, 13]", text)
    text = text.replace("  sdk:", "  sdk: {}\n  sdk:")
    found = defects(text)
    assert [line.split(":")[0] for line in found] == ["9", "19", "37", "40", "43", "44"]


def test_a_profile_error_is_a_usage_error(write: Callable[[str], str]) -> None:
    with pytest.raises(ProfileError) as error:
        load_device(write("a: 1"))
    assert error.value.exit_code == EXIT_USAGE
    assert str(error.value).splitlines() == error.value.defects


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "1:1: the file holds no mapping: it is empty"),
        ("just text", "1:1: a mapping is wanted at the top of the file, found the text 'just text'"),
        ("- 1", "1:1: a mapping is wanted at the top of the file, found a list"),
        ("null", "a mapping is wanted at the top of the file, found nothing"),
        ("device: !!python/object/apply:os.system [x]", "the YAML tag"),
        ("a: &a [*a]", "the anchor '&a' is not allowed"),
        ("[" * 5000, "nested deeper than 64 levels"),
        ("a: 1\n---\na: 1", "a second document starts here"),
        (b"\xff\xfe", "is UTF-16"),
        (b"device: \x80", "byte 0x80 is not UTF-8"),
        ("device: \x07", "character U+0007 is not allowed"),
    ],
)
def test_hostile_files_get_a_line_and_no_traceback(
    defects: Callable[[str | bytes], list[str]], text: str | bytes, line: str
) -> None:
    start = time.perf_counter()
    found = defects(text)
    assert any(line in each for each in found), found
    assert time.perf_counter() - start < 10.0


def test_a_50_mb_file_is_refused_unread(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    with large.open("wb") as file:
        file.truncate(50_000_000)
    start = time.perf_counter()
    with pytest.raises(ProfileError, match="holds 50000000 bytes"):
        load_device(str(large))
    assert time.perf_counter() - start < 10.0


@pytest.mark.parametrize("items", ["types: [{}]", "types: [float32]\n  operators: [{}]"])
def test_the_nearest_word_is_looked_for_only_where_a_line_is_shown(
    defects: Callable[[str], list[str]], minimal: str, items: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking up every word of a hostile file would take a minute."""
    looked_up: list[str] = []
    find = wording.nearest

    def counted(word: str, *rest: Any) -> str:
        looked_up.append(word)
        return find(word, *rest)

    monkeypatch.setattr(wording, "nearest", counted)
    words = ", ".join(f"Ad{number}" for number in range(3000))
    found = defects(minimal.replace("types: [float32]", items.format(words)))
    assert len(found) == 51
    assert found[-1] == " 2950 more defects are not shown: correct these first"
    assert len(looked_up) == 50


def test_an_item_that_is_refused_does_not_leave_an_empty_list(
    defects: Callable[[str], list[str]], minimal: str
) -> None:
    assert defects(minimal.replace("[float32]", "[fp32]")) == [
        "6:11: 'fp32' is not an ONNX tensor type; did you mean 'float32'?"
    ]


def test_a_refused_value_is_not_blamed_twice(defects: Callable[[str], list[str]]) -> None:
    assert len(defects(edit("ai.onnx: [13, 21]", "ai.onnx: &a [13, 21]"))) == 1
    assert len(defects(edit("ai.onnx: [13, 21]", "ai.onnx: *a"))) == 1


@given(data=st.binary(max_size=200))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_give_a_traceback(write: Callable[[bytes], str], data: bytes) -> None:
    with pytest.raises(ProfileError):
        load_device(write(data))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@given(data=st.data())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_anywhere_gives_a_profile_or_lines(write: Callable[[bytes], str], data: st.DataObject) -> None:
    tree = copy.deepcopy(FULL_TREE)
    spots = list(_spots(tree))
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(spots))
        holder[key] = data.draw(VALUES)
    try:
        load_device(write(json.dumps(tree).encode("utf-8", "surrogatepass")))
    except ProfileError as error:
        assert error.defects
        assert all("\n" not in line and "Traceback" not in line for line in error.defects)


def _spots(tree: Any) -> list[tuple[Any, Any]]:
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [spot for key, value in pairs for spot in [(tree, key), *_spots(value)]]
