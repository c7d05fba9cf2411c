"""Meters of other makers: DMTF's client against sushy-static, and SCPI through PyVISA's own backends, sampled as a run samples them."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

TESTS = str(Path(__file__).resolve().parent.parent)
if TESTS not in sys.path:
    sys.path.append(TESTS)

from adapters.telemetry.given import opened, source, values  # noqa: E402
from adapters.telemetry.instrument import switched_on  # noqa: E402
from adapters.telemetry.redfish_service import CHASSIS, EXPECTED, resources, write_tree  # noqa: E402

from conformance.adapters.telemetry.port import TelemetryUnavailable  # noqa: E402
from conformance.execution.sampling import Sampling, read_meters  # noqa: E402
from conformance.metering.trace import Trace  # noqa: E402

pytestmark = pytest.mark.peer
LAB = {"uncertainty_percent": 0.3, "calibration": "DKD 2026-0815"}
POWER = {"name": "power", "query": ":POW?", "quantity": "power_w", "kind": "averaged", "window_ms": 100}


class Sushy(NamedTuple):
    """A sushy-static that runs."""

    url: str
    folder: Path
    made: dict[str, Any]

    def change(self, uri: str, **changes: object) -> None:
        self.made[uri] |= changes
        write_tree(self.folder, self.made)


def program(name: str) -> str:
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    assert found, f"{name} is not in this environment: run `nox -s peers`"
    return found


@pytest.fixture
def sushy(tmp_path: Path) -> Iterator[Sushy]:
    """OpenStack's static Redfish service on loopback, with a tree of ours."""
    made = resources()
    root = write_tree(tmp_path, made)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [program("sushy-static"), "-i", "127.0.0.1", "-p", str(port), "-m", str(root)], stdout=log, stderr=log
        )
    try:
        end = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < end, (tmp_path / "log").read_text()
                time.sleep(0.05)
        yield Sushy(f"http://127.0.0.1:{port}", tmp_path, made)
    finally:
        server.kill()
        server.wait()


def test_dmtfs_client_reads_a_chassis_from_sushy_static(sushy: Sushy) -> None:
    meter, found = opened("redfish", url=sushy.url, sensors=["GpuPower"])
    assert values(meter) == pytest.approx(EXPECTED)
    assert found["m/EnvironmentMetrics PowerWatts"].period_ms == 500.0
    sushy.change(f"{CHASSIS}/Sensors/TotalPower", Reading=512.5)
    assert values(meter)["m/EnvironmentMetrics PowerWatts"] == 512.5
    sushy.change(f"{CHASSIS}/Sensors/TotalPower", Status={"State": "UnavailableOffline"})
    assert values(meter)["m/EnvironmentMetrics PowerWatts"] is None
    meter.close()


def test_dmtfs_client_on_a_service_that_is_not_there(sushy: Sushy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(TelemetryUnavailable, match=r"does not take the connection: see whether curl http://127.0.0.1:"):
        source("redfish", url=f"http://127.0.0.1:{port}").open()
    with pytest.raises(TelemetryUnavailable, match="shows no certificate that is trusted"):
        source("redfish", url=sushy.url.replace("http:", "https:")).open()


def test_dmtfs_client_on_a_service_that_falls_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(TelemetryUnavailable, match="does not answer in time"):
            source("redfish", url=url, timeout_s=0.3).open()


def test_a_run_samples_redfish_and_scpi_side_by_side(sushy: Sushy, tmp_path: Path) -> None:
    with switched_on() as instrument:
        given = [
            {
                "source": "redfish",
                "options": {"url": sushy.url, "only": ["EnvironmentMetrics PowerWatts"]},
                "period_ms": 100,
            },
            {
                "source": "scpi",
                "name": "wall",
                "period_ms": 50,
                "options": {"resource": instrument.resource, "identification": "ACME", "channels": [POWER]},
                **LAB,
            },
        ]
        with Sampling(read_meters(given, tmp_path)) as sampling:
            time.sleep(1.0)
            trace = sampling.stop()
    assert trace.failures == []
    assert values_of(trace, "redfish/EnvironmentMetrics PowerWatts") == {374.0}
    assert values_of(trace, "wall/power") == {61.5}


def values_of(trace: Trace, channel: str) -> set[float | None]:
    found = [one.value for one in trace.readings if one.channel == channel]
    assert len(found) >= 3
    return set(found)


def test_pyvisa_sim_and_pyvisa_py_agree_on_an_instrument() -> None:
    library = f"{TESTS}/adapters/telemetry/instrument.yaml@sim"
    simulated, _ = opened(
        "scpi", resource="GPIB0::8::INSTR", identification="ACME", channels=[POWER], library=library, lab=LAB
    )
    with switched_on() as instrument:
        real, _ = opened("scpi", resource=instrument.resource, identification="ACME", channels=[POWER], lab=LAB)
        assert values(simulated) == values(real) == {"m/power": 61.5}
        real.close()
    simulated.close()


def test_nvidias_own_package_without_a_driver_names_the_driver_and_with_one_reads_the_gpu() -> None:
    if not Path("/dev/nvidiactl").exists():
        with pytest.raises(
            TelemetryUnavailable, match=r"NVML does not start \(.* Not Found\): install the NVIDIA driver"
        ):
            source("nvml", uuid="GPU-none").open()
        return
    import pynvml

    pynvml.nvmlInit()
    uuid = pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(0))
    meter, found = opened("nvml", uuid=uuid)
    assert all(uuid in one.bound_to for one in found.values())
    power = [value for channel, value in values(meter).items() if channel.startswith("m/power")]
    assert power
    assert all(value is not None and 1 < value < 2000 for value in power)
    meter.close()
