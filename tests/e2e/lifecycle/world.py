"""What a test has: a tenant, a place, and lives of the agent between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.e2e.lifecycle.agent import Agent
from tests.e2e.lifecycle.tenant import Tenant, until
from vnode.pods.start_once import StartOnce

if TYPE_CHECKING:
    from tests.e2e.lifecycle.place import Copy, Place
    from vnode.kube.config import Connection
    from vnode.kube.types import UID


class World:
    """Both sides, and the agent of now."""

    def __init__(self, connection: Connection, tenant: Tenant, place: Place) -> None:
        self.tenant = tenant
        self.place = place
        self.start_once = StartOnce.RELAXED
        self._connection = connection
        self._agent: Agent | None = None
        self._lives = 0

    @property
    def agent(self) -> Agent:
        """The one that runs."""
        assert self._agent is not None
        return self._agent

    async def start(self, *, blind: bool = False) -> Agent:
        """Start an agent that remembers nothing, and wait until it has seen both sides.

        `blind`: it cannot see below.
        """
        self._lives += 1
        self._agent = Agent(
            self._connection,
            self.place,
            node=self.tenant.node,
            born=self.tenant.born,
            start_once=self.start_once,
            seed=self._lives,
        )
        agent = self._agent
        agent.start()
        namespace = self.tenant.namespace

        def has_seen() -> bool:
            return agent.ended or (agent.listed and (blind or agent.sees(namespace)))

        await until(has_seen, "the agent has seen both sides")
        return agent

    async def kill(self) -> None:
        """kill -9."""
        agent, self._agent = self._agent, None
        if agent is not None:
            await agent.stop()

    async def restart(self) -> Agent:
        await self.kill()
        return await self.start()

    # --- steps that many tests begin with -------------------------------------------------------

    async def copied(self, name: str = "pod", *, uid: str = "") -> Copy:
        """Wait for the copy of a pod (of that UID)."""

        async def there() -> Copy | None:
            found = await self.place.copy(name)
            return found if found is not None and uid in ("", found.uid) else None

        copy: Copy = await until(there, f"there is a copy of {name}")
        return copy

    async def running(self, name: str = "pod", **pod: Any) -> UID:
        """A pod that runs and is shown as running."""
        uid = await self.tenant.create(name, **pod)
        await self.copied(name, uid=uid)
        if self.start_once is StartOnce.STRICT:
            await self.started(name)
        await self.place.start(name)
        await self.tenant.phase("Running", name)
        return uid

    async def started(self, name: str = "pod") -> None:
        """Wait until nothing holds a copy back any more."""

        async def free() -> bool:
            found = await self.place.copy(name)
            return found is not None and not found.gated

        await until(free, f"the copy of {name} may start")

    async def copy_gone(self, name: str = "pod") -> None:
        """Wait until there is nothing of a pod below."""

        async def nothing() -> bool:
            return await self.place.copy(name) is None

        await until(nothing, f"the copy of {name} is gone")

    async def deleting(self, name: str = "pod") -> Copy:
        """Wait until a copy is being deleted."""

        async def told() -> Copy | None:
            found = await self.place.copy(name)
            return found if found is not None and found.deleting else None

        copy: Copy = await until(told, f"the copy of {name} is being deleted")
        return copy
