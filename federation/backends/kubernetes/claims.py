"""The claims that a pod mounts, and whether they exist below.

In: a tenant pod that is to be created where claims are shared. Out: nothing, or `Waiting` with the
reason: the compute namespace has to have a claim of the same name, made by the platform. It is
asked for before the pod is made, since a pod without it would only be called unschedulable.
"""

from collections.abc import Iterable

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


class _Volume(msgspec.Struct, frozen=True, rename="camel"):
    persistent_volume_claim: _ClaimSource | None = None


class _Spec(msgspec.Struct, frozen=True):
    volumes: list[_Volume] | None = None


_SPEC = msgspec.json.Decoder(_Spec)


def claim_names(spec: msgspec.Raw) -> tuple[str, ...]:
    """Names of the claims that a PodSpec mounts, in order, each once."""
    sources = (v.persistent_volume_claim for v in _SPEC.decode(spec).volumes or ())
    return tuple(dict.fromkeys(s.claim_name for s in sources if s is not None))


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
