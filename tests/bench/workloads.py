"""What is submitted, as manifests. Pure.

In: a name, a number of pods, where they go. Out: objects for one API server. A pod's name begins
with the name of its workload, which no other workload of a run has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tests.e2e.workloads import IMAGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Kind = Literal["deployment", "shared", "job", "namespaces", "churn"]
_PATHS = {"Deployment": "/apis/apps/v1", "Job": "/apis/batch/v1"}
_DATA = {"ConfigMap": "configmaps", "Secret": "secrets"}
_COLLECTIONS = {"Deployment": "deployments", "Job": "jobs", "Pod": "pods", **_DATA}
_RUNS_FOR = "pod-complete.stage.kwok.x-k8s.io/delay"
SHARERS = 100
"""Pods that share one ConfigMap and one Secret."""


@dataclass(frozen=True)
class Place:
    """Which nodes of which namespaces pods go to."""

    namespaces: Sequence[str]
    selector: Mapping[str, str]
    tolerations: Sequence[Mapping[str, str]] = ()
    automount: bool = True
    """Whether pods have the token of their ServiceAccount, as is the default."""


def pod_spec(place: Place, **fields: Any) -> dict[str, Any]:
    """One container that asks for little."""
    spec: dict[str, Any] = {
        "nodeSelector": dict(place.selector),
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {
                "name": "main",
                "image": IMAGE,
                "command": ["sleep", "36000"],
                "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}},
            }
        ],
        **fields,
    }
    if place.tolerations:
        spec["tolerations"] = [dict(each) for each in place.tolerations]
    if not place.automount:
        spec["automountServiceAccountToken"] = False
    return spec


def deployment(name: str, namespace: str, *, pods: int, place: Place) -> dict[str, Any]:
    """So many pods at once."""
    template = {"metadata": {"labels": {"app": name}}, "spec": pod_spec(place)}
    selector = {"matchLabels": {"app": name}}
    spec = {"replicas": pods, "selector": selector, "template": template}
    return _object("apps/v1", "Deployment", name, namespace, spec=spec)


def sharing(name: str, namespace: str, *, pods: int, place: Place) -> list[dict[str, Any]]:
    """A Deployment whose pods have one ConfigMap and one Secret between them."""
    volumes = [
        {"name": "settings", "configMap": {"name": name}},
        {"name": "password", "secret": {"secretName": name}},
    ]
    made = deployment(name, namespace, pods=pods, place=place)
    made["spec"]["template"]["spec"]["volumes"] = volumes
    data = [{**_object("v1", kind, name, namespace), "data": {"key": "dmFsdWU="}} for kind in _DATA]
    return [*data, made]


def job(name: str, namespace: str, *, pods: int, place: Place) -> dict[str, Any]:
    """So many pods at once, which succeed after a second of simulated work."""
    template = {
        # A copy is nobody's Job, by which the simulation would know it.
        "metadata": {"annotations": {_RUNS_FOR: "1s"}},
        "spec": pod_spec(place, restartPolicy="Never"),
    }
    spec = {"completions": pods, "parallelism": pods, "template": template}
    return _object("batch/v1", "Job", name, namespace, spec=spec)


def pod(name: str, namespace: str, *, place: Place) -> dict[str, Any]:
    """A bare pod."""
    return _object("v1", "Pod", name, namespace, spec=pod_spec(place))


def objects(kind: Kind, name: str, *, pods: int, place: Place) -> list[dict[str, Any]]:
    """All that is created at once; nothing for churn, whose pods come one by one."""
    first = place.namespaces[0]
    if kind == "deployment":
        return [deployment(name, first, pods=pods, place=place)]
    if kind == "shared":
        return [
            each
            for number, share in enumerate(range(0, pods, SHARERS))
            for each in sharing(
                f"{name}-{number}", first, pods=min(SHARERS, pods - share), place=place
            )
        ]
    if kind == "job":
        return [job(name, first, pods=pods, place=place)]
    if kind == "namespaces":
        share, rest = divmod(pods, len(place.namespaces))
        return [
            deployment(f"{name}-{number}", namespace, pods=share + (number < rest), place=place)
            for number, namespace in enumerate(place.namespaces)
        ]
    return []


def of_pods(made: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What has pods, or is one."""
    return [each for each in made if each["kind"] not in _DATA]


def of_data(made: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What pods refer to; created before them and deleted after them."""
    return [each for each in made if each["kind"] in _DATA]


def collection(made: Mapping[str, Any]) -> str:
    """Path to which an object is posted; with its name, the path of the object."""
    kind, namespace = made["kind"], made["metadata"]["namespace"]
    return f"{_PATHS.get(kind, '/api/v1')}/namespaces/{namespace}/{_COLLECTIONS[kind]}"


def path(made: Mapping[str, Any]) -> str:
    """Of the object itself."""
    return f"{collection(made)}/{made['metadata']['name']}"


def deletion(made: Mapping[str, Any]) -> str:
    """To which a DELETE is sent, whose pods are to go too: those of a Job stay by themselves."""
    return f"{path(made)}?propagationPolicy=Background"


def _object(
    version: str, kind: str, name: str, namespace: str, **fields: Mapping[str, Any]
) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}
