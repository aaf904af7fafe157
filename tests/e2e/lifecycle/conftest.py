"""The suite on each place, one after the other, on two control planes that need no nodes."""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import TYPE_CHECKING

import pytest

from tests.clusters import ClusterSpec, Harness
from tests.e2e.lifecycle.needs import exempt
from tests.e2e.lifecycle.place import NAMESPACE
from tests.e2e.lifecycle.places import PLACES
from tests.e2e.lifecycle.tenant import Tenant
from tests.e2e.lifecycle.world import World
from vnode.kube.client import KubeClient
from vnode.kube.config import Connection
from vnode.kube.resources import NAMESPACES
from vnode.kube.types import NodeName, PartialObject

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tests.clusters import Cluster

TENANT, COMPUTE = "tenant", "compute"
_NODES = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """No other test is on these clusters."""
    for item in items:
        if item.path.is_relative_to(os.path.dirname(__file__)):
            item.add_marker(pytest.mark.apart)


@pytest.fixture(scope="package")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Cluster]]:
    """Those of all tests of the suite; whoever runs pods is played."""
    with Harness(state=tmp_path_factory.mktemp("lifecycle") / "state") as harness:
        yield harness.up([ClusterSpec(TENANT), ClusterSpec(COMPUTE)])


@pytest.fixture(params=PLACES, ids=lambda place: place.name)
async def worlds(
    request: pytest.FixtureRequest, clusters: dict[str, Cluster]
) -> AsyncIterator[Callable[[], Awaitable[World]]]:
    """Makes worlds that do not meet."""
    kind = request.param
    if (need := exempt(list(request.node.iter_markers()), kind.lacks)) is not None:
        has = "lacks" if need in kind.lacks else "has"
        pytest.skip(f"{kind.name} {has} {need}: see docs/backends.md")
    tenant, compute = (_admin(clusters[name]) for name in (TENANT, COMPUTE))
    numbers = itertools.count()
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(await KubeClient.connect(tenant))
        system = await client.get(NAMESPACES, PartialObject, name="kube-system")

        async def make() -> World:
            node = NodeName(f"lifecycle-{next(_NODES)}")
            namespace = f"{NAMESPACE}-{kind.name}-{next(numbers)}"
            seen = Tenant(client, namespace=namespace, node=node)
            stack.push_async_callback(seen.close)
            await seen.open()
            opened = kind.at(compute, namespace, cluster_uid=system.metadata.uid, node=node)
            world = World(tenant, seen, await stack.enter_async_context(opened))
            stack.push_async_callback(world.kill)
            return world

        yield make


@pytest.fixture
async def world(worlds: Callable[[], Awaitable[World]]) -> World:
    """A tenant, a place and no agent yet."""
    return await worlds()


def _admin(cluster: Cluster) -> Connection:
    return Connection(name=cluster.name, kubeconfig=cluster.kubeconfig)
