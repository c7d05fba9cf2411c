"""Framing: whole frames come out however they went in, and whatever is no frame is an error at once."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterator
from threading import Thread

import pytest

from conformance.errors import HarnessError
from conformance.execution import protocol
from conformance.observation import InferenceSeen, Observation, SessionSeen
from conformance.records import Case, DeviceFault, Identity, Witness
from conformance.tensors import SequenceRef, StringsRef, TensorRef
from conformance.workload import NamedValue

MESSAGES: list[protocol.ToParent] = [
    protocol.Hello(protocol=1, harness_version="0", pid=7, versions={"python": "3"}),
    protocol.Phase(seq=1, phase="run"),
    protocol.Failed(seq=2, message="x" * 100_000),
    protocol.Observed(seq=3, observation=Observation()),
]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe, both ends closed afterwards where the test has not done so."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            continue


def test_frames_survive_any_cut() -> None:
    data = b"".join(map(protocol.encode, MESSAGES))
    chance = random.Random(1)  # noqa: S311
    for longest in (1, 3, 4, 5, 1000, len(data)):
        buffer, frames, at = protocol.FrameBuffer(), [], 0
        while at < len(data):
            size = chance.randint(1, longest) if longest < 1000 else longest
            frames += buffer.feed(data[at : at + size])
            at += size
            if longest == 1 and at > 300:  # byte by byte as far as the third frame; then the rest
                frames += buffer.feed(data[at:])
                break
        assert [protocol.TO_PARENT.decode(frame) for frame in frames] == MESSAGES


def test_an_empty_frame_is_a_frame() -> None:
    assert protocol.FrameBuffer().feed(b"\0\0\0\0\0\0\0\0") == [b"", b""]


def test_a_frame_that_is_too_long_is_an_error_before_it_has_come() -> None:
    header = struct.pack(">I", protocol.FRAME_LIMIT + 1)
    buffer = protocol.FrameBuffer()

    assert buffer.feed(header[:3]) == []
    with pytest.raises(HarnessError, match="exceeds the limit"):
        buffer.feed(header[3:])


def test_a_message_that_is_too_long_is_never_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "FRAME_LIMIT", 100)

    assert protocol.encode(protocol.Failed(seq=1, message="short"))
    with pytest.raises(HarnessError, match="exceeds the frame limit of 100"):
        protocol.encode(protocol.Failed(seq=1, message="x" * 100))


def test_a_blocking_reader_gets_the_same_frames(pipe: tuple[int, int]) -> None:
    read, write = pipe

    def send() -> None:
        for message in MESSAGES:
            protocol.write_all(write, protocol.encode(message))
        os.close(write)

    sender = Thread(target=send)
    sender.start()
    frames = list(iter(lambda: protocol.read_frame(read), None))
    sender.join()

    assert [protocol.TO_PARENT.decode(frame) for frame in frames] == MESSAGES


def test_an_empty_frame_is_not_the_end(pipe: tuple[int, int]) -> None:
    read, write = pipe
    os.write(write, b"\0\0\0\0")
    os.close(write)

    assert protocol.read_frame(read) == b""
    assert protocol.read_frame(read) is None


@pytest.mark.parametrize("cut", [1, 3, 4, 5, 9])
def test_a_stream_that_ends_inside_a_frame_is_an_error(pipe: tuple[int, int], cut: int) -> None:
    read, write = pipe
    os.write(write, protocol.encode(MESSAGES[1])[:cut])
    os.close(write)

    with pytest.raises(HarnessError, match="ended inside a frame"):
        protocol.read_frame(read)


def test_a_blocking_reader_refuses_a_frame_that_is_too_long(pipe: tuple[int, int]) -> None:
    read, write = pipe
    os.write(write, b"GET / HTTP/1.1\r\n")

    with pytest.raises(HarnessError, match="a frame of 1195725856 bytes exceeds the limit"):
        protocol.read_frame(read)


def test_each_phase_has_its_budget() -> None:
    deadlines = protocol.Deadlines(open_s=1, compile_s=2, run_s=3)

    assert [deadlines.of(phase) for phase in ("open", "compile", "run")] == [1, 2, 3]


# -- text that is no Unicode ------------------------------------------------------------------------------------------

LONE = "a\udcff\ud800b"
SPELLED = "a\\udcff\\ud800b"


def decoded(message: protocol.ToParent) -> protocol.ToParent:
    (frame,) = protocol.FrameBuffer().feed(protocol.encode(message))
    return protocol.TO_PARENT.decode(frame)


def observed(text: str) -> protocol.Observed:
    """An observation that has a text wherever a runtime's words can come."""
    outputs = [
        NamedValue(text, StringsRef((1,), [text])),
        NamedValue("y", SequenceRef([StringsRef((1,), [text]), TensorRef("uint8", (2,), b"\xff\x00")])),
    ]
    session = SessionSeen(
        mode="strict",
        fault=DeviceFault(phase="run", kind=text, message=text),
        inferences=[InferenceSeen(outputs=outputs, inputs_changed=[text])],
        witnesses=(Witness(source="assignment", nodes={text: 2, "P": 1}, host_ops=(text,)),),
    )
    identity = Identity(runtime=text, runtime_version="1", provider="P", details={text: text, "plain": "ü"})
    return protocol.Observed(seq=4, observation=Observation(sessions=[session], identity=identity))


@pytest.mark.parametrize(
    ("sent", "arrived"),
    [
        (protocol.Failed(seq=1, message=LONE), protocol.Failed(seq=1, message=SPELLED)),
        (protocol.Refused(kind="rejected", message=LONE), protocol.Refused(kind="rejected", message=SPELLED)),
        (
            protocol.Hello(protocol=1, harness_version="0", pid=7, versions={LONE: LONE, "python": "3"}),
            protocol.Hello(protocol=1, harness_version="0", pid=7, versions={SPELLED: SPELLED, "python": "3"}),
        ),
        (observed(LONE), observed(SPELLED)),
    ],
)
def test_text_that_is_no_unicode_arrives_spelled_wherever_it_stands(
    sent: protocol.ToParent, arrived: protocol.ToParent
) -> None:
    assert decoded(sent) == arrived


def test_text_that_is_unicode_arrives_as_it_is() -> None:
    assert decoded(observed("芯片 \\udcff")) == observed("芯片 \\udcff")


def test_the_parent_s_own_messages_are_spelled_too() -> None:
    case = Case(
        id="a/b/c", check="session", requirements=(), why=LONE, params={LONE: [LONE, {"deep": LONE}, b"\xff", None]}
    )
    message = protocol.Measure(seq=1, case=case, deadlines=protocol.Deadlines())
    (frame,) = protocol.FrameBuffer().feed(protocol.encode(message))
    heard = protocol.TO_CHILD.decode(frame)

    assert isinstance(heard, protocol.Measure)
    assert heard.case.why == SPELLED
    assert heard.case.params == {SPELLED: [SPELLED, {"deep": SPELLED}, b"\xff", None]}
