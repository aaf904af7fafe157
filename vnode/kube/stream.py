"""Long answers as they come: watches and logs.

In: an open answer. Out: its bytes in chunks of whatever size the network gave. Owned by the
`async with KubeClient.stream(...)` block that opened it. A peer that cuts the connection or stays
silent for longer than the idle time-out raises Unreachable.
"""

from collections.abc import AsyncIterator

import aiohttp

from vnode.kube.transport import Transport

__all__ = ["ByteStream"]


class ByteStream:
    """The body of one answer. Iterate once."""

    def __init__(self, transport: Transport, response: aiohttp.ClientResponse, path: str) -> None:
        self._transport = transport
        self._response = response
        self._path = path

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield chunks until the server ends the answer. Raises Unreachable."""
        with self._transport.translated(self._response.method, self._path):
            async for chunk in self._response.content.iter_any():
                yield chunk
