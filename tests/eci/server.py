"""The emulator's HTTP: one endpoint for all actions, and the websockets of exec.

In: signed calls with their parameters in the query, or in a form. Out: JSON, or what `faults` make
of it. All time is of the injected clock. `async with Emulator(...)`; `url` is its endpoint.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Self
from urllib.parse import parse_qsl

from aiohttp import web

from tests.eci.actions import WRITES, Actions, Exec
from tests.eci.control import control
from tests.eci.engine import CannotStart
from tests.eci.exec import exec_socket
from tests.eci.faults import Faults
from tests.eci.groups import Group, Groups
from tests.eci.modes import Mode
from tests.eci.refusal import Refusal
from tests.eci.schema import check_parameters
from tests.eci.script import Fate, Scripted, ScriptedEngine
from tests.eci.signatures import Verifier
from tests.eci.throttle import Throttle
from tests.eci.wire import nested
from vnode.runtime.clock import Clock, SystemClock

VERSION = "2018-08-08"
_LONGEST_LINE = 4 << 20
"""Bytes of a request's first line, which holds all parameters. The real limit is unknown."""


_LOOKS = 0.05
"""Seconds between looks at groups that run by themselves."""
_LONGEST_COMMAND = 60.0
"""Seconds for a command whose output is the answer. Invented."""


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
        mode: Mode | None = None,
        vswitches: Mapping[str, str] | None = None,
        port: int = 0,
        control_port: int = 0,
    ) -> None:
        """An emulator that listens when it is entered.

        `keys` are secrets by key id; `limits` scales the documented call limits. `fate` says what
        becomes of groups, unless a `mode` runs them. `vswitches` has the zone of each; without it
        any name will do.
        """
        self.clock = clock or SystemClock()
        self.groups = Groups(mode=mode or Scripted(fate))
        self.faults = Faults()
        self.throttle = Throttle(scale=limits)
        self.calls: list[str] = []
        """Actions that were carried out or refused for a reason of their own."""
        self.counted: Counter[str] = Counter()
        """The same, by action."""
        self._verifier = Verifier(keys)
        self._actions = Actions(self.groups, self.faults, region=region, vswitches=vswitches)
        self._ports = (port, control_port)
        self._runners: list[web.AppRunner] = []
        self._site: web.TCPSite | None = None
        self._reopening: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self.url = ""
        self.control_url = ""
        """See `control`."""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=_LONGEST_LINE)
        app.router.add_route("*", "/", self._call)
        app.router.add_get("/exec/", self._exec)
        await self.groups.mode.open()
        if self.groups.mode.live:
            self._looking = asyncio.create_task(self._look())
        self.url, self._site = await self._listen(app, self._ports[0])
        self.control_url, _ = await self._listen(control(self), self._ports[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (self._reopening, self._looking):
            if task is not None:
                task.cancel()
        for runner in self._runners:
            await runner.cleanup()
        await self.groups.mode.close()

    async def _look(self) -> None:
        while True:
            now = self.clock.time()
            for group in self.groups.at(now):
                group.life.advance(now)
            await self.clock.sleep(_LOOKS)

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
        self._known(group).life.reclaim(self.clock.time())

    def write_log(self, group: str, container: str, text: str) -> None:
        """The container, which is a played one, writes a line now."""
        engine = self._known(group).engine
        if not isinstance(engine, ScriptedEngine):
            raise TypeError("the group's containers write themselves")
        engine.write(container, text, self.clock.time())

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
            return _refused(request, request_id, refusal)
        if action in WRITES and self.faults.lose_answers:
            self.faults.lose_answers -= 1
            return _cut(request)
        session = answer.pop("Session", "")
        if session and self._actions.sessions[session].sync:
            asked = self._actions.sessions.pop(session)
            try:
                answer["SyncResponse"] = await self._output(asked)
            except CannotStart as error:
                return _refused(request, request_id, Refusal("IncorrectStatus", str(error)))
        elif session:
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

    async def _output(self, asked: Exec) -> str:
        """All that a command writes."""
        session = await asked.group.engine.execute(
            asked.container, asked.command, tty=False, stdin=False
        )
        written = bytearray()
        try:
            async with asyncio.timeout(_LONGEST_COMMAND):
                while data := (await session.read())[1]:
                    written += data
        except TimeoutError:
            pass
        finally:
            await session.close()
        return written.decode(errors="replace")

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        """The websocket of a command."""
        asked = self._actions.sessions.pop(request.query.get("s", ""), None)
        if asked is None or self.clock.time() > asked.until:
            return web.Response(status=404)
        try:
            session = await asked.group.engine.execute(
                asked.container, asked.command, tty=asked.tty, stdin=asked.stdin
            )
        except CannotStart as error:
            return web.Response(status=404, text=f"{error}\n")
        return await exec_socket(request, session, takes_input=asked.stdin)


def _refused(request: web.Request, request_id: str, refusal: Refusal) -> web.Response:
    said = {"RequestId": request_id, "Code": refusal.code, "Message": refusal.message}
    return web.json_response({**said, "HostId": request.host}, status=refusal.status)


def _cut(request: web.Request) -> web.StreamResponse:
    assert isinstance(request.transport, asyncio.Transport)
    request.transport.abort()
    return web.Response(status=500)
