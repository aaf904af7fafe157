"""Calls of the product's client that reach an emulator without sockets, so that time can jump.

In: signed calls. Out: what the emulator answers, or what its `faults` make of it: `down`, `slow`,
`fail_with`, `lose_answers`. Each call takes `latency` seconds there and as many back; `crash` may
kill whoever calls at one of its writes. All of it in the time of the event loop.
"""

import asyncio
from collections.abc import Callable

import msgspec
from aiohttp.test_utils import make_mocked_request

from federation.backends.eci.errors import Unavailable
from federation.backends.eci.signature import Signed
from federation.backends.eci.transport import Answer, Socket
from tests.eci.actions import WRITES
from tests.eci.refusal import Refusal
from tests.eci.server import Emulator
from tests.fakes.crash import Crash
from vnode.kube.errors import Withheld
from vnode.kube.permit import Permit

_VERBS = {
    "CreateContainerGroup": "create group",
    "DeleteContainerGroup": "delete group",
}


class DirectTransport:
    """One endpoint; `federation.backends.eci.transport.Transport`."""

    host = "eci.example"

    def __init__(
        self,
        emulator: Emulator,
        *,
        latency: float = 0.02,
        crash: Crash | None = None,
        after: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`after` is called with the action when it was carried out and is not answered yet."""
        self.after = after
        self._emulator = emulator
        self._latency = latency
        self._crash = crash

    async def send(self, call: Signed, *, timeout: float, permit: Permit | None = None) -> Answer:
        try:
            async with asyncio.timeout(timeout):
                return await self._send(call, permit)
        except TimeoutError:
            raise Unavailable("no answer in time") from None

    async def open_socket(self, url: str) -> Socket:
        raise Unavailable("there are no sockets here")

    async def close(self) -> None:
        """Nothing is open."""

    async def _send(self, call: Signed, permit: Permit | None) -> Answer:
        if permit is not None and not permit():
            raise Withheld("not sent, another replica may write")
        await asyncio.sleep(self._latency)
        action, faults = call.headers["x-acs-action"], self._emulator.faults
        number = None
        if self._crash is not None:
            verb = _VERBS.get(action, f"get {action}")
            number = await self._crash.before("eci", verb, lambda: self._carry_out(action, call))
        if faults.down:
            raise Unavailable("cut")
        await asyncio.sleep(faults.slow)
        if faults.fail_with:
            return Answer(faults.fail_with, b"<html>upstream</html>")
        answer = self._carry_out(action, call)
        if self._crash is not None:
            await self._crash.after(number)
        self.after(action)
        if action in WRITES and answer.status < 300 and faults.lose_answers:
            faults.lose_answers -= 1
            raise Unavailable("cut")
        await asyncio.sleep(self._latency)
        return answer

    def _carry_out(self, action: str, call: Signed) -> Answer:
        request = make_mocked_request("POST", f"/?{call.query}", headers=dict(call.headers))
        try:
            answer = self._emulator._answer(action, request, b"")
        except Refusal as refused:
            said = {"Code": refused.code, "Message": refused.message, "RequestId": "R"}
            return Answer(refused.status, msgspec.json.encode(said))
        return Answer(200, msgspec.json.encode({"RequestId": "R", **answer}))
