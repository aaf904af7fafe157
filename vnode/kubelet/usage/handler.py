"""Serves `/stats/summary` and `/metrics/resource` of one virtual node.

In: the tenant pods of the node and a `UsageSource`, which is asked only when somebody scrapes. Out:
answers in pieces. A source that is late or broken costs the figures, not the answer: pods are then
listed without them, and `resource_scrape_error` is 1.
"""

import asyncio
from collections.abc import Iterator
from typing import Protocol

import structlog
from aiohttp import web

from vnode.kube.types import NodeName
from vnode.kubelet.access.rights import Caller
from vnode.kubelet.pods import PodLocator
from vnode.kubelet.usage.resource_metrics import CONTENT_TYPE, resource_metrics
from vnode.kubelet.usage.stats import NodeStats, NodeUsage
from vnode.kubelet.usage.summary import summary
from vnode.runtime.clock import Clock
from vnode.runtime.turns import in_turns
from vnode.usage import UsageReport

__all__ = ["UsageHandler", "UsageSource"]

_PATIENCE = 9.0
"""Seconds; metrics-server waits for 10."""

log = structlog.get_logger(__name__)


class UsageSource(Protocol):
    """The part of `vnode.backend.PodBackend` that is needed here."""

    async def usage(self, node: NodeName) -> UsageReport:
        """What the pods of a virtual node use now."""
        ...


class UsageHandler:
    """Answers what the pods of one virtual node use."""

    def __init__(
        self, *, node: NodeName, pods: PodLocator, source: UsageSource, clock: Clock
    ) -> None:
        self._node = node
        self._pods = pods
        self._source = source
        self._usage = NodeUsage(node, now=clock.time())
        self._looking = asyncio.Lock()

    async def summary(self, request: web.Request, _caller: Caller) -> web.StreamResponse:
        """Answer `/stats/summary`."""
        return await _send(request, summary(await self._look()), "application/json")

    async def resource_metrics(self, request: web.Request, _caller: Caller) -> web.StreamResponse:
        """Answer `/metrics/resource`."""
        return await _send(request, resource_metrics(await self._look()), CONTENT_TYPE)

    async def _look(self) -> NodeStats:
        try:
            async with asyncio.timeout(_PATIENCE):
                report = await self._source.usage(self._node)
        except TimeoutError:
            log.warning("Usage was not measured in time", node=self._node)
            report = UsageReport(complete=False)
        except Exception:
            log.exception("Usage was not measured", node=self._node)
            report = UsageReport(complete=False)
        async with self._looking:
            look = self._usage.look(report)
            async for pod in in_turns(self._pods.tenant_pods(self._node)):
                look.add(pod)
            return look.end()


async def _send(
    request: web.Request, pieces: Iterator[bytes], content_type: str
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": content_type})
    await response.prepare(request)
    async for piece in in_turns(pieces, at_a_time=1):
        await response.write(piece)
    await response.write_eof()
    return response
