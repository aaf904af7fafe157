"""Serves `/run`: a command's output in one answer, without an upgrade.

Only for backends with sessions. With a backend that hands on connections the command's output would
have to be read from frames of SPDY or WebSocket, which are never read here: one clear 501.
Source: kubernetes:pkg/kubelet/server/server.go (getRun) and RunInContainer.
"""

import asyncio

from aiohttp import web

from vnode.backend import BackendError, ExecSession, StreamError, StreamRequest, StreamVerb
from vnode.kube.types import UID, NodeName, ObjectKey
from vnode.kubelet.access.rights import Caller
from vnode.kubelet.answers import relayed_code, text_answer
from vnode.kubelet.pods import LocatedPod, LocateError, PodLocator, locate
from vnode.kubelet.sessions import Sessions, TooManySessions
from vnode.kubelet.streams.session import IDLE_LIMIT, close_session

__all__ = ["RunHandler"]

_LARGEST_OUTPUT = 16 << 20
"""Bytes, as container runtimes have it for ExecSync."""


class RunHandler:
    """Answers `/run` for one virtual node."""

    def __init__(self, *, node: NodeName, pods: PodLocator, sessions: Sessions) -> None:
        self._node = node
        self._pods = pods
        self._sessions = sessions

    async def serve(self, request: web.Request, _caller: Caller) -> web.StreamResponse:
        """Run the command of the query's `cmd`, cut at blanks as the kubelet does."""
        path = request.match_info
        key, container = ObjectKey(path["namespace"], path["pod"]), path["container"]
        uid = UID(path["uid"]) if "uid" in path else None
        command = request.query.get("cmd", "").split(" ")
        try:
            located = locate(self._pods, self._node, key, uid=uid, container=container)
            with self._sessions.open(node=self._node, namespace=key.namespace):
                output = await _run(located, container, command)
        except (StreamError, LocateError, TooManySessions) as error:
            return text_answer(relayed_code(error.code), str(error))
        except BackendError as error:
            return text_answer(500, str(error))
        except TimeoutError:
            return text_answer(504, f"the command took longer than {IDLE_LIMIT / 3600:g} h")
        return web.Response(body=output, content_type="application/json")


async def _run(located: LocatedPod, container: str, command: list[str]) -> bytes:
    backend = located.backend
    if backend.capabilities.upgrade_streams or not backend.capabilities.session_streams:
        raise StreamError("this virtual node does not serve /run; use exec", code=501)
    asked = StreamRequest(
        verb=StreamVerb.EXEC,
        method="POST",
        container=container,
        command=command,
        stdout=True,
        stderr=True,
    )
    async with asyncio.timeout(IDLE_LIMIT):
        session = await backend.session(located.observed, asked)
        try:
            return await _collect(session, command)
        finally:
            await close_session(session)


async def _collect(session: ExecSession, command: list[str]) -> bytes:
    """Stdout followed by stderr, of a command that succeeded."""
    collected = {1: bytearray(), 2: bytearray()}
    async for number, data in session.output():
        collected[number] += data
        if sum(map(len, collected.values())) > _LARGEST_OUTPUT:
            raise StreamError("the output is larger than 16 MiB; use exec", code=500)
    if code := await session.exit_code():
        said = collected[2].decode(errors="replace")
        raise StreamError(f"command '{' '.join(command)}' exited with {code}: {said}", code=500)
    return bytes(collected[1] + collected[2])
