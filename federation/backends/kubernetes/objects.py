"""Copies of ConfigMaps, Secrets and token sets in a compute cluster.

In: bodies fetched from the tenant. Out: owned objects below, written with UID and resourceVersion
preconditions. Building them is pure; writing goes through `ObjectWriter`. An object of that name
that is not ours is never changed (`NameConflict`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from federation.backends.kubernetes.conceal import Names
from federation.backends.kubernetes.failures import waiting
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_SOURCE_VERSION,
    NamespaceMapping,
    Owner,
    object_name_below,
    token_secret_name,
)
from vnode.backend import NameConflict, ObjectRef, ObservedPod, ReferenceKind, Token, TokenKey
from vnode.kube.client import KubeClient
from vnode.kube.errors import AlreadyExists, Invalid, KubeError, NotFound
from vnode.kube.resources import CONFIG_MAPS, SECRETS, Resource
from vnode.kube.types import (
    UID,
    ConfigMap,
    ObjectKey,
    ObjectMeta,
    OwnerReference,
    PartialObject,
    Secret,
    encode_base64,
)
from vnode.runtime.store import Store

ANNOTATION_TOKENS_REFRESH = "vnode.dev/tokens-refresh"
"""Unix seconds at which the tokens in a token set should be renewed."""

_OPAQUE_BELOW = frozenset({"kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"})
"""Types of credentials of the cluster in which they lie: the first belongs to a ServiceAccount (the
API server and a controller look after it), the second lets nodes join."""

_FIXED = frozenset({"data", "binaryData", "immutable", "type"})
"""Fields that cannot change in an immutable object; the type never can."""

RESOURCES: Mapping[ReferenceKind, Resource] = {
    ReferenceKind.CONFIG_MAP: CONFIG_MAPS,
    ReferenceKind.SECRET: SECRETS,
}


def object_below(
    ref: ObjectRef, body: ConfigMap | Secret, *, owner: Owner, namespace: str
) -> dict[str, object]:
    """The copy of a referenced object, complete but for preconditions."""
    labels, annotations = owner.marks(namespace=ref.namespace, name=ref.name, uid=body.metadata.uid)
    annotations[ANNOTATION_SOURCE_VERSION] = f"{body.metadata.uid}/{body.metadata.resource_version}"
    built: dict[str, object] = {
        "apiVersion": "v1",
        "kind": str(ref.kind),
        "metadata": {
            "name": object_name_below(ref.kind, ref.name),
            "namespace": namespace,
            "labels": labels,
            "annotations": annotations,
        },
        "data": body.data,
    }
    if body.immutable is not None:
        built["immutable"] = body.immutable
    if isinstance(body, ConfigMap):
        built["binaryData"] = body.binary_data
    else:
        built["type"] = "Opaque" if body.type in _OPAQUE_BELOW else body.type
    return built


def token_set(
    pod: ObservedPod, tokens: Mapping[TokenKey, Token], *, owner: Owner, namespace: str
) -> dict[str, object]:
    """The Secret with a copy's tokens; owned by the copy, so that it goes with it."""
    labels, annotations = owner.marks(namespace=pod.key.namespace, name=pod.key.name, uid=pod.uid)
    refresh_at = min(t.refresh_at for t in tokens.values())
    annotations[ANNOTATION_TOKENS_REFRESH] = f"{refresh_at:.0f}"
    holder = OwnerReference(api_version="v1", kind="Pod", name=pod.key.name, uid=UID(pod.handle))
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": token_secret_name(pod.uid),
            "namespace": namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [holder],
        },
        "data": {k.data_key: encode_base64(t.value) for k, t in tokens.items()},
    }


def tokens_refresh_at(metadata: ObjectMeta) -> float | None:
    """Unix seconds at which a token set should be renewed; None (now) where the mark is spoilt."""
    try:
        due = float(metadata.annotations.get(ANNOTATION_TOKENS_REFRESH, ""))
    except ValueError:
        return None
    return due if math.isfinite(due) else None


@dataclass(frozen=True, slots=True)
class ObjectWriter:
    """Creates, replaces and deletes our objects of one kind in one compute cluster."""

    client: KubeClient
    resource: Resource
    store: Store[PartialObject]
    owner: Owner
    namespaces: NamespaceMapping

    async def put(self, key: ObjectKey, body: Mapping[str, object], *, names: Names) -> None:
        """Create the object, or replace ours of that name.

        Raises:
            NameConflict: an object of that name is somebody else's.
            Waiting: the API server did not take it.
        """
        try:
            known = self._ours(key) or await self._create(key, body)
            if known is not None:
                await self._replace(key, body, known)
        except KubeError as error:
            raise waiting(error, what=self._what, names=names) from error

    async def delete(self, key: ObjectKey, *, names: Names) -> None:
        """Delete our object of that name, if there is one. Raises Waiting.

        That it is gone is known at once: whoever needs it again before the watch says so puts it.
        """
        known = self._ours(key)
        if known is None:
            return
        try:
            await self.client.delete(
                self.resource, name=key.name, namespace=key.namespace, uid=known.metadata.uid
            )
        except NotFound:
            pass
        except KubeError as error:
            raise waiting(error, what=self._what, names=names) from error
        self.store.remove(key, last=known)

    def _ours(self, key: ObjectKey) -> PartialObject | None:
        """Another tenant cluster of the same tenant name has the same label: its is not ours."""
        known = self.store.get(key)
        return known if known is not None and self.owner.owns(known.metadata) else None

    @property
    def _what(self) -> str:
        return f"a {self.resource.kind} of the pod"

    async def _create(self, key: ObjectKey, body: Mapping[str, object]) -> PartialObject | None:
        """Create it; return the object that stands in the way if that is ours."""
        try:
            made = await self.client.create(
                self.resource, body, PartialObject, namespace=key.namespace
            )
        except AlreadyExists:
            there = await self.client.get(
                self.resource, PartialObject, name=key.name, namespace=key.namespace
            )
            if self.owner.owns(there.metadata):
                return there
            raise NameConflict(
                f'a {self.resource.kind} named "{key.name}" exists there and is not this tenant\'s'
            ) from None
        self.store.upsert(made)
        return None

    async def _replace(
        self, key: ObjectKey, body: Mapping[str, object], known: PartialObject
    ) -> None:
        metadata = body["metadata"]
        if not isinstance(metadata, dict):
            raise TypeError("metadata must be a mapping")
        guarded: dict[str, object] = dict(metadata)
        guarded["uid"] = known.metadata.uid
        guarded["resourceVersion"] = known.metadata.resource_version
        try:
            made = await self.client.replace(
                self.resource,
                {**body, "metadata": guarded},
                name=key.name,
                namespace=key.namespace,
            )
        except KubeError as error:
            if not _needs_new_object(error):
                raise
            # Immutable data or another type: the old object has to go first.
            await self.client.delete(
                self.resource, name=key.name, namespace=key.namespace, uid=known.metadata.uid
            )
            made = await self.client.create(
                self.resource, body, PartialObject, namespace=key.namespace
            )
        self.store.upsert(made)


def _needs_new_object(error: KubeError) -> bool:
    causes = error.details.causes if isinstance(error, Invalid) and error.details else []
    return "immutable" in str(error) and any(c.field in _FIXED for c in causes)
