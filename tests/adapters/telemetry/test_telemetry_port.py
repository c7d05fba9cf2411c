"""The port of meters: found by one file, wrapped so that nothing but TelemetryUnavailable escapes, the lab's word before the source's."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from conformance.adapters.telemetry import source_class, source_names
from conformance.adapters.telemetry.port import (
    Given,
    NoReading,
    TelemetrySource,
    TelemetryUnavailable,
    ask,
    finite,
    load_package,
)
from conformance.errors import UsageError
from conformance.metering.trace import Descriptor, Quantity, Reading

BUILT_IN = {"nvml", "powercap", "hwmon", "redfish", "scpi", "replay"}


class Options(msgspec.Struct, forbid_unknown_fields=True):
    size: int = 1


class Scripted(TelemetrySource):
    """A source whose words are a test's."""

    Options = Options
    descriptors: tuple[Descriptor, ...] = ()
    answers: tuple[object, ...] = ()
    error: Exception | None = None

    def _open(self) -> Iterator[Descriptor]:
        yield from self.descriptors

    def _read(self) -> Iterator[Reading]:
        if self.error is not None:
            raise self.error
        yield from self.answers  # type: ignore[misc]


def channel(name: str = "p", quantity: Quantity = Quantity.POWER, **more: object) -> Descriptor:
    return Descriptor(channel=name, quantity=quantity, scope="board", kind="instantaneous", **more)  # type: ignore[arg-type]


def scripted(*descriptors: Descriptor, **given: object) -> Scripted:
    source = Scripted(Options(), msgspec.convert({"name": "m"} | given, Given))
    source.descriptors = descriptors
    return source


def test_the_built_in_sources_are_found_by_their_files() -> None:
    assert set(source_names()) >= BUILT_IN
    assert not {"port", "support"} & set(source_names())
    for name in BUILT_IN:
        assert source_class(name).__name__ == "Source"


def test_no_source_loads_its_vendors_package_before_it_is_opened() -> None:
    script = (
        "import sys\nfrom conformance.adapters.telemetry import source_class\n"
        f"for name in {sorted(BUILT_IN)!r}: source_class(name)\n"
        "heavy = ('pynvml', 'redfish', 'pyvisa', 'requests', 'numpy', 'yaml', 'pydantic')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def install(folder: Path, name: str, entries: dict[str, str]) -> None:
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = "\n".join(f"{key} = {value}" for key, value in entries.items())
    (info / "entry_points.txt").write_text(f"[conformance.telemetry]\n{lines}\n")


def test_another_distribution_adds_a_source_and_replaces_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "acme_meter.py").write_text(
        "from conformance.adapters.telemetry import replay\nclass Source(replay.Source): pass\n"
    )
    install(tmp_path, "acme", {"acme-meter": "acme_meter"})
    assert source_class("acme-meter").__module__ == "acme_meter"
    install(tmp_path, "too_clever", {"nvml": "acme_meter"})
    assert source_class("nvml").__module__ == "conformance.adapters.telemetry.nvml"
    with pytest.raises(UsageError, match=r"too_clever adds 'nvml' to conformance.telemetry, but that name is taken"):
        source_names()


def test_what_is_no_source_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="did you mean 'powercap'"):
        source_class("power-cap")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "no_source.py").write_text("Source = dict\n")
    (tmp_path / "no_options.py").write_text(
        "from conformance.adapters.telemetry.port import TelemetrySource\nclass Source(TelemetrySource): pass\n"
    )
    install(tmp_path, "halves", {"half": "no_source", "other-half": "no_options"})
    with pytest.raises(UsageError, match="has no class Source that implements TelemetrySource"):
        source_class("half")
    with pytest.raises(UsageError, match="has no Options"):
        source_class("other-half")


def test_unknown_options_are_named() -> None:
    with pytest.raises(UsageError, match="unknown field `sise`"):
        Scripted.read_options({"sise": 2})
    assert Scripted.read_options({"size": 2}) == Options(2)


def test_the_labs_word_goes_before_the_sources() -> None:
    own = {"uncertainty_relative": 0.05, "uncertainty_absolute": 1.0, "bound_to": "GPU-1", "calibration": "assumed"}
    power, heat, used = scripted(
        channel(**own),
        channel("t", Quantity.TEMPERATURE, **own),
        channel("u", Quantity.UTILISATION, **own),
        scope="wall",
        bound_to="outlet 3",
        uncertainty_percent=0.3,
        uncertainty_w=0.02,
        coverage_factor=3.0,
        calibration="DKD 7",
        calibrated_until="2027-01-31",
    ).open()
    assert (power.scope, power.uncertainty_relative, power.uncertainty_absolute) == ("wall", 0.003, 0.02)
    assert (power.coverage_factor, power.calibration, power.bound_to) == (3.0, "DKD 7", "outlet 3 (GPU-1)")
    # a percentage says nothing of degrees, and nothing was said of the utilisation
    assert (heat.uncertainty_relative, heat.uncertainty_absolute, heat.coverage_factor) == (0.05, 1.0, 2.0)
    assert used.uncertainty_relative == 0.05


def test_temperatures_have_an_uncertainty_of_their_own() -> None:
    (heat,) = scripted(
        channel("t", Quantity.TEMPERATURE, uncertainty_absolute=5.0), uncertainty_c=0.4, calibration="PT100 4711"
    ).open()
    assert (heat.uncertainty_relative, heat.uncertainty_absolute) == (0.0, 0.4)


def test_without_the_lab_the_source_speaks_for_itself() -> None:
    (power,) = scripted(channel(uncertainty_relative=0.05, bound_to="GPU-1", calibration="assumed")).open()
    assert (power.channel, power.uncertainty_relative, power.bound_to) == ("m/p", 0.05, "GPU-1")


def test_a_source_without_channels_or_with_one_twice_is_unavailable() -> None:
    with pytest.raises(TelemetryUnavailable, match="m offers no channel"):
        scripted().open()
    with pytest.raises(TelemetryUnavailable, match="m describes m/p more than once"):
        scripted(channel(), channel()).open()


def test_a_source_that_cannot_tell_its_uncertainty_needs_the_labs_word() -> None:
    class Silent(Scripted):
        knows_uncertainty = False

    def opened(quantity: Quantity, **given: object) -> list[Descriptor]:
        source = Silent(Options(), msgspec.convert({"name": "m"} | given, Given))
        source.descriptors = (channel("x", quantity),)
        return source.open()

    with pytest.raises(TelemetryUnavailable, match="nobody states the uncertainty of m/x: write uncertainty_percent"):
        opened(Quantity.POWER)
    with pytest.raises(TelemetryUnavailable, match="write uncertainty_c and calibration"):
        opened(Quantity.TEMPERATURE, uncertainty_percent=1.0)
    assert opened(Quantity.POWER, uncertainty_w=0.1)
    assert opened(Quantity.ENERGY, uncertainty_percent=1.0)
    assert opened(Quantity.THROTTLE)


@pytest.mark.parametrize(
    ("value", "wanted", "why"),
    [
        (None, None, "gave nothing"),
        (math.nan, None, "gave nan"),
        (math.inf, None, "gave inf"),
        (True, None, "no number"),
        ("12", None, "no number"),
        ([1], None, "gave a list"),
        (10**400, None, "gave a int"),
        (0, 0.0, ""),
        (-1, -1.0, ""),
        (12.5, 12.5, ""),
    ],
)
def test_what_is_no_number_is_no_reading_and_everything_else_is_passed_on(
    value: object, wanted: object, why: str
) -> None:
    number, note = finite(value)
    assert number == wanted
    assert (why in note) if why else note == ""


def test_readings_come_out_under_the_meters_name() -> None:
    source = scripted(channel())
    source.open()
    source.answers = (Reading("p", 5, 2, 61.5), Reading("p", 6, 1, math.nan), Reading("p", 7, 1, None, "asleep"))
    assert source.read() == [
        Reading("m/p", 5, 2, 61.5),
        Reading("m/p", 6, 1, None, "the source gave nan"),
        Reading("m/p", 7, 1, None, "asleep"),
    ]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Reading("q", 1, 1, 1.0), "a reading of 'q', which _open did not describe"),
        (12.0, "_read must yield Reading, yielded a float"),
    ],
)
def test_what_is_no_reading_of_a_described_channel_makes_the_source_unavailable(answer: object, why: str) -> None:
    source = scripted(channel())
    source.open()
    source.answers = (answer,)
    with pytest.raises(TelemetryUnavailable, match=why):
        source.read()


def test_whatever_a_vendors_library_raises_is_told_with_type_and_place() -> None:
    source = scripted(channel())
    source.open()
    source.error = KeyError("amdsmi")
    with pytest.raises(TelemetryUnavailable) as caught:
        source.read()
    assert "the source of m failed with KeyError: 'amdsmi' (test_telemetry_port.py:" in caught.value.reason
    source.error = TelemetryUnavailable("why", "do that")
    with pytest.raises(TelemetryUnavailable, match=r"^why: do that$"):
        source.read()


def test_asking_takes_the_time_before_and_turns_no_reading_into_words() -> None:
    def fails() -> float:
        raise NoReading("asleep")

    good, bad = ask("p", lambda: 3.0), ask("p", fails)
    assert (good.value, good.note) == (3.0, "")
    assert (bad.value, bad.note) == (None, "asleep")
    assert good.at_ns + good.took_ns <= bad.at_ns


def test_a_package_that_is_missing_or_broken_comes_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TelemetryUnavailable, match=r"pip install 'resonance-conformance\[nvml\]'"):
        load_package("no_such_package_anywhere", "nvml")
    (tmp_path / "amd_like.py").write_text("raise KeyError('libamd_smi.so')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(TelemetryUnavailable, match=r"cannot be imported: KeyError: 'libamd_smi.so'.*\[nvml\]"):
        load_package("amd_like", "nvml")
