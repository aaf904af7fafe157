"""Connections that reach a replica which does not serve the virtual node: passed on to who does.

Where a stable address stands before several replicas (`kubelet.advertise`), the API server's
connections come to any of them. In: connections to the ports of the virtual nodes of one compute
cluster, and where its holder is (an annotation of the Lease). Out: the same bytes, unopened: TLS
stays between the API server and the holder, so nothing here sees a credential or a request, and
client certificates work. Owned by the agent: `run` listens whenever this replica does not serve the
cluster itself (`aside`).

No connection goes round in circles: it is passed to ports on which only a holder listens, and which
are never listened on here. A holder that is not known, or does not answer in time, is a connection
that is closed, as by a replica that is not there. Passed connections end when this replica begins
to lead: who held the Lease before is gone, or takes no more.
"""

import asyncio
import contextlib
import math
from collections import Counter as Tally
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import cast

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from vnode.kube.sockets import keep_alive
from vnode.kubelet.streams.session import IDLE_LIMIT
from vnode.runtime.clock import Clock

__all__ = ["PassedConnections", "Passing"]

_BACKLOG = 1024
_CONNECT_SECONDS = 3.0
"""A holder whose machine is gone answers nothing; the API server waits longer than this."""
_HALF_SECONDS = 60.0
"""Idle limit of the second direction once the first one has ended."""
_FLUSH_SECONDS = 10.0
_DRAIN_SECONDS = 2.0
_BIND_AGAIN_SECONDS = 5.0
_TELL_AGAIN_SECONDS = 10.0
_SHARE = 4
"""One source address has this part of all connections: nobody has shown who he is yet, and what a
stranger holds open must not be what the API server needs."""
_RESULTS = ("passed", "no_holder", "unreachable", "full")

log = structlog.get_logger(__name__)


class PassedConnections:
    """Counts what all compute clusters of one replica pass on, and limits that, also by source."""

    def __init__(self, *, most: int, registry: CollectorRegistry) -> None:
        """Allow `most` at once, a quarter of them from one address."""
        self._most, self._most_of_one = most, max(1, most // _SHARE)
        self._open = 0
        self._sources: Tally[str] = Tally()
        self._passed = Counter(
            "vnode_kubelet_passed_connections",
            "Connections for the replica that serves the virtual node, by what became of them.",
            ("result",),
            registry=registry,
        )
        for result in _RESULTS:
            self._passed.labels(result)
        Gauge(
            "vnode_kubelet_passing_connections",
            "Connections that are being passed on to other replicas.",
            registry=registry,
        ).set_function(lambda: self._open)

    def full(self, source: str) -> bool:
        """Whether no further one from that address may be passed on."""
        return self._open >= self._most or self._sources[source] >= self._most_of_one

    def opened(self, source: str) -> None:
        """Count one more."""
        self._open += 1
        self._sources[source] += 1

    def closed(self, source: str) -> None:
        """Count one less."""
        self._open -= 1
        self._sources[source] -= 1
        if not self._sources[source]:
            del self._sources[source]

    def count(self, result: str) -> None:
        """Count what became of one."""
        self._passed.labels(result).inc()


class Passing:
    """Passes connections for the virtual nodes of one compute cluster on; see the module."""

    def __init__(
        self,
        *,
        host: str,
        ports: Mapping[int, int],
        holder: Callable[[], str],
        connections: PassedConnections,
        clock: Clock,
        idle_seconds: float = IDLE_LIMIT,
    ) -> None:
        """Wire it up; nothing happens before `run`.

        Args:
            host: address to listen on.
            ports: ports to listen on, and for each the port of a holder to which it is passed.
            holder: address of the replica that holds the Lease; empty: not known.
            connections: shared with other clusters.
            clock: for the pause between two tries to listen.
            idle_seconds: without a byte for so long a connection is ended.
        """
        self._host = host
        self._ports = ports
        self._holder = holder
        self._connections = connections
        self._clock = clock
        self._idle_seconds = idle_seconds
        self._wanted, self._unwanted = asyncio.Event(), asyncio.Event()
        self._wanted.set()
        self._free = asyncio.Event()
        self._free.set()
        self._taking = False
        self._open = 0
        self._told_at, self._untold = -math.inf, 0
        self._ended = asyncio.Event()

    @asynccontextmanager
    async def aside(self) -> AsyncIterator[None]:
        """Within the block the ports are free, for this replica serves by itself."""
        self._wanted.clear()
        self._unwanted.set()
        try:
            await self._free.wait()  # Here too the Lease may be lost, which cancels us.
            yield
        finally:
            self._unwanted.clear()
            self._wanted.set()

    async def run(self) -> None:
        """Listen and pass on until cancelled, but not while `aside`."""
        while True:
            await self._wanted.wait()
            self._free.clear()
            try:
                await self._listen()
            finally:
                self._free.set()
            if self._wanted.is_set():
                await self._clock.sleep(_BIND_AGAIN_SECONDS)

    async def _listen(self) -> None:
        """Until `aside`, which ends what is being passed on, or cancelled, which waits a little."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as tasks, AsyncExitStack() as listeners:
                for port, target in self._ports.items():
                    accept = partial(_End, partial(self._accept, tasks, target))
                    server = await loop.create_server(accept, self._host, port, backlog=_BACKLOG)
                    listeners.callback(server.close)
                self._taking = True
                listeners.callback(self._take_no_more)
                try:
                    await self._unwanted.wait()
                except asyncio.CancelledError:
                    await listeners.aclose()
                    await self._drain()
                    raise
                raise _SteppedAside
        except* _SteppedAside:
            pass
        except* OSError as group:
            log.warning("The ports of virtual nodes cannot be had", why=str(group.exceptions[0]))

    def _take_no_more(self) -> None:
        self._taking = False

    async def _drain(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while self._open:
                    self._ended.clear()
                    await self._ended.wait()

    def _accept(self, tasks: asyncio.TaskGroup, target: int, near: "_End") -> None:
        holder = self._holder()
        if not self._taking:
            near.transport.abort()  # It came in the moment in which we stopped.
        elif not holder:
            self._refuse(near, "no_holder")
        elif self._connections.full(near.source):
            self._refuse(near, "full")
        else:
            self._open += 1
            self._connections.opened(near.source)
            carrying = tasks.create_task(self._carry(near, holder, target))
            carrying.add_done_callback(lambda _: self._closed(near))

    def _closed(self, near: "_End") -> None:
        near.transport.abort()
        self._open -= 1
        self._connections.closed(near.source)
        self._ended.set()

    def _refuse(self, near: "_End", why: str) -> None:
        self._connections.count(why)
        near.transport.abort()

    async def _carry(self, near: "_End", holder: str, target: int) -> None:
        """One connection, until it has ended; what goes wrong with it ends no other."""
        try:
            try:
                far = await _connect(holder, target)
            except OSError as error:  # TimeoutError is one
                self._refuse(near, "unreachable")
                self._tell(holder, error)
                return
            self._connections.count("passed")
            try:
                await _Pair(near, far).until_ended(self._idle_seconds)
            finally:
                far.transport.abort()
        except Exception:
            log.exception("A connection could not be passed on", holder=holder)

    def _tell(self, holder: str, error: OSError) -> None:
        """Anybody may connect as often as he likes: the log says it now and then."""
        now = self._clock.monotonic()
        if now - self._told_at < _TELL_AGAIN_SECONDS:
            self._untold += 1
            return
        why, more = repr(error), self._untold
        log.info("The replica that serves cannot be reached", holder=holder, why=why, more=more)
        self._told_at, self._untold = now, 0


class _SteppedAside(Exception):
    """This replica serves the cluster itself now."""


async def _connect(host: str, port: int) -> "_End":
    """Raises OSError."""
    async with asyncio.timeout(_CONNECT_SECONDS):
        _, far = await asyncio.get_running_loop().create_connection(_End, host, port)
    return far


class _Pair:
    """Two connections of which each gets what comes in at the other."""

    def __init__(self, near: "_End", far: "_End") -> None:
        self._ends = (near, far)
        self._loop = asyncio.get_running_loop()
        self._last_byte = self._loop.time()
        self._changed = asyncio.Event()
        near.join(self, far.transport)
        far.join(self, near.transport)

    def touch(self) -> None:
        """Bytes went through."""
        self._last_byte = self._loop.time()

    def change(self) -> None:
        """One of them sends no more, or is gone."""
        self._changed.set()

    async def until_ended(self, idle_seconds: float) -> None:
        """Return when both directions have ended, one side is gone, or nothing went through."""
        while not (any(end.lost for end in self._ends) or all(end.ended for end in self._ends)):
            limit = _HALF_SECONDS if any(end.ended for end in self._ends) else idle_seconds
            left = self._last_byte + limit - self._loop.time()
            if left <= 0:
                return
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._changed.wait()
        await self._flush()

    async def _flush(self) -> None:
        """What was taken from one side goes to the other before that is closed."""
        for end in self._ends:
            if not end.lost:
                end.transport.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_SECONDS):
                while not all(end.lost for end in self._ends):
                    self._changed.clear()
                    await self._changed.wait()


class _End(asyncio.Protocol):
    """One of the two connections; it takes nothing in before it is joined to the other."""

    transport: asyncio.Transport
    source = ""
    """The address that it comes from; empty if it was gone at once."""

    def __init__(self, made: "Callable[[_End], None]" = lambda _end: None) -> None:
        self._made = made
        self._pair: _Pair | None = None
        self._peer: asyncio.Transport | None = None
        self.ended = False
        """It sends no more."""
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the other one."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.pause_reading()
        if peer := transport.get_extra_info("peername"):
            self.source = str(peer[0])
        sock = transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):  # It may be gone already.
                keep_alive(sock, patient=True)
        self._made(self)

    def join(self, pair: _Pair, peer: asyncio.Transport) -> None:
        """Begin to copy to `peer`."""
        self._pair, self._peer = pair, peer
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Copy."""
        if self._pair is not None and self._peer is not None and not self._peer.is_closing():
            self._pair.touch()
            self._peer.write(data)

    def pause_writing(self) -> None:
        """Our buffer is full: let the peer send no more."""
        if self._peer is not None and not self._peer.is_closing():
            self._peer.pause_reading()

    def resume_writing(self) -> None:
        """There is room again; what is taken out of the buffer is life too."""
        if self._pair is not None:
            self._pair.touch()
        if self._peer is not None and not self._peer.is_closing():
            self._peer.resume_reading()

    def eof_received(self) -> bool:
        """Tell the peer; the other direction goes on."""
        self.ended = True
        if self._peer is not None and not self._peer.is_closing():
            self._peer.write_eof()
        self._tell()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """End the pair."""
        self.ended = self.lost = True
        self._tell()

    def _tell(self) -> None:
        if self._pair is not None:
            self._pair.change()
