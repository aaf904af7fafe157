"""A virtual node whose pods run in this process: `vnode/` as another backend's author uses it.

In: a running cluster. Out: a Node in it with kubelet API, whose pods are copies in memory
(`tests.fakes.backend`), with "kubelets" that start and stop them at once, and whose exec and attach
are programs of `tests.fakes.sessions`. Nothing of `federation/` takes part. Like an agent, it is a
process of its own.
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from prometheus_client import CollectorRegistry

from tests.agents.pods import run_pods
from tests.builders import running_status
from tests.fakes.backend import Below, FakeBackend
from vnode.backend import Capacity
from vnode.kube.client import KubeClient
from vnode.kube.config import Connection
from vnode.kube.resources import CONFIG_MAPS
from vnode.kube.types import ConfigMap, NodeName, ObjectKey, Pod
from vnode.kubelet.access.authenticator import Authenticator
from vnode.kubelet.access.reviews import Reviews
from vnode.kubelet.metrics import KubeletMetrics
from vnode.kubelet.server import KubeletServer
from vnode.kubelet.sessions import Sessions
from vnode.locator import BackendPods
from vnode.node.controller import NodeController
from vnode.node.lease import NodeLease
from vnode.node.serving.key_pair import self_signed
from vnode.node.serving.tls import ServingCertificate
from vnode.node.spec import VirtualNode
from vnode.pods.lifecycle import phase_below
from vnode.pods.status.mirror import NodeSettings
from vnode.runtime.clock import SystemClock
from vnode.runtime.store import Store
from vnode.usage import UsageReport

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.agents.pods import RunningBackend
    from tests.clusters import Cluster
    from vnode.backend import ObservedPod


_CLIENT_CA = ("kube-system", "extension-apiserver-authentication")


class _Room:
    """A capacity source that never changes."""

    synced = True

    def capacity(self) -> Capacity:
        return Capacity(allocatable={"cpu": "16", "memory": "16Gi"})

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Nothing will be heard."""


class _Backend(FakeBackend):
    async def usage(self, node: NodeName) -> UsageReport:
        return UsageReport()


class MemoryNode:
    """A context: a process that serves the virtual node `name` as long as it is open."""

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        *,
        address: str,
        port: int,
        log: Path,
        websockets: bool = True,
    ) -> None:
        self.log = log
        """What the process says."""
        self._command = [
            sys.executable,
            "-m",
            __name__,
            str(cluster.kubeconfig),
            name,
            address,
            str(port),
            str(websockets),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> MemoryNode:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=30)


class _Node:
    """What the process does."""

    def __init__(
        self, kubeconfig: Path, name: NodeName, *, address: str, port: int, websockets: bool
    ) -> None:
        self.name = name
        self._kubeconfig = kubeconfig
        self._address = address
        self._port = port
        self._websockets = websockets
        self._clock = SystemClock()
        self._rng = random.Random(1)

    async def serve(self) -> None:
        """Until cancelled."""
        async with AsyncExitStack() as stack:
            connection = Connection(name="tenant", kubeconfig=self._kubeconfig)
            client = await stack.enter_async_context(await KubeClient.connect(connection))
            below = Below()
            below.watchers.append(lambda copy, _version: self._kubelet(below, copy))
            backend = _Backend(below)
            node = NodeController(
                client,
                VirtualNode(
                    name=self.name,
                    tenant="memory",
                    cluster="memory",
                    pool="default",
                    address=self._address,
                    port=self._port,
                    version="v1.36.0",
                ),
                capacity=_Room(),
                reachable=lambda: backend.reachable,
                websockets=lambda: self._websockets,
                clock=self._clock,
                rng=self._rng,
            )
            pods: Store[Pod] = Store("tenant pods")
            server = await self._server(client, backend, pods)
            await server.start()
            stack.push_async_callback(server.stop, drain_seconds=0)
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            copies = run_pods(
                client,
                cast("RunningBackend", backend),
                pods,
                node=NodeSettings(self.name, self._address, flat_network=False),
                born=lambda _name: node.born,
                clock=self._clock,
                rng=self._rng,
                copies=lambda: len(below.copies),
            )
            tasks.create_task(copies)
            tasks.create_task(node.run())
            lease = NodeLease(
                client, self.name, node_uid=lambda: node.uid, clock=self._clock, rng=self._rng
            )
            tasks.create_task(lease.run())

    async def _server(
        self, client: KubeClient, backend: _Backend, pods: Store[Pod]
    ) -> KubeletServer:
        namespace, name = _CLIENT_CA
        published = await client.get(CONFIG_MAPS, ConfigMap, name=name, namespace=namespace)
        sessions = Sessions(per_namespace=20)
        own = self_signed(node=self.name, addresses=(self._address,), now=self._clock.time())
        return KubeletServer(
            node=self.name,
            pods=BackendPods(pods, backend.backend),
            usage=backend,
            authenticator=Authenticator(Reviews(client, clock=self._clock)),
            sessions=sessions,
            metrics=KubeletMetrics(CollectorRegistry(), sessions=sessions),
            host=self._address,
            port=self._port,
            tls=ServingCertificate(own, client_ca=published.data["client-ca-file"].encode()),
            clock=self._clock,
        )

    def _kubelet(self, below: Below, copy: ObservedPod) -> None:
        """Start what was made, end what was deleted."""
        loop = asyncio.get_running_loop()
        if copy.deleting:
            loop.call_soon(self._if_there, below, copy, below.finish_deletion)
        elif not copy.gone and phase_below(copy) == "Pending":
            loop.call_soon(self._if_there, below, copy, lambda key: below.show(key, STATUS))

    @staticmethod
    def _if_there(below: Below, copy: ObservedPod, act: Callable[[ObjectKey], None]) -> None:
        found = below.copies.get(copy.key)
        if found is not None and found.handle == copy.handle:
            act(copy.key)


STATUS = running_status("main")


async def _main(kubeconfig: str, name: str, address: str, port: str, websockets: str) -> None:
    node = _Node(
        Path(kubeconfig),
        NodeName(name),
        address=address,
        port=int(port),
        websockets=websockets == "True",
    )
    serving = asyncio.create_task(node.serve())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    with suppress(asyncio.CancelledError):
        await serving


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
