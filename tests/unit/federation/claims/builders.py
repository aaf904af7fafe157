"""Claims and volumes for tests."""

from typing import Any

from federation.claims.objects import Claim, Volume
from federation.claims.placeholder import placeholder
from tests.builders import OWNER
from vnode.kube.decode import decode
from vnode.kube.types import encode


def make_claim(name: str = "data", *, uid: str = "c-1", deleted: str = "", **spec: Any) -> Claim:
    """A claim of class `vnode-shared` in namespace team-a."""
    metadata: dict[str, Any] = {"name": name, "namespace": "team-a", "uid": uid}
    if deleted:
        metadata["deletionTimestamp"] = deleted
    size = {"requests": {"storage": "5Gi"}}
    full = {"storageClassName": "vnode-shared", "accessModes": ["ReadWriteMany"], "resources": size}
    return decode(encode({"metadata": metadata, "spec": {**full, **spec}}), Claim)


def make_placeholder(claim: Claim | None = None, *, uid: str = "v-1") -> dict[str, Any]:
    """What the binder makes for a claim, as it is stored."""
    body: dict[str, Any] = placeholder(claim or make_claim(), owner=OWNER)
    body["metadata"]["uid"] = uid
    return body


def as_volume(body: Any) -> Volume:
    """A stored volume as it is read."""
    return decode(encode(body), Volume)
