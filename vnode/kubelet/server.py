"""The HTTPS server of one virtual node.

Requests come from the tenant's API server (logs, exec, node proxy) and from monitoring; each is
authenticated and authorised on its own, then goes to its handler: pods and metrics from memory,
logs, streams and usage through `PodBackend`. One listener per virtual node, because a request's
path does not say which node it is for. Owned by the agent, which calls `start` and `stop`.

Routes: `vnode.kubelet.routes`; their rights: `vnode.kubelet.access.rights`.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, cast

import structlog
from aiohttp import web
from cryptography import x509

from vnode.kube.sockets import keep_alive
from vnode.kube.types import NodeName, Pod, encode
from vnode.kubelet.access.authenticator import Authenticator, AuthError, Unauthenticated
from vnode.kubelet.access.rights import (
    Caller,
    Credentials,
    bearer_token,
    node_subresources,
    required_access,
)
from vnode.kubelet.answers import text_answer
from vnode.kubelet.configz import configz
from vnode.kubelet.http_log import http_logger
from vnode.kubelet.logs.handler import LogHandler
from vnode.kubelet.logs.last_words import LastWords
from vnode.kubelet.metrics import KubeletMetrics
from vnode.kubelet.pods import PodLocator, pod_list
from vnode.kubelet.routes import OTHER, ROUTES, Route
from vnode.kubelet.sessions import Sessions
from vnode.kubelet.streams.handler import StreamHandler
from vnode.kubelet.streams.run import RunHandler
from vnode.kubelet.streams.session import IDLE_LIMIT
from vnode.kubelet.streams.takeover import NoAnswer
from vnode.kubelet.usage.handler import UsageHandler, UsageSource
from vnode.runtime.clock import Clock
from vnode.runtime.turns import in_turns

__all__ = ["KubeletServer", "ServingTLS"]

_BACKLOG = 1024
_IDLE_SECONDS = 90.0
"""Life of an idle connection, as the kubelet has it, and of one whose request never gets whole."""
_MAX_REQUEST_LINE = 1 << 20
"""Bytes; an exec carries its whole command in the query, and the kubelet takes 1 MiB."""
_MAX_HEADER = 32 << 10
_CLIENT_LEFT = 499
_LAST_SECONDS = 1.0
"""For handlers to end by themselves after everything was told to end."""

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request, Caller], Awaitable[web.StreamResponse]]


class ServingTLS(Protocol):
    """Where the server's TLS settings come from (`vnode.node.serving.tls`)."""

    @property
    def context(self) -> ssl.SSLContext:
        """One context for the life of the server; its certificates may change meanwhile."""
        ...

    def believes(self, connection: object) -> bool:
        """Whether its client was judged by the client CA of now, not by an earlier one."""
        ...


class KubeletServer:
    """The kubelet API of one virtual node."""

    def __init__(
        self,
        *,
        node: NodeName,
        pods: PodLocator,
        usage: UsageSource,
        authenticator: Authenticator,
        sessions: Sessions,
        metrics: KubeletMetrics,
        host: str,
        port: int,
        passed_port: int | None = None,
        tls: ServingTLS,
        clock: Clock,
        last_words: LastWords | None = None,
        handshake_seconds: float = 10.0,
    ) -> None:
        """Serve `node` on `host`:`port` (0: any free port). Nothing happens before `start`.

        On `passed_port` it serves the same: other replicas pass connections on to it
        (`vnode.kubelet.passing`). Who does not get through TLS within `handshake_seconds` is cut
        off: such a connection costs a descriptor and says nothing of its sender.
        """
        self._node = node
        self._pods = pods
        self._authenticator = authenticator
        self._sessions = sessions
        self._metrics = metrics
        self._host = host
        self._port = port
        self._passed_port = passed_port
        self._tls = tls
        self._clock = clock
        self._handshake_seconds = handshake_seconds
        self._draining = False
        self._logs = LogHandler(
            node=node, pods=pods, sessions=sessions, last_words=last_words, clock=clock
        )
        self._run = RunHandler(node=node, pods=pods, sessions=sessions)
        self._streams = StreamHandler(node=node, pods=pods, sessions=sessions, clock=clock)
        self._usage = UsageHandler(node=node, pods=pods, source=usage, clock=clock)
        self._runner: web.AppRunner | None = None
        self._listeners: list[asyncio.Server] = []

    @property
    def port(self) -> int:
        """The port that is served; the configured one before `start`."""
        return self._port

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            OSError: the address cannot be bound.
        """
        runner = web.AppRunner(
            self._application(),
            access_log=None,
            handler_cancellation=True,
            keepalive_timeout=_IDLE_SECONDS,
            max_line_size=_MAX_REQUEST_LINE,
            max_field_size=_MAX_HEADER,
            shutdown_timeout=_LAST_SECONDS,
            auto_decompress=False,  # nobody reads bodies; small ones can inflate to gigabytes
            logger=http_logger(),
        )
        await runner.setup()
        assert runner.server is not None  # noqa: S101 - made by setup
        try:
            listener = await self._listen(runner.server, self._port)
            self._listeners.append(listener)
            if self._passed_port is not None:
                self._listeners.append(await self._listen(runner.server, self._passed_port))
        except BaseException:
            self._close_listeners()
            await runner.cleanup()
            raise
        self._runner = runner
        self._port = int(listener.sockets[0].getsockname()[1])
        log.info("The kubelet API listens", node=self._node, host=self._host, port=self._port)

    async def stop(self, *, drain_seconds: float) -> None:
        """Take no new requests, let sessions end for `drain_seconds`, then end them."""
        runner = self._runner
        if runner is None:
            return
        self._runner = None
        self._draining = True
        try:
            self._close_listeners()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(drain_seconds):
                    await self._sessions.wait_ended(self._node)
            cut = self._sessions.close(self._node)
            if cut:
                log.info("Sessions were ended by shutdown", node=self._node, sessions=cut)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LAST_SECONDS):
                        await self._sessions.wait_ended(self._node)
        finally:
            await runner.cleanup()

    async def _listen(self, protocols: web.Server, port: int) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(
            protocols,
            self._host,
            port,
            ssl=self._tls.context,
            backlog=_BACKLOG,
            ssl_handshake_timeout=self._handshake_seconds,
        )

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners = []

    def _handlers(self) -> dict[str, Handler]:
        """By name of the route."""
        return {
            "healthz": _healthz,
            "configz": self._configz,
            "pods": self._bound,
            "runningpods": self._running,
            "metrics": self._own_metrics,
            "metrics/resource": self._usage.resource_metrics,
            "stats/summary": self._usage.summary,
            "containerLogs": self._logs.serve,
            "exec": self._streams.exec,
            "attach": self._streams.attach,
            "portForward": self._streams.port_forward,
            "run": self._run.serve,
            OTHER.name: _unknown,
        }

    def _application(self) -> web.Application:
        application = web.Application()
        handlers = self._handlers()
        for route in (*ROUTES, OTHER):
            guarded = self._guarded(route, handlers[route.name])
            for path in route.paths:
                for method in route.methods:
                    application.router.add_route(method, path, guarded)
        return application

    def _guarded(
        self, route: Route, handler: Handler
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            response = await self._answer(route, handler, request)
            self._metrics.answered(route=route.name, code=response.status)
            return response

        return answer

    async def _answer(
        self, route: Route, handler: Handler, request: web.Request
    ) -> web.StreamResponse:
        _notice_silence(request)
        if self._draining:
            response = text_answer(503, "this virtual node's agent is shutting down; try again")
            response.force_close()
            return response
        try:
            caller = await self._admit(route, request)
            return await handler(request, caller)
        except AuthError as error:
            response = text_answer(error.code, str(error))
            if isinstance(error, Unauthenticated):
                # Another handshake may find its certificate good: with a CA or a time that changed.
                response.force_close()
            return response
        except ConnectionError:
            return NoAnswer(_CLIENT_LEFT)
        except Exception:
            log.exception("A kubelet API request failed", node=self._node, route=route.name)
            return text_answer(500, "internal error of the virtual node")

    def _certificate(self, request: web.Request) -> x509.Certificate | None:
        """The client's, if its handshake found it good, and a new one would find it good, too."""
        certificate = cast("x509.Certificate | None", request.get_extra_info("peercert"))
        if certificate is None or not self._tls.believes(request.get_extra_info("ssl_object")):
            return None
        ended = certificate.not_valid_after_utc.timestamp() < self._clock.time()
        return None if ended else certificate

    async def _admit(self, route: Route, request: web.Request) -> Caller:
        # Of a route's own path, so that no spelling of a request parts the right from the handler.
        path = request.path if route is OTHER else route.paths[0]
        return await self._authenticator.admit(
            Credentials(
                certificate=self._certificate(request),
                token=bearer_token(request.headers.get("Authorization")),
            ),
            required_access(
                node=self._node,
                method=request.method,
                subresources=node_subresources(path),
                runs_code=route.runs_code,
            ),
        )

    async def _configz(self, _request: web.Request, _caller: Caller) -> web.StreamResponse:
        body = configz(
            host=self._host,
            port=self._port,
            secure=self._authenticator.secure,
            idle_seconds=IDLE_LIMIT,
        )
        return web.Response(body=encode(body), content_type="application/json")

    async def _bound(self, request: web.Request, _caller: Caller) -> web.StreamResponse:
        return await _send_pods(request, self._pods.tenant_pods(self._node))

    async def _running(self, request: web.Request, _caller: Caller) -> web.StreamResponse:
        return await _send_pods(request, self._pods.running(self._node))

    async def _own_metrics(self, request: web.Request, _caller: Caller) -> web.StreamResponse:
        body, content_type = self._metrics.text(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})


def _notice_silence(request: web.Request) -> None:
    """Find a client that is gone without a word: a log may be silent, and followed, for days."""
    sock = request.get_extra_info("socket")
    if sock is not None:
        keep_alive(sock, patient=True)


async def _send_pods(request: web.Request, pods: Iterable[Pod]) -> web.StreamResponse:
    # At first, since the store may change while a slow client reads; specs are decoded for it.
    snapshot = [pod async for pod in in_turns(pods)]
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    async for piece in in_turns(pod_list(snapshot), at_a_time=1):
        await response.write(piece)
    await response.write_eof()
    return response


async def _healthz(_request: web.Request, _caller: Caller) -> web.StreamResponse:
    return text_answer(200, "ok")


async def _unknown(_request: web.Request, _caller: Caller) -> web.StreamResponse:
    return text_answer(404, "404 page not found")
