"""Two replicas, many running pods, kill -9 of the one that works.

Measured is what users wait for: from the kill until a change below is shown again. Nothing may be
created, deleted or shown as failed. Then the same for an orderly end, which gives the Leases back.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import yaml

from tests.e2e.recorder import PodRecorder
from tests.e2e.user import BELOW
from tests.e2e.workloads import NAMESPACE
from tests.measuring.report import Report, Table, Target
from tests.measuring.waiting import wait
from tests.reliability import evidence
from tests.reliability.site import COMPUTE, LOAD, NODE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.agents import AgentProcess
    from tests.reliability.site import Site

_LONGEST = 120.0
_SETTLE = 5.0
_DEFAULTS = {"leaseDuration": "15s", "renewDeadline": "10s", "retryPeriod": "2s"}


def measure(site: Site, *, most: float, directory: Path) -> Report:
    """Kill the leader, then end the next one; `most` seconds may pass after the kill."""
    site.submit()
    before, below = evidence.uids(site.load()), evidence.uids(site.below.items("pods"))
    marks = evidence.AuditMark(site.tenant), evidence.AuditMark(site.compute)
    probe = next(iter(before))
    with PodRecorder(site.user, f"app={LOAD}", directory / "takeover.json") as recorder:
        recorder.wait_for_any()
        leader = holder(site)
        other = next(a for a in site.agents if a is not leader)
        rows = [_one(site, "kill -9", leader.kill, heir=other, probe=probe, restarts=1)]
        leader.start()
        time.sleep(_SETTLE)  # it has to have seen the Lease to be told that it is free
        rows.append(_one(site, "SIGTERM", other.stop, heir=leader, probe=probe, restarts=2))
        time.sleep(_SETTLE)
    trouble = evidence.seen_otherwise(recorder)
    upstairs, downstairs = marks[0].of_pods({NAMESPACE}), marks[1].of_pods({BELOW})
    after, copies = evidence.uids(site.load()), evidence.uids(site.below.items("pods"))
    killed, ended = (row[-1] for row in rows)
    targets = [
        Target(
            f"a change is shown within {most:g} s of the kill", f"{killed:.1f} s", killed <= most
        ),
        Target("an orderly end is quicker", f"{ended:.1f} s", ended < killed),
        Target("pods deleted, failed or shown otherwise", str(dict(trouble)), not trouble),
        Target("pods created or deleted in the tenant", str(dict(upstairs)), not upstairs),
        Target("copies created or deleted below", str(dict(downstairs)), not downstairs),
        Target("the same pods before and after", f"{len(after)}", before == after),
        Target("the same copies before and after", f"{len(copies)}", below == copies),
    ]
    settings = {**_DEFAULTS, **_election(site)}
    shown = [
        [name, f"{lease:.1f} s", f"{node:.1f} s", f"{change:.1f} s"]
        for name, lease, node, change in rows
    ]
    said = ", ".join(f"{k} {v}" for k, v in settings.items())
    head = ["the leader ends by", "Lease taken", "Node's address", "a change is shown"]
    return Report(
        f"takeover under {site.pods} running pods ({said})",
        [Table(head, shown)],
        targets,
        {"killed": rows[0][1:], "ended": rows[1][1:], "settings": settings},
    )


def holder(site: Site) -> AgentProcess:
    """The replica that holds the Lease of the compute cluster."""
    name = wait(lambda: _holder(site), "somebody leads", timeout=60.0)
    return next(agent for agent in site.agents if agent.identity == name)


def _holder(site: Site) -> str:
    shown = ("get", "lease", f"vnode-{COMPUTE}", "-o", "json")
    lease = json.loads(site.tenant.kubectl("--namespace=vnode-system", *shown))
    return str(lease["spec"].get("holderIdentity") or "")


def _address(site: Site) -> str:
    addresses = site.tenant.kubectl("get", "node", NODE, "-o", "json")
    found = json.loads(addresses)["status"]["addresses"]
    return next(str(a["address"]) for a in found if a["type"] == "InternalIP")


def _one(
    site: Site,
    what: str,
    end: Callable[[], object],
    *,
    heir: AgentProcess,
    probe: str,
    restarts: int,
) -> tuple[str, float, float, float]:
    address = _address(site)
    began = time.monotonic()
    end()
    site.touch(probe, restarts)
    wait(lambda: _holder(site) == heir.identity, "the other leads", timeout=_LONGEST)
    lease = time.monotonic() - began
    wait(lambda: _address(site) != address, "the Node has its address", timeout=_LONGEST)
    node = time.monotonic() - began
    wait(lambda: site.restarts(probe) == restarts, "the change is shown", timeout=_LONGEST)
    change = time.monotonic() - began
    site.progress(f"{what}: Lease after {lease:.1f} s, a change is shown after {change:.1f} s")
    return what, lease, node, change


def _election(site: Site) -> dict[str, str]:
    found: dict[str, str] = yaml.safe_load(site.federation.config.read_text()).get(
        "leaderElection", {}
    )
    return found
