"""Pods of one name after another, as StatefulSets and operators make them.

Every version of every pod on both sides is recorded, so "never" is meant.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tests.e2e.recorder import PodRecorder
from tests.e2e.user import BELOW, User, names_taken, until
from tests.e2e.workloads import pod_spec, stateful_set

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agents import Federation

KWOK = "kwok-a"
ROUNDS, NAMES = 10, 10
"""Of two StatefulSets each: together 200 successions."""
ENDS_SLOWLY = {"pod-delete.stage.kwok.x-k8s.io/delay": "1s"}
FORCED = ("--force", "--grace-period=0")


def _uids(user: User) -> dict[str, str]:
    return {p["metadata"]["name"]: p["metadata"]["uid"] for p in user.items("pods", "kind=twin")}


def _all_run(user: User) -> bool:
    pods = user.items("pods", "kind=twin")
    return len(pods) == 2 * NAMES and all(p["status"]["phase"] == "Running" for p in pods)


def _succeed_each_other(user: User) -> int:
    """Delete all pods again and again, in the ways that there are; returns how many went."""
    replaced = 0
    for number in range(ROUNDS):
        if number % 3 != 2:  # each third generation goes while it starts
            until(lambda: _all_run(user), "all of a generation run", timeout=60)
        before = _uids(user)
        how = FORCED if number % 2 == 0 else ()
        user.kubectl("delete", "pods", "--selector=kind=twin", "--wait=false", *how)

        def all_new(before: dict[str, str] = before) -> bool:
            now = _uids(user)
            return len(now) == 2 * NAMES and not set(now.values()) & set(before.values())

        until(all_new, "every pod has a successor", timeout=60)
        replaced += len(before)
    until(lambda: _all_run(user), "the last generation runs", timeout=60)
    return replaced


def _container_ids(pod: Any) -> set[str]:
    states = pod["status"].get("containerStatuses", [])
    return {c["containerID"] for c in states if c.get("containerID")}


def test_no_pod_ever_shows_the_status_of_its_predecessor(
    user: User, federation: Federation, scratch: Path
) -> None:
    below = User(federation.computes[KWOK], BELOW)
    with (
        PodRecorder(user, "kind=twin", scratch / "tenant.json") as above,
        PodRecorder(below, "kind=twin", scratch / "compute.json") as copies,
    ):
        user.apply(
            stateful_set("quick", replicas=NAMES, spec=pod_spec(cluster=KWOK)),
            stateful_set("slow", replicas=NAMES, spec=pod_spec(cluster=KWOK), notes=ENDS_SLOWLY),
        )
        above.wait_for_any()
        copies.wait_for_any()
        replaced = _succeed_each_other(user)

    made_for: dict[str, set[str]] = defaultdict(set)  # copy -> tenant UIDs that it was made for
    containers: dict[str, set[str]] = defaultdict(set)  # tenant UID -> its copies' containers
    for _, copy in copies.events():
        uid = copy["metadata"]["annotations"]["vnode.dev/uid"]
        made_for[copy["metadata"]["uid"]].add(uid)
        containers[uid] |= _container_ids(copy)
    owners = list(itertools.chain.from_iterable(made_for.values()))
    assert len(owners) == len(made_for) == len(set(owners)), "one copy a pod, one pod a copy"
    assert len(made_for) > replaced // 2, "most pods had a copy when they were replaced"

    versions = above.events()
    for kind, pod in versions:
        metadata, status = pod["metadata"], pod["status"]
        assert _container_ids(pod) <= containers[metadata["uid"]], (kind, metadata, status)
        if "deletionTimestamp" not in metadata:
            assert status["phase"] in ("Pending", "Running"), (kind, metadata, status)
            assert status.get("reason") != "Evicted", (kind, metadata, status)
    shown = sum(bool(_container_ids(pod)) for _, pod in versions)
    print(
        f"{replaced} successions, {len(made_for)} copies, "
        f"{len(versions)} versions of which {shown} with containers"
    )
    assert shown > replaced // 2

    # Only whom the user deleted has gone, and only their copies.
    assert sum(kind == "DELETED" for kind, _ in versions) == replaced == 2 * NAMES * ROUNDS
    assert sum(kind == "DELETED" for kind, _ in copies.events()) == len(made_for) - 2 * NAMES
    # A predecessor was gone, and known to be, before its successor's copy was asked for.
    taken = names_taken(federation.computes[KWOK])
    assert not [name for name in taken if name.startswith(("quick-", "slow-"))]
