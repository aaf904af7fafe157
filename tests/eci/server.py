"""The emulator's HTTP: one endpoint for all actions, and the websockets of exec.

In: signed calls with their parameters in the query, or in a form. Out: JSON, or what `faults` make
of it. All time is of the injected clock. `async with Emulator(...)`; `url` is its endpoint.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import parse_qsl

from aiohttp import WSMsgType, web

from tests.eci.actions import WRITES, Actions
from tests.eci.control import control
from tests.eci.faults import Faults
from tests.eci.groups import Fate, Group, Groups, LogLine
from tests.eci.refusal import Refusal
from tests.eci.schema import check_parameters
from tests.eci.signatures import Verifier
from tests.eci.throttle import Throttle
from tests.eci.wire import nested
from vnode.runtime.clock import Clock, SystemClock

VERSION = "2018-08-08"
_LONGEST_LINE = 4 << 20
"""Bytes of a request's first line, which holds all parameters. The real limit is unknown."""


def _silent(command: list[str]) -> bytes:
    return (" ".join(command) + "\n").encode()


class Emulator:
    """One account in one region."""

    def __init__(
        self,
        *,
        keys: dict[str, str],
        region: str = "cn-beijing",
        clock: Clock | None = None,
        fate: Callable[[dict[str, Any]], Fate] = lambda _: Fate(),
        limits: float = 1.0,
        output: Callable[[list[str]], bytes] = _silent,
        port: int = 0,
        control_port: int = 0,
    ) -> None:
        """`keys` are secrets by key id; `limits` scales the documented call limits."""
        self.clock = clock or SystemClock()
        self.groups = Groups(fate)
        self.faults = Faults()
        self.throttle = Throttle(scale=limits)
        self.calls: list[str] = []
        """Actions that were carried out or refused for a reason of their own."""
        self.counted: Counter[str] = Counter()
        """The same, by action."""
        self._verifier = Verifier(keys)
        self._actions = Actions(self.groups, self.faults, region=region)
        self._output = output
        self._ports = (port, control_port)
        self._runners: list[web.AppRunner] = []
        self._site: web.TCPSite | None = None
        self._reopening: asyncio.Task[None] | None = None
        self.url = ""
        self.control_url = ""
        """See `control`."""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=_LONGEST_LINE)
        app.router.add_route("*", "/", self._call)
        app.router.add_get("/exec/", self._exec)
        self.url, self._site = await self._listen(app, self._ports[0])
        self.control_url, _ = await self._listen(control(self), self._ports[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reopening is not None:
            self._reopening.cancel()
        for runner in self._runners:
            await runner.cleanup()

    async def refuse_connections(self, seconds: float) -> None:
        """Close the port of the API now, and open it again after so long."""
        assert self._site is not None
        port = int(self.url.rpartition(":")[2])
        await self._site.stop()
        for connection in list(self._connections()):
            connection.abort()

        async def reopen(runner: web.AppRunner) -> None:
            await self.clock.sleep(seconds)
            self._site = web.TCPSite(runner, "127.0.0.1", port, reuse_address=True)
            await self._site.start()

        self._reopening = asyncio.create_task(reopen(self._runners[0]))

    def _connections(self) -> list[asyncio.Transport]:
        server = self._runners[0].server
        assert server is not None
        found = [connection.transport for connection in server.connections]
        return [transport for transport in found if isinstance(transport, asyncio.Transport)]

    async def _listen(self, app: web.Application, port: int) -> tuple[str, web.TCPSite]:
        runner = web.AppRunner(
            app, max_line_size=_LONGEST_LINE, max_field_size=_LONGEST_LINE, shutdown_timeout=1
        )
        await runner.setup()
        self._runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}", site

    def reclaim(self, group: str) -> None:
        """The spot market takes this group's instance back now."""
        now = self.clock.time()
        self.groups.reclaim(self._known(group), now)

    def write_log(self, group: str, container: str, text: str) -> None:
        """The container writes a line now."""
        self._known(group).log.append(LogLine(self.clock.time(), container, text))

    def _known(self, group: str) -> Group:
        found = self.groups.get(group, self.clock.time())
        assert found is not None
        return found

    async def _call(self, request: web.Request) -> web.StreamResponse:
        if self.faults.down:
            return _cut(request)
        if self.faults.slow:
            await self.clock.sleep(self.faults.slow)
        if self.faults.fail_with:
            page = "<html>upstream</html>"
            return web.Response(status=self.faults.fail_with, text=page, content_type="text/html")
        request_id = str(uuid.uuid4()).upper()
        action = request.headers.get("x-acs-action", "")
        try:
            answer = self._answer(action, request, await request.read())
        except Refusal as refusal:
            said = {"RequestId": request_id, "Code": refusal.code, "Message": refusal.message}
            return web.json_response({**said, "HostId": request.host}, status=refusal.status)
        if action in WRITES and self.faults.lose_answers:
            self.faults.lose_answers -= 1
            return _cut(request)
        if session := answer.pop("Session", ""):
            place = f"{request.host}/exec/?s={session}"
            answer |= {"WebSocketUri": f"ws://{place}", "HttpUrl": f"http://{place}"}
        return web.json_response({"RequestId": request_id, **answer})

    def _answer(self, action: str, request: web.Request, body: bytes) -> dict[str, Any]:
        query = request.rel_url.raw_query_string
        headers = {name.lower(): value for name, value in request.headers.items()}
        now = self.clock.time()
        maker = self._verifier.check(request.method, request.path, query, headers, body, now)
        if headers.get("x-acs-version") != VERSION:
            raise Refusal("InvalidVersion", "Specified parameter Version is not valid.")
        self.throttle.admit(action, now)
        self.calls.append(action)
        self.counted[action] += 1
        flat = dict(parse_qsl(query, keep_blank_values=True))
        if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            flat |= parse_qsl(body.decode(), keep_blank_values=True)
        try:
            check_parameters(action, flat)
        except KeyError:
            raise Refusal(
                "InvalidAction.NotFound", "Specified api is not found.", status=404
            ) from None
        return self._actions.carry_out(action, nested(flat), now, maker=maker)

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        """Write the command's output, then give back what comes in, until the client ends it."""
        session = self._actions.sessions.pop(request.query.get("s", ""), None)
        if session is None or self.clock.time() > session[2]:
            return web.Response(status=404)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        _, asked, _ = session
        await socket.send_bytes(self._output(asked["Command"]))
        if asked.get("Stdin") == "true":
            async for message in socket:
                if message.type not in {WSMsgType.TEXT, WSMsgType.BINARY}:
                    break
                data = message.data
                await socket.send_bytes(data.encode() if isinstance(data, str) else data)
        await socket.close()
        return socket


def _cut(request: web.Request) -> web.StreamResponse:
    assert isinstance(request.transport, asyncio.Transport)
    request.transport.abort()
    return web.Response(status=500)
