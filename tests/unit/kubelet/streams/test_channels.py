import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnode.backend import StreamRequest, StreamVerb
from vnode.kubelet.streams.channels import (
    V4,
    V5,
    BrokenMessage,
    Channel,
    Resize,
    Stdin,
    StdinEnd,
    exit_status,
    failure_status,
    first_channel,
    negotiate,
    parse,
    split,
)

PROTOCOLS = (V4, V5)


@given(st.binary(max_size=200), st.sampled_from(PROTOCOLS))
def test_every_message_means_something_nothing_or_breaks_the_protocol(
    message: bytes, protocol: str
) -> None:
    try:
        said = parse(message, protocol=protocol)
    except BrokenMessage:
        assert protocol == V5
        assert message[0] == 255
        return
    match said:
        case Stdin(data):
            assert message == b"\0" + data
        case StdinEnd():
            assert (protocol, message) == (V5, b"\xff\0")
        case Resize(width, height):
            assert message[0] == Channel.RESIZE
            assert 0 <= width <= 65535
            assert 0 <= height <= 65535
        case None:
            assert message[:1] != b"\0" or len(message) == 1


@given(st.binary(max_size=100_000), st.sampled_from(list(Channel)))
def test_output_arrives_whole_and_in_order_in_messages_of_one_channel(
    data: bytes, channel: Channel
) -> None:
    messages = list(split(channel, data))
    assert b"".join(message[1:] for message in messages) == data
    assert all(message[0] == channel and len(message) <= 32769 for message in messages)
    assert len(messages) == max(1, -(-len(data) // 32768))


@given(st.binary(min_size=1, max_size=1000), st.sampled_from(PROTOCOLS))
def test_input_is_taken_as_it_is(data: bytes, protocol: str) -> None:
    assert parse(b"\0" + data, protocol=protocol) == Stdin(data)


@given(st.integers(0, 65535), st.integers(0, 65535), st.sampled_from(PROTOCOLS))
def test_a_terminal_size_is_read(width: int, height: int, protocol: str) -> None:
    message = b"\4" + json.dumps({"Width": width, "Height": height}).encode() + b"\n"
    assert parse(message, protocol=protocol) == Resize(width=width, height=height)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"Width":65536}', b'{"Height":-1}', b"\xff"])
def test_a_size_that_no_terminal_has_is_ignored(text: bytes) -> None:
    assert parse(b"\4" + text, protocol=V5) is None


def test_the_old_protocol_knows_no_end_of_a_channel() -> None:
    assert parse(b"\xff\0", protocol=V4) is None


@pytest.mark.parametrize("message", [b"\xff", b"\xff\0\0", b"\xff\5", b"\xff\xff"])
def test_an_end_of_nothing_known_breaks_the_protocol(message: bytes) -> None:
    with pytest.raises(BrokenMessage):
        parse(message, protocol=V5)


@pytest.mark.parametrize("channel", [1, 2, 3, 4])
def test_the_end_of_another_channel_is_no_end_of_input(channel: int) -> None:
    assert parse(bytes((255, channel)), protocol=V5) is None


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((V5,), V5),
        ((V4, V5), V4),
        (("base64.channel.k8s.io", V4), V4),
        (("SPDY/3.1+portforward.k8s.io",), None),
        (("",), None),
    ],
)
def test_the_first_known_protocol_is_spoken(offered: tuple[str, ...], chosen: str | None) -> None:
    assert negotiate(offered) == chosen


@pytest.mark.parametrize(
    ("stdout", "stderr", "channel"),
    [
        (True, True, Channel.STDOUT),
        (False, True, Channel.STDERR),
        (False, False, Channel.ERROR),
    ],
)
def test_the_opening_is_told_on_the_lowest_channel_that_the_client_reads(
    stdout: bool, stderr: bool, channel: Channel
) -> None:
    asked = StreamRequest(StreamVerb.EXEC, "GET", stdin=True, stdout=stdout, stderr=stderr)
    assert first_channel(asked) is channel


def test_a_clean_end_is_success() -> None:
    assert json.loads(exit_status(0)) == {"metadata": {}, "status": "Success"}


def test_an_exit_code_is_a_cause_that_kubectl_reads() -> None:
    status = json.loads(exit_status(42))
    assert (status["status"], status["reason"]) == ("Failure", "NonZeroExitCode")
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "42"}]


def test_what_went_wrong_here_is_an_internal_error() -> None:
    status = json.loads(failure_status("gone"))
    assert (status["reason"], status["code"]) == ("InternalError", 500)
    assert status["message"] == "Internal error occurred: gone"
