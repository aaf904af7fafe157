"""No agent for long, under running pods, while the tenant's controllers run at default timings.

The virtual node becomes unreachable after 50 s, and pods without the tolerations of deploy/tenant
are deleted: one such pod is the proof. All others have to stay in both clusters, and what happened
to their copies meanwhile has to be shown when an agent is back, without a create or a delete.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tests.e2e.recorder import PodRecorder
from tests.e2e.user import BELOW
from tests.e2e.workloads import NAMESPACE, pod
from tests.measuring.report import Report, Table, Target
from tests.measuring.waiting import wait
from tests.reliability import evidence
from tests.reliability.site import COMPUTE, LOAD

if TYPE_CHECKING:
    from pathlib import Path

    from tests.reliability.site import Site

_GROUP = "ending"
_ENDING = 20
_PROOF = "impatient"
"""A pod whose user wants it deleted 30 s after its node became unreachable."""
_UNREACHABLE_TAINT = "node.kubernetes.io/unreachable"
_GONE_SECONDS = 180.0
_MIRRORED_SECONDS = 120.0


def measure(site: Site, *, minutes: float, directory: Path) -> Report:
    """Kill the agent, wait, start it, and compare before and after."""
    site.submit()
    names = [f"{_GROUP}-{number}" for number in range(_ENDING)]
    site.user.apply(*(_once(name) for name in names), _impatient())
    for name in (*names, _PROOF):
        site.user.wait_phase(name, "Running", timeout=60)
    before, below = evidence.uids(site.load()), evidence.uids(site.below.items("pods"))
    marks = evidence.AuditMark(site.tenant), evidence.AuditMark(site.compute)
    with (
        PodRecorder(site.user, f"app={LOAD}", directory / "absent-tenant.json") as above,
        PodRecorder(site.below, f"app={LOAD}", directory / "absent-compute.json") as copies,
    ):
        above.wait_for_any()
        copies.wait_for_any()
        site.agents[0].kill()
        began = time.monotonic()
        site.progress(f"the agent is gone, for {minutes:g} minutes")
        for name in names:
            _succeed(site, name)
        until = began + minutes * 60
        deleted = _wait_deletion(site, until)
        while time.monotonic() < until:
            time.sleep(min(60.0, max(0.1, until - time.monotonic())))
            left = (until - time.monotonic()) / 60
            site.progress(f"{len(evidence.uids(site.load()))} pods there, {left:.0f} min left")
        meanwhile = [mark.of_pods({space}, but={_PROOF}) for mark, space in _with_spaces(marks)]
        site.agents[0].start()
        back = time.monotonic()
        site.agents[0].wait_ready(timeout=_MIRRORED_SECONDS)
        ready = time.monotonic() - back
        wait(lambda: _all_ready(site), "all pods are Ready again", timeout=_MIRRORED_SECONDS)
        wait(
            lambda: all(p["status"]["phase"] == "Succeeded" for p in _ended(site)),
            "what ended meanwhile is shown",
            timeout=_MIRRORED_SECONDS,
        )
        settled = time.monotonic() - back
        if deleted:
            site.user.wait_gone("pod", _PROOF, timeout=_MIRRORED_SECONDS)
        time.sleep(30.0)
    return _report(
        site,
        minutes,
        before == evidence.uids(site.load()),
        {n: u for n, u in below.items() if n != _PROOF}
        == {n: u for n, u in evidence.uids(site.below.items("pods")).items() if n != _PROOF},
        deleted=deleted,
        trouble=[evidence.seen_otherwise(r) for r in (above, copies)],
        meanwhile=meanwhile,
        counted=[mark.of_pods({space}, but={_PROOF}) for mark, space in _with_spaces(marks)],
        times=(ready, settled),
    )


def _report(
    site: Site,
    minutes: float,
    same_pods: bool,
    same_copies: bool,
    *,
    deleted: bool,
    trouble: list[Any],
    meanwhile: list[Any],
    counted: list[Any],
    times: tuple[float, float],
) -> Report:
    targets = [
        Target(f"Kubernetes did delete the pod {_PROOF}", str(deleted), deleted),
        Target("the same pods before and after", str(same_pods), same_pods),
        Target("the same copies before and after", str(same_copies), same_copies),
    ]
    for where, seen, away, all_told in zip(
        ("tenant", "compute cluster"), trouble, meanwhile, counted, strict=True
    ):
        targets += [
            Target(f"{where}: pods deleted or shown otherwise", str(dict(seen)), not seen),
            Target(f"{where}: created or deleted meanwhile", str(dict(away)), not away),
            Target(f"{where}: the same with the agent's return", str(dict(all_told)), not all_told),
        ]
    ready, settled = times
    rows = [
        ["node Ready", f"{ready:.1f} s"],
        [f"all pods Ready, {_ENDING} shown as Succeeded", f"{settled:.1f} s"],
    ]
    return Report(
        f"{minutes:g} minutes without an agent, {site.pods + _ENDING} running pods",
        [Table(["after its return", "within"], rows)],
        targets,
        {"ready": ready, "settled": settled},
    )


def _with_spaces(marks: tuple[evidence.AuditMark, evidence.AuditMark]) -> Any:
    return zip(marks, (NAMESPACE, BELOW), strict=True)


def _once(name: str) -> Any:
    return pod(name, cluster=COMPUTE, labels={"app": _GROUP}, restartPolicy="Never")


def _impatient() -> Any:
    made = pod(_PROOF, cluster=COMPUTE)
    made["spec"]["tolerations"] = [
        {
            "key": _UNREACHABLE_TAINT,
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": 30,
        }
    ]
    return made


def _wait_deletion(site: Site, until: float) -> bool:
    """Whether Kubernetes deletes what it may."""
    deadline = min(until, time.monotonic() + _GONE_SECONDS)
    while time.monotonic() < deadline:
        found = site.user.get("pod", _PROOF)
        if found is None or "deletionTimestamp" in found["metadata"]:
            site.progress(f"Kubernetes has deleted the pod {_PROOF}, which asked for it")
            return True
        time.sleep(1.0)
    return False


def _succeed(site: Site, name: str) -> None:
    """The copy's containers end, as its kubelet would say it."""
    status = site.below.get("pod", name)["status"]
    now = site.below.kubectl("get", "pod", name, "-o", "jsonpath={.status.startTime}")
    ended = [
        {
            **{k: v for k, v in state.items() if k != "state"},
            "ready": False,
            "started": False,
            "state": {
                "running": None,
                "terminated": {
                    "exitCode": 0,
                    "reason": "Completed",
                    "startedAt": now,
                    "finishedAt": now,
                },
            },
        }
        for state in status["containerStatuses"]
    ]
    site.patch_status(name, {"phase": "Succeeded", "containerStatuses": ended})


def _ended(site: Site) -> list[Any]:
    return site.user.items("pods", f"app={_GROUP}")


def _all_ready(site: Site) -> bool:
    status = site.user.get("deployment", LOAD)["status"]
    return bool(status.get("readyReplicas", 0) == site.pods)
