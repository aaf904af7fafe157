"""The compute cluster's API server is away for long, under running pods.

Its pods go on. The virtual node has to stay Ready and say what is wrong; no pod may be deleted or
shown as failed; afterwards everything goes on with the same pods.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.e2e.recorder import PodRecorder
from tests.e2e.user import BELOW
from tests.e2e.workloads import NAMESPACE, pod
from tests.load.report import Report, Table, Target
from tests.reliability import evidence
from tests.reliability.site import COMPUTE, LOAD, UNREACHABLE, wait

if TYPE_CHECKING:
    from pathlib import Path

    from tests.reliability.site import Site

_TAINT = "vnode.dev/compute-unreachable"
_EVERY = 10.0
_TOLD_SECONDS = 70.0
"""40 s of patience, a look every 10 s, and what a busy machine needs."""
_BACK_SECONDS = 300.0


def measure(site: Site, *, minutes: float, directory: Path) -> Report:
    """Stop the API server for so long, and compare before and after."""
    site.submit()
    before, below = evidence.uids(site.load()), evidence.uids(site.below.items("pods"))
    marks = evidence.AuditMark(site.tenant), evidence.AuditMark(site.compute)
    with PodRecorder(site.user, f"app={LOAD}", directory / "outage.json") as recorder:
        recorder.wait_for_any()
        site.compute.stop("kube-apiserver", hard=True)
        began = time.monotonic()
        site.progress(f"the compute cluster does not answer, for {minutes:g} minutes")
        told = _wait_told(site, began)
        site.user.apply(pod("late", cluster=COMPUTE))
        looks = _look_on(site, until=began + minutes * 60)
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
        mirrored = site.wait_mirrored(next(iter(before)), 1, timeout=60.0)
        time.sleep(_EVERY)
    trouble = evidence.seen_otherwise(recorder)
    upstairs = marks[0].of_pods({NAMESPACE}, but={"late"})
    downstairs = marks[1].of_pods({BELOW}, but={"late"})
    after = evidence.uids(site.load())
    copies = evidence.uids(site.below.items("pods"))
    copies.pop("late", None)
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
