"""Names and tags of container groups: which tenant pod one was made for.

In: a `PodRequest` and the pool's policy. Out: the group's name, and tags from which all of it can
be read again, since nothing else is kept (DESIGN 4.8). ECI lets several groups have one name, and
names may be equal for two pods: who a group belongs to is said by its tags. But anybody may put
tags on any group, and nobody can change its name: one that has another name than we would have
given is none of ours, whatever its tags say.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

from federation.backends.eci.translate import limits
from federation.backends.eci.translate.policy import EciPolicy
from vnode.backend import PodRequest
from vnode.kube.types import UID, NodeName, ObjectKey

__all__ = ["Identity", "group_name", "identity", "owner_tags", "tags"]

TENANT = "vnode.dev/tenant"
CLUSTER_UID = "vnode.dev/cluster-uid"
NAMESPACE = "vnode.dev/namespace"
NAME = "vnode.dev/name"
MORE_NAME = "vnode.dev/name-rest"
POD_UID = "vnode.dev/uid"
NODE = "vnode.dev/node"
MORE_NODE = "vnode.dev/node-rest"
DIGEST = "vnode.dev/spec-hash"
GENERATION = "vnode.dev/generation"
MANAGED_BY = "app.kubernetes.io/managed-by"

_STRANGE = re.compile(r"[^a-z0-9-]+")
_HASH = 8
"""Bytes of the hash in names that had to be changed."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What the tags of one of our groups say."""

    key: ObjectKey
    uid: UID
    node: NodeName
    digest: str
    generation: int


def group_name(*, tenant: str, namespace: str, name: str) -> str:
    """A name for the group of a tenant pod: 2 to 128 characters of a-z, 0-9 and '-'.

    It is `<tenant>-<namespace>-<name>` where that is possible; else it is cut and has a hash.
    """
    whole = f"{tenant}-{namespace}-{name}"
    plain = _STRANGE.sub("-", whole.lower()).strip("-")
    if plain == whole and len(plain) <= limits.NAME:
        return plain
    digest = blake2b(whole.encode(), digest_size=_HASH).hexdigest()
    start = plain[: limits.NAME - 1 - len(digest)].strip("-")
    return f"{start}-{digest}" if start else digest


def owner_tags(policy: EciPolicy) -> dict[str, str]:
    """The tags that every group of this tenant cluster has, by which ours are listed."""
    return {TENANT: policy.tenant, CLUSTER_UID: policy.cluster_uid}


def tags(request: PodRequest, policy: EciPolicy) -> dict[str, str]:
    """All tags of the group of a tenant pod; the pool's own never replace ours."""
    metadata = request.pod.metadata
    own = {
        **owner_tags(policy),
        MANAGED_BY: "vnode",
        NAMESPACE: metadata.namespace,
        **_long(NAME, MORE_NAME, metadata.name),
        POD_UID: metadata.uid,
        **_long(NODE, MORE_NODE, request.node),
        DIGEST: request.digest,
        GENERATION: str(metadata.generation),
    }
    return {**policy.tags, **own}


def identity(
    found: Mapping[str, str], *, called: str, tenant: str, cluster_uid: str
) -> Identity | None:
    """Whose group this is by its tags; None: it is not ours.

    `called` is its name; empty, where the service does not tell it, proves nothing against it.
    """
    if found.get(TENANT) != tenant or found.get(CLUSTER_UID) != cluster_uid:
        return None
    key = ObjectKey(found.get(NAMESPACE, ""), found.get(NAME, "") + found.get(MORE_NAME, ""))
    uid = UID(found.get(POD_UID, ""))
    if not (key.namespace and key.name and uid):
        return None
    if called not in {"", group_name(tenant=tenant, namespace=key.namespace, name=key.name)}:
        return None
    generation = found.get(GENERATION, "")
    return Identity(
        key=key,
        uid=uid,
        node=NodeName(found.get(NODE, "") + found.get(MORE_NODE, "")),
        digest=found.get(DIGEST, ""),
        generation=int(generation) if generation.isdecimal() else 0,
    )


def _long(key: str, rest: str, value: str) -> dict[str, str]:
    """A value of up to 256 characters as one or two tags."""
    first, second = value[: limits.TAG_VALUE], value[limits.TAG_VALUE :]
    return {key: first, rest: second} if second else {key: first}
