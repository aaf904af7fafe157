"""Builders for compute nodes, pods and quotas as the capacity sources read them."""

import itertools
from typing import Any

import msgspec

from federation.backends.kubernetes.capacity.quota import ResourceQuota
from federation.backends.kubernetes.capacity.requests import RequestingPod
from vnode.kube.types import JSON, ObjectMeta, Pod
from vnode.node.objects import Node

_versions = itertools.count(1)
OWN = "vnode.dev/node"


def is_own(metadata: ObjectMeta) -> bool:
    return metadata.annotations.get(OWN) == "here"


def make_node(
    name: str = "n1",
    *,
    labels: dict[str, str] | None = None,
    taints: tuple[tuple[str, str], ...] = (),
    ready: bool = True,
    cordoned: bool = False,
    features: tuple[str, ...] = (),
    **resources: str,
) -> Node:
    allocatable = {key.replace("gpu", "nvidia.com/gpu"): text for key, text in resources.items()}
    body = {
        "metadata": {"name": name, "labels": labels or {}, "resourceVersion": str(next(_versions))},
        "spec": {
            "unschedulable": cordoned,
            "taints": [{"key": key, "effect": effect} for key, effect in taints],
        },
        "status": {
            "allocatable": allocatable or {"cpu": "8", "memory": "32Gi", "pods": "10"},
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "declaredFeatures": list(features),
        },
    }
    return msgspec.convert(body, Node)


def pod_json(
    name: str = "p1",
    *,
    node: str = "n1",
    own: bool = False,
    phase: str = "Running",
    unschedulable: str = "",
    no_instance: str = "",
    reason: str = "",
    **requests: str,
) -> dict[str, JSON]:
    conditions: list[JSON] = []
    if unschedulable:
        conditions.append(
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": unschedulable,
            }
        )
    if no_instance:
        conditions.append(
            {"type": "ContainerInstanceCreated", "status": "False", "reason": no_instance}
        )
    resources: dict[str, JSON] = {
        key.replace("gpu", "nvidia.com/gpu"): text for key, text in requests.items()
    }
    return {
        "metadata": {
            "namespace": "ns",
            "name": name,
            "resourceVersion": str(next(_versions)),
            "annotations": {OWN: "here"} if own else {},
        },
        "spec": {
            "nodeName": node,
            "containers": [{"name": "main", "resources": {"requests": resources}}],
        },
        "status": {"phase": phase, "conditions": conditions, "reason": reason},
    }


def make_requesting_pod(name: str = "p1", **overrides: Any) -> RequestingPod:
    return msgspec.convert(pod_json(name, **overrides), RequestingPod)


def make_pod(name: str = "p1", **overrides: Any) -> Pod:
    text = msgspec.json.encode(pod_json(name, **overrides))
    return msgspec.json.decode(text, type=Pod)


def make_quota(
    namespace: str = "ns", name: str = "q", *, scopes: tuple[str, ...] = (), **hard: str
) -> ResourceQuota:
    names = {
        "requests_cpu": "requests.cpu",
        "limits_cpu": "limits.cpu",
        "gpu": "requests.nvidia.com/gpu",
        "count_pods": "count/pods",
    }
    body = {
        "metadata": {
            "namespace": namespace,
            "name": name,
            "resourceVersion": str(next(_versions)),
        },
        "spec": {
            "hard": {names.get(key, key): text for key, text in hard.items()},
            "scopes": scopes,
        },
    }
    return msgspec.convert(body, ResourceQuota)
