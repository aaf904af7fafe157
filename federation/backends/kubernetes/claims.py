"""Volumes of a pod that are more than a rewritten reference: claims and generic ephemeral volumes.

In: a tenant pod that is to be created. Out: nothing, or `Waiting` with the reason. With shared
claims the compute namespace has to have a claim of the same name, made by the platform; it is asked
for before the pod is made, since a pod without it would only be called unschedulable. A generic
ephemeral volume would be made by a controller of the tenant and mean nothing below.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from cachetools import TTLCache

from federation.backends.kubernetes.conceal import Names
from federation.backends.kubernetes.failures import waiting
from vnode.backend import Waiting
from vnode.kube.client import KubeClient
from vnode.kube.errors import KubeError, NotFound
from vnode.kube.resources import PERSISTENT_VOLUME_CLAIMS
from vnode.kube.types import ObjectKey, PartialObject
from vnode.runtime.clock import Clock

_BELIEVED_SECONDS = 60.0
"""A claim that was there is not asked for again for so long: many pods mount the same one."""
_REMEMBERED = 4096


class _ClaimSource(msgspec.Struct, frozen=True, rename="camel"):
    claim_name: str = ""


class _Ephemeral(msgspec.Struct, frozen=True):
    pass


class _Volume(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    persistent_volume_claim: _ClaimSource | None = None
    ephemeral: _Ephemeral | None = None


class _Spec(msgspec.Struct, frozen=True):
    volumes: list[_Volume] | None = None


_SPEC = msgspec.json.Decoder(_Spec)


@dataclass(frozen=True, slots=True)
class PodVolumes:
    """Volumes that a pod mounts through claims."""

    claims: tuple[str, ...]
    """Names of PersistentVolumeClaims, in order, each once."""
    ephemeral: tuple[str, ...]
    """Names of generic ephemeral volumes."""


def pod_volumes(spec: msgspec.Raw) -> PodVolumes:
    """Read them out of a PodSpec."""
    volumes = _SPEC.decode(spec).volumes or ()
    sources = (v.persistent_volume_claim for v in volumes)
    claims = dict.fromkeys(s.claim_name for s in sources if s is not None)
    ephemeral = tuple(v.name for v in volumes if v.ephemeral is not None)
    return PodVolumes(claims=tuple(claims), ephemeral=ephemeral)


def require_no_ephemeral(volumes: PodVolumes) -> None:
    """Refuse generic ephemeral volumes for now. Raises Waiting."""
    if volumes.ephemeral:
        raise Waiting(
            f'volume "{volumes.ephemeral[0]}" is a generic ephemeral volume, which this virtual '
            "node does not support",
            reason="VolumeNotSupported",
        )


class ClaimsBelow:
    """Knows which claims exist in compute namespaces."""

    def __init__(self, client: KubeClient, *, cluster: str, clock: Clock) -> None:
        """Wire it up; `client` is of the compute cluster, `cluster` the name that tenants know."""
        self._client = client
        self._cluster = cluster
        self._there: TTLCache[ObjectKey, bool] = TTLCache(
            _REMEMBERED, _BELIEVED_SECONDS, timer=clock.monotonic
        )

    async def require(self, names: Iterable[str], *, below: str, namespace: str) -> None:
        """See that these claims exist in a compute namespace. Raises Waiting.

        Args:
            names: of the claims, the same on both sides.
            below: the compute namespace.
            namespace: the tenant namespace, for texts.
        """
        for name in names:
            key = ObjectKey(below, name)
            if key in self._there:
                continue
            try:
                await self._client.get(
                    PERSISTENT_VOLUME_CLAIMS, PartialObject, name=name, namespace=below
                )
            except NotFound:
                raise Waiting(
                    f'there is no PersistentVolumeClaim "{name}" for namespace "{namespace}" in '
                    f'cluster "{self._cluster}"; ask the platform team to make it there',
                    reason="PersistentVolumeClaimNotFound",
                ) from None
            except KubeError as error:
                what = "look-up of a PersistentVolumeClaim in the compute cluster"
                raise waiting(error, what=what, names=Names(below, namespace)) from error
            self._there[key] = True
