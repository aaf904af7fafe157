"""The tenant: a real API server, its users and controllers, and an eye that misses nothing.

Every version of every pod of the namespace is kept, so "never" can be asked.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from vnode.kube.client import KubeClient, PatchType
from vnode.kube.errors import AlreadyExists, KubeError, NotFound
from vnode.kube.resources import CONFIG_MAPS, EVENTS, NAMESPACES, NODES, PODS, SECRETS
from vnode.kube.resources import SERVICE_ACCOUNTS as ACCOUNTS
from vnode.kube.types import UID, NodeName, ObjectKey, PartialObject, Pod
from vnode.runtime.clock import SystemClock
from vnode.runtime.reflector import Reflector
from vnode.runtime.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from vnode.kube.resources import Resource

PATIENCE = 20.0
UNTIL_ENDED = "trap '' TERM; : > ready; until [ -f end ]; do sleep 0.02; done; exit $(cat end)"
"""A program that ends when the file `end` in its working directory says how, not before `ready`."""


async def until(done: Callable[[], Any], what: str, *, patience: float = PATIENCE) -> Any:
    """Poll until `done`, which may be a coroutine function, gives something true; return that."""
    ends = asyncio.get_running_loop().time() + patience
    while True:
        found = done()
        found = await found if asyncio.iscoroutine(found) else found
        if found:
            return found
        if asyncio.get_running_loop().time() > ends:
            raise AssertionError(f"waited {patience:g} s in vain until {what}")
        await asyncio.sleep(0.02)


async def prepare(client: KubeClient, name: str, metadata: dict[str, Any] | None = None) -> None:
    """A namespace in which pods can be made at once."""
    wanted = {"metadata": {"name": name, **(metadata or {})}}
    try:
        await client.create(NAMESPACES, wanted, PartialObject)
        account = {"metadata": {"name": "default"}}
        await client.create(ACCOUNTS, account, PartialObject, namespace=name)
    except AlreadyExists:
        pass


async def clear(client: KubeClient, namespace: str) -> None:
    """Remove what a test left in a namespace, at once."""
    for resource in (PODS, CONFIG_MAPS, SECRETS, EVENTS):
        await remove(client, resource.path(namespace=namespace))


async def remove(client: KubeClient, path: str) -> None:
    """Delete at once what lies at a path; a server that is busy is asked again."""
    failure: KubeError | None = None
    ends = asyncio.get_running_loop().time() + PATIENCE
    while asyncio.get_running_loop().time() < ends:
        try:
            await client.request("DELETE", path, body=b'{"gracePeriodSeconds":0}')
        except NotFound:
            return
        except KubeError as error:
            failure = error
            await asyncio.sleep(0.5)
        else:
            return
    raise AssertionError(f"tried for {PATIENCE:g} s in vain to delete {path}") from failure


class Tenant:
    """One namespace and one virtual node of the tenant cluster."""

    def __init__(self, client: KubeClient, *, namespace: str, node: NodeName) -> None:
        self.client = client
        self.namespace = namespace
        self.node = node
        self.born = ""
        """creationTimestamp of the Node object."""
        self.versions: dict[str, list[Any]] = defaultdict(list)
        """Every status of each UID, oldest first."""
        self._pods: Store[Pod] = Store("seen")
        self._pods.subscribe(lambda change: self._see(change.new))
        self._watch = Reflector(
            client,
            PODS,
            Pod,
            self._pods,
            namespace=namespace,
            scope="",
            clock=SystemClock(),
            rng=random.Random(0),
        )
        self._watching: asyncio.Task[Any] | None = None

    async def open(self) -> None:
        """Make the namespace and the Node, and begin to watch."""
        await prepare(self.client, self.namespace)
        made = await self.client.create(NODES, {"metadata": {"name": self.node}}, PartialObject)
        self.born = made.metadata.creation_timestamp or ""
        self._watching = asyncio.create_task(self._watch.run())
        await until(lambda: self._pods.synced(""), "the tenant is watched")

    async def close(self) -> None:
        """Leave nothing."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        await clear(self.client, self.namespace)
        await remove(self.client, NODES.path(name=self.node))

    # --- what users do --------------------------------------------------------------------------

    async def create(
        self,
        name: str = "pod",
        *,
        restart: str = "Never",
        labels: dict[str, str] | None = None,
        container: dict[str, Any] | None = None,
        **spec: Any,
    ) -> UID:
        """A pod on the virtual node; returns its UID."""
        main = {
            "name": "main",
            "image": "docker.io/library/busybox:1.36",
            "command": ["sh", "-c", UNTIL_ENDED],
            "resources": {"requests": {"cpu": "250m", "memory": "512Mi"}},
            **(container or {}),
        }
        body = {
            "metadata": {
                "name": name,
                "labels": labels or {},
            },
            "spec": {
                "nodeName": self.node,
                "restartPolicy": restart,
                "automountServiceAccountToken": False,
                "tolerations": [{"operator": "Exists"}],
                "containers": [main],
                **spec,
            },
        }
        made = await self.client.create(PODS, body, PartialObject, namespace=self.namespace)
        return made.metadata.uid

    async def put(self, resource: Resource, name: str, **data: str) -> None:
        """Make or change a ConfigMap or Secret."""
        values = {"stringData" if resource is SECRETS else "data": data}
        try:
            await self.client.create(
                resource,
                {"metadata": {"name": name}, **values},
                PartialObject,
                namespace=self.namespace,
            )
        except AlreadyExists:
            await self._patch(resource, name, values)

    async def delete(self, name: str = "pod", *, grace: int | None = None) -> None:
        """`kubectl delete`; grace 0 is --force."""
        options = {} if grace is None else {"gracePeriodSeconds": grace}
        path = PODS.path(namespace=self.namespace, name=name)
        await self.client.request("DELETE", path, body=msgspec.json.encode(options))

    async def label(self, name: str = "pod", **labels: str) -> None:
        await self._patch(PODS, name, {"metadata": {"labels": labels}})

    async def change_image(self, image: str, name: str = "pod") -> None:
        await self._patch(PODS, name, {"spec": {"containers": [{"name": "main", "image": image}]}})

    async def write_status(self, name: str = "pod", **status: Any) -> None:
        """Another controller writes the status."""
        await self._patch(PODS, name, {"status": status}, subresource="status")

    async def _patch(self, resource: Resource, name: str, body: Any, subresource: str = "") -> None:
        await self.client.patch(
            resource,
            body,
            PartialObject,
            name=name,
            namespace=self.namespace,
            subresource=subresource,
            patch_type=PatchType.STRATEGIC,
        )

    # --- what they see --------------------------------------------------------------------------

    def status(self, name: str = "pod") -> Any:
        """Status as the watch brought it; None: there is no such pod."""
        pod = self._pods.get(ObjectKey(self.namespace, name))
        return None if pod is None else msgspec.json.decode(pod.status)

    def uid(self, name: str = "pod") -> str | None:
        pod = self._pods.get(ObjectKey(self.namespace, name))
        return None if pod is None else pod.metadata.uid

    def condition(self, kind: str, name: str = "pod") -> Any:
        """A condition, or an empty one."""
        found = (self.status(name) or {}).get("conditions", [])
        return next((c for c in found if c["type"] == kind), {})

    def exit_code(self, name: str = "pod") -> int | None:
        """Of the one container, if it has ended."""
        found = (self.status(name) or {}).get("containerStatuses", [])
        states = [c["state"].get("terminated", {}) for c in found]
        code: int | None = states[0].get("exitCode") if states else None
        return code

    async def phase(self, phase: str, name: str = "pod", *, patience: float = PATIENCE) -> Any:
        """Wait until a pod has the phase; returns its status."""

        def reached() -> Any:
            status = self.status(name)
            return status if status and status.get("phase") == phase else None

        return await until(
            reached, f"{name} is {phase}, not {self.status(name)}", patience=patience
        )

    async def reason(self, reason: str, name: str = "pod") -> Any:
        """Wait until a pod's status has that reason; returns the status."""

        def told() -> Any:
            status = self.status(name)
            return status if status and status.get("reason") == reason else None

        return await until(told, f"{name} says {reason}")

    async def gone(self, name: str = "pod") -> None:
        """Wait until there is no such pod."""
        await until(lambda: self.status(name) is None, f"{name} is gone")

    async def exists(self, name: str = "pod") -> bool:
        """Ask the API server itself."""
        try:
            await self.client.get(PODS, PartialObject, name=name, namespace=self.namespace)
        except NotFound:
            return False
        return True

    async def events(self, name: str = "pod") -> Counter[str]:
        """Reasons of the events about a pod."""
        path = EVENTS.path(namespace=self.namespace)
        about = {"fieldSelector": f"involvedObject.name={name}"}
        found = msgspec.json.decode(await self.client.request("GET", path, query=about))
        return Counter(event["reason"] for event in found["items"])

    async def said(self, reason: str, name: str = "pod") -> None:
        """Wait for an event."""

        async def there() -> bool:
            return (await self.events(name))[reason] > 0

        await until(there, f"there is an event {reason} about {name}")

    def _see(self, pod: Pod | None) -> None:
        if pod is not None:
            self.versions[pod.metadata.uid].append(msgspec.json.decode(pod.status))
