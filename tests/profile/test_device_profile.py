"""Device profiles: what a minimal and a full one say, and every defect with its place and remedy."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from conformance.errors import EXIT_USAGE, ProfileError
from conformance.profile.device import ascii_key
from conformance.profile.loader import load_device

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conformance.profile.loader import LoadedProfile

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
  sdk: {name: NX SDK, version: "3.1", licence: Apache-2.0, platforms: [linux-x86_64], languages: [python], support_years: 5}
"""


def test_a_minimal_profile_is_valid(load: Callable[[str], LoadedProfile], minimal: str) -> None:
    loaded = load(minimal)
    assert loaded.profile.device.key == "Acme/A1"
    assert loaded.profile.declares.opsets == {"ai.onnx": (13, 21)}
    assert loaded.profile.declares.operators is None
    assert loaded.profile.runtime.as_options() == {"adapter": "onnxruntime", "provider": "AcmeExecutionProvider"}
    assert loaded.category.category.name == "host-reference"
    with pytest.raises(ValidationError):
        loaded.profile.device.model = "other"  # type: ignore[misc]


def test_a_full_profile_says_what_it_says(load: Callable[[str], LoadedProfile]) -> None:
    loaded = load(FULL)
    declares = loaded.profile.declares
    assert loaded.profile.device.key == "u6607u601du79d1u6280/NX-100-e"
    assert loaded.profile.runtime.as_options()["options"] == {
        "device_id": 0, "fast": True, "scale": 0.5, "mode": "burst", "empty": "",
    }  # fmt: skip
    assert loaded.profile.runtime.as_options()["deadlines"] == {"run_s": 5.0}
    assert loaded.deadlines == {"open_s": 120, "compile_s": 600, "run_s": 5}
    assert [str(item.term) for item in declares.operators.exclude] == ["Loop", "Resize[mode=cubic]"]  # type: ignore[union-attr]
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


@pytest.mark.parametrize(
    ("text", "line"),
    [
        # keys
        (edit("  vendor:", "  vendr:"), "3:3: unknown key 'vendr'; did you mean 'vendor'?"),
        (edit("  vendor: 昇思科技\n", ""), "2:1: the key 'vendor' is missing in 'device'"),
        (edit("conformance: 1\n", ""), "1:1: the key 'conformance' is missing"),
        (edit("{run_s: 5}", "{runs: 5}"), "17:15: unknown key 'runs'; did you mean 'run_s'?"),
        (edit("soak_s: 1800", "soak: 1800"), "41:24: unknown key 'soak'; did you mean 'soak_s'?"),
        (edit("{model: resnet-tiny, energy_mj: 3}", "{model: resnet-tiny, energy: 3}"), "unknown key 'energy'; did you mean"),
        (edit("reason: no kernel", "because: x"), "23:50: unknown key 'because'; known here: term, reason"),
        (edit("{input: tf32, ", "{inputs: tf32, "), "25:15: unknown key 'inputs'; did you mean 'input'?"),
        (FULL + "extra: 1\n", "unknown key 'extra'"),
        # types
        (edit('"1.10"', "1.10"), "7:13: 'firmware' must be a text, found the number 1.10; quote it: \"1.10\""),
        (edit('driver: "2"', "driver: 2"), '8:11: \'driver\' must be a text, found the number 2; quote it: "2"'),
        (edit('serial: "7"', "serial: true"), "must be a text, found the value true; quote it"),
        (edit("hardware: npu", "hardware: nppu"), "9:13: 'hardware' cannot be the text 'nppu'; did you mean 'npu'?"),
        (edit("hardware: npu", "hardware: 3"), "9:13: 'hardware' cannot be the number 3; known here: cpu, gpu, npu"),
        (edit("conformance: 1", "conformance: 2"), "1:14: 'conformance' must be 1, found the number 2"),
        (edit("dynamic: false", "dynamic: no"), "'dynamic' must be true or false, found the text 'no'; write false"),
        (edit("dynamic: false", "dynamic: off"), "write false"),
        (edit("dynamic: false", "dynamic: 1"), "'dynamic' must be true or false, found the number 1; write true"),
        (edit("max_rank: 6", "max_rank: 6.5"), "'max_rank' must be a whole number, found the number 6.5"),
        (edit("max_rank: 6", "max_rank: six"), "'max_rank' must be a whole number, found the text 'six'"),
        (edit("max_rank: 6", "max_rank: 0"), "'max_rank' is the number 0: it must be at least 1"),
        (edit("idle_w: 15", "idle_w: 15W"), "found the text '15W'; the unit stands in the key: write 15 in that unit"),
        (edit("idle_w: 15", "idle_w: true"), "'idle_w' must be a number, found the value true"),
        (edit("idle_w: 15", "idle_w: .nan"), ".nan is not a number that can be measured against"),
        (edit("idle_w: 15", "idle_w: -1"), "'idle_w' is the number -1: it must be at least 0"),
        (edit("miss_rate: 0,", "miss_rate: 2,"), "'miss_rate' is the number 2: it must be at most 1"),
        (edit("types: [float32, float16]", "types: float32"), "20:10: 'types' must be a list, found the text 'float32'; write [float32]"),
        (edit("types: [float32, float16]", "types: {}"), "20:10: 'types' must be a list, found a mapping"),
        (edit("types: [float32, float16]", "types: []"), "'types' is empty: at least 1 must be given"),
        (edit("types: [float32, float16]", "types: [float32, 16]"), "20:20: an ONNX tensor type is wanted here, as text"),
        (edit("float32: {input: tf32, transforms: winograd}", "float32: tf32"), "25:14: 'float32' must be a mapping, found the text 'tf32'"),
        (edit("options: {device_id: 0,", "options: {device_id: [0],"), "15:24: a text, number or true/false is wanted here"),
        (edit("languages: [en, zh]", "languages: [en, de]"), "item 2 of 'languages' cannot be the text 'de'; known here: en, zh"),
        # texts
        (edit("model: NX-100 é", 'model: "a\\tb"'), "4:12: character U+0009 is not allowed in a name: remove it"),
        (edit("model: NX-100 é", "model: a\u202eb"), "4:11: character U+202E is not allowed in a name"),
        (edit("model: NX-100 é", 'model: "  "'), "4:10: is blank: write a name"),
        (edit("model: NX-100 é", 'model: ""'), "'model' is the text '': it must not be empty"),
        (edit("model: NX-100 é", "model: " + "x" * 201), "it must have at most 200 characters"),
        (edit("subtype: pcie-card", "subtype: PCIe"), "it must consist of lower-case letters, digits and single hyphens"),
        # words
        (edit("[float32, float16]", "[fp32, float16]"), "20:11: 'fp32' is not an ONNX tensor type; did you mean 'float32'?"),
        (edit("[float32, float16]", "[float32, float16, float32]"), "20:10: 'float32' is listed twice"),
        (edit("float16: {accumulate: float16", "float8: {accumulate: float16"), "26:5: 'float8' is not a floating-point tensor type"),
        (edit("input: tf32", "input: tensorfloat32"), "did you mean 'tf32'?"),
        (edit("input: tf32", "input: 3"), "25:22: a precision is wanted here, as text"),
        (edit("determinism: bitwise-process", "determinism: bitwise"), "28:16: 'determinism' cannot be the text 'bitwise'; did you mean"),
        (edit("exclude: [Loop", "exclude: [Lop"), "23:15: onnx 1.23.2 has no operator 'Lop'; did you mean 'Loop'?"),
        (edit('"Resize[mode=cubic]"', '"Resize[moed=cubic]"'), "23:36: Resize has no attribute 'moed'; did you mean 'mode'?"),
        (edit("exclude: [Loop", "exclude: [5"), "23:15: an operator term, or {term"),
        (edit("include: all", "include: everything"), "'all' or a list of operator terms is wanted here, not 'everything'"),
        (edit("include: all", "include: [5]"), "an operator term is wanted here"),
        # opsets
        (edit("ai.onnx: [13, 21]", "ai.onnx: [21, 13]"), "19:21: the opsets are reversed: 21 is above 13; write [13, 21]"),
        (edit("ai.onnx: [13, 21]", "ai.onnx: [0, 13]"), "opset 0 does not exist: opsets count from 1"),
        (edit("ai.onnx: [13, 21]", "ai.onnx: 13"), "a pair of opset versions is wanted here"),
        (edit("ai.onnx: [13, 21]", 'ai.onnx: [13, "21"]'), "a pair of whole numbers is wanted here"),
        (edit("ai.onnx: [13, 21]", "ai.onnx: [13, 14, 15]"), "a pair of opset versions is wanted here"),
        (edit("ai.onnx: [13", "ai.onx: [13"), "19:12: ONNX has no domain 'ai.onx'; did you mean 'ai.onnx'?"),
        (edit("ai.onnx: [13", "ai.onnx.mll: [13"), "ONNX has no domain 'ai.onnx.mll'; did you mean 'ai.onnx.ml'?"),
        (edit("com.example:", '"":'), "an operator-set domain is wanted here, such as ai.onnx"),
        (edit("opsets: {ai.onnx: [13, 21], com.example: [1, 1]}", "opsets: {}"), "'opsets' is empty"),
        # sense
        (edit("throttle_c: 95", "throttle_c: 106"), "40:60: throttle_c is 106, above max_c, which is 105"),
        (edit("shutdown_c: 110", "shutdown_c: 90"), "max_c is 105, above shutdown_c, which is 90"),
        (edit("ambient_c: [0, 55]", "ambient_c: [55, 0]"), "the range is reversed: 55 is above 0; write [0, 55]"),
        (edit("ambient_c: [0, 55]", "ambient_c: [0, 110]"), "the highest ambient is 110, above max_c, which is 105"),
        (edit("ambient_c: [0, 55]", "ambient_c: [-300, 55]"), "degrees Celsius are wanted"),
        (edit("ambient_c: [0, 55]", "ambient_c: 55"), "a pair is wanted here: [lowest, highest]"),
        (edit("ambient_c: [0, 55]", "ambient_c: [0, hot]"), "a pair of numbers is wanted here"),
        (edit("idle_w: 15", "idle_w: 80"), "37:14: idle_w is 80, above typical_w, which is 60"),
        (edit("typical_w: 60", "typical_w: 90"), "typical_w is 90, above max_w, which is 75"),
        (edit("tdp_w: 75", "tdp_w: 80"), "tdp_w is 80, above max_w, which is 75"),
        (edit("cap_w: 40", "cap_w: 100"), "cap_w is 100, above max_w, which is 75"),
        (edit("p50_ms: 2", "p50_ms: 5"), "p50_ms is 5, above p99_ms, which is 4"),
        (edit("p99_ms: 4, max_ms: 9", "p99_ms: 40, max_ms: 50"), "more than 0.01 of the inferences would miss it"),
        (edit(" period_ms: 33.3,", ""), "a paced scenario needs period_ms"),
        (edit("batch: 8", "period_ms: 3"), "period_ms belongs to the scenario paced, not to back-to-back"),
        (edit("deadline_ms: 33.3, ", ""), "miss_rate needs deadline_ms"),
        (edit("scenario: back-to-back, batch: 8, p99_ms: 9", "scenario: paced, period_ms: 5"), "'resnet-tiny paced 1' is given twice"),
        (edit("[{name: eco, cap_w: 40}]", "[{name: eco, cap_w: 40}, {name: eco, cap_w: 30}]"), "'eco' is given twice"),
        (edit("features: [atomics]}", "features: [atomics]}, {name: pcie, version: \"5.0\"}"), "'pcie 5.0' is given twice"),
        (edit("types: [float32, float16]", "types: [float32]"), "26:5: precision is given for float16, which types does not list"),
        (edit("exclude: [Loop", "exclude: [ai.onnx.ml.Scaler"), "23:15: 'ai.onnx.ml.Scaler' belongs to the domain ai.onnx.ml, which opsets does not list"),
        (edit("include: all", "include: [Add(int8)]"), "22:15: 'Add(int8)' names int8, which types does not list"),
        (edit("{metadata: {serial: \"7\"}}", "{}"), "10:3: binding names no unit"),
        (edit("{metadata: {serial: \"7\"}}", "{uuid: a, pci_address: b}"), "binding names the unit twice, by uuid and by pci_address"),
        # the category
        (edit("category: accelerator-card", "category: accelerator"), "5:13: there is no category 'accelerator'; did you mean 'accelerator-card'?"),
        (edit("subtype: pcie-card", "subtype: pci-card"), "6:12: the category accelerator-card has no subtype 'pci-card'; did you mean 'pcie-card'?"),
        (edit("subtype: pcie-card", "adjacent_type: gpu"), "has no adjacent type 'gpu'"),
        (edit("subtype: pcie-card", "subtype: pcie-card\n  adjacent_type: general-purpose-gpu"), "not of both: keep one"),
    ],
)  # fmt: skip
def test_each_defect_has_its_line(defects: Callable[[str], list[str]], text: str, line: str) -> None:
    found = defects(text)
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
    assert time.perf_counter() - start < 2.0


def test_a_50_mb_file_is_refused_unread(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    with large.open("wb") as file:
        file.truncate(50_000_000)
    start = time.perf_counter()
    with pytest.raises(ProfileError, match="holds 50000000 bytes"):
        load_device(str(large))
    assert time.perf_counter() - start < 1.0


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
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_anywhere_gives_a_profile_or_lines(write: Callable[[bytes], str], data: st.DataObject) -> None:
    import json

    import yaml

    tree = yaml.safe_load(FULL)
    spots = list(_spots(tree))
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(spots))
        holder[key] = data.draw(VALUES)
    try:
        load_device(write(json.dumps(tree).encode("utf-8", "surrogatepass")))
    except ProfileError as error:
        assert error.defects
        assert all("\n" not in line and "Traceback" not in line for line in error.defects)


def _spots(tree: object) -> list[tuple[object, object]]:
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [spot for key, value in pairs for spot in [(tree, key), *_spots(value)]]
