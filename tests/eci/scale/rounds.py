"""Two rounds with so many pods: all is well; and the agent is killed twice.

In: a site and its onlooker. Out: a `Round` each: when what was done. What became of pods and groups
is left to `verdict`, which reads the onlooker's and the emulator's notes. Fails with
`MeasurementError` when pods do not get where they should.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.e2e.workloads import CLUSTER_LABEL, IMAGE, NAMESPACE
from tests.eci.joined import BURST
from tests.measuring import footprint
from tests.measuring.waiting import wait

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.clusters.api import AdminClient
    from tests.eci.scale.seen import Seen
    from tests.eci.scale.site import Site
    from tests.measuring.onlooker import Onlooker

_PATH = f"/api/v1/namespaces/{NAMESPACE}/pods"
_SECONDS_PER_POD, _LEAST_SECONDS = 0.3, 60.0
"""How long anything may take, at most."""
_AT_A_TIME = 4
"""Calls of users on the way."""
_FOR_EVER = 36000
_SAY_EVERY = 10.0
_UNSEEN = 8.0
"""Seconds for which lists do not have a new group in the second round: so that what an agent did
last cannot be seen by the one after it."""
_UNPROVEN = 120.0
"""Seconds after a kill in which a list does not prove that a group is not there (federation's
backend `eci`): as long, pods may wait to go."""
_SLOW = 1.0
"""Seconds that calls take around a kill."""


@dataclass
class Kill:
    """One kill -9 of the agent."""

    when: str
    done: int
    """How many pods had what was being done."""
    at: float
    """Unix seconds."""
    ready: float
    """When the agent was there again: it had looked at all groups."""


@dataclass
class Round:
    """When what was done. Times are Unix seconds."""

    name: str
    uids: set[str] = field(default_factory=set)
    began: float = 0.0
    running: float = 0.0
    """When all pods had been Running."""
    deleted: float = 0.0
    """When the deletion of all was asked for."""
    gone: float = 0.0
    kills: list[Kill] = field(default_factory=list)
    processor: float = 0.0
    """Processor seconds of the agent; of the one that began the round, if it was killed."""
    peak: int = 0
    """Bytes that the agent had resident at most."""


class Rounds:
    """Carries rounds out."""

    def __init__(
        self,
        site: Site,
        onlooker: Onlooker,
        seen: Seen,
        *,
        pods: int,
        limits: float = 1.0,
        progress: Callable[[str], None],
    ) -> None:
        """`seen`: what the onlooker tells; `limits`: the part of the documented ones that holds."""
        self._site = site
        self._onlooker = onlooker
        self._seen = seen
        self._pods = pods
        self._progress = progress
        self._longest = _LEAST_SECONDS + pods * _SECONDS_PER_POD / limits

    def steady(self, done: list[Round], *, runs: int) -> None:
        """Pods come all at once; half end by themselves after so many seconds; all are deleted.

        The round is put to those that are `done` as it begins, so that it is there if it fails.
        """
        pid = self._site.agent.pid
        before = footprint.processor_seconds(pid)
        found = Round("steady")
        done.append(found)
        self._create(found, runs=(runs, _FOR_EVER))
        self._until(found, "Running", self._pods)
        self._until(found, "Succeeded", -(-self._pods // 2), more=runs)
        self._delete(found)
        self._wait_gone(found)
        found.processor = footprint.processor_seconds(pid) - before
        found.peak = footprint.peak_resident(pid)

    def killed(self, done: list[Round]) -> None:
        """The agent is killed when half of the groups are made, and when half of the pods went."""
        site, found = self._site, Round("killed")
        done.append(found)
        half = self._pods // 2
        before: int = site.account.state()["made"]
        site.account.faults(unseen=_UNSEEN)
        self._create(found, runs=(_FOR_EVER,))

        def made() -> int:
            now: int = site.account.state()["made"]
            return now - before

        self._wait(lambda: made() >= half, "half of the groups are made")
        # From here on creates are carried out after the death of who asked for them.
        site.account.faults(slow=_SLOW)
        time.sleep(2 * _SLOW)
        self._kill(found, "groups made", made)
        site.account.faults(slow=0)
        self._until(found, "Running", self._pods)
        site.account.faults(unseen=0)
        self._delete(found)
        self._wait(lambda: self._gone(found) >= half, "half of the pods are gone")
        self._kill(found, "pods gone", lambda: self._gone(found))
        self._wait_gone(found, more=_UNPROVEN)

    def collected(self) -> None:
        """Wait until no group is left.

        A pod that has ended goes when its user says so, before its group: what is left then is
        collected by the agent, so many a minute (`vnode.pods.orphans`).
        """
        site, made = self._site, self._site.account.state()["made"]
        self._reach(lambda: made - len(site.account.state()["groups"]), made, "groups are gone")

    def _kill(self, found: Round, what: str, done: Callable[[], int]) -> None:
        agent, account = self._site.agent, self._site.account
        agent.kill()
        at, count = time.time(), done()
        polls = _polls(account.state())
        agent.start()
        # Its virtual node has been Ready all the time: that it asks for groups again is the sign.
        # One more may be carried out that the dead one asked for.
        self._wait(lambda: _polls(account.state()) > polls + 1, "the agent works again")
        found.kills.append(Kill(what, count, at, time.time()))
        took = found.kills[-1].ready - at
        self._progress(f"killed with {count} of {self._pods} {what}; back after {took:.1f} s")

    def _create(self, found: Round, *, runs: Sequence[int]) -> None:
        """Pods that run for so many seconds, in turns."""
        found.began = time.time()

        def create(client: AdminClient, number: int) -> None:
            made = client.create(_PATH, _pod(f"{found.name}-{number}", runs[number % len(runs)]))
            found.uids.add(made["metadata"]["uid"])

        self._each(create)
        self._progress(f"{self._pods} pods created in {time.time() - found.began:.1f} s")

    def _delete(self, found: Round) -> None:
        def delete(client: AdminClient, number: int) -> None:
            client.delete(f"{_PATH}/{found.name}-{number}")

        found.deleted = time.time()
        self._each(delete)
        self._progress(f"{self._pods} pods asked to go")

    def _each(self, act: Callable[[AdminClient, int], None]) -> None:
        """Do it for the number of each pod, some at a time."""
        control_plane = self._site.tenant.control_plane
        assert control_plane is not None

        def some(first: int) -> None:
            with control_plane.client() as client:
                for number in range(first, self._pods, _AT_A_TIME):
                    act(client, number)

        with ThreadPoolExecutor(_AT_A_TIME) as threads:
            list(threads.map(some, range(_AT_A_TIME)))

    def _until(self, found: Round, phase: str, pods: int, *, more: float = 0.0) -> None:
        def count() -> int:
            return self._seen.phase(phase, found.uids)

        self._reach(count, pods, f"pods have been {phase}", more=more)
        if phase == "Running":
            found.running = time.time()

    def _wait_gone(self, found: Round, *, more: float = 0.0) -> None:
        self._reach(lambda: self._gone(found), self._pods, "pods are gone", more=more)
        found.gone = time.time()

    def _gone(self, found: Round) -> int:
        return self._seen.gone(found.uids)

    def _reach(self, count: Callable[[], int], pods: int, what: str, *, more: float = 0.0) -> None:
        said = time.monotonic()

        def all_of_them() -> bool:
            nonlocal said
            now = count()
            if now >= pods or time.monotonic() - said > _SAY_EVERY:
                said = time.monotonic()
                self._progress(f"{now} of {pods} {what}")
            return now >= pods

        self._wait(all_of_them, f"{pods} {what}", more=more)

    def _wait(self, done: Callable[[], bool], what: str, *, more: float = 0.0) -> None:
        def looked() -> bool:
            self._onlooker.check()
            return done()

        wait(looked, what, timeout=self._longest + more)


def _polls(state: dict[str, Any]) -> int:
    return int(state["calls"].get("DescribeContainerGroupStatus", {}).get("made", 0))


def _pod(name: str, runs: int) -> dict[str, Any]:
    """As a user writes it, with the token of its ServiceAccount."""
    container = {
        "name": "main",
        "image": IMAGE,
        "command": ["sleep", str(runs)],
        "resources": {"requests": {"cpu": "1", "memory": "2Gi"}},
    }
    spec = {
        "nodeSelector": {CLUSTER_LABEL: BURST},
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
    }
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
