"""PodGroups of both dialects, for tests of what gangs of equal names do to each other.

In: an API server that serves no PodGroups. Out: `definitions` lets it, with schemas that take
anything; `pod_groups` are objects of one name, and `KEYS` makes a pod a member of them.
"""

from __future__ import annotations

from typing import Any

NAME = "gang"
RESOURCES = ("podgroups.scheduling.volcano.sh", "podgroups.scheduling.x-k8s.io")
"""Names of the definitions, by which kubectl knows the dialects apart."""
LABELS = {
    "scheduling.x-k8s.io/pod-group": NAME,
    "pod-group.scheduling.sigs.k8s.io": NAME,
}
ANNOTATIONS = {
    "scheduling.k8s.io/group-name": NAME,
    "scheduling.volcano.sh/group-name": NAME,
    "scheduling.volcano.sh/queue-name": "default",
}
KEYS = frozenset({*LABELS, *ANNOTATIONS})
"""Labels and annotations by which a scheduler takes a pod for a member."""
_VERSIONS = {"scheduling.volcano.sh": "v1beta1", "scheduling.x-k8s.io": "v1alpha1"}


def definitions() -> list[Any]:
    """CustomResourceDefinitions of Volcano's and coscheduling's PodGroup."""
    return [_definition(group, version) for group, version in _VERSIONS.items()]


def pod_groups(namespace: str, *, members: int) -> list[Any]:
    """One of each dialect; `members` tells those of two tenants apart."""
    return [
        {
            "apiVersion": f"{group}/{version}",
            "kind": "PodGroup",
            "metadata": {"name": NAME, "namespace": namespace},
            "spec": {"minMember": members},
        }
        for group, version in _VERSIONS.items()
    ]


def path(group: str, namespace: str = "") -> str:
    """Where the PodGroups of a dialect are; of all namespaces if none is given."""
    of = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/{group}/{_VERSIONS[group]}{of}/podgroups"


def groups() -> tuple[str, ...]:
    """The API groups of the dialects."""
    return tuple(_VERSIONS)


def keys_of(pod: Any) -> set[str]:
    """By which keys a pod is a member of some gang."""
    metadata = pod["metadata"]
    return {*metadata.get("labels", {}), *metadata.get("annotations", {})} & KEYS


def _definition(group: str, version: str) -> Any:
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"podgroups.{group}",
            # The API server wants a reason for each definition in a group of Kubernetes' own.
            "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
        },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "podgroups", "singular": "podgroup", "kind": "PodGroup"},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": anything},
                    "subresources": {"status": {}},
                }
            ],
        },
    }
