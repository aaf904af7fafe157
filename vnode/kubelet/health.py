"""Health of the whole process over plain HTTP, for the probes of whoever runs it as a container.

In: what the process still waits for, asked with every request. Out: `/livez`, which answers as long
as the event loop turns, and `/readyz`, 503 until nothing is waited for. Like the healthz server of
a kubelet (port 10248), it is no part of the kubelet API: it asks for no credentials, and tells
nothing but what it is given to tell. Owned by the agent.

A process that does not answer `/livez` helps nobody and can be restarted; a cluster that does not
answer us is no reason for that, so neither path looks at clusters.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from vnode.kubelet.answers import text_answer
from vnode.kubelet.http_log import http_logger

__all__ = ["Report", "health_server"]

_IDLE_SECONDS = 15.0
_LAST_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Report:
    """Whether the process is ready, and a line for each thing that this depends on."""

    ready: bool
    lines: Sequence[str] = ()


@asynccontextmanager
async def health_server(
    *, host: str, port: int, report: Callable[[], Report]
) -> AsyncIterator[int]:
    """Serve `/livez` and `/readyz` on `host`:`port` (0: any free port); gives the port.

    Raises:
        OSError: the address cannot be bound.
    """

    async def live(_request: web.Request) -> web.StreamResponse:
        return text_answer(200, "ok\n")

    async def ready(_request: web.Request) -> web.StreamResponse:
        found = report()
        return text_answer(200 if found.ready else 503, "".join(f"{x}\n" for x in found.lines))

    application = web.Application()
    application.router.add_get("/livez", live)
    application.router.add_get("/readyz", ready)
    runner = web.AppRunner(
        application,
        access_log=None,
        keepalive_timeout=_IDLE_SECONDS,
        shutdown_timeout=_LAST_SECONDS,
        logger=http_logger(),
    )
    await runner.setup()
    assert runner.server is not None  # noqa: S101 - made by setup
    try:
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(runner.server, host, port)
        try:
            yield int(listener.sockets[0].getsockname()[1])
        finally:
            listener.close()
    finally:
        await runner.cleanup()
