"""The port: one exception family leaves it, and results are plain values when they do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from conformance.adapters.runtime import adapter_class, adapter_names
from conformance.adapters.runtime.port import (
    Mode,
    PlaceOutput,
    RuntimeAdapter,
    RuntimeFault,
    RuntimeSession,
    Unavailable,
    materialise,
)
from conformance.errors import DeviceNotFound, HarnessError, UsageError
from conformance.records import Identity
from conformance.tensors import Value


class VendorError(Exception):
    """What a vendor's library raises."""


class Options(msgspec.Struct):
    """No options."""


class Session(RuntimeSession):
    """Does what it is told."""

    def __init__(self, deed: Any) -> None:
        self.deed = deed

    def _infer(self, feeds: dict[str, Value], place: PlaceOutput | None) -> list[tuple[str, Value]]:
        result: list[tuple[str, Value]] = self.deed()
        return result


class Loud(Session):
    """Fails at everything else too."""

    def _witnesses(self) -> Any:
        return self.deed()

    def _close(self) -> None:
        self.deed()


class Adapter(RuntimeAdapter):
    """Does what it is told."""

    Options = Options

    def __init__(self, deed: Any) -> None:
        super().__init__(Options(), Path())
        self.deed = deed

    def _open(self) -> Identity:
        identity: Identity = self.deed()
        return identity

    def _compile(self, model: bytes, mode: Mode) -> RuntimeSession:
        session: RuntimeSession = self.deed()
        return session

    def _close(self) -> None:
        self.deed()


def fail(error: BaseException) -> Any:
    def deed() -> None:
        raise error

    return deed


@pytest.mark.parametrize(
    ("call", "phase"),
    [
        (lambda deed: Session(deed).infer({}), "run"),
        (lambda deed: Loud(deed).witnesses(), "run"),
        (lambda deed: Loud(deed).close(), "run"),
        (lambda deed: Adapter(deed).open(), "open"),
        (lambda deed: Adapter(deed).compile(b""), "compile"),
        (lambda deed: Adapter(deed).close(), "open"),
    ],
)
def test_whatever_a_vendor_raises_becomes_evidence(call: Any, phase: str) -> None:
    with pytest.raises(RuntimeFault, match="^out of cheese$") as caught:
        call(fail(VendorError("out of cheese")))
    assert (caught.value.phase, caught.value.kind) == (phase, "VendorError")
    assert isinstance(caught.value.__cause__, VendorError)

    for own in (DeviceNotFound("x"), UsageError("x"), HarnessError("x"), Unavailable("x")):
        with pytest.raises(type(own)):
            call(fail(own))
    for other in (KeyboardInterrupt(), SystemExit(0)):
        with pytest.raises(type(other)):
            call(fail(other))


def test_what_an_adapter_need_not_do() -> None:
    session = Session(list)
    assert session.infer({}) == []
    assert session.witnesses() == ()
    session.close()
    RuntimeAdapter.close(Adapter(lambda: None))
    assert Adapter(lambda: None).modes() == (Mode.STRICT,)
    assert not Adapter.has_witness


def test_the_default_close_does_nothing() -> None:
    class Minimal(Adapter):
        def _close(self) -> None:
            return RuntimeAdapter._close(self)

    Minimal(fail(VendorError())).close()


class Tensor:
    """Something of a vendor's that can be made an array."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.value


def test_results_become_plain_values() -> None:
    assert materialise(None) is None
    array = np.arange(6).reshape(2, 3)
    assert materialise(array) is array
    turned = materialise(array.T)
    assert isinstance(turned, np.ndarray)
    assert turned.flags.c_contiguous
    assert turned.tolist() == array.T.tolist()
    scalar = materialise(np.float32(2))
    assert isinstance(scalar, np.ndarray)
    assert (scalar.shape, scalar.dtype) == ((), np.dtype(np.float32))
    text = materialise("words")
    assert isinstance(text, np.ndarray)
    assert (text.shape, text.tolist()) == ((), "words")
    sequence = materialise((array, [None, Tensor(array)]))
    assert isinstance(sequence, list)
    assert sequence[0] is array
    assert sequence[1] == [None, array] or sequence[1][1] is array  # type: ignore[index]


def test_a_turned_array_without_dimensions_keeps_its_shape() -> None:
    zero = np.lib.stride_tricks.as_strided(np.zeros(4, np.float32), (), ())
    value = materialise(zero)
    assert isinstance(value, np.ndarray)
    assert value.shape == ()


@pytest.mark.parametrize("result", [3, 3.0, {"y": np.zeros(1)}, object(), {1}])
def test_what_is_no_value_is_the_runtime_s_fault(result: Any) -> None:
    with pytest.raises(RuntimeFault, match=f"the runtime returned a {type(result).__name__}, which is no tensor"):
        Session(lambda: [("y", result)]).infer({})


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.complex64])
def test_the_byte_order_of_a_result_is_the_host_s(dtype: Any) -> None:
    value = np.arange(6, dtype=dtype).reshape(2, 3)
    turned = materialise(value.astype(value.dtype.newbyteorder(">")).T)

    assert isinstance(turned, np.ndarray)
    assert turned.dtype == np.dtype(dtype)
    assert turned.dtype.isnative
    assert turned.flags.c_contiguous
    assert turned.tolist() == value.T.tolist()


@pytest.mark.parametrize(
    "value", [np.zeros(2, np.longdouble), np.zeros(2, "datetime64[s]"), np.zeros(2, [("a", "f4")])]
)
@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: [value], Tensor])
def test_a_type_that_onnx_does_not_have_is_the_runtime_s_fault(value: Any, wrap: Any) -> None:
    with pytest.raises(RuntimeFault, match="the runtime returned an array whose numpy type .* has no ONNX") as caught:
        Session(lambda: [("y", wrap(value))]).infer({})
    assert (caught.value.phase, caught.value.kind) == ("run", "UnknownType")


def test_a_result_that_fails_when_it_is_looked_at_is_the_runtime_s_fault() -> None:
    class Lazy:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            raise VendorError("the result was lost on the way")

    def one_by_one() -> Any:
        yield "y", np.zeros(1, np.float32)
        raise VendorError("the second output was lost")

    for deed, words in ((lambda: [("y", Lazy())], "lost on the way"), (one_by_one, "second output")):
        with pytest.raises(RuntimeFault, match=words) as caught:
            Session(deed).infer({})
        assert (caught.value.phase, caught.value.kind) == ("run", "VendorError")


def test_a_device_that_is_out_of_memory_has_failed_the_request() -> None:
    with pytest.raises(RuntimeFault, match="the card is full") as caught:
        Session(fail(MemoryError("the card is full"))).infer({})
    assert caught.value.kind == "MemoryError"


def test_the_built_in_adapters_are_there() -> None:
    assert adapter_names() == ["misbehaving", "oip", "onnx-backend", "onnxruntime"]
    for name in adapter_names():
        assert issubclass(adapter_class(name), RuntimeAdapter)
    with pytest.raises(UsageError, match="did you mean 'onnx-backend'"):
        adapter_class("onnx-backnd")


def test_an_array_of_objects_that_are_no_strings_is_the_device_s_failure() -> None:
    class Poser:
        def __str__(self) -> str:
            return "the right answer"

    with pytest.raises(RuntimeFault, match="objects that are no strings"):
        materialise(np.array([Poser()], dtype=object))
    assert materialise(np.array(["a", b"b"], dtype=object)) is not None


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"y": np.zeros(1)}, "returned a dict"),
        (None, "returned None"),
        (np.zeros((2, 2)), "returned a ndarray"),
        ([np.zeros(1)], "returned a list with a ndarray"),
        (["y"], "returned a list with a str"),
        ([("y", np.zeros(1), 3)], "returned a list with a tuple"),
        ([(b"y", np.zeros(1))], "returned a list with a tuple"),
        (3, "returned a int"),
    ],
)
def test_results_that_are_no_pairs_are_told_in_one_sentence(result: Any, words: str) -> None:
    with pytest.raises(RuntimeFault) as caught:
        Session(lambda: result).infer({})
    assert (caught.value.phase, caught.value.kind) == ("run", "WrongResult")
    assert str(caught.value) == f"_infer must return (name, value) pairs, {words}"


RIGHT = Identity(runtime="r", runtime_version="1", provider="P")


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        (None, "_open must return an Identity, returned None"),
        ({"runtime": "r"}, "_open must return an Identity, returned a dict"),
        (msgspec.structs.replace(RIGHT, runtime_version=(1, 2)), "Identity.runtime_version must be a text, is a tuple"),
        (msgspec.structs.replace(RIGHT, driver=None), "Identity.driver must be a text, is None"),
        (msgspec.structs.replace(RIGHT, details=None), "Identity.details must be a dict of texts, is None"),
        (msgspec.structs.replace(RIGHT, details={"serial": 7}), "Identity.details['serial'] must be a text, is a int"),
        (msgspec.structs.replace(RIGHT, details={7: "x"}), "the keys of Identity.details must be texts, 7 is a int"),
        (msgspec.structs.replace(RIGHT, details={0: "x"}), "the keys of Identity.details must be texts, 0 is a int"),
    ],
)
def test_an_identity_that_is_none_is_told_in_one_sentence(identity: Any, words: str) -> None:
    assert Adapter(lambda: RIGHT).open() is RIGHT
    with pytest.raises(RuntimeFault) as caught:
        Adapter(lambda: identity).open()
    assert (caught.value.phase, caught.value.kind, str(caught.value)) == ("open", "WrongResult", words)


@pytest.mark.parametrize(
    "slip",
    [lambda: {}["a"], lambda: bytearray()[0], lambda: None.shape, lambda: nobody, lambda: len(3)],  # type: ignore  # noqa: F821
)
def test_an_adapter_s_own_slip_is_told_with_its_place(slip: Any) -> None:
    line = slip.__code__.co_firstlineno
    for call in (Session(slip).infer, Adapter(slip).compile):
        with pytest.raises(RuntimeFault) as caught:
            call({})
        assert str(caught.value).endswith(f" (test_port.py:{line} in <lambda>)")


def test_an_adapter_without_options_is_a_wrong_use(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from conformance.adapters import runtime

    class Plain(RuntimeAdapter):
        pass

    class Dicts(RuntimeAdapter):
        Options = dict  # type: ignore[assignment]

    for adapter in (Plain, Dicts):
        monkeypatch.setattr(runtime, "load", lambda *_, found=adapter: SimpleNamespace(Adapter=found))
        with pytest.raises(UsageError) as caught:
            adapter_class("plain")
        assert str(caught.value) == "runtime 'plain' has no Options (a msgspec.Struct); see docs/extending.md"
