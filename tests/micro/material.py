"""Pods as an API server sends them, with all that we do not look at too. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from tests.builders import make_compute_pod, make_pod, running_status

if TYPE_CHECKING:
    from vnode.kube.types import Pod

_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"
_MANAGED = {
    "manager": "kube-controller-manager",
    "operation": "Update",
    "apiVersion": "v1",
    "time": "2026-11-22T10:00:00Z",
    "fieldsType": "FieldsV1",
    "fieldsV1": {
        "f:metadata": {"f:generateName": {}, "f:labels": {".": {}, "f:app": {}}},
        "f:spec": {
            "f:containers": {
                'k:{"name":"main"}': {
                    ".": {},
                    **{f"f:{name}": {} for name in ("image", "name", "resources", "command")},
                }
            },
            **{f"f:{name}": {} for name in ("dnsPolicy", "restartPolicy", "schedulerName")},
        },
    },
}
SPEC: dict[str, Any] = {
    "containers": [
        {
            "name": "main",
            "image": "registry.example/train:1",
            "command": ["python", "-m", "train"],
            "env": [{"name": f"SETTING_{n}", "value": str(n)} for n in range(8)],
            "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},
            "volumeMounts": [
                {"name": "settings", "mountPath": "/etc/settings"},
                {"name": "kube-api-access", "mountPath": _TOKEN, "readOnly": True},
            ],
            "terminationMessagePath": "/dev/termination-log",
            "imagePullPolicy": "IfNotPresent",
        }
    ],
    "volumes": [
        {"name": "settings", "configMap": {"name": "settings", "defaultMode": 420}},
        {
            "name": "kube-api-access",
            "projected": {
                "defaultMode": 420,
                "sources": [
                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                    {
                        "configMap": {
                            "name": "kube-root-ca.crt",
                            "items": [{"key": "ca.crt", "path": "ca.crt"}],
                        }
                    },
                ],
            },
        },
    ],
    "tolerations": [
        {
            "key": f"node.kubernetes.io/{name}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": 300,
        }
        for name in ("not-ready", "unreachable")
    ],
    "serviceAccountName": "default",
    "restartPolicy": "Never",
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "securityContext": {},
}


def tenant_pod(number: int = 0, **fields: Any) -> Pod:
    """As a user's operator makes it."""
    uid = f"5e771465-0000-4000-8000-{number:012}"
    return make_pod(f"job-{number}", uid=uid, version=100 + number, **{**SPEC, **fields})


def copy_of(pod: Pod, number: int = 0, **fields: Any) -> Pod:
    """In the compute cluster; it runs."""
    return make_compute_pod(
        pod, version=100 + number, node="gpu-node-1", status=running_status(), **fields
    )


def sent(pod: Pod) -> dict[str, Any]:
    """The JSON of a pod as an API server writes it: with managed fields."""
    shown: dict[str, Any] = json.loads(msgspec.json.encode(pod))
    shown["metadata"]["managedFields"] = [_MANAGED] * 3
    return {"kind": "Pod", "apiVersion": "v1", **shown}


def page(pods: list[Pod]) -> bytes:
    """A whole listing."""
    metadata = {"resourceVersion": str(99 + len(pods))}
    return json.dumps({"metadata": metadata, "items": [sent(pod) for pod in pods]}).encode()


def events(pods: list[Pod]) -> bytes:
    """A watch on which each of these pods changes."""
    lines = [json.dumps({"type": "MODIFIED", "object": sent(pod)}) for pod in pods]
    return "".join(f"{line}\n" for line in lines).encode()
