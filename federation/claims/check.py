"""Which claims the pods on virtual nodes may mount, judged by what the tenant says of them.

In: claims of a tenant pod that is to be sent to a cluster with shared claims. Out: nothing, or
`Waiting` with the reason: such a pod stays Pending, since the claim may be put right while the pod
stays the same.

A copy mounts the claim of the same name below. That is what the user means if the tenant's claim is
a placeholder, or pre-bound to a volume that somebody made by hand for the same data. A volume that
a provisioner of the tenant made, or one that only certain nodes reach, holds other data.
"""

from collections.abc import Callable, Iterable

from cachetools import LRUCache

from federation.backends.kubernetes.translate.names import Owner
from federation.claims.objects import PERSISTENT_VOLUMES, Claim, Volume
from federation.claims.placeholder import STORAGE_CLASS, is_placeholder, wants_placeholder
from vnode.backend import Waiting
from vnode.kube.client import KubeClient
from vnode.kube.errors import KubeError, NotFound
from vnode.kube.resources import PERSISTENT_VOLUME_CLAIMS
from vnode.kube.types import UID, ObjectKey

_PROVISIONED = "pv.kubernetes.io/provisioned-by"
"""On volumes that a provisioner made (Kubernetes' well-known annotations)."""
_REMEMBERED = 4096
_INSTEAD = f'use a claim of StorageClass "{STORAGE_CLASS}"'


class ClaimCheck:
    """Judges the claims of pods; see the module."""

    def __init__(
        self, client: KubeClient, *, claim: Callable[[ObjectKey], Claim | None], owner: Owner
    ) -> None:
        """Wire it up; `client` is of the tenant, `claim` gives what its watch has seen."""
        self._client = client
        self._claim = claim
        self._owner = owner
        # Whether a volume holds shared data never changes; a claim is bound to one for good.
        self._good: LRUCache[tuple[UID, str], bool] = LRUCache(_REMEMBERED)

    async def require(self, namespace: str, names: Iterable[str]) -> None:
        """See that these claims of a namespace mean data that can lie below. Raises Waiting."""
        for name in names:
            key = ObjectKey(namespace, name)
            claim = self._claim(key)
            try:
                if claim is None or not claim.spec.volume_name:
                    claim = await self._live_claim(key)
                await self._require_shared(claim)
            except KubeError as error:
                raise Waiting(
                    f'PersistentVolumeClaim "{name}" cannot be read now: {error}',
                    reason="PersistentVolumeClaimUnknown",
                ) from error

    async def _live_claim(self, key: ObjectKey) -> Claim:
        try:
            return await self._client.get(
                PERSISTENT_VOLUME_CLAIMS, Claim, name=key.name, namespace=key.namespace
            )
        except NotFound:
            raise Waiting(
                f'PersistentVolumeClaim "{key.name}" not found',
                reason="PersistentVolumeClaimNotFound",
            ) from None

    async def _require_shared(self, claim: Claim) -> None:
        name, bound_to = claim.metadata.name, claim.spec.volume_name
        known = claim.metadata.uid, bound_to
        if known in self._good:
            return
        if not bound_to:
            raise _unbound(claim)
        try:
            volume = await self._client.get(PERSISTENT_VOLUMES, Volume, name=bound_to)
        except NotFound:
            raise Waiting(
                f'the volume of PersistentVolumeClaim "{name}" does not exist',
                reason="PersistentVolumeClaimNotBound",
            ) from None
        if not is_placeholder(volume, owner=self._owner):
            if _PROVISIONED in volume.metadata.annotations:
                what = "was made for this cluster alone by a provisioner"
                raise _unsupported(name, what)
            if volume.spec.node_affinity is not None:
                raise _unsupported(name, "can be reached from certain nodes of this cluster only")
        self._good[known] = True


def _unbound(claim: Claim) -> Waiting:
    name, storage_class = claim.metadata.name, claim.spec.storage_class_name
    if storage_class == STORAGE_CLASS:
        text = f'PersistentVolumeClaim "{name}" is not bound yet'
        if not wants_placeholder(claim):
            text += "; it is being deleted, or asks for a copy of other data"
        return Waiting(text, reason="PersistentVolumeClaimNotBound")
    return _unsupported(name, f'is to come from StorageClass "{storage_class or ""}"')


def _unsupported(claim: str, what: str) -> Waiting:
    return Waiting(
        f'the volume of PersistentVolumeClaim "{claim}" {what}, so the virtual node has no such '
        f"data; {_INSTEAD}",
        reason="VolumeNotSupported",
    )
