"""Manifests that the end-to-end tests submit, as users would write them."""

from typing import Any

IMAGE = "docker.io/library/busybox:1.36"
NAMESPACE = "team-a"
CLUSTER_LABEL = "vnode.dev/cluster"


def pod_spec(*, cluster: str, command: str = "sleep 3600", **fields: Any) -> dict[str, Any]:
    """A pod spec with one busybox container `main`, to run in the named compute cluster."""
    container = {
        "name": "main",
        "image": IMAGE,
        "command": ["sh", "-c", command],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    }
    container.update(fields.pop("container", {}))
    return {
        "nodeSelector": {CLUSTER_LABEL: cluster},
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        **fields,
    }


def pod(name: str, *, cluster: str, labels: dict[str, str] | None = None, **spec: Any) -> Any:
    """A bare pod."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels or {}},
        "spec": pod_spec(cluster=cluster, **spec),
    }


def own_pod(name: str, *, node: str, command: str = "sleep 3600") -> Any:
    """A pod on the tenant's own node."""
    made = pod(name, cluster="-", command=command)
    made["spec"]["nodeSelector"] = {"kubernetes.io/hostname": node}
    return made


def job(name: str, *, cluster: str, completions: int = 1, **spec: Any) -> Any:
    """A Job whose pods all run at once."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "completions": completions,
            "parallelism": completions,
            "template": {"spec": pod_spec(cluster=cluster, restartPolicy="Never", **spec)},
        },
    }


def deployment(
    name: str,
    *,
    replicas: int,
    spec: dict[str, Any],
    labels: dict[str, str] | None = None,
    notes: dict[str, str] | None = None,
) -> Any:
    """A Deployment of that pod spec; its pods have the label `app`, and `labels` and `notes`."""
    metadata = {"labels": {"app": name, **(labels or {})}, "annotations": notes or {}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": metadata, "spec": spec},
        },
    }


def stateful_set(
    name: str, *, replicas: int, spec: dict[str, Any], notes: dict[str, str] | None = None
) -> Any:
    """A StatefulSet of that pod spec, all pods at once; `notes` are the pods' annotations."""
    labels = {"app": name, "kind": "twin"}
    template = {"metadata": {"labels": labels, "annotations": notes or {}}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": replicas,
            "serviceName": name,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": name}},
            "template": template,
        },
    }


def daemon_set(name: str, *, annotations: dict[str, str] | None = None) -> Any:
    """A DaemonSet that tolerates everything; `annotations` are its pods'."""
    labels = {"app": name}
    container = {"name": "main", "image": IMAGE, "command": ["sh", "-c", "sleep 3600"]}
    spec = {
        "terminationGracePeriodSeconds": 1,
        "tolerations": [{"operator": "Exists"}],
        "containers": [container],
    }
    template = {"metadata": {"labels": labels, "annotations": annotations or {}}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }


def service(name: str, *, selector: dict[str, str], port: int) -> Any:
    """A Service with a ClusterIP that asks pods at the same port."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": selector, "ports": [{"port": port}]},
    }


def config_map(name: str, **data: str) -> Any:
    """A ConfigMap."""
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def secret(name: str, **data: str) -> Any:
    """An Opaque Secret with these values."""
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}
