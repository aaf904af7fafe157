"""ECI: the backend on an emulator of the account's API, whose containers tests end by hand.

Groups run by themselves as soon as they are made, and what a deletion asks of a container it does
when a test says so. The agent's polls are hastened, as nobody waits half a minute for each.
"""

from __future__ import annotations

import base64
import contextlib
import random
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar, cast

from federation.backends.eci.backend import EciBackend
from federation.backends.eci.translate.policy import EciPolicy
from tests.e2e.lifecycle.needs import CAPABILITIES, Need
from tests.e2e.lifecycle.place import Copy
from tests.e2e.lifecycle.tenant import until
from tests.eci.connecting import KEYS, connected
from tests.eci.script import Fate, Script
from tests.eci.server import Emulator
from vnode.backend import Capabilities

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.agents.pods import RunningBackend
    from tests.eci.groups import Group
    from vnode.kube.config import Connection
    from vnode.kube.types import UID, NodeName
    from vnode.runtime.clock import Clock

TENANT = "lifecycle"
_HASTE = 20.0
_MANY = 1e9
"""vCPUs."""
_UNSEEN = 2.0
"""Seconds: longer than until the second try of a create."""
_AT_ONCE = Fate(
    scheduling=0.0, pulling=0.0, terminating=0.0, containers={"main": Script(deaf=True)}
)


class Hasty:
    """A clock of which the waiting is shorter; the time of day is the right one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def monotonic(self) -> float:
        return self._clock.monotonic() * _HASTE

    def time(self) -> float:
        return self._clock.time()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds / _HASTE)


class EciPlace:
    """See `tests.e2e.lifecycle.place.Place`."""

    name: ClassVar = "eci"
    capabilities: ClassVar = Capabilities(
        token_refresh=False,
        secret_objects=False,
        cluster_dns=False,
        upgrade_streams=False,
        session_streams=True,
        start_gates=False,
        live_config=False,
    )
    lacks: ClassVar = frozenset(
        {
            Need.TOKEN_REFRESH,
            Need.SECRET_OBJECTS,
            Need.CLUSTER_DNS,
            Need.START_GATES,
            Need.LIVE_CONFIG,
            Need.UPDATES,
            Need.TAKEN_NAMES,
            Need.UNPLACED,
            Need.GRACE,
            Need.LAST_STATE,
        }
    )
    quota_reason: ClassVar = "QuotaExceeded"
    brings_images: ClassVar = False

    def __init__(self, emulator: Emulator, policy: EciPolicy, made: Counter[str]) -> None:
        self._emulator = emulator
        self._policy = policy
        self._made = made

    @classmethod
    @contextlib.asynccontextmanager
    async def at(
        cls, compute: Connection, namespace: str, *, cluster_uid: UID, node: NodeName
    ) -> AsyncIterator[EciPlace]:
        """Of one test."""
        made: Counter[str] = Counter()

        def fate(asked: dict[str, Any]) -> Fate:
            tags = {tag["Key"]: tag["Value"] for tag in asked["Tag"]}
            made[tags["vnode.dev/uid"]] += 1
            return _AT_ONCE

        policy = EciPolicy(tenant=TENANT, cluster_uid=cluster_uid, node=node, region="cn-beijing")
        async with Emulator(keys=KEYS, fate=fate, limits=_HASTE) as emulator:
            yield cls(emulator, policy, made)

    @contextlib.asynccontextmanager
    async def open(self, clock: Clock) -> AsyncIterator[RunningBackend]:
        hasty = Hasty(clock)
        async with connected(self._emulator, clock=hasty) as api:
            policies = {self._policy.node: self._policy}
            rng = random.Random(0)
            backend = EciBackend(
                api,
                policies=policies,
                account="a",
                clock=hasty,
                rng=rng,
                settles=0.0,  # Lists of the emulator have what is new at once.
            )
            for each in CAPABILITIES:
                assert getattr(backend.capabilities, each) == getattr(self.capabilities, each)
            yield cast("RunningBackend", backend)

    def _group(self, name: str) -> Group | None:
        """The newest of that name that is there."""
        there = self._emulator.groups.at(self._now())
        named = [group for group in there if group.tags["vnode.dev/name"] == name]
        return named[-1] if named else None

    def _known(self, name: str) -> Group:
        group = self._group(name)
        assert group is not None
        return group

    def _now(self) -> float:
        return self._emulator.clock.time()

    async def copy(self, name: str) -> Copy | None:
        group = self._group(name)
        if group is None:
            return None
        deleting = group.life.status == "Terminating"
        grace = int(group.life.grace) if deleting else None
        return Copy(group.tags["vnode.dev/uid"], group.id, deleting, grace)

    async def made(self, uid: str) -> int:
        return self._made[uid]

    async def ran(self, uid: str) -> int:
        return self._made[uid]

    async def start(self, name: str) -> None:
        def runs() -> bool:
            return self._known(name).status(self._now()) == "Running"

        await until(runs, f"{name} runs by itself")

    async def end(self, name: str, *, exit_code: int = 0) -> None:
        self._end(self._known(name), exit_code)

    def _end(self, group: Group, exit_code: int) -> None:
        for container in group.life.everyone:
            group.life.exited(container, exit_code, now=self._now())

    async def finish_deletion(self, name: str) -> None:
        if (group := self._group(name)) is not None:
            self._end(group, 143)

    async def remove(self, name: str) -> None:
        group = self._known(name)
        group.life.delete(self._now())
        self._end(group, 137)

    async def refuse(self) -> None:
        self._emulator.faults.max_cpu = 0.0

    async def accept(self) -> None:
        self._emulator.faults.max_cpu = _MANY

    async def lose_answers(self, count: int) -> None:
        """No list shows what was made, until the agent has tried again."""
        self._emulator.faults.lose_answers = count
        self._emulator.faults.unseen = _UNSEEN

    async def silence(self) -> None:
        self._emulator.faults.down = True

    async def answer(self) -> None:
        self._emulator.faults.down = False

    async def config(self, pod: str, config_map: str) -> dict[str, str] | None:
        if (group := self._group(pod)) is None:
            return None
        volumes = [volume.get("ConfigFileVolume", {}) for volume in group.asked.get("Volume", ())]
        files = [file for volume in volumes for file in volume.get("ConfigFileToPath", ())]
        return {file["Path"]: base64.b64decode(file["Content"]).decode() for file in files}

    # --- what an account cannot do --------------------------------------------------------------

    async def unplaced(self, name: str, message: str) -> None:
        raise NotImplementedError

    async def placed(self, name: str) -> None:
        raise NotImplementedError

    async def take(self, name: str) -> None:
        raise NotImplementedError

    async def taken_is_untouched(self, name: str) -> bool:
        raise NotImplementedError

    async def release(self, name: str) -> None:
        raise NotImplementedError

    async def tokens(self, name: str) -> frozenset[str]:
        raise NotImplementedError
