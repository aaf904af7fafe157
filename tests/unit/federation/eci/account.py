"""A tenant cluster, an account of the emulator, and the pod controller between them, in memory.

`Account` is what stays: the tenant's objects and the emulator's groups. Each `start` is one life of
an agent that remembers nothing. All is in the event loop's time, so with looptime hours cost
nothing.
"""

import asyncio
import itertools
import random
from collections import Counter
from typing import Any

from federation.backends.eci.api import EciApi
from federation.backends.eci.backend import EciBackend
from federation.backends.eci.budget import Budget
from federation.backends.eci.translate.identity import group_name
from federation.backends.eci.translate.policy import EciPolicy
from tests.builders import NODE, OWNER, make_key
from tests.eci.connecting import KEY, KEYS, make_group
from tests.eci.groups import Group
from tests.eci.script import Fate
from tests.eci.server import Emulator
from tests.fakes.client import Body
from tests.fakes.clock import LoopClock
from tests.fakes.crash import Crash
from tests.fakes.watching import WatchingClient
from tests.unit.federation.both_sides import agent_work
from tests.unit.federation.eci.direct import DirectTransport
from vnode.kube.resources import NAMESPACES, PODS
from vnode.kube.types import UID, ObjectKey, Pod
from vnode.pods.start_once import StartOnce

POLICY = EciPolicy(
    tenant=OWNER.tenant, cluster_uid=OWNER.cluster_uid, node=NODE, region="cn-beijing"
)
KEY_OF_POD = make_key()


class Account:
    """Both sides, and the agent of now."""

    def __init__(
        self, *, policy: EciPolicy = POLICY, limits: float = 1.0, latency: float = 0.02
    ) -> None:
        """`limits` scales the service's documented call limits."""
        self.clock = LoopClock()
        self.fate = Fate()
        self.crash = Crash()
        self.tenant = WatchingClient(
            name="tenant", unix_time=self.clock.time, latency=lambda: latency
        )
        self.tenant.crash = self.crash
        system = {"metadata": {"name": "kube-system", "uid": OWNER.cluster_uid}}
        self.tenant.put(NAMESPACES, system)
        self.made: Counter[str] = Counter()
        """Groups that were ever made, by the tenant UID in their tags."""
        self.emulator = Emulator(keys=KEYS, clock=self.clock, fate=self._begin, limits=limits)
        self._policy = policy
        self._nonces = itertools.count()
        self._tasks: list[asyncio.Task[Any]] = []
        self.transport = DirectTransport(self.emulator, latency=latency, crash=self.crash)

    def _begin(self, asked: dict[str, Any]) -> Fate:
        tags = {tag["Key"]: tag["Value"] for tag in asked["Tag"]}
        self.made[tags["vnode.dev/uid"]] += 1
        return self.fate

    def start(self) -> None:
        """Start an agent that remembers nothing."""
        rng = random.Random(1)
        api = EciApi(
            self.transport,
            key=lambda: KEY,
            region="cn-beijing",
            budget=Budget(clock=self.clock),
            clock=self.clock,
            nonce=lambda: f"nonce-{next(self._nonces)}",
        )
        self.backend = EciBackend(
            api, policies={NODE: self._policy}, account="beijing", clock=self.clock, rng=rng
        )
        work = agent_work(
            self.tenant,
            self.backend,
            cluster_uid=UID(OWNER.cluster_uid),
            copies=self.backend.copies,
            start_once=StartOnce.RELAXED,
            clock=self.clock,
            rng=rng,
        )
        self._tasks = [asyncio.ensure_future(each) for each in (self.backend.run(), *work)]

    async def stop(self) -> None:
        """Kill the agent."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def restart(self, *, after: float = 0.0) -> None:
        """The agent is dead, for so long."""
        await self.stop()
        self.crash.revive()
        await asyncio.sleep(after)
        self.start()

    # --- the tenant -----------------------------------------------------------------------------

    def create(self, pod: Pod) -> None:
        """`kubectl create`."""
        self.tenant.put(PODS, pod)

    def delete(self, key: ObjectKey = KEY_OF_POD, *, grace: int = 30) -> None:
        """`kubectl delete pod`."""
        self.tenant.delete_gracefully(PODS, key, grace)

    def pod(self, key: ObjectKey = KEY_OF_POD) -> Any:
        """The tenant pod; None: it is gone."""
        return self.tenant.get_body(PODS, key)

    def phase(self, key: ObjectKey = KEY_OF_POD) -> str:
        """Of the tenant pod."""
        return str(self.pod(key)["status"]["phase"])

    def events(self) -> list[Body]:
        """Events of the tenant, in order."""
        return [body for (kind, _), body in self.tenant.objects.items() if kind == "events"]

    # --- the account ----------------------------------------------------------------------------

    def groups(self) -> list[Group]:
        """What the service still knows."""
        return self.emulator.groups.at(self.clock.time())

    def alive(self) -> list[Group]:
        """What may run."""
        now, over = self.clock.time(), {"Succeeded", "Failed", "Expired", "Terminating"}
        return [group for group in self.groups() if group.status(now) not in over]

    def add_group(self, name: str, *, uid: str = "", **more: Any) -> Group:
        """One more of our groups, which no agent of now made; `more`: its parameters."""
        tags = {
            "vnode.dev/tenant": OWNER.tenant,
            "vnode.dev/cluster-uid": OWNER.cluster_uid,
            "vnode.dev/namespace": "team-b",
            "vnode.dev/name": name,
            "vnode.dev/uid": uid or f"u-{name}",
            "vnode.dev/node": NODE,
        }
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        called = group_name(tenant=OWNER.tenant, namespace="team-b", name=name)
        group = make_group(called, Tag=listed) | more
        return self.emulator.groups.create(group, self.clock.time())
