"""The claims that a pod mounts, and whether they exist below.

In: a tenant pod that is to be created where claims are shared. Out: nothing, or `Waiting` with the
reason: the compute namespace has to have a claim of the same name, made by the platform. It is
asked for before the pod is made, since a pod without it would only be called unschedulable. A
claim that we made there for pods with sidecars is none for others: it goes with the last of these.
"""

from collections.abc import Iterable

import msgspec
from cachetools import TTLCache

from federation.backends.kubernetes.conceal import Names
from federation.backends.kubernetes.failures import waiting
from federation.backends.kubernetes.translate.names import OWN_PREFIX, Owner
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

    def __init__(self, client: KubeClient, *, cluster: str, owner: Owner, clock: Clock) -> None:
        """Wire it up; `client` is of the compute cluster, `cluster` the name that tenants know."""
        self._client = client
        self._owner = owner
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
            if name.startswith(OWN_PREFIX):  # What Fluid makes of our Datasets is called so.
                raise Waiting(
                    f'PersistentVolumeClaim "{name}" cannot be used in cluster "{self._cluster}": '
                    f'its name begins with "{OWN_PREFIX}"',
                    reason="VolumeNotSupported",
                )
            if key in self._there:
                continue
            if not await self._is_the_platforms(key, namespace):
                raise Waiting(
                    f'there is no PersistentVolumeClaim "{name}" for namespace "{namespace}" in '
                    f'cluster "{self._cluster}"; ask the platform team to make it there',
                    reason="PersistentVolumeClaimNotFound",
                )
            self._there[key] = True

    async def _is_the_platforms(self, key: ObjectKey, namespace: str) -> bool:
        try:
            found = await self._client.get(
                PERSISTENT_VOLUME_CLAIMS, PartialObject, name=key.name, namespace=key.namespace
            )
        except NotFound:
            return False
        except KubeError as error:
            what = "look-up of a PersistentVolumeClaim in the compute cluster"
            raise waiting(error, what=what, names=Names(key.namespace, namespace)) from error
        return not self._owner.owns(found.metadata)
