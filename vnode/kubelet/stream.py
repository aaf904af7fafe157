"""Serves exec, attach and port-forward as opaque tunnels.

A request comes in, the compute side is dialled first, and only when it has switched protocols the
client gets its 101; from then on bytes are copied both ways and never read (docs of the mechanism:
`vnode.kubelet.takeover`). Whatever fails before that is answered as metav1.Status. Sessions are
limited per tenant namespace and ended on shutdown.
"""

import asyncio

import structlog
from aiohttp import web

from vnode.backend import StreamError, StreamRequest, StreamVerb, UpgradedConnection
from vnode.kube.types import UID, NodeName, ObjectKey
from vnode.kubelet.access import Caller
from vnode.kubelet.answers import relayed_code, status_answer
from vnode.kubelet.pods import LocatedPod, LocateError, PodLocator, locate
from vnode.kubelet.sessions import Session, Sessions, TooManySessions
from vnode.kubelet.stream_query import InvalidStream, parse_stream_request
from vnode.kubelet.takeover import NoAnswer, take_over
from vnode.runtime.clock import Clock

__all__ = ["StreamHandler"]

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
                connection = await self._dial(located, asked)
                return await self._tunnel(request, connection, session, asked, key, caller)
        except StreamError as error:
            return status_answer(relayed_code(error.code), str(error), reason=error.reason)
        except (InvalidStream, LocateError, TooManySessions) as error:
            return status_answer(error.code, str(error))

    async def _dial(self, located: LocatedPod, asked: StreamRequest) -> UpgradedConnection:
        if not located.backend.capabilities.upgrade_streams:
            raise StreamError(f"{asked.verb.value} is not supported on this node", code=501)
        try:
            async with asyncio.timeout(self._dial_seconds):
                return await located.backend.upgrade(located.observed, asked)
        except TimeoutError:
            raise StreamError(
                f"the pod's cluster did not answer within {self._dial_seconds:.0f} s", code=504
            ) from None

    async def _tunnel(
        self,
        request: web.Request,
        connection: UpgradedConnection,
        session: Session,
        asked: StreamRequest,
        key: ObjectKey,
        caller: Caller,
    ) -> NoAnswer:
        started = self._clock.monotonic()
        spliced = take_over(request, connection)
        session.close = spliced.close
        try:
            await spliced.wait_closed()
        finally:
            spliced.close()
            log.info(
                "Served a stream",
                verb=asked.verb.value,
                namespace=key.namespace,
                pod=key.name,
                container=asked.container,
                user=caller.name,
                seconds=round(self._clock.monotonic() - started, 3),
            )
        return NoAnswer(101)
