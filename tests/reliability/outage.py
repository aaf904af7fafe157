"""The compute cluster's API server is away for long, under running pods.

Its pods go on. The virtual node has to stay Ready and say what is wrong; no pod may be deleted or
shown as failed; afterwards everything goes on with the same pods. But a share of them does not want
to wait (`vnode.dev/on-partition: fail-after=1m`): these have to fail, and their successors, of the
same names (a StatefulSet) or of others on the same cluster (a Deployment), may not be made before
the old copies are gone. This is asked of etcd, by the order of its writes, and of the audit log.
etcd may hang just when the old copies are being deleted, so that deletions are answered with 504.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from tests.chaos.history import following
from tests.e2e.recorder import PodRecorder
from tests.e2e.user import BELOW
from tests.e2e.workloads import NAMESPACE, deployment, pod, pod_spec, stateful_set
from tests.measuring.report import Report, Table, Target
from tests.measuring.waiting import MeasurementError, wait
from tests.reliability import evidence, successors
from tests.reliability.site import COMPUTE, LOAD, UNREACHABLE
from tests.reliability.successors import OTHERS, SAME

if TYPE_CHECKING:
    from pathlib import Path

    from tests.reliability.site import Site

_TAINT = "vnode.dev/compute-unreachable"
_EVERY = 10.0
_HASTY = f"app in ({SAME},{OTHERS})"
_STEADY = f"app={LOAD}"
_NOTES = {"vnode.dev/on-partition": "fail-after=1m"}
_GIVEN_UP_SECONDS = 200.0
"""40 s of patience, the minute, and what a busy machine needs."""
_TOLD_SECONDS = 70.0
"""40 s of patience, a look every 10 s, and what a busy machine needs."""
_BACK_SECONDS = 300.0
_PATIENCE = 10.0
"""Seconds after which a kubelet would try again what was answered badly."""


def measure(
    site: Site, *, minutes: float, hasty: int, hang: float = 0.0, directory: Path
) -> Report:
    """Stop the API server for so long, and compare before and after.

    Of the site's pods `hasty` do not wait, half of them with successors of the same names. For
    `hang` seconds etcd below stands still while the old copies are being deleted.
    """
    site.submit(site.pods - hasty)
    share = {SAME: hasty - hasty // 2, OTHERS: hasty // 2}
    spec = pod_spec(cluster=COMPUTE)
    site.user.apply(
        stateful_set(SAME, replicas=share[SAME], spec=spec, notes=_NOTES),
        deployment(OTHERS, replicas=share[OTHERS], spec=spec, notes=_NOTES),
    )
    wait(lambda: len(_running(site)) == hasty, "pods that do not wait run", timeout=_BACK_SECONDS)
    before, below = evidence.uids(site.load()), evidence.uids(site.below.items("pods", _STEADY))
    first = {name: evidence.uids(site.user.items("pods", f"app={name}")) for name in share}
    old = {p["metadata"]["uid"] for p in site.below.items("pods", _HASTY)}
    copies = successors.Copies()
    marks = evidence.AuditMark(site.tenant), evidence.AuditMark(site.compute)
    with (
        PodRecorder(site.user, _STEADY, directory / "outage.json") as recorder,
        following(site.compute, copies.hear) as onlooker,
    ):
        recorder.wait_for_any()
        site.compute.stop("kube-apiserver", hard=True)
        began = time.monotonic()
        site.progress(f"the compute cluster does not answer, for {minutes:g} minutes")
        told = _wait_told(site, began)
        given_up = _wait_given_up(site, first, began)
        site.user.apply(pod("late", cluster=COMPUTE))
        looks = _look_on(site, until=began + minutes * 60)
        early = _successors(site, first)
        site.compute.start("kube-apiserver")
        back = time.monotonic()
        site.progress("the compute cluster answers again")
        if hang:
            _let_hang(site, copies, hang)
        seen_back, successors_after = _wait_recovered(site, first, back)
        mirrored = site.wait_mirrored(next(iter(before)), 1, timeout=60.0)
        time.sleep(_EVERY)
        onlooker.check()
    trouble = evidence.seen_otherwise(recorder)
    others = {w.name for mark in marks for w in mark.writes() if _is_other(w)}
    upstairs = marks[0].of_pods({NAMESPACE}, but=others)
    downstairs = marks[1].of_pods({BELOW}, but=others)
    after = evidence.uids(site.load())
    kept = evidence.uids(site.below.items("pods", _STEADY))
    copies.keep(directory / "copies.json")
    lives, tries = evidence.lives_by_history(copies.versions, old), tuple(marks[1].tries())
    idle = evidence.succession(
        successors.of(OTHERS, lives), by_name=False, until=lambda life: life.ended
    ).apart
    targets = [
        Target(
            "the node was Ready at every look",
            f"{looks['ready']} of {looks['all']}",
            looks["ready"] == looks["all"] > 0,
        ),
        Target("the node said so within 70 s", f"{told:.1f} s", told <= _TOLD_SECONDS),
        Target("pods deleted, failed or shown otherwise", str(dict(trouble)), not trouble),
        Target("pods created or deleted in the tenant", str(dict(upstairs)), not upstairs),
        Target("copies created or deleted below", str(dict(downstairs)), not downstairs),
        Target(
            "pods that do not wait failed, and had successors",
            f"{given_up:.0f} s",
            given_up <= _GIVEN_UP_SECONDS,
        ),
        Target("successors that ran before the end", str(early), early == 0),
        *successors.judged(share, first, lives, tries),
        Target("the same pods before and after", f"{len(after)}", before == after),
        Target("the same copies before and after", f"{len(kept)}", below == kept),
    ]
    rows = [
        ["node says ComputeReachable=False", f"{told:.1f} s"],
        ["node says so no more, after the end", f"{seen_back:.1f} s"],
        ["successors run, after the end", f"{successors_after:.1f} s"],
        ["a change below is shown, once it is back", f"{mirrored:.1f} s"],
        ["successors of other names, after the last old containers' end", f"{idle:.1f} s"],
        ["deletions below that were answered with 5xx", str(successors.doubts(tries))],
    ]
    return Report(
        f"{minutes:g} minutes without the compute API, {site.pods} running pods, "
        f"{hasty} of them with fail-after=1m",
        [Table(["what", "after"], rows)],
        targets,
        {"told": told, "back": seen_back, "mirrored": mirrored, **looks},
    )


def _let_hang(site: Site, copies: successors.Copies, seconds: float) -> None:
    """Stop etcd where it stands when the first old copy is being deleted.

    What was answered badly meanwhile a kubelet tries again; kwok does so when the pod changes.
    """
    table = site.compute.table
    assert table is not None, "only clusters of the harness have an etcd to stop"
    if not copies.deleting.wait(_BACK_SECONDS):
        raise MeasurementError("no old copy was deleted")
    etcd = table.get(site.compute.name, "etcd").identity
    etcd.signal(signal.SIGSTOP)
    try:
        site.progress(f"etcd below hangs for {seconds:g} s")
        time.sleep(seconds)
    finally:
        etcd.signal(signal.SIGCONT)
    time.sleep(_PATIENCE)
    again = ("annotate", "pods", f"--selector={_HASTY}", "tests/look=again")
    site.below.kubectl(*again, check=False)  # Some go meanwhile.


def _is_other(write: evidence.Write) -> bool:
    """Not about those that wait, as far as the log says: a ReplicaSet gives its pods no name."""
    return (
        not write.name or write.name == "late" or write.name.startswith((f"{SAME}-", f"{OTHERS}-"))
    )


def _running(site: Site) -> set[str]:
    """UIDs of pods that do not wait and run."""
    pods = site.user.items("pods", _HASTY)
    return {p["metadata"]["uid"] for p in pods if p["status"].get("phase") == "Running"}


def _old(first: dict[str, dict[str, str]]) -> set[str]:
    return {uid for uids in first.values() for uid in uids.values()}


def _wait_given_up(site: Site, first: dict[str, dict[str, str]], began: float) -> float:
    """Seconds until no pod that does not wait runs, and every one of them has a successor."""
    old = _old(first)

    def given_up() -> bool:
        waiting = [
            p
            for p in site.user.items("pods", _HASTY)
            if p["status"].get("phase") == "Pending" and p["metadata"]["uid"] not in old
        ]
        return not _running(site) and len(waiting) == len(old)

    wait(given_up, "pods that do not wait are given up", timeout=2 * _GIVEN_UP_SECONDS)
    site.progress(f"those that do not wait have failed after {time.monotonic() - began:.0f} s")
    return time.monotonic() - began


def _successors(site: Site, first: dict[str, dict[str, str]]) -> int:
    return len(_running(site) - _old(first))


def _wait_recovered(
    site: Site, first: dict[str, dict[str, str]], back: float
) -> tuple[float, float]:
    """Seconds from `back` until the node says that it is back, and until all successors run."""
    wait(
        lambda: site.condition(UNREACHABLE) == "True" and _TAINT not in site.taints(),
        "the node says that it is back",
        timeout=_BACK_SECONDS,
    )
    seen_back = time.monotonic() - back

    def all_run() -> bool:
        site.compute.start_ended("kube-scheduler")
        late = site.user.get("pod", "late")["status"].get("phase") == "Running"
        return late and _successors(site, first) == len(_old(first))

    wait(all_run, "the late pod and the successors run", timeout=_BACK_SECONDS)
    return seen_back, time.monotonic() - back


def _wait_told(site: Site, began: float) -> float:
    wait(
        lambda: site.condition(UNREACHABLE) == "False" and _TAINT in site.taints(),
        "the node says that compute does not answer",
        timeout=2 * _TOLD_SECONDS,
    )
    return time.monotonic() - began


def _look_on(site: Site, *, until: float) -> dict[str, int]:
    looks = {"all": 0, "ready": 0}
    said = time.monotonic()
    while time.monotonic() < until or not looks["all"]:
        looks["all"] += 1
        looks["ready"] += site.condition("Ready") == "True"
        if time.monotonic() - said >= 60:
            said = time.monotonic()
            left = (until - said) / 60
            site.progress(f"Ready at {looks['ready']} of {looks['all']} looks, {left:.0f} min left")
        time.sleep(min(_EVERY, max(0.1, until - time.monotonic())))
    return looks
