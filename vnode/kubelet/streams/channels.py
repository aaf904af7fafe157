"""The WebSocket protocols of exec and attach: several streams in one connection. Pure.

In: the messages that a client sent. Out: what they mean, and messages for the client. The first
byte of a message is its channel; version 5 adds the end of one channel (KEP-4006), which is how
stdin ends. Sources: k8s.io/streaming pkg/httpstream/wsstream and k8s.io/cri-streaming
pkg/streaming/remotecommand; what these ignore is ignored here.
"""

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from vnode.backend import StreamRequest
from vnode.kube.types import encode

__all__ = [
    "V4",
    "V5",
    "BrokenMessage",
    "Channel",
    "Resize",
    "Stdin",
    "StdinEnd",
    "exit_status",
    "failure_status",
    "first_channel",
    "negotiate",
    "parse",
    "split",
]

V5 = "v5.channel.k8s.io"
V4 = "v4.channel.k8s.io"
_CLOSE = 255
_PIECE = 32 << 10
"""Bytes of output in one message, as Go copies them."""


class Channel(enum.IntEnum):
    """The first byte of a message."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    ERROR = 3
    """Carries one metav1.Status at the end."""
    RESIZE = 4


class BrokenMessage(Exception):
    """The client does not keep to the protocol; its connection ends."""


@dataclass(frozen=True, slots=True)
class Stdin:
    """Bytes for the process."""

    data: bytes


@dataclass(frozen=True, slots=True)
class StdinEnd:
    """No more input comes."""


@dataclass(frozen=True, slots=True)
class Resize:
    """The terminal has another size, in characters."""

    width: int
    height: int


class _TerminalSize(msgspec.Struct):
    width: Annotated[int, msgspec.Meta(ge=0, le=65535)] = msgspec.field(default=0, name="Width")
    height: Annotated[int, msgspec.Meta(ge=0, le=65535)] = msgspec.field(default=0, name="Height")


def negotiate(offered: Sequence[str]) -> str | None:
    """The first protocol of the client's that is spoken here; None: there is none."""
    return next((protocol for protocol in offered if protocol in (V5, V4)), None)


def parse(message: bytes, *, protocol: str) -> Stdin | StdinEnd | Resize | None:
    """What a client's message says; None: nothing that matters.

    Raises:
        BrokenMessage: an end of a channel that makes no sense.
    """
    if not message:
        return None
    channel, data = message[0], message[1:]
    if channel == _CLOSE and protocol == V5:
        if len(data) != 1 or data[0] > Channel.RESIZE:
            raise BrokenMessage("one known channel has to follow the signal that ends it")
        return StdinEnd() if data[0] == Channel.STDIN else None
    if channel == Channel.STDIN:
        return Stdin(data) if data else None
    if channel == Channel.RESIZE:
        return _resize(data)
    return None


def split(channel: Channel, data: bytes) -> Iterator[bytes]:
    """Messages that bring `data` to the client; one that is empty if there is no data."""
    for start in range(0, max(1, len(data)), _PIECE):
        yield bytes((channel,)) + data[start : start + _PIECE]


def first_channel(asked: StreamRequest) -> Channel:
    """Where an empty message tells the client that its streams are open."""
    if asked.stdout:
        return Channel.STDOUT
    return Channel.STDERR if asked.stderr else Channel.ERROR


def exit_status(code: int) -> bytes:
    """The metav1.Status of a process that ended with that exit code."""
    if code == 0:
        return encode({"metadata": {}, "status": "Success"})
    return encode(
        {
            "metadata": {},
            "status": "Failure",
            "message": "command terminated with non-zero exit code: "
            f"command terminated with exit code {code}",
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
        }
    )


def failure_status(message: str) -> bytes:
    """The metav1.Status of a stream that did not come to its end."""
    return encode(
        {
            "metadata": {},
            "status": "Failure",
            "message": f"Internal error occurred: {message}",
            "reason": "InternalError",
            "code": 500,
        }
    )


def _resize(data: bytes) -> Resize | None:
    try:
        size = msgspec.json.decode(data, type=_TerminalSize)
    except msgspec.DecodeError:  # Also a size that no terminal has.
        return None
    return Resize(width=size.width, height=size.height)
