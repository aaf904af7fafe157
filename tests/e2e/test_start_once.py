"""startOnce: strict on real API servers: nothing starts before its tenant pod says it was sent.

`kwok-b` is strict for all end-to-end tests; here it is seen from the audit logs of both sides.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import STRICT
from tests.e2e.recorder import PodRecorder
from tests.e2e.user import BELOW, User, pods_created
from tests.e2e.workloads import NAMESPACE, pod

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.agents import Federation
    from tests.clusters import Cluster

GATE = {"name": "vnode.dev/start-once"}
NAMES = [f"once-{number}" for number in range(5)]


def _patches(cluster: Cluster, namespace: str, subresource: str) -> Iterator[dict[str, Any]]:
    """Patches of pods that went well, from the audit log, oldest first."""
    assert cluster.audit_log is not None
    for line in cluster.audit_log.read_text().splitlines():
        if '"patch"' not in line or namespace not in line:
            continue
        entry = json.loads(line)
        ref = entry.get("objectRef", {})
        about = ref.get("resource"), ref.get("subresource", ""), ref.get("namespace")
        if about == ("pods", subresource, namespace) and entry["responseStatus"]["code"] == 200:
            yield entry


def test_no_copy_starts_before_the_tenant_knows_of_it(
    user: User, federation: Federation, scratch: Path
) -> None:
    compute = federation.computes[STRICT]
    if compute.audit_log is None or federation.tenant.audit_log is None:
        pytest.skip("the audit log of a given cluster cannot be read")
    below = User(compute, BELOW)
    user.apply(pod("early", cluster=STRICT, labels={"once": ""}))
    with PodRecorder(below, "once", scratch / "compute.json") as copies:
        copies.wait_for_any()
        user.apply(*(pod(name, cluster=STRICT, labels={"once": ""}) for name in NAMES))
        for name in NAMES:
            user.wait_phase(name, "Running")

    seen: dict[str, list[Any]] = {}
    for _, copy in copies.events():
        seen.setdefault(copy["metadata"]["name"], []).append(copy["spec"])
    marked: dict[str, str] = {}
    for entry in _patches(federation.tenant, NAMESPACE, "status"):
        marked.setdefault(entry["objectRef"]["name"], entry["stageTimestamp"])
    ungated: dict[str, str] = {}
    for entry in _patches(compute, BELOW, ""):
        ungated.setdefault(entry["objectRef"]["name"], entry["requestReceivedTimestamp"])
    created = pods_created(compute)
    for name in NAMES:
        assert seen[name][0].get("schedulingGates") == [GATE], "made with the gate"
        assert "schedulingGates" not in seen[name][-1], "and let start"
        assert not [
            spec
            for spec in seen[name]
            if GATE in spec.get("schedulingGates", []) and "nodeName" in spec
        ]
        assert marked[name] < ungated[name], "the tenant knew before"
        assert created[name] == 1
    shown = user.get("pod", NAMES[0])
    assert "gate" not in json.dumps(shown["status"]).lower(), "tenants hear nothing of it"
