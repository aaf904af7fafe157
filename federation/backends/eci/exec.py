"""exec in a container group: one websocket as an `ExecSession` of the seam.

    kubelet API -> EciExec -> Socket (`transport`) -> the address that ExecContainerCommand gave

What is spoken on that address is not documented. Assumed are the channels of Kubernetes without a
subprotocol, for the reasons in docs/eci.md: the first byte of a message is the channel; a failure
is a text (or a metav1.Status) on the error channel, success is none; the service closes the socket
when the command has ended. Messages in no channel are shown as output, and then no exit code is
known. The end of input cannot be told, but to a terminal. Owned by the kubelet API's handler, which
closes it.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence

import msgspec

from federation.backends.eci.errors import (
    Denied,
    EciError,
    NotFound,
    Throttled,
    Unavailable,
)
from federation.backends.eci.translate import limits
from federation.backends.eci.transport import Socket
from vnode.backend import StreamError, StreamRequest, StreamVerb

__all__ = ["EciExec", "opening_failed", "require_possible"]

_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE = range(5)
_PIECE = 32 << 10
"""Bytes of input in one message."""
_END_OF_INPUT = b"\x04"
"""Ctrl-D, which terminals take for the end."""
_PATIENCE = 5.0
"""Seconds after the end of input in which a command may end without a word of ours."""
_HINT = (
    b"[the end of input cannot be passed on to this virtual node: if the command waits for it, "
    b"press Ctrl-C]\n"
)
_CODE = re.compile(r"exit(?:ed)?(?: with)?(?: code| status)? (\d{1,3})\b")
_LONGEST = 200


class _Cause(msgspec.Struct, frozen=True):
    reason: str = ""
    message: str = ""


class _Details(msgspec.Struct, frozen=True):
    causes: tuple[_Cause, ...] = ()


class _Status(msgspec.Struct, frozen=True):
    """metav1.Status, as far as it says how a command ended."""

    status: str
    message: str = ""
    details: _Details = _Details()


class EciExec:
    """A command in a container (`vnode.backend.ExecSession`)."""

    def __init__(self, socket: Socket, *, tty: bool) -> None:
        self._socket = socket
        self._tty = tty
        self._failure = ""
        """What came on the error channel."""
        self._in_channels = True
        self._input_ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def write_stdin(self, data: bytes) -> None:
        """See `ExecSession.write_stdin`."""
        for start in range(0, len(data), _PIECE):
            await self._send(_STDIN, data[start : start + _PIECE])

    async def close_stdin(self) -> None:
        """A terminal is told; of pipes the end cannot be, which users hear if it goes on."""
        if self._tty:
            await self._send(_STDIN, _END_OF_INPUT)
        elif not self._input_ended.done():
            self._input_ended.set_result(None)

    async def resize(self, *, width: int, height: int) -> None:
        """See `ExecSession.resize`."""
        size = {"Width": width, "Height": height}
        await self._send(_RESIZE, msgspec.json.encode(size))

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """See `ExecSession.output`."""
        hint = asyncio.ensure_future(self._time_for_a_hint())
        receiving: asyncio.Future[bytes | str | None] | None = None
        try:
            while True:
                receiving = receiving or asyncio.ensure_future(self._socket.receive())
                waited_for = {receiving} if hint.done() else {receiving, hint}
                await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
                if not receiving.done():
                    yield _STDERR, _HINT
                    continue
                message, receiving = _received(receiving), None
                if message is None:
                    return
                if piece := self._read(message):
                    yield piece
        finally:
            hint.cancel()
            if receiving is not None:
                receiving.cancel()

    async def exit_code(self) -> int:
        """See `ExecSession.exit_code`: without a word of failure it was success."""
        if not self._in_channels:
            raise StreamError("ECI has not said how the command ended", code=500)
        if not self._failure:
            return 0
        return _exit_code(self._failure)

    async def close(self) -> None:
        """See `ExecSession.close`."""
        await self._socket.close()

    async def _time_for_a_hint(self) -> bytes | str | None:
        await self._input_ended
        await asyncio.sleep(_PATIENCE)
        return None

    def _read(self, message: bytes | str) -> tuple[int, bytes] | None:
        if isinstance(message, str) or not message or message[0] > _RESIZE:
            self._in_channels = False
            return _STDOUT, message.encode() if isinstance(message, str) else message
        channel, data = message[0], message[1:]
        if channel == _ERROR:
            self._failure += data.decode(errors="replace")
            return None
        return (channel, data) if data and channel in (_STDOUT, _STDERR) else None

    async def _send(self, channel: int, data: bytes) -> None:
        try:
            await self._socket.send(bytes((channel,)) + data)
        except ConnectionError:
            raise StreamError("the command takes no input any more", code=410) from None


def require_possible(request: StreamRequest) -> None:
    """Raise StreamError for what ECI has no call for."""
    if request.verb is not StreamVerb.EXEC:
        raise StreamError(f"ECI has no {request.verb.value}: use exec, or logs", code=501)
    words: Sequence[str] = request.command
    if len(words) > limits.WORDS or any(len(word) > limits.WORD for word in words):
        raise StreamError(
            f"ECI takes commands of at most {limits.WORDS} words of {limits.WORD} "
            "characters: write a longer one to a file by stdin, and run that",
            code=400,
        )


def opening_failed(error: EciError) -> StreamError:
    """What a user is told of a command that could not be started. The service's words stay out."""
    match error:
        case NotFound():
            return StreamError("the pod does not run there any more", code=404, reason="NotFound")
        case Throttled():
            return StreamError("too many calls to ECI: try again", code=429)
        case Unavailable():
            return StreamError("ECI does not answer: try again", code=503)
        case Denied():
            return StreamError("ECI refuses the agent's key", code=502)
        case _:
            return StreamError(f"ECI does not run the command ({error.code})", code=400)


def _received(done: "asyncio.Future[bytes | str | None]") -> bytes | str | None:
    try:
        return done.result()
    except ConnectionError:
        raise StreamError("the connection to the container broke", code=500) from None


def _exit_code(said: str) -> int:
    """The code that the error channel tells of. Raises StreamError with its words if it has none.

    It is the machine's word, and says nothing of the account: container runtimes wrote it.
    """
    try:
        status = msgspec.json.decode(said, type=_Status)
    except msgspec.DecodeError:
        status = _Status(status="Failure", message=said)
    if status.status == "Success":
        return 0
    for cause in status.details.causes:
        if cause.reason == "ExitCode" and cause.message.isdecimal():
            return int(cause.message)
    if found := _CODE.findall(status.message):
        return int(found[-1])
    raise StreamError(status.message[:_LONGEST], code=500)
