"""Stories of pods, told as audit lines and versions by hand; each test spoils one."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from tests.chaos import audit
from tests.chaos.history import Version
from tests.chaos.judge import Judge
from tests.chaos.ledger import Parties

AGENT = "system:serviceaccount:vnode-system:vnode-demo"
USER = "somebody"
TENANT_UID = "tenant-cluster"
BELOW, ABOVE = "demo--team-a", "team-a"
PARTIES = Parties(
    tenant="tenant",
    cluster_uid=TENANT_UID,
    agents=frozenset({AGENT}),
    namespaces={"tenant": frozenset({ABOVE}), "a": frozenset({BELOW}), "b": frozenset({BELOW})},
)


def judge(*, strict: bool = True) -> Judge:
    """Nothing happened yet, but that an agent was started at second 0."""
    made = Judge(PARTIES, strict=strict)
    made.ledger.started[0].append(0.0)
    return made


def pod(
    uid: str = "u1",
    name: str = "web",
    *,
    phase: str = "Running",
    containers: tuple[str, ...] = (),
    forwarded: bool = False,
    grace: int | None = None,
) -> dict[str, Any]:
    """A tenant pod."""
    metadata: dict[str, Any] = {"uid": uid, "name": name, "namespace": ABOVE}
    if grace is not None:
        metadata["deletionGracePeriodSeconds"] = grace
    conditions = [{"type": "vnode.dev/Forwarded", "status": "True"}] if forwarded else []
    return {
        "metadata": metadata,
        "spec": {"nodeName": "vnode-a"},
        "status": {
            "phase": phase,
            "conditions": conditions,
            "containerStatuses": [{"containerID": each} for each in containers],
        },
    }


def copy(
    handle: str = "c1",
    uid: str = "u1",
    name: str = "web",
    *,
    cluster_uid: str = TENANT_UID,
    phase: str = "Running",
    containers: tuple[str, ...] = (),
    gated: bool = False,
) -> dict[str, Any]:
    """A pod below with our marks."""
    notes = {
        "vnode.dev/cluster-uid": cluster_uid,
        "vnode.dev/uid": uid,
        "vnode.dev/node": "vnode-a",
    }
    return {
        "metadata": {"uid": handle, "name": name, "namespace": BELOW, "annotations": notes},
        "spec": {"schedulingGates": [{"name": "vnode.dev/start"}]} if gated else {},
        "status": {
            "phase": phase,
            "containerStatuses": [{"containerID": each} for each in containers],
        },
    }


def version(found: dict[str, Any], at: float, *, cluster: str = "", gone: bool = False) -> Version:
    """One version of a pod; of the tenant's or of cluster `a`, by its namespace."""
    metadata = found["metadata"]
    where = cluster or ("tenant" if metadata["namespace"] == ABOVE else "a")
    return Version(where, "pods", metadata["namespace"], metadata["name"], found, gone=gone, at=at)


def line(
    verb: str,
    at: float,
    *,
    cluster: str = "a",
    user: str = AGENT,
    resource: str = "pods",
    subresource: str = "",
    namespace: str = BELOW,
    name: str = "web",
    code: int = 200,
    body: dict[str, Any] | None = None,
    answer: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A line of an audit log, decoded."""
    ref = {"resource": resource, "namespace": namespace, "name": name, "subresource": subresource}
    return {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "auditID": "x",
        "verb": verb,
        "user": {"username": user},
        "objectRef": ref,
        "responseStatus": {"code": code},
        "requestObject": body,
        "responseObject": answer,
        "requestReceivedTimestamp": _stamp(at),
        "stageTimestamp": _stamp(at + 0.01),
    }


def request(verb: str, at: float, **options: Any) -> audit.Request:
    """The same, as the judge gets it."""
    cluster = options.get("cluster", "a")
    return audit.read(cluster, json.loads(json.dumps(line(verb, at, **options))))


def created(found: dict[str, Any], at: float, **options: Any) -> audit.Request:
    """An agent made a copy."""
    return request("create", at, code=201, answer=found, **options)


def deleted(found: dict[str, Any], at: float, **options: Any) -> audit.Request:
    """Somebody deleted a pod, with its UID."""
    uid = found["metadata"]["uid"]
    body = {"preconditions": {"uid": uid}}
    return request("delete", at, body=body, answer=found, **options)


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")
