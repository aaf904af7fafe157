"""A pod is deleted while its compute cluster does not answer, for longer than its grace period.

Its containers, real ones that ignore SIGTERM, must have the whole grace period afterwards, and a
successor of its name must not start before they have ended.
"""

from __future__ import annotations

import datetime
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.agents import AgentProcess, join
from tests.clusters import ClusterSpec, NodePool
from tests.e2e.recorder import PodRecorder
from tests.e2e.user import BELOW, User
from tests.e2e.workloads import pod_spec, stateful_set
from tests.measuring.report import Report, Table, Target
from tests.measuring.waiting import wait
from tests.reliability.site import COMPUTE, Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.clusters import Harness
    from tests.reliability.site import Progress

_SET = "stubborn"
_POD = f"{_SET}-0"
_IGNORES_TERM = "trap '' TERM; while :; do sleep 0.2; done"
_START_SECONDS = 90.0
_SETTLE_SECONDS = 180.0


@contextmanager
def built(harness: Harness, directory: Path, *, progress: Progress) -> Iterator[Site]:
    """A tenant, a compute cluster with one real node, an agent."""
    own = ClusterSpec("tenant", kwok=NodePool(1, gpus=0, labels={}))
    clusters = harness.up([own, ClusterSpec(COMPUTE, real_nodes=1)])
    tenant = clusters.pop("tenant")
    joined = join(harness, tenant, clusters, directory=directory)
    with AgentProcess(joined) as agent:
        agent.wait_ready()
        yield Site(joined, [agent], 1, progress)


def measure(site: Site, *, grace: int, outage: float, directory: Path) -> Report:
    """Delete a StatefulSet's pod `grace` seconds before its cluster is back, or earlier."""
    spec = pod_spec(cluster=COMPUTE, command=_IGNORES_TERM, terminationGracePeriodSeconds=grace)
    site.user.apply(stateful_set(_SET, replicas=1, spec=spec))
    old = site.user.wait_phase(_POD, "Running", timeout=_START_SECONDS)
    with PodRecorder(site.user, f"app={_SET}", directory / "grace.json") as recorder:
        recorder.wait_for_any()
        site.compute.stop("kube-apiserver", hard=True)
        site.user.kubectl("delete", "pod", _POD, "--wait=false")
        site.progress(f"deleted with {grace} s of grace; no answer below for {outage:g} s")
        time.sleep(outage)
        site.compute.start("kube-apiserver")
        with PodRecorder(User(site.compute, BELOW), f"app={_SET}", directory / "b.json") as copies:
            wait(lambda: _successor(site, old), "the successor runs", timeout=_SETTLE_SECONDS)
    return _report(recorder, copies, old["metadata"]["uid"], grace=grace, outage=outage)


def _successor(site: Site, old: Any) -> bool:
    pod = site.user.get("pod", _POD)
    new = pod is not None and pod["metadata"]["uid"] != old["metadata"]["uid"]
    return new and pod["status"].get("phase") == "Running"


def _report(
    recorder: PodRecorder, copies: PodRecorder, old: str, *, grace: int, outage: float
) -> Report:
    ends = [s["terminated"] for s in _states(recorder, old) if "terminated" in s]
    asked = [
        int(pod["metadata"]["deletionGracePeriodSeconds"])
        for _, pod in copies.events()
        if pod["metadata"]["annotations"]["vnode.dev/uid"] == old
        and "deletionTimestamp" in pod["metadata"]
    ]
    # deletionTimestamp is when the grace period is over.
    told = [
        _moment(pod["metadata"]["deletionTimestamp"])
        - pod["metadata"]["deletionGracePeriodSeconds"]
        for _, pod in copies.events()
        if pod["metadata"]["annotations"]["vnode.dev/uid"] == old
        and pod["metadata"].get("deletionGracePeriodSeconds")
    ]
    finished = _moment(ends[-1]["finishedAt"]) if ends else 0.0
    given = finished - told[0] if told else 0.0
    started = [
        _moment(s["running"]["startedAt"])
        for pod in _others(recorder, old)
        for s in pod
        if "running" in s
    ]
    gap = started[0] - finished if started and ends else -1.0
    code = ends[-1]["exitCode"] if ends else None
    targets = [
        Target("the copy was deleted with the whole grace", f"{asked[:1]}", asked[:1] == [grace]),
        Target(
            f"its containers had {grace} s (whole seconds are told)",
            f"{given:.0f} s",
            given >= grace - 1,
        ),
        Target(
            "they were killed, not asked, in the end: they ignore SIGTERM",
            f"exit code {code}",
            code == 137,
        ),
        Target("the successor started after they had ended", f"{gap:.0f} s later", gap >= 0),
    ]
    rows = [
        ["from the deletion below to the containers' end", f"{given:.0f} s"],
        ["from there to the successor's start", f"{gap:.0f} s"],
    ]
    return Report(
        f"{outage:g} s without the compute API, a pod deleted with {grace} s of grace",
        [Table(["what", "took"], rows)],
        targets,
        {"given": given, "gap": gap},
    )


def _states(recorder: PodRecorder, uid: str) -> list[Any]:
    return [
        state["state"]
        for _, pod in recorder.events()
        if pod["metadata"]["uid"] == uid
        for state in pod["status"].get("containerStatuses", [])
    ]


def _others(recorder: PodRecorder, uid: str) -> Iterator[list[Any]]:
    for _, pod in recorder.events():
        if pod["metadata"]["uid"] != uid:
            yield [state["state"] for state in pod["status"].get("containerStatuses", [])]


def _moment(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()
