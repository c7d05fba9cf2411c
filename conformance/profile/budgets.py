"""What a vendor declares about latency, power, temperature, documentation and SDK: typed and checked for sense.

Whether a declaration is true is measured by the checks; here only nonsense is refused.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from conformance.profile.model import (
    Amount,
    Celsius,
    Count,
    Many,
    Name,
    Positive,
    Range,
    Seconds,
    Share,
    Slug,
    Strict,
    Text,
    ordered,
    tighten,
)
from conformance.profile.tree import KeyPath
from conformance.profile.wording import Message

Scenario = Literal["back-to-back", "paced", "single-stream", "multi-stream", "server", "offline", "generation"]
"""`back-to-back` is `single-stream` under its plain name; `generation` is a decoder that gives one token after another."""


class Latency(Strict):
    """The latency that is promised for one model in one scenario. Times are per inference, outputs included."""

    item_key: ClassVar[tuple[str, ...]] = ("model", "scenario", "batch", "variant")

    model: Slug = Field(json_schema_extra=tighten("equal"))
    """A reference model, such as `mobile-cnn`."""
    variant: Slug = Field(default="float32", json_schema_extra=tighten("equal"))
    """Which of the model's files: `float32`, `float16`, `int8-qdq`, …"""
    scenario: Scenario = Field(json_schema_extra=tighten("equal"))
    batch: Count = Field(default=1, json_schema_extra=tighten("equal"))
    period_ms: Positive | None = Field(default=None, json_schema_extra=tighten("lower"))
    """For `paced`: the frame period at which requests arrive."""
    rate_per_s: Positive | None = Field(default=None, json_schema_extra=tighten("higher"))
    """For `server`: how many requests arrive each second, on average."""
    streams: Count | None = Field(default=None, json_schema_extra=tighten("equal"))
    """For `multi-stream` the samples of one query (8 where it is left out); for `server` and `offline` requests at a time (1)."""
    p50_ms: Positive | None = Field(default=None, json_schema_extra=tighten("lower"))
    p90_ms: Positive | None = Field(default=None, json_schema_extra=tighten("lower"))
    p95_ms: Positive | None = Field(default=None, json_schema_extra=tighten("lower"))
    p99_ms: Positive | None = Field(default=None, json_schema_extra=tighten("lower"))
    p999_ms: Positive | None = Field(default=None, json_schema_extra=tighten("lower"))
    max_ms: Positive | None = Field(default=None, json_schema_extra=tighten("lower"))
    jitter_ms: Amount | None = Field(default=None, json_schema_extra=tighten("lower"))
    """Largest spread, p99.9 less p50."""
    deadline_ms: Positive | None = Field(default=None, json_schema_extra=tighten("lower"))
    miss_rate: Share | None = Field(default=None, json_schema_extra=tighten("lower"))
    """Share of inferences that may miss `deadline_ms`, 0 to 1."""
    ttft_p99_ms: Positive | None = Field(default=None, json_schema_extra=tighten("lower"))
    """For `generation`: the 99th percentile of the time to the first token."""
    tpot_p99_ms: Positive | None = Field(default=None, json_schema_extra=tighten("lower"))
    """For `generation`: the 99th percentile of the time per output token after the first."""
    cold_start_ms: Positive | None = Field(default=None, json_schema_extra=tighten("lower"))
    """From the model's bytes to the outputs of the first inference: compiling included."""
    warm_up_s: Amount | None = Field(default=None, json_schema_extra=tighten("lower"))
    """How long inferences are made before the first one counts."""
    min_duration_s: Seconds | None = Field(default=None, json_schema_extra=tighten("higher"))
    """How long the load has to last for the declaration to count as shown; a certificate asks for 600 s at least."""

    def sense(self) -> Iterator[tuple[KeyPath, Message]]:
        """Percentiles rise; a paced scenario has a period; a miss rate has a deadline and does not contradict it."""
        percentiles = ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms")
        yield from ordered(self, percentiles)
        if self.scenario == "paced" and self.period_ms is None:
            yield ("scenario",), "a paced scenario needs period_ms, the time between two requests"
        if self.scenario != "paced" and self.period_ms is not None:
            yield ("period_ms",), f"period_ms belongs to the scenario paced, not to {self.scenario}"
        yield from self._sense_of_scenario()
        if self.miss_rate is not None and self.deadline_ms is None:
            yield ("miss_rate",), "miss_rate needs deadline_ms, the deadline that is missed"
        if self.deadline_ms is None:
            return
        for name, beyond in (("p50_ms", 0.5), ("p90_ms", 0.1), ("p95_ms", 0.05), ("p99_ms", 0.01), ("p999_ms", 0.001)):
            value = getattr(self, name)
            if value is not None and value > self.deadline_ms and (self.miss_rate or 0.0) < beyond:
                what = f"{name} is {value:g}, above deadline_ms, which is {self.deadline_ms:g}"
                yield (
                    (name,),
                    f"{what}: more than {beyond:g} of the inferences would miss it; declare that as miss_rate",
                )

    def _sense_of_scenario(self) -> Iterator[tuple[KeyPath, Message]]:
        """A server has a rate, generation has its own two times and no others, streams belong to what has several."""
        if self.scenario == "server" and self.rate_per_s is None:
            yield ("scenario",), "a server scenario needs rate_per_s, the requests that arrive each second"
        if self.scenario != "server" and self.rate_per_s is not None:
            yield ("rate_per_s",), f"rate_per_s belongs to the scenario server, not to {self.scenario}"
        if self.streams is not None and self.scenario not in ("multi-stream", "server", "offline"):
            yield ("streams",), f"streams belong to multi-stream, server and offline, not to {self.scenario}"
        generated = ("ttft_p99_ms", "tpot_p99_ms")
        queried = ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms", "jitter_ms", "deadline_ms")
        for name in queried if self.scenario == "generation" else generated:
            if getattr(self, name) is not None:
                where = "not to generation" if self.scenario == "generation" else f"not to {self.scenario}"
                whose = "a scenario of single queries" if self.scenario == "generation" else "the scenario generation"
                yield (name,), f"{name} belongs to {whose}, {where}"


class EnergyPerInference(Strict):
    """The energy that one inference of a model takes, above idle."""

    item_key: ClassVar[tuple[str, ...]] = ("model", "batch")

    model: Slug = Field(json_schema_extra=tighten("equal"))
    batch: Count = Field(default=1, json_schema_extra=tighten("equal"))
    energy_mj: Positive = Field(json_schema_extra=tighten("lower"))
    """Millijoules."""


class PowerState(Strict):
    """A named power profile that the device can be put into."""

    item_key: ClassVar[tuple[str, ...]] = ("name",)

    name: Name = Field(json_schema_extra=tighten("equal"))
    cap_w: Positive = Field(json_schema_extra=tighten("lower"))


class Power(Strict):
    """The power that the device under test draws, in watts."""

    idle_w: Amount | None = Field(default=None, json_schema_extra=tighten("lower"))
    typical_w: Positive | None = Field(default=None, json_schema_extra=tighten("lower"))
    tdp_w: Positive | None = Field(default=None, json_schema_extra=tighten("lower"))
    max_w: Positive | None = Field(default=None, json_schema_extra=tighten("lower"))
    supply_v: Range | None = Field(default=None, json_schema_extra=tighten("superset"))
    """Supply voltages between which the device works."""
    supply_connector: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    states: Many[PowerState] = Field(default=(), json_schema_extra=tighten("superset"))
    energy_per_inference: Many[EnergyPerInference] = Field(default=(), json_schema_extra=tighten("superset"))
    sensor: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    """Where the device's own power reading is found."""

    def sense(self) -> Iterator[tuple[KeyPath, Message]]:
        """Idle ≤ typical ≤ maximum, and the design power lies between idle and maximum; no state above the maximum."""
        typical = list(ordered(self, ("idle_w", "typical_w", "max_w")))
        yield from typical
        blamed = [path for path, _ in typical]
        yield from (found for found in ordered(self, ("idle_w", "tdp_w", "max_w")) if found[0] not in blamed)
        for index, state in enumerate(self.states):
            if self.max_w is not None and state.cap_w > self.max_w:
                what = f"cap_w is {state.cap_w:g}, above max_w, which is {self.max_w:g}"
                yield ("states", index, "cap_w"), what


class Thermal(Strict):
    """The temperatures between which the device works, in degrees Celsius."""

    ambient_c: Range | None = Field(default=None, json_schema_extra=tighten("superset"))
    """Lowest and highest ambient temperature in operation."""
    storage_c: Range | None = Field(default=None, json_schema_extra=tighten("superset"))
    throttle_c: Celsius | None = Field(default=None, json_schema_extra=tighten("higher"))
    """The device temperature at which it begins to slow down."""
    max_c: Celsius | None = Field(default=None, json_schema_extra=tighten("lower"))
    """The highest device temperature in operation."""
    shutdown_c: Celsius | None = Field(default=None, json_schema_extra=tighten("free"))
    cooling: Literal["passive", "active", "liquid", "conduction"] | None = Field(
        default=None, json_schema_extra=tighten("equal")
    )
    airflow_m_s: Amount | None = Field(default=None, json_schema_extra=tighten("lower"))
    """Air speed that the device needs at its heat sink, in metres per second."""
    soak_s: Seconds | None = Field(default=None, json_schema_extra=tighten("higher"))
    """How long full load is held before temperatures count as steady."""
    sensor: Name | None = Field(default=None, json_schema_extra=tighten("free"))

    def sense(self) -> Iterator[tuple[KeyPath, Message]]:
        """Throttle ≤ maximum ≤ shutdown, the ambient below the maximum, and nothing below absolute zero."""
        yield from ordered(self, ("throttle_c", "max_c", "shutdown_c"))
        for name in ("ambient_c", "storage_c"):
            ends = getattr(self, name)
            if ends is not None and (ends[0] < -273.15 or ends[1] > 2000):
                yield (name,), f"{name} is [{ends[0]:g}, {ends[1]:g}]: degrees Celsius are wanted"
        if self.ambient_c is not None and self.max_c is not None and self.ambient_c[1] > self.max_c:
            what = f"the highest ambient is {self.ambient_c[1]:g}, above max_c, which is {self.max_c:g}"
            yield ("ambient_c",), what


class Documentation(Strict):
    """Where the documents are: each a URL, or a path relative to this file."""

    datasheet: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    user_manual: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    integration_guide: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    api_reference: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    operator_list: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    release_notes: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    known_issues: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    safety: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    power_and_thermal: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    support: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    languages: Many[Literal["en", "zh"]] = Field(default=(), json_schema_extra=tighten("superset"))
    notes: Text | None = Field(default=None, json_schema_extra=tighten("free"))


class Sdk(Strict):
    """The software kit that comes with the device."""

    name: Name = Field(json_schema_extra=tighten("free"))
    version: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    licence: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    platforms: Many[Name] = Field(default=(), json_schema_extra=tighten("superset"))
    """Operating systems and architectures, such as `linux-x86_64`."""
    languages: Many[Name] = Field(default=(), json_schema_extra=tighten("superset"))
    """Programming languages with bindings."""
    package: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    samples: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    changelog: Name | None = Field(default=None, json_schema_extra=tighten("free"))
    support_years: Positive | None = Field(default=None, json_schema_extra=tighten("higher"))


class Interface(Strict):
    """A standard interface that the device offers, with the version of the standard."""

    item_key: ClassVar[tuple[str, ...]] = ("name", "version")

    name: Name = Field(json_schema_extra=tighten("equal"))
    """Such as `pcie`, `open-inference-protocol`, `genicam`, `opc-ua`."""
    version: Name | None = Field(default=None, json_schema_extra=tighten("equal"))
    features: Many[Name] = Field(default=(), json_schema_extra=tighten("superset"))
    """Parts that the standard leaves optional, such as encodings."""
    document: Name | None = Field(default=None, json_schema_extra=tighten("free"))


class SensorFusion(Strict):
    """How several sensors come together with one notion of time."""

    api: Name = Field(json_schema_extra=tighten("equal"))
    """The programming interface through which fused data are read."""
    sensors: Many[Name] = Field(default=(), json_schema_extra=tighten("superset"))
    time_source: Literal["ptp", "ntp", "hardware-trigger", "host", "none"] | None = Field(
        default=None, json_schema_extra=tighten("equal")
    )
    max_skew_ms: Amount | None = Field(default=None, json_schema_extra=tighten("lower"))
    """Largest difference between the time stamps of what is fused."""
    rate_hz: Positive | None = Field(default=None, json_schema_extra=tighten("higher"))
    latency_ms: Positive | None = Field(default=None, json_schema_extra=tighten("lower"))
