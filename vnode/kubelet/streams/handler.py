"""Serves exec, attach and port-forward.

With a backend that hands on connections, the compute side is dialled first, and only when it has
switched protocols the client gets its 101; from then on bytes are copied both ways and never read
(docs of the mechanism: `vnode.kubelet.streams.takeover`). With one that has sessions instead, exec
and attach are served here, to WebSocket clients (`vnode.kubelet.streams.session`). Whatever fails
before the 101 is answered as metav1.Status. Streams are limited per tenant namespace and ended on
shutdown.
"""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import structlog
from aiohttp import web

from vnode.backend import ExecSession, StreamError, StreamRequest, StreamVerb
from vnode.kube.types import UID, NodeName, ObjectKey
from vnode.kubelet.access.rights import Caller
from vnode.kubelet.answers import relayed_code, status_answer
from vnode.kubelet.pods import LocatedPod, LocateError, PodLocator, locate
from vnode.kubelet.sessions import Session, Sessions, TooManySessions
from vnode.kubelet.streams.channels import V4, V5
from vnode.kubelet.streams.query import InvalidStream, parse_stream_request
from vnode.kubelet.streams.session import SessionStream, accept
from vnode.kubelet.streams.takeover import NoAnswer, take_over
from vnode.runtime.clock import Clock

__all__ = ["StreamHandler"]

T = TypeVar("T")

SHUTTING_DOWN = "this virtual node's agent is shutting down; try again"

log = structlog.get_logger(__name__)


class StreamHandler:
    """Answers `/exec`, `/attach` and `/portForward` for one virtual node."""

    def __init__(
        self,
        *,
        node: NodeName,
        pods: PodLocator,
        sessions: Sessions,
        clock: Clock,
        dial_seconds: float = 30.0,
    ) -> None:
        self._node = node
        self._pods = pods
        self._sessions = sessions
        self._clock = clock
        self._dial_seconds = dial_seconds

    async def exec(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """Run a command in a container."""
        return await self._serve(StreamVerb.EXEC, request, caller)

    async def attach(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """Attach to a container's main process."""
        return await self._serve(StreamVerb.ATTACH, request, caller)

    async def port_forward(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """Connect to ports of a pod."""
        return await self._serve(StreamVerb.PORT_FORWARD, request, caller)

    async def _serve(
        self, verb: StreamVerb, request: web.Request, caller: Caller
    ) -> web.StreamResponse:
        path = request.match_info
        key = ObjectKey(path["namespace"], path["pod"])
        container = path.get("container")
        try:
            asked = parse_stream_request(
                verb,
                method=request.method,
                container=container or "",
                query=list(request.query.items()),
                headers=list(request.headers.items()),
            )
            uid = UID(path["uid"]) if "uid" in path else None
            located = locate(self._pods, self._node, key, uid=uid, container=container)
            with self._sessions.open(node=self._node, namespace=key.namespace) as session:
                return await self._stream(request, located, asked, session, caller)
        except StreamError as error:
            return status_answer(relayed_code(error.code), str(error), reason=error.reason)
        except (InvalidStream, LocateError, TooManySessions) as error:
            return status_answer(error.code, str(error))

    async def _stream(
        self,
        request: web.Request,
        located: LocatedPod,
        asked: StreamRequest,
        session: Session,
        caller: Caller,
    ) -> web.StreamResponse:
        """Open it below, then serve it until it ends. Raises StreamError."""
        can = located.backend.capabilities
        if can.upgrade_streams:
            return await self._tunnel(request, located, asked, session, caller)
        if can.session_streams and asked.verb is not StreamVerb.PORT_FORWARD:
            return await self._converse(request, located, asked, session, caller)
        raise StreamError(f"{asked.verb.value} is not supported on this node", code=501)

    async def _tunnel(
        self,
        request: web.Request,
        located: LocatedPod,
        asked: StreamRequest,
        session: Session,
        caller: Caller,
    ) -> NoAnswer:
        connection = await self._in_time(located.backend.upgrade(located.observed, asked))
        spliced = take_over(request, connection)
        session.close = spliced.close
        try:
            with self._logged(asked, located, caller):
                await spliced.wait_closed()
        finally:
            spliced.close()
        return NoAnswer(101)

    async def _converse(
        self,
        request: web.Request,
        located: LocatedPod,
        asked: StreamRequest,
        session: Session,
        caller: Caller,
    ) -> web.StreamResponse:
        accepted = accept(request)
        if accepted is None:
            raise StreamError(_needs_websockets(asked), code=501)
        socket, protocol = accepted

        async def open_session() -> ExecSession:
            return await self._in_time(located.backend.session(located.observed, asked))

        stream = SessionStream(open_session, asked, socket=socket, protocol=protocol)
        session.close = lambda: stream.end(SHUTTING_DOWN)
        with self._logged(asked, located, caller):
            await stream.serve(request)
        return socket

    @contextmanager
    def _logged(self, asked: StreamRequest, located: LocatedPod, caller: Caller) -> Iterator[None]:
        started = self._clock.monotonic()
        try:
            yield
        finally:
            log.info(
                "Served a stream",
                verb=asked.verb.value,
                namespace=located.observed.key.namespace,
                pod=located.observed.key.name,
                container=asked.container,
                user=caller.name,
                seconds=round(self._clock.monotonic() - started, 3),
            )

    async def _in_time(self, opening: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._dial_seconds):
                return await opening
        except TimeoutError:
            raise StreamError(
                f"the pod's cluster did not answer within {self._dial_seconds:.0f} s", code=504
            ) from None


def _needs_websockets(asked: StreamRequest) -> str:
    return (
        f"{asked.verb.value} on this node takes WebSocket ({V5} or {V4}): an API server of "
        "Kubernetes 1.36 or later with the feature ExtendWebSocketsToKubelet, and a client like "
        "kubectl 1.31 or later"
    )
