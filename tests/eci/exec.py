"""The websocket of ExecContainerCommand, with the frames that docs/eci.md assumes.

In: a session of a mode. Out: messages whose first byte is a channel: 0 what is typed, 1 and 2 what
the command writes, 3 how it failed, in a container runtime's words, 4 the terminal's size. There is
no end of input, and no word of success.
"""

import asyncio
import json

from aiohttp import WSMsgType, web

from tests.eci.modes import Session

_STDIN, _STDOUT, _ERROR, _RESIZE = 0, 1, 3, 4


async def exec_socket(
    request: web.Request, session: Session, *, takes_input: bool
) -> web.StreamResponse:
    """Serve a command until it has ended, or the client has left, which ends it."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_bytes(bytes([_STDOUT]))  # The streams are open.
    writer = asyncio.create_task(_write(socket, session))
    try:
        async for message in socket:
            if message.type is not WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel == _STDIN and takes_input:
                await session.write(data)
            elif channel == _RESIZE:
                size = json.loads(data)
                await session.resize(width=size["Width"], height=size["Height"])
    finally:
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
        await session.close()
    return socket


async def _write(socket: web.WebSocketResponse, session: Session) -> None:
    while True:
        stream, data = await session.read()
        if not data:
            break
        await socket.send_bytes(bytes([stream]) + data)
    if code := await session.exit_code():
        said = f"command terminated with non-zero exit code: exit code {code}"
        await socket.send_bytes(bytes([_ERROR]) + said.encode())
    await socket.close()
