"""Builders of the objects that most tests need. Everything has a default; name what matters.

Tenant side: `make_pod`, `make_config_map`, `make_secret`, `make_metadata`. Compute side:
`make_copy` (what a backend reports) and `make_compute_pod` (the object that it is read from).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from federation.backends.kubernetes.translate.names import (
    ANNOTATION_DIGEST,
    ANNOTATION_GENERATION,
    ANNOTATION_NODE,
    Owner,
)
from vnode.backend import ObservedPod, PodRequest, WaitingReason
from vnode.kube.errors import ApiError, api_error
from vnode.kube.types import (
    JSON,
    UID,
    ConfigMap,
    NodeName,
    ObjectKey,
    ObjectMeta,
    OwnerReference,
    PartialObject,
    Pod,
    Secret,
    Status,
    StatusCause,
    StatusDetails,
    encode_base64,
)
from vnode.pods.view import digest as pod_digest

Object = dict[str, JSON]

NODE = NodeName("vnode-a")
NODE_ADDRESS = "192.0.2.7"
OWNER = Owner(tenant="red", cluster_uid="3a6ef21c-0000-4000-8000-000000000001")
NOW = "2027-01-15T08:00:00Z"


def make_uid(number: int = 1) -> UID:
    """A UID as API servers make them, the same for the same number."""
    return UID(f"{number * 2654435761 % 2**32:08x}-0000-4000-8000-{number:012x}")


UID_1, UID_2 = make_uid(1), make_uid(2)


def raw(value: object) -> Raw:
    """JSON bytes."""
    return Raw(msgspec.json.encode(value))


def loads(data: bytes) -> Any:
    """Decode JSON bytes (a Raw too)."""
    return msgspec.json.decode(bytes(data))


def make_pod(
    name: str = "job-0",
    *,
    namespace: str = "team-a",
    uid: str = UID_1,
    node: str = NODE,
    version: int = 1,
    generation: int = 1,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    owners: Sequence[OwnerReference] = (),
    deleted: str | None = None,
    grace: int | None = None,
    containers: Iterable[str | Mapping[str, object]] = ("main",),
    init_containers: Iterable[str] = (),
    ephemeral_containers: Iterable[str] = (),
    restart: str = "Never",
    status: Mapping[str, object] | None = None,
    **spec: object,
) -> Pod:
    """A tenant pod bound to a virtual node.

    Containers are names or whole objects; further keywords are fields of the spec.
    """
    body: dict[str, object] = {
        "nodeName": node,
        "restartPolicy": restart,
        "containers": [_container(c) for c in containers],
        **spec,
    }
    for field, names in (
        ("initContainers", init_containers),
        ("ephemeralContainers", ephemeral_containers),
    ):
        if listed := [_container(c) for c in names]:
            body[field] = listed
    return Pod(
        metadata=ObjectMeta(
            name=name,
            namespace=namespace,
            uid=UID(uid),
            resource_version=str(version),
            generation=generation,
            deletion_timestamp=deleted,
            deletion_grace_period_seconds=grace,
            labels=dict(labels or {}),
            annotations=dict(annotations or {}),
            owner_references=list(owners),
        ),
        spec=raw(body),
        status=raw({"phase": "Pending", "qosClass": "BestEffort"} if status is None else status),
    )


def _container(container: str | Mapping[str, object]) -> Mapping[str, object]:
    if isinstance(container, str):
        return {"name": container, "image": f"registry.example/{container}:1"}
    return container


def with_status(pod: Pod, status: Mapping[str, object], *, version: int | None = None) -> Pod:
    """The same pod with another status."""
    metadata = pod.metadata
    if version is not None:
        metadata = msgspec.structs.replace(metadata, resource_version=str(version))
    return msgspec.structs.replace(pod, metadata=metadata, status=raw(status))


def condition(kind: str, status: str = "True", **fields: JSON) -> Object:
    """A condition of a pod."""
    return {"type": kind, "status": status, "lastTransitionTime": NOW, **fields}


def container_status(
    name: str = "main", *, exit_code: int | None = None, finished: str = NOW, **fields: JSON
) -> Object:
    """A container that runs, or that ended with `exit_code`."""
    state: Object = {"running": {"startedAt": NOW}}
    if exit_code is not None:
        state = {"terminated": {"exitCode": exit_code, "finishedAt": finished}}
    return {
        "name": name,
        "image": f"registry.example/{name}:1",
        "imageID": "sha256:1",
        "containerID": f"containerd://{name}",
        "ready": exit_code is None,
        "restartCount": 0,
        "state": state,
        **fields,
    }


def running_status(*names: str, pod_ip: str = "10.9.0.4", **fields: JSON) -> Object:
    """PodStatus of a pod that runs below, as a kubelet writes it."""
    return {
        "phase": "Running",
        "startTime": NOW,
        "hostIP": "10.220.1.5",
        "hostIPs": [{"ip": "10.220.1.5"}],
        "podIP": pod_ip,
        "podIPs": [{"ip": pod_ip}],
        "qosClass": "Guaranteed",
        "conditions": [
            condition("PodScheduled"),
            condition("Initialized"),
            condition("ContainersReady"),
            condition("Ready"),
        ],
        "containerStatuses": [container_status(name) for name in names or ("main",)],
        **fields,
    }


def ended_status(phase: str = "Succeeded", *, exit_code: int = 0, **fields: JSON) -> Object:
    """PodStatus of a pod that ended below."""
    return {
        **running_status(),
        "phase": phase,
        "containerStatuses": [container_status(exit_code=exit_code)],
        "conditions": [condition("Ready", "False", reason="PodCompleted")],
        **fields,
    }


def make_copy(
    pod: Pod | None = None,
    *,
    status: Mapping[str, object] | None = None,
    handle: str = "below-1",
    node: str = NODE,
    digest: str | None = None,
    generation: int = 1,
    deleting: bool = False,
    grace_seconds: int | None = None,
    removal_requested: str | None = None,
    gone: bool = False,
    scheduled: bool = True,
    waiting: WaitingReason | None = None,
    tokens_refresh_at: float | None = None,
    gated: bool = False,
) -> ObservedPod:
    """The copy of a tenant pod as a backend reports it; it runs unless told otherwise."""
    pod = pod or make_pod()
    return ObservedPod(
        key=pod.metadata.key,
        uid=pod.metadata.uid,
        handle=handle,
        node=NodeName(node),
        digest=pod_digest(pod) if digest is None else digest,
        generation=generation,
        status=bytes(raw(running_status() if status is None else status)),
        deleting=deleting,
        grace_seconds=grace_seconds,
        removal_requested=removal_requested,
        gone=gone,
        scheduled=scheduled,
        waiting=waiting,
        tokens_refresh_at=tokens_refresh_at,
        gated=gated,
    )


def make_request(
    pod: Pod | None = None, *, digest: str | None = None, gated: bool = False
) -> PodRequest:
    """What the controller hands to a backend for a pod."""
    pod = pod or make_pod()
    return PodRequest(
        pod=pod,
        node=NODE,
        digest=pod_digest(pod) if digest is None else digest,
        host_ip=NODE_ADDRESS,
        gated=gated,
    )


def make_compute_pod(
    pod: Pod | None = None,
    *,
    owner: Owner = OWNER,
    namespace: str | None = None,
    uid: str = "c0ffee00-0000-4000-8000-00000000000a",
    version: int = 100,
    digest: str | None = None,
    node: str = "",
    deleted: str | None = None,
    grace: int | None = None,
    status: Mapping[str, object] | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    gates: Sequence[str] = (),
) -> Pod:
    """The compute cluster's object that is the copy of a tenant pod; `node` is a node below."""
    pod = pod or make_pod()
    source = pod.metadata
    own_labels, own = owner.marks(namespace=source.namespace, name=source.name, uid=source.uid)
    own[ANNOTATION_NODE] = NODE
    own[ANNOTATION_DIGEST] = pod_digest(pod) if digest is None else digest
    own[ANNOTATION_GENERATION] = str(source.generation)
    return Pod(
        metadata=ObjectMeta(
            name=source.name,
            namespace=f"{owner.tenant}--{source.namespace}" if namespace is None else namespace,
            uid=UID(uid),
            resource_version=str(version),
            deletion_timestamp=deleted,
            deletion_grace_period_seconds=grace,
            labels={**own_labels, **(labels or {})},
            annotations={**own, **(annotations or {})},
        ),
        spec=raw(
            {
                "containers": [{"name": "main"}],
                **({"nodeName": node} if node else {}),
                **({"schedulingGates": [{"name": gate} for gate in gates]} if gates else {}),
            }
        ),
        status=raw({"phase": "Pending"} if status is None else status),
    )


def make_metadata(
    name: str = "settings",
    *,
    namespace: str = "team-a",
    uid: str = "5e771465-0000-4000-8000-000000000001",
    version: int = 1,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> PartialObject:
    """The metadata of any object."""
    return PartialObject(
        metadata=ObjectMeta(
            name=name,
            namespace=namespace,
            uid=UID(uid),
            resource_version=str(version),
            labels=dict(labels or {}),
            annotations=dict(annotations or {}),
        )
    )


def make_config_map(
    name: str = "settings", *, version: int = 1, immutable: bool | None = None, **data: str
) -> ConfigMap:
    """A tenant ConfigMap; further keywords are its data."""
    return ConfigMap(
        metadata=make_metadata(name, version=version).metadata,
        data=data or {"mode": "fast"},
        immutable=immutable,
    )


def make_secret(
    name: str = "login", *, version: int = 1, type: str = "Opaque", **data: str
) -> Secret:
    """A tenant Secret; further keywords are its data, as plain text."""
    values = data or {"password": "hunter2"}
    return Secret(
        metadata=make_metadata(name, version=version).metadata,
        data={key: encode_base64(value) for key, value in values.items()},
        type=type,
    )


def make_error(
    code: int,
    message: str = "no",
    *,
    reason: str = "",
    fields: Sequence[str] = (),
    causes: Sequence[str] = (),
    name: str = "",
    retry_after: float | None = None,
) -> ApiError:
    """The error that an API server's answer stands for.

    `fields` and `causes` (their reasons) become its causes, `name` is the object that it is about.
    """
    listed = [StatusCause(field=field) for field in fields]
    listed += [StatusCause(reason=cause) for cause in causes]
    details = StatusDetails(name=name, causes=listed)
    status = Status(status="Failure", message=message, reason=reason, code=code, details=details)
    return api_error(code, status, retry_after=retry_after)


def make_key(name: str = "job-0", namespace: str = "team-a") -> ObjectKey:
    """Namespace and name of a tenant object."""
    return ObjectKey(namespace, name)
