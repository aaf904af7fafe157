"""A real API server, where the tests are scheduler, kubelet and somebody with kubectl.

Its copies name a scheduler that does not exist, so that nobody else moves them. Their machine is a
Node of each place: what is bound to one that does not exist is removed by the API server's garbage
collector (PodGC), some 40 s after the first time that the name was seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, ClassVar, cast

import msgspec

from federation.backends.kubernetes.backend import KubernetesBackend
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_UID,
    LABEL_TENANT,
    NamespaceMapping,
    Owner,
)
from federation.backends.kubernetes.translate.policy import TranslationPolicy
from tests.builders import Object, container_status, ended_status, running_status
from tests.e2e.lifecycle import tenant
from tests.e2e.lifecycle.place import Copy
from vnode.kube.client import KubeClient, PatchType
from vnode.kube.errors import NotFound, Unreachable
from vnode.kube.resources import CONFIG_MAPS, NODES, PODS, RESOURCE_QUOTAS, SECRETS
from vnode.kube.timestamps import rfc3339
from vnode.kube.types import UID, ConfigMap, NodeName, PartialObject, Pod, Secret
from vnode.runtime.clock import SystemClock
from vnode.runtime.reflector import Reflector
from vnode.runtime.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.agents.pods import RunningBackend
    from tests.e2e.lifecycle.needs import Need
    from vnode.kube.config import Connection
    from vnode.kube.stream import ByteStream
    from vnode.runtime.clock import Clock

TENANT = "lifecycle"
_OWN_KEYS = "vnode.dev/"
_SCHEDULER = "played-by-a-test"


class _Link:
    """What is wrong with the way to the API server."""

    silent = False
    losing = 0
    """So many of the next creates of pods are carried out, and their answers lost."""


class _Client(KubeClient):
    """An agent's client over a link that can be broken."""

    link: _Link

    async def request(self, method: str, path: str, **options: Any) -> bytes:
        if self.link.silent:
            raise Unreachable("compute: no answer in time")
        answer = await super().request(method, path, **options)
        if method == "POST" and path.endswith("/pods") and self.link.losing:
            self.link.losing -= 1
            raise Unreachable("compute: connection lost")
        return answer

    @contextlib.asynccontextmanager
    async def stream(self, path: str, **options: Any) -> AsyncIterator[ByteStream]:
        if self.link.silent:
            raise Unreachable("compute: cannot connect")
        async with super().stream(path, **options) as stream:
            yield stream


class KubernetesPlace:
    """See `tests.e2e.lifecycle.place.Place`."""

    name: ClassVar = "kubernetes"
    capabilities: ClassVar = KubernetesBackend.capabilities
    lacks: ClassVar[frozenset[Need]] = frozenset()
    quota_reason: ClassVar = "QuotaExceeded"
    brings_images: ClassVar = True

    def __init__(
        self,
        connection: Connection,
        client: KubeClient,
        namespace: str,
        *,
        owner: Owner,
        node: NodeName,
    ) -> None:
        """`connection` and `client`: an administrator's."""
        self._connection = connection
        self._client = client
        self._namespace = namespace
        self._owner = owner
        self._node = node
        self._mapping = NamespaceMapping(TENANT)
        self._below = self._mapping.below(namespace) or ""
        self._link = _Link()
        self._made: dict[str, set[str]] = defaultdict(set)
        self._ran: dict[str, set[str]] = defaultdict(set)

    @classmethod
    @contextlib.asynccontextmanager
    async def at(
        cls, compute: Connection, namespace: str, *, cluster_uid: UID, node: NodeName
    ) -> AsyncIterator[KubernetesPlace]:
        """Of one test; what others left in the namespace is removed."""
        async with await KubeClient.connect(compute) as client:
            place = cls(compute, client, namespace, owner=Owner(TENANT, cluster_uid), node=node)
            async with place._watched():
                yield place

    @contextlib.asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        await tenant.prepare(self._client, self._below, {"labels": {LABEL_TENANT: TENANT}})
        machine = {"metadata": {"name": self._below}, "spec": {"unschedulable": True}}
        await self._client.create(NODES, machine, PartialObject)
        seen: Store[Pod] = Store("copies")
        seen.subscribe(lambda change: self._see(change.new))
        watch = Reflector(
            self._client,
            PODS,
            Pod,
            seen,
            namespace=self._below,
            scope="",
            clock=SystemClock(),
            rng=random.Random(0),
        )
        watching = asyncio.create_task(watch.run())
        try:
            await tenant.until(lambda: seen.synced(""), "the compute cluster is watched")
            yield
        finally:
            watching.cancel()
            await asyncio.wait([watching])
            await self.accept()
            await tenant.clear(self._client, self._below)
            await tenant.remove(self._client, NODES.path(name=self._below))

    @contextlib.asynccontextmanager
    async def open(self, clock: Clock) -> AsyncIterator[RunningBackend]:
        async with await _Client.connect(self._connection) as client:
            cast("_Client", client).link = self._link
            backend = KubernetesBackend(
                client,
                cluster="lifecycle",
                owner=self._owner,
                namespaces=self._mapping,
                policies={
                    self._node: TranslationPolicy(scheduler_names={"default-scheduler": _SCHEDULER})
                },
                clock=clock,
                rng=random.Random(0),
            )
            backend.namespaces.add(self._namespace)
            yield backend

    def _see(self, pod: Pod | None) -> None:
        if pod is None or (uid := pod.metadata.annotations.get(ANNOTATION_UID)) is None:
            return
        self._made[uid].add(pod.metadata.uid)
        if not msgspec.json.decode(pod.spec).get("schedulingGates"):
            self._ran[uid].add(pod.metadata.uid)

    async def _get(self, name: str) -> Pod | None:
        try:
            return await self._client.get(PODS, Pod, name=name, namespace=self._below)
        except NotFound:
            return None

    async def copy(self, name: str) -> Copy | None:
        pod = await self._get(name)
        if pod is None or (uid := pod.metadata.annotations.get(ANNOTATION_UID)) is None:
            return None
        self._see(pod)
        metadata = pod.metadata
        return Copy(
            uid,
            metadata.uid,
            metadata.deletion_timestamp is not None,
            metadata.deletion_grace_period_seconds,
            bool(msgspec.json.decode(pod.spec).get("schedulingGates")),
            frozenset(i for i in metadata.labels.items() if not i[0].startswith(_OWN_KEYS)),
        )

    async def made(self, uid: str) -> int:
        return len(self._made[uid])

    async def ran(self, uid: str) -> int:
        return len(self._ran[uid])

    # --- scheduler and kubelet ------------------------------------------------------------------

    async def placed(self, name: str) -> None:
        path = PODS.path(namespace=self._below, name=name, subresource="binding")
        binding = {
            "metadata": {"name": name},
            "target": {"kind": "Node", "apiVersion": "v1", "name": self._below},
        }
        await self._client.request("POST", path, body=msgspec.json.encode(binding))

    async def start(self, name: str) -> None:
        pod = await self._get(name)
        assert pod is not None
        if not msgspec.json.decode(pod.spec).get("nodeName"):
            await self.placed(name)
        await self._status(name, running_status(containerStatuses=[_container(pod)]))

    async def end(self, name: str, *, exit_code: int = 0) -> None:
        pod = await self._get(name)
        assert pod is not None
        state: Object = {"exitCode": exit_code, "finishedAt": rfc3339(time.time())}
        ended: Object = {**_container(pod), "ready": False, "state": {"terminated": state}}
        phase = "Failed" if exit_code else "Succeeded"
        await self._status(name, ended_status(phase, containerStatuses=[ended]))

    async def finish_deletion(self, name: str) -> None:
        pod = await self._get(name)
        if pod is None:
            return  # An API server needs no kubelet for what has no node.
        if msgspec.json.decode(pod.status).get("phase") not in {"Succeeded", "Failed"}:
            await self.end(name, exit_code=143)
        await self.remove(name)

    async def remove(self, name: str) -> None:
        pod = await self._get(name)
        assert pod is not None
        await self._client.delete(
            PODS, name=name, namespace=self._below, uid=pod.metadata.uid, grace_seconds=0
        )

    async def unplaced(self, name: str, message: str) -> None:
        why = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        await self._status(name, {"conditions": [{**why, "message": message}]})

    async def _status(self, name: str, status: Object) -> None:
        status.pop("qosClass", None)  # The API server has set it.
        await self._client.patch(
            PODS,
            {"status": status},
            PartialObject,
            name=name,
            namespace=self._below,
            subresource="status",
            patch_type=PatchType.STRATEGIC,
        )

    # --- what goes wrong ------------------------------------------------------------------------

    async def refuse(self) -> None:
        quota = {"metadata": {"name": "tight"}, "spec": {"hard": {"count/pods": "0"}}}
        await self._client.create(RESOURCE_QUOTAS, quota, PartialObject, namespace=self._below)
        path = RESOURCE_QUOTAS.path(namespace=self._below, name="tight")

        async def counted() -> bool:
            found = msgspec.json.decode(await self._client.request("GET", path))
            return bool(found.get("status", {}).get("hard"))

        await tenant.until(counted, "the quota counts")

    async def accept(self) -> None:
        await tenant.remove(self._client, RESOURCE_QUOTAS.path(namespace=self._below))

    async def lose_answers(self, count: int) -> None:
        self._link.losing = count

    async def silence(self) -> None:
        self._link.silent = True

    async def answer(self) -> None:
        self._link.silent = False

    async def take(self, name: str) -> None:
        spec = {"containers": [{"name": "theirs", "image": "x"}], "schedulerName": _SCHEDULER}
        pod = {"metadata": {"name": name}, "spec": spec}
        made = await self._client.create(PODS, pod, Pod, namespace=self._below)
        self._taken = made

    async def taken_is_untouched(self, name: str) -> bool:
        found = await self._get(name)
        return found is not None and found == self._taken

    async def release(self, name: str) -> None:
        await self.remove(name)

    # --- what copies have -----------------------------------------------------------------------

    async def config(self, pod: str, config_map: str) -> dict[str, str] | None:
        try:
            found = await self._client.get(
                CONFIG_MAPS, ConfigMap, name=config_map, namespace=self._below
            )
        except NotFound:
            return None
        return dict(found.data)

    async def tokens(self, name: str) -> frozenset[str]:
        pod = await self._get(name)
        assert pod is not None
        found: set[str] = set()
        for volume in msgspec.json.decode(pod.spec).get("volumes", []):
            for source in volume.get("projected", {}).get("sources", []):
                if secret := source.get("secret"):
                    found |= await self._values(secret["name"])
        return frozenset(found)

    async def _values(self, secret: str) -> set[str]:
        try:
            found = await self._client.get(SECRETS, Secret, name=secret, namespace=self._below)
        except NotFound:
            return set()
        return {str(value) for value in found.data.values()}


def _container(pod: Pod) -> Object:
    """The status of its container; the ID tells of which copy it is."""
    return container_status(containerID=f"containerd://{pod.metadata.uid}")
