"""Serves exec and attach of backends that have no connection to hand on: the Session form.

A WebSocket client's messages become calls of an `ExecSession`, its output becomes messages. Both
ways the faster side waits for the slower: no message is read while the process takes no input, and
no output is taken while the client reads none. Owned by the request's handler. It ends with the
process (its exit code is sent last), when the client leaves, when nothing went through for
`IDLE_LIMIT`, or by `end` at shutdown; the session below is closed in every case. What did not come
to its end is said so, since clients take a stream that merely ends for success.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator

import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from vnode.backend import BackendError, ExecSession, StreamRequest, StreamVerb
from vnode.kubelet.streams.channels import (
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

__all__ = ["IDLE_LIMIT", "SessionStream", "accept", "close_session"]

IDLE_LIMIT = 4 * 3600.0
"""Seconds without a byte of input or output after which a session ends, as in the kubelet."""
_LARGEST_MESSAGE = 4 << 20
"""Bytes of one message of a client's, which has to be in memory as a whole."""
_PONG_SECONDS = 20.0
_LEAVE_SECONDS = 5.0
"""For the client to answer the end, and for the backend to close its session."""
_PROTOCOLS = "Sec-WebSocket-Protocol"

log = structlog.get_logger(__name__)


def accept(request: web.Request) -> tuple[web.WebSocketResponse, str] | None:
    """An answer that opens a WebSocket and the protocol that is spoken in it; writes nothing.

    None: the request is no such handshake, or offers no protocol that is known here.
    """
    offered = [item.strip() for item in request.headers.get(_PROTOCOLS, "").split(",")]
    protocol = negotiate(offered)
    if protocol is None:
        return None
    # Neither pings of our own nor compression: see `_stay`, and chunks must arrive at once.
    answer = web.WebSocketResponse(
        protocols=(protocol,),
        timeout=_LEAVE_SECONDS,
        compress=False,
        max_msg_size=_LARGEST_MESSAGE,
    )
    return (answer, protocol) if answer.can_prepare(request).ok else None


class SessionStream:
    """One exec or attach between a WebSocket and an `ExecSession`."""

    def __init__(
        self,
        open_session: Callable[[], Awaitable[ExecSession]],
        asked: StreamRequest,
        *,
        socket: web.WebSocketResponse,
        protocol: str,
    ) -> None:
        """Serve what `open_session` brings on `socket`; `accept` returned it with `protocol`."""
        self._open_session = open_session
        self._asked = asked
        self._socket = socket
        self._protocol = protocol
        self._idle: asyncio.Timeout | None = None
        self._why = ""
        self._ending: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stdin_blocked = False

    def end(self, why: str) -> None:
        """Begin to end it; the client hears `why`."""
        if not self._ending.done():
            self._why = why
            self._ending.set_result(None)

    async def serve(self, request: web.Request) -> None:
        """Answer 101, open the session, and return when all is over.

        What fails below is told in the WebSocket: after another answer than 101 kubectl would try
        SPDY, and show only that there is none. Raises ConnectionError if the client left before it
        was answered.
        """
        await self._socket.prepare(request)
        with contextlib.suppress(_ClientLeft):
            try:
                session = await self._open_session()
            except Exception as error:
                self._end_broken(error)
            else:
                try:
                    await self._serve(session)
                finally:
                    await close_session(session)
            await self._leave(request)

    async def _serve(self, session: ExecSession) -> None:
        await self._send(first_channel(self._asked), b"")
        flows = [
            asyncio.ensure_future(flow)
            for flow in (self._take_input(session), self._give_output(session), self._stay())
        ]
        try:
            async with asyncio.timeout(IDLE_LIMIT) as self._idle:
                await asyncio.wait({*flows, self._ending}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            self.end(f"nothing went through for {IDLE_LIMIT / 3600:g} h")
        finally:
            self._idle = None
            for flow in flows:
                flow.cancel()
            outcomes = await asyncio.gather(*flows, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, _ClientLeft):
                self._end_broken(outcome)

    def _end_broken(self, error: Exception) -> None:
        """End it for what went wrong below or here. Only words of a backend's own are shown."""
        if isinstance(error, BackendError):
            self.end(str(error))
        elif isinstance(error, ConnectionError):
            log.warning("A session lost its connection below", error=str(error))
            self.end("the connection to the container broke")
        else:
            log.error("A session broke", exc_info=error)
            self.end("the virtual node made a mistake")

    async def _leave(self, request: web.Request) -> None:
        """Say why, if it did not come to its end, and wait for the client to hear it.

        Any other close than a normal one would hide the status from kubectl, and a normal one
        without a status is success to it.
        """
        try:
            async with asyncio.timeout(_LEAVE_SECONDS):
                if self._ending.done():
                    await self._send(Channel.ERROR, failure_status(self._why))
                await self._socket.close(code=WSCloseCode.OK)
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()

    async def _take_input(self, session: ExecSession) -> None:
        """Until the client leaves."""
        takes = self._asked.stdin
        async for message in self._socket:
            if message.type is WSMsgType.BINARY:
                data: bytes = message.data
            elif message.type is WSMsgType.TEXT:  # Of clients that write strings.
                data = message.data.encode()
            else:
                continue
            try:
                said = parse(data, protocol=self._protocol)
            except BrokenMessage as error:
                self.end(str(error))
                return
            self._touch()
            if isinstance(said, Resize):
                with contextlib.suppress(BackendError):  # It only looks less nice.
                    await session.resize(width=said.width, height=said.height)
            elif takes and said is not None:
                takes = await self._pass_on(session, said)

    async def _pass_on(self, session: ExecSession, said: Stdin | StdinEnd) -> bool:
        """Hand input down; returns whether the process takes more."""
        self._stdin_blocked = True
        try:
            if isinstance(said, StdinEnd):
                await session.close_stdin()
                return False
            await session.write_stdin(said.data)
        except BackendError:
            return False  # The process has closed its input, and may go on.
        finally:
            self._stdin_blocked = False
        return True

    async def _give_output(self, session: ExecSession) -> None:
        """Until the process ends."""
        wanted = {1: self._asked.stdout, 2: self._asked.stderr}
        try:
            async for number, data in session.output():
                if data and wanted.get(number):
                    await self._send(Channel(number), data)
                self._touch()
            code = 0
            if self._asked.verb is StreamVerb.EXEC:  # Kubelets tell none of attach.
                code = await session.exit_code()
            status = exit_status(code)
        except BackendError as error:
            status = failure_status(str(error))
        await self._send(Channel.ERROR, status)

    async def _stay(self) -> None:
        """Keep clients while the process takes no input.

        Then nothing is read, their pings neither, and kubectl gives up after a minute without a
        pong; RFC 6455 5.5.3 allows one without a ping. Only then: with bytes on their way TCP
        would not look whether a silent peer is alive.
        """
        while True:
            await asyncio.sleep(_PONG_SECONDS)
            if self._stdin_blocked:
                with _to_client():
                    await self._socket.pong()

    async def _send(self, channel: Channel, data: bytes) -> None:
        for message in split(channel, data):
            with _to_client():
                await self._socket.send_bytes(message)
            self._touch()

    def _touch(self) -> None:
        """Something went through."""
        if self._idle is not None and not self._idle.expired():
            self._idle.reschedule(asyncio.get_running_loop().time() + IDLE_LIMIT)


class _ClientLeft(Exception):
    """Nothing can be sent to the client any more. Other ConnectionErrors come from below."""


@contextlib.contextmanager
def _to_client() -> Iterator[None]:
    try:
        yield
    except ConnectionError as error:
        raise _ClientLeft from error


async def close_session(session: ExecSession) -> None:
    """Close it within 5 s. A client that leaves cancels the handler, often just here: go on."""
    closing = asyncio.ensure_future(_close_in_time(session))
    cancelled: asyncio.CancelledError | None = None
    while not closing.done():
        try:
            await asyncio.wait({closing})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def _close_in_time(session: ExecSession) -> None:
    try:
        async with asyncio.timeout(_LEAVE_SECONDS):
            await session.close()
    except Exception as error:
        log.warning("A session could not be closed below", error=str(error))
