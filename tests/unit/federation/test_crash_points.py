"""kill -9 at each single write, enumerated: whichever it is, another agent brings all to its end.

Each scenario runs once undisturbed: that gives the writes, and the end to which every other run has
to come. Then it runs twice for every write: the agent dies before the write is done, and after it
is done but not answered. A new agent follows half a minute later; meanwhile the clusters went on.
Or it follows at once, and the write of the dead one lands while it is at work.
"""

import asyncio
import copy
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.builders import (
    UID_1,
    UID_2,
    make_config_map,
    make_key,
    make_pod,
    make_secret,
)
from tests.fakes.client import Body
from tests.fakes.crash import Crash, Moment
from tests.unit.federation.both_sides import COPY, Sides
from tests.unit.federation.machines import Machines
from vnode.kube.resources import CONFIG_MAPS, PODS, SECRETS
from vnode.kube.types import Pod
from vnode.pods.start_once import StartOnce

pytestmark = pytest.mark.looptime

KEY = make_key()
DOWN, REST = 30.0, 130.0
"""Seconds without an agent, and until everything has come to rest with one."""
LANDS = (0.03, 0.08, 0.15, 0.5)
"""Seconds after an agent's death: while the next one lists, while it writes, and after that."""
COMPARED = (PODS.plural, CONFIG_MAPS.plural, SECRETS.plural)


class Clusters(Sides):
    """Both clusters, kubelets below, and agents that die."""

    def __init__(self, start_once: StartOnce, *, latency: float = 0.0) -> None:
        super().__init__(latency=latency)
        self.start_once = start_once
        self.machines = Machines(self.compute)
        self.crash = self.tenant.crash = self.compute.crash = Crash()
        self.tenant.put(CONFIG_MAPS, make_config_map())
        self.tenant.put(SECRETS, make_secret())

    def start(self) -> None:
        super().start()
        self.backend.namespaces.add("team-a")

    async def restart(self, *, after: float) -> None:
        """The agent is dead, for so long."""
        await self.stop()
        self.crash.revive()
        await asyncio.sleep(after)
        self.start()

    def end(self) -> dict[str, Any]:
        """What there is in both clusters, without what differs from run to run."""
        return {
            f"{side.name} {plural} {key}": _essence(plural, body)
            for side in (self.tenant, self.compute)
            for (plural, key), body in sorted(side.objects.items())
            if plural in COMPARED
        }


def _essence(plural: str, body: Body) -> Any:
    body = copy.deepcopy(body)
    metadata = body["metadata"]
    for name in ("uid", "resourceVersion", "creationTimestamp", "generation"):
        metadata.pop(name, None)
    for owner in metadata.get("ownerReferences", []):
        owner["uid"] = ""
    if plural != PODS.plural:
        body.pop("status", None)
    marks = metadata.get("annotations") or {}
    for name in ("vnode.dev/source-version", "vnode.dev/tokens-refresh"):
        marks.pop(name, None)
    if plural == SECRETS.plural and metadata["name"].startswith("vnode-token-"):
        body["data"] = sorted(body["data"])
    return _without_times(body)


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _without_times(item)
            for name, item in value.items()
            if not name.endswith(("Time", "At", "Timestamp")) and item is not None
        }
    if isinstance(value, list):
        return sorted((_without_times(item) for item in value), key=str)
    return value


def pod(uid: str = UID_1, *, labels: dict[str, str] | None = None, **spec: Any) -> Pod:
    """A pod with a ConfigMap, a Secret and a token."""
    token = {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}
    fields: dict[str, Any] = {
        "containers": [
            {
                "name": "main",
                "image": "i:1",
                "envFrom": [{"configMapRef": {"name": "settings"}}],
                "resources": {"requests": {"cpu": "1"}},
            }
        ],
        "volumes": [
            {"name": "login", "secret": {"secretName": "login"}},
            {"name": "token", "projected": {"sources": [token]}},
        ],
        **spec,
    }
    return make_pod(uid=uid, labels=labels, **fields)


async def _nothing(clusters: Clusters) -> None:
    await asyncio.sleep(0)


async def _create(clusters: Clusters) -> None:
    clusters.tenant.put(PODS, pod())


async def _running(clusters: Clusters) -> None:
    await _create(clusters)
    await asyncio.sleep(20)
    assert clusters.pod()["status"]["phase"] == "Running"


async def _update(clusters: Clusters) -> None:
    def change(body: Body) -> None:
        body["metadata"]["labels"] = {"new": "yes"}
        main = body["spec"]["containers"][0]
        main["image"] = "i:2"
        main["resources"] = {"requests": {"cpu": "2"}}
        body["spec"]["ephemeralContainers"] = [{"name": "debug", "image": "tools:1"}]

    clusters.tenant.edit(PODS, KEY, change)


async def _change_objects(clusters: Clusters) -> None:
    clusters.tenant.put(CONFIG_MAPS, make_config_map(mode="slow"))
    clusters.tenant.put(SECRETS, make_secret(password="hunter3"))


async def _renew_tokens(clusters: Clusters) -> None:
    await asyncio.sleep(3600)


async def _delete(clusters: Clusters) -> None:
    clusters.tenant.delete_gracefully(PODS, KEY, 30)


async def _succeed(clusters: Clusters) -> None:
    """A StatefulSet's pod is deleted by force, and followed by another."""
    clusters.tenant.drop(PODS, KEY)
    clusters.tenant.put(PODS, pod(UID_2))


async def _reject(clusters: Clusters) -> None:
    clusters.tenant.put(PODS, pod(hostNetwork=True))


async def _finish(clusters: Clusters) -> None:
    clusters.compute.edit(
        PODS,
        COPY,
        lambda body: body["status"].update(phase="Succeeded", containerStatuses=[]),
    )


async def _lose(clusters: Clusters) -> None:
    clusters.compute.drop(PODS, COPY)


async def _orphan(clusters: Clusters) -> None:
    clusters.tenant.drop(PODS, KEY)


@dataclass(frozen=True)
class Scenario:
    """What is there, and what happens then."""

    before: Callable[[Clusters], Awaitable[None]]
    act: Callable[[Clusters], Awaitable[None]]
    relaxed: int
    """How many writes that is."""
    strict: int
    """The same with `startOnce: strict`."""

    def writes(self, mode: StartOnce) -> int:
        return self.strict if mode is StartOnce.STRICT else self.relaxed


SCENARIOS = {
    "create": Scenario(_nothing, _create, 8, 10),
    "update": Scenario(_running, _update, 5, 5),
    "changed objects": Scenario(_running, _change_objects, 2, 2),
    "token": Scenario(_running, _renew_tokens, 2, 2),
    "delete": Scenario(_running, _delete, 6, 6),
    "successor": Scenario(_running, _succeed, 7, 9),
    "rejected": Scenario(_nothing, _reject, 2, 2),
    "finished": Scenario(_running, _finish, 1, 1),
    "lost": Scenario(_running, _lose, 5, 5),
    "orphan": Scenario(_running, _orphan, 4, 4),
}
CASES = [
    pytest.param(scenario, mode, id=f"{name}-{mode}-{2 * scenario.writes(mode)} points")
    for name, scenario in SCENARIOS.items()
    for mode in StartOnce
]


async def _undisturbed(scenario: Scenario, mode: StartOnce) -> Clusters:
    return await _run(scenario, Clusters(mode))


async def _run(
    scenario: Scenario,
    clusters: Clusters,
    at: int | None = None,
    moment: Moment = Moment.BEFORE,
    *,
    down: float = DOWN,
    late: float = 0.0,
) -> Clusters:
    clusters.start()
    await scenario.before(clusters)
    await asyncio.sleep(5)
    clusters.crash.arm(at, moment, late=late)
    await scenario.act(clusters)
    if at is not None:
        await asyncio.wait_for(clusters.crash.died.wait(), REST)
        await clusters.restart(after=down)
    await asyncio.sleep(REST)
    await clusters.stop()
    _check_calls(clusters)
    return clusters


@pytest.mark.parametrize(("scenario", "mode"), CASES)
async def test_every_crash_ends_as_if_there_had_been_none(
    scenario: Scenario, mode: StartOnce
) -> None:
    wanted = await _undisturbed(scenario, mode)
    assert len(wanted.crash.writes) == scenario.writes(mode), wanted.crash.writes
    for number, write in enumerate(wanted.crash.writes):
        for moment in (Moment.BEFORE, Moment.AFTER):
            clusters = await _run(scenario, Clusters(mode), number, moment)
            where = f"killed {moment} write {number}: {write}"
            assert clusters.end() == wanted.end(), where
            assert clusters.machines.started == wanted.machines.started, where


@pytest.mark.parametrize(("scenario", "mode"), CASES)
async def test_a_write_that_lands_when_another_agent_is_at_work_changes_nothing(
    scenario: Scenario, mode: StartOnce
) -> None:
    wanted = await _undisturbed(scenario, mode)
    for number, write in enumerate(wanted.crash.writes):
        for late in LANDS:
            clusters = Clusters(mode, latency=0.01)
            await _run(scenario, clusters, number, Moment.ON_THE_WAY, down=0.0, late=late)
            where = f"write {number} landed {late} s later: {write}"
            assert clusters.end() == wanted.end(), where
            assert clusters.machines.started == wanted.machines.started, where


@pytest.mark.parametrize("mode", StartOnce, ids=str)
async def test_a_copy_that_others_remove_while_the_agent_is_dead_starts_once_in_strict_mode(
    mode: StartOnce,
) -> None:
    scenario, twice = SCENARIOS["create"], []
    for number in range(scenario.writes(mode)):
        for moment in (Moment.BEFORE, Moment.AFTER):
            clusters = Clusters(mode)
            clusters.start()
            await asyncio.sleep(5)
            clusters.crash.arm(number, moment)
            await scenario.act(clusters)
            await asyncio.wait_for(clusters.crash.died.wait(), REST)
            await asyncio.sleep(5)  # A copy that may start runs by now.
            clusters.compute.drop(PODS, COPY)
            await clusters.restart(after=DOWN)
            await asyncio.sleep(REST)
            await clusters.stop()
            where = clusters.crash.writes[number], moment
            if clusters.machines.started[UID_1] > 1:
                twice.append(where)
            phase, below = clusters.pod()["status"]["phase"], clusters.copy()
            assert (phase, below is None) in {("Running", False), ("Failed", True)}, where
            _check_calls(clusters)
    if mode is StartOnce.STRICT:
        assert not twice
    else:  # The window that strict closes: from the create to the first status.
        assert ("compute create pods", Moment.AFTER) in twice
        assert ("tenant patch pods/status", Moment.AFTER) not in twice


def _check_calls(clusters: Clusters) -> None:
    """Deletions name the very object; of tenant pods nothing but the status is written."""
    for call in (*clusters.tenant.calls, *clusters.compute.calls):
        assert call.verb != "delete" or call.uid, call.name
    for call in clusters.tenant.calls:
        if call.plural == PODS.plural and call.verb in ("create", "patch", "replace"):
            assert (call.verb, call.subresource) == ("patch", "status")
            assert call.body["metadata"]["uid"]
