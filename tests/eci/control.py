"""The emulator's second door, for whoever runs it: switches and what it has seen.

In: HTTP on a port of its own, so that nothing of it is on the API's endpoint. Out:

    GET  /state              groups, calls by action, throttled calls, as JSON
    GET  /journal            every group that was ever made, and when it changed
    GET  /table              the same as a table to read
    POST /faults             {"slow": 2, "fail": [{"action": …, "times": 3, "code": …}], …}
    POST /refuse {"for": 5}  the API's port is closed for so many seconds
    POST /reclaim/GROUP      the spot market takes the group's instance back
    POST /log/GROUP/CONTAINER with the line as body (scripted groups only)

It is not signed and listens on the loopback only.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp import web

from tests.eci.report import journal, state, table

if TYPE_CHECKING:
    from tests.eci.server import Emulator


def control(emulator: "Emulator") -> web.Application:
    """The application of the second door."""
    routes = web.RouteTableDef()

    @routes.get("/state")
    async def _state(_: web.Request) -> web.Response:
        return web.json_response(state(emulator))

    @routes.get("/journal")
    async def _journal(_: web.Request) -> web.Response:
        return web.json_response(journal(emulator))

    @routes.get("/table")
    async def _table(_: web.Request) -> web.Response:
        return web.Response(text=table(state(emulator)))

    @routes.post("/faults")
    async def _faults(request: web.Request) -> web.Response:
        emulator.faults.change(await request.json())
        return web.json_response({})

    @routes.post("/refuse")
    async def _refuse(request: web.Request) -> web.Response:
        await emulator.refuse_connections(float((await request.json())["for"]))
        return web.json_response({})

    @routes.post("/reclaim/{group}")
    async def _reclaim(request: web.Request) -> web.Response:
        emulator.reclaim(request.match_info["group"])
        return web.json_response({})

    @routes.post("/log/{group}/{container}")
    async def _log(request: web.Request) -> web.Response:
        where = request.match_info
        emulator.write_log(where["group"], where["container"], await request.text())
        return web.json_response({})

    app = web.Application(middlewares=[_told])
    app.add_routes(routes)
    return app


@web.middleware
async def _told(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except (KeyError, TypeError, ValueError) as error:
        return web.Response(status=400, text=f"{error}\n")
