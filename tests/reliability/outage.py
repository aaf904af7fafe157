"""The compute cluster's API server is away for long, under running pods.

Its pods go on. The virtual node has to stay Ready and say what is wrong; no pod may be deleted or
shown as failed; afterwards everything goes on with the same pods. But those that do not want to
wait (`vnode.dev/on-partition: fail-after=1m`) have to fail, and their successors of the same names
may not run before the old copies are gone.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.e2e.recorder import PodRecorder
from tests.e2e.user import BELOW
from tests.e2e.workloads import NAMESPACE, pod, pod_spec, stateful_set
from tests.load.report import Report, Table, Target
from tests.reliability import evidence
from tests.reliability.site import COMPUTE, LOAD, UNREACHABLE, wait

if TYPE_CHECKING:
    from pathlib import Path

    from tests.reliability.site import Site

_TAINT = "vnode.dev/compute-unreachable"
_EVERY = 10.0
_HASTY = "hasty"
_FEW = 5
_NOTES = {"vnode.dev/on-partition": "fail-after=1m"}
_GIVEN_UP_SECONDS = 200.0
"""40 s of patience, the minute, and what a busy machine needs."""
_TOLD_SECONDS = 70.0
"""40 s of patience, a look every 10 s, and what a busy machine needs."""
_BACK_SECONDS = 300.0


def measure(site: Site, *, minutes: float, directory: Path) -> Report:
    """Stop the API server for so long, and compare before and after."""
    site.submit()
    hasty = {f"{_HASTY}-{number}" for number in range(_FEW)}
    others = {"late", *hasty}
    spec = pod_spec(cluster=COMPUTE)
    site.user.apply(stateful_set(_HASTY, replicas=_FEW, spec=spec, notes=_NOTES))
    for name in hasty:
        site.user.wait_phase(name, "Running", timeout=60)
    before, below = evidence.uids(site.load()), _uids_below(site, others)
    first = evidence.uids(site.user.items("pods", f"app={_HASTY}"))
    marks = evidence.AuditMark(site.tenant), evidence.AuditMark(site.compute)
    with PodRecorder(site.user, f"app={LOAD}", directory / "outage.json") as recorder:
        recorder.wait_for_any()
        site.compute.stop("kube-apiserver", hard=True)
        began = time.monotonic()
        site.progress(f"the compute cluster does not answer, for {minutes:g} minutes")
        told = _wait_told(site, began)
        given_up = _wait_successors(site, first, began)
        site.user.apply(pod("late", cluster=COMPUTE))
        looks = _look_on(site, until=began + minutes * 60)
        early = _running_successors(site, first)
        site.compute.start("kube-apiserver")
        back = time.monotonic()
        site.progress("the compute cluster answers again")
        wait(
            lambda: site.condition(UNREACHABLE) == "True" and _TAINT not in site.taints(),
            "the node says that it is back",
            timeout=_BACK_SECONDS,
        )
        seen_back = time.monotonic() - back
        site.user.wait_phase("late", "Running", timeout=_BACK_SECONDS)
        wait(
            lambda: _running_successors(site, first) == _FEW,
            "the successors run",
            timeout=_BACK_SECONDS,
        )
        mirrored = site.wait_mirrored(next(iter(before)), 1, timeout=60.0)
        time.sleep(_EVERY)
    trouble = evidence.seen_otherwise(recorder)
    upstairs = marks[0].of_pods({NAMESPACE}, but=others)
    downstairs = marks[1].of_pods({BELOW}, but=others)
    after = evidence.uids(site.load())
    copies = _uids_below(site, others)
    order = [w.verb for w in marks[1].writes() if w.resource == "pods" and w.name == min(hasty)]
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
        Target(
            "the old copy was deleted before the new one was created",
            ", ".join(order),
            "create" in order and "delete" in order[: order.index("create")],
        ),
        Target("the same pods before and after", f"{len(after)}", before == after),
        Target("the same copies before and after", f"{len(copies)}", below == copies),
    ]
    rows = [
        ["node says ComputeReachable=False", f"{told:.1f} s"],
        ["node says so no more, after the end", f"{seen_back:.1f} s"],
        ["a change below is shown, once it is back", f"{mirrored:.1f} s"],
    ]
    return Report(
        f"{minutes:g} minutes without the compute API, {site.pods} running pods",
        [Table(["what", "after"], rows)],
        targets,
        {"told": told, "back": seen_back, "mirrored": mirrored, **looks},
    )


def _uids_below(site: Site, but: set[str]) -> dict[str, str]:
    found = evidence.uids(site.below.items("pods"))
    return {name: uid for name, uid in found.items() if name not in but}


def _wait_successors(site: Site, first: dict[str, str], began: float) -> float:
    """Seconds until every pod that does not wait has failed and was replaced by its StatefulSet."""

    def replaced() -> bool:
        now = evidence.uids(site.user.items("pods", f"app={_HASTY}"))
        return len(now) == _FEW and not set(now.values()) & set(first.values())

    wait(replaced, "pods that do not wait are replaced", timeout=2 * _GIVEN_UP_SECONDS)
    site.progress(f"those that do not wait have failed after {time.monotonic() - began:.0f} s")
    return time.monotonic() - began


def _running_successors(site: Site, first: dict[str, str]) -> int:
    return sum(
        p["status"].get("phase") == "Running" and p["metadata"]["uid"] not in first.values()
        for p in site.user.items("pods", f"app={_HASTY}")
    )


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
