"""`kubectl delete node` under running pods.

Kubernetes deletes pods whose Node is gone for 40 s (PodGC). The agent has to make the Node again
before that, and nothing may be deleted in either cluster.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.e2e.recorder import PodRecorder
from tests.e2e.user import BELOW
from tests.e2e.workloads import NAMESPACE
from tests.measuring.report import Report, Table, Target
from tests.measuring.waiting import wait
from tests.reliability import evidence
from tests.reliability.site import LOAD, NODE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.reliability.site import Site

_TIMES = 3
_WITHIN = 10.0


def measure(site: Site, *, watch: float, directory: Path) -> Report:
    """Delete the Node three times, then look on for `watch` seconds: PodGC comes every 20 s."""
    site.submit()
    before, below = evidence.uids(site.load()), evidence.uids(site.below.items("pods"))
    marks = evidence.AuditMark(site.tenant), evidence.AuditMark(site.compute)
    with PodRecorder(site.user, f"app={LOAD}", directory / "delete-node.json") as recorder:
        recorder.wait_for_any()
        took = [_delete(site) for _ in range(_TIMES)]
        mirrored = site.wait_mirrored(next(iter(before)), 1, timeout=60.0)
        site.progress(f"back after {_seconds(took)}; looking on for {watch:g} s")
        time.sleep(watch)
    trouble = evidence.seen_otherwise(recorder)
    upstairs, downstairs = marks[0].of_pods({NAMESPACE}), marks[1].of_pods({BELOW})
    after, copies = evidence.uids(site.load()), evidence.uids(site.below.items("pods"))
    targets = [
        Target(
            f"the Node was back and Ready within {_WITHIN:g} s",
            _seconds(took),
            max(took) <= _WITHIN,
        ),
        Target("pods deleted or shown otherwise", str(dict(trouble)), not trouble),
        Target("pods created or deleted in the tenant", str(dict(upstairs)), not upstairs),
        Target("copies created or deleted below", str(dict(downstairs)), not downstairs),
        Target("the same pods before and after", f"{len(after)}", before == after),
        Target("the same copies before and after", f"{len(copies)}", below == copies),
    ]
    return Report(
        f"kubectl delete node under {site.pods} running pods, {_TIMES} times",
        [Table(["what", "after"], [["a change below is shown", f"{mirrored:.1f} s"]])],
        targets,
        {"back": took, "mirrored": mirrored},
    )


def _delete(site: Site) -> float:
    """Seconds until there is another Node of that name, and it is Ready."""
    uid = site.node()["metadata"]["uid"]
    site.user.kubectl("delete", "node", NODE, "--wait=false")
    began = time.monotonic()

    def back() -> bool:
        node = site.node()
        if node is None or node["metadata"]["uid"] == uid:
            return False
        conditions = {c["type"]: c["status"] for c in node["status"].get("conditions", [])}
        return conditions.get("Ready") == "True"

    wait(back, "the Node is back", timeout=60.0, every=0.1)
    took = time.monotonic() - began
    time.sleep(5.0)
    return took


def _seconds(took: list[float]) -> str:
    return ", ".join(f"{t:.1f} s" for t in took)
