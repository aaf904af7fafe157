"""The last look before a call that changes something is sent: may we still write?

A replica that was stopped, or hung, may have lost its lease when it goes on, while its tasks stand
before their next write, wait for a connection, or are being cancelled. So the question is asked
when a connection is there and nothing but the sending is left. What has left us by then, API
servers judge by its preconditions.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import aiohttp
from aiohttp.client_reqrep import ClientResponse
from aiohttp.connector import Connection

from vnode.kube.errors import Withheld

Permit = Callable[[], bool]

_permit: ContextVar[Permit | None] = ContextVar("permit", default=None)


@contextlib.contextmanager
def required(permit: Permit | None) -> Iterator[None]:
    """What this task sends inside needs that permit; None: it needs none."""
    token = _permit.set(permit)
    try:
        yield
    finally:
        _permit.reset(token)


class PermittedRequest(aiohttp.ClientRequest):
    """A request that asks for its permit when it is sent."""

    async def send(self, conn: Connection) -> ClientResponse:
        """Send it. Raises Withheld."""
        permit = _permit.get()
        if permit is not None and not permit():
            raise Withheld(f"{self.method} {self.url.path}: not sent, another replica may write")
        return await super().send(conn)
