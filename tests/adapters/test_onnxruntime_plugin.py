"""Plugin providers of ONNX Runtime: the one device is found among those that a library offers, or it is not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from conformance.adapters.runtime import onnxruntime as adapter
from conformance.adapters.runtime.port import Mode
from conformance.errors import DeviceNotFound


class Device:
    """An EP device as a plugin would offer it."""

    def __init__(self, name: str = "XExecutionProvider", kind: str = "NPU", **metadata: str) -> None:
        self.ep_name, self.ep_vendor, self.ep_metadata = name, "Acme", {"version": "1.2", "Description": "X1"}

        class Hardware:
            type = getattr(onnxruntime.OrtHardwareDeviceType, kind)
            vendor_id, device_id, vendor = 7, 9, "Acme"

        self.device = Hardware()
        self.device.metadata = metadata  # type: ignore[attr-defined]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., adapter.Adapter]:
    """Make an adapter whose library offers the devices of the test."""
    library = tmp_path / "libx.so"
    library.touch()

    def make(devices: list[Device], **runtime: Any) -> adapter.Adapter:
        registered: list[str] = []
        real = onnxruntime.get_ep_devices()
        monkeypatch.setattr(onnxruntime, "register_execution_provider_library", lambda name, _: registered.append(name))
        monkeypatch.setattr(onnxruntime, "get_ep_devices", lambda: real + (devices if registered else []))
        given = {"provider": "XExecutionProvider", "library": str(library)} | runtime
        return adapter.Adapter(adapter.Adapter.read_options(given), tmp_path)

    return make


Plugin = Callable[..., adapter.Adapter]


def test_a_plugin_s_device_is_bound_by_its_metadata(plugin: Plugin) -> None:
    devices = [Device(serial="1"), Device(serial="2"), Device("OtherExecutionProvider", serial="2")]
    made = plugin(devices, binding={"serial": "2"})
    identity = made.open()

    assert (identity.provider, identity.hardware, identity.vendor) == ("XExecutionProvider", "npu", "Acme")
    assert (identity.driver, identity.device_name, identity.unit) == ("1.2", "X1", "9")
    assert identity.details["serial"] == "2"
    assert identity.details["matching"] == "1"
    assert not made.runs_on_host_cpu


def test_a_plugin_on_the_host_s_cpu_is_one(plugin: Plugin) -> None:
    made = plugin([Device(kind="GPU"), Device(kind="CPU")], device="cpu")
    assert made.open().hardware == "cpu"
    assert made.runs_on_host_cpu


def test_the_bound_device_alone_is_given_to_a_session(plugin: Plugin) -> None:
    devices = [Device(serial="1"), Device(serial="2")]
    made = plugin(devices, binding={"serial": "2"}, options={"threads": 2, "fast": True})
    made.open()
    given: list[Any] = []

    class Options(onnxruntime.SessionOptions):  # type: ignore[misc]
        def add_provider_for_devices(self, devices: list[Any], options: dict[str, str]) -> None:
            given.append((devices, options))

    class Runtime:
        SessionOptions = Options

    made.ort = Runtime
    for mode in (Mode.STRICT, Mode.SHARED, Mode.UNFOLDED):
        _, arguments = made.session_options(mode)
        assert "providers" not in arguments, "the device is named, not its provider"
    assert given == [([devices[1]], {"threads": "2", "fast": "1"})] * 3
    assert made.session_options(Mode.HOST)[1] == {"providers": ["CPUExecutionProvider"]}
    assert len(given) == 3


@pytest.mark.parametrize(
    ("devices", "runtime", "message"),
    [
        ([], {}, "libx.so registered, but offers no device 'XExecutionProvider' on this host \\(offered: none"),
        ([Device("Y")], {}, "offered: Y \\(npu\\)"),
        ([Device()], {"device": "gpu"}, "no device 'XExecutionProvider' with device=gpu"),
        ([Device(serial="1")], {"binding": {"serial": "2"}}, "with serial=2 on this host"),
    ],
)
def test_a_plugin_without_the_device(
    plugin: Plugin, devices: list[Device], runtime: dict[str, Any], message: str
) -> None:
    with pytest.raises(DeviceNotFound, match=message):
        plugin(devices, **runtime).open()


def test_a_plugin_may_be_named_by_its_module(plugin: Plugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x_plugin.py").write_text(f"def get_library_path():\n    return {str(tmp_path / 'libx.so')!r}\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert plugin([Device()], library=None, module="x_plugin").open().details["library"] == "libx.so"


def test_a_plugin_is_unregistered_and_registered_again(plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[str] = []
    monkeypatch.setattr(onnxruntime, "unregister_execution_provider_library", gone.append)
    made = plugin([Device()])
    made.release()
    assert not gone, "it was not bound yet"

    first = made.open()
    made.release()
    made.release()
    assert gone == ["XExecutionProvider"]
    assert made.open() == first
