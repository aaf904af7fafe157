"""Builders of pods and requests, and a translation with everything at its default."""

from collections.abc import Mapping
from typing import Any

import msgspec

from federation.backends.kubernetes.translate.names import NamespaceMapping, Owner
from federation.backends.kubernetes.translate.pod import translate
from federation.backends.kubernetes.translate.policy import TranslationPolicy
from vnode.backend import PodRequest
from vnode.kube.types import UID, NodeName, ObjectMeta, Pod

OWNER = Owner(tenant="red", cluster_uid="c-1")
NAMESPACES = NamespaceMapping("red")
POLICY = TranslationPolicy()
TENANT_UID = UID("3e9f6a50-2f0d-4a7d-8f2a-6a1f5d2c1b11")
TOKEN_SECRET = f"vnode-token-{TENANT_UID}"


def make_container(**fields: Any) -> dict[str, Any]:
    """A container with a name and an image."""
    return {"name": "main", "image": "registry.example/main:1", **fields}


def make_spec(**fields: Any) -> dict[str, Any]:
    """A bound PodSpec with one container."""
    return {"containers": [make_container()], "nodeName": "vnode-a", **fields}


def make_pod(
    spec: Mapping[str, Any] | None = None,
    *,
    namespace: str = "team-a",
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    generation: int = 1,
) -> Pod:
    """A tenant pod named `job-0`."""
    return Pod(
        metadata=ObjectMeta(
            name="job-0",
            namespace=namespace,
            uid=TENANT_UID,
            generation=generation,
            labels=dict(labels or {}),
            annotations=dict(annotations or {}),
            finalizers=["batch.kubernetes.io/job-tracking"],
        ),
        spec=msgspec.Raw(msgspec.json.encode(make_spec() if spec is None else spec)),
    )


def make_request(pod: Pod, *, digest: str = "d1") -> PodRequest:
    """A request for the virtual node `vnode-a`, whose address is 192.0.2.7."""
    return PodRequest(
        pod=pod,
        node=NodeName("vnode-a"),
        digest=digest,
        host_ip="192.0.2.7",
    )


def translated(
    pod: Pod,
    policy: TranslationPolicy = POLICY,
    *,
    namespaces: NamespaceMapping = NAMESPACES,
) -> Any:
    """The compute pod, as decoded JSON."""
    request = make_request(pod)
    below = translate(request, owner=OWNER, namespaces=namespaces, policy=policy)
    return msgspec.json.decode(msgspec.json.encode(below))


def spec_below(policy: TranslationPolicy = POLICY, **fields: Any) -> Any:
    """The compute PodSpec of a pod with these PodSpec fields."""
    return translated(make_pod(make_spec(**fields)), policy)["spec"]


def container_below(policy: TranslationPolicy = POLICY, **fields: Any) -> Any:
    """The compute container of a pod whose only container has these fields."""
    return spec_below(policy, containers=[make_container(**fields)])["containers"][0]


def own_part(container: Any) -> Any:
    """A container below as it would be without the service variables in front."""
    first, *rest = container["envFrom"]
    assert first == {"configMapRef": {"name": "vnode-services"}}
    kept = {name: value for name, value in container.items() if name != "envFrom"}
    return {**kept, "envFrom": rest} if rest else kept
