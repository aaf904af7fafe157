"""What a claim of the tenant needs below, by what the tenant says of it and the platform allows.

In: a claim. Out: a `Wish`, or a `Verdict` that says why there is none. Asks the tenant's API server
for the claim's volume, once, as long as the claim is used: where the data of a bound claim lies
never changes.
"""

from collections.abc import Iterator

from federation.backends.kubernetes.translate.names import Owner
from federation.claims.objects import PERSISTENT_VOLUMES, Claim, Volume
from federation.claims.placeholder import is_placeholder
from federation.config import FluidConfig
from federation.fluid import judged
from federation.fluid.build import Wish
from federation.fluid.judged import Verdict
from federation.fluid.names import PROFILE_LABEL
from federation.fluid.rules import refusal
from vnode.kube.client import KubeClient
from vnode.kube.errors import NotFound
from vnode.kube.types import UID, ObjectKey


class Wishes:
    """Wishes of one tenant in one compute cluster."""

    def __init__(self, tenant: KubeClient, *, config: FluidConfig, owner: Owner) -> None:
        """Nothing is asked here; `tenant`: client of the tenant cluster."""
        self._tenant = tenant
        self._config = config
        self._owner = owner
        self._volumes: dict[ObjectKey, tuple[UID, Volume]] = {}
        """With the UID of the claim that is bound to it."""

    async def of(self, claim: Claim | None, below: str) -> tuple[Wish | None, Verdict | None]:
        """What a claim needs in a compute namespace; else what is to be said of it.

        Neither: it is gone, or asks for nothing. Raises KubeError.
        """
        if claim is None or (profile := claim.metadata.labels.get(PROFILE_LABEL)) is None:
            return None, None
        uid, name = claim.metadata.uid, claim.metadata.name
        if (verdict := judged.unready(claim, self._config.profiles)) is not None:
            return None, verdict
        volume = await self._volume_of(claim)
        if volume is None:
            return None, judged.preparing(uid, name, "its volume does not exist")
        prepared = is_placeholder(volume, owner=self._owner)
        if not prepared and (why := refusal(claim, volume, self._config.volumes)):
            return None, judged.refused_volume(uid, name, why)
        return (
            Wish(
                claim=claim,
                profile=profile,
                below=below,
                owner=self._owner,
                dialect=self._config.dialect,
                volume=None if prepared else volume,
            ),
            None,
        )

    def of_secret(self, key: ObjectKey) -> Iterator[ObjectKey]:
        """Claims whose volume names a Secret of the tenant."""
        for claim, (_, volume) in self._volumes.items():
            csi = volume.spec.csi
            ref = csi.node_publish_secret_ref if csi is not None else None
            if ref is not None and ObjectKey(ref.namespace, ref.name) == key:
                yield claim

    def forget(self, claim: ObjectKey) -> None:
        """Nobody needs it, or it has gone."""
        self._volumes.pop(claim, None)

    async def _volume_of(self, claim: Claim) -> Volume | None:
        uid, name = claim.metadata.uid, claim.spec.volume_name
        known = self._volumes.get(claim.metadata.key)
        if known is not None and (known[0], known[1].metadata.name) == (uid, name):
            return known[1]
        try:
            found = await self._tenant.get(PERSISTENT_VOLUMES, Volume, name=name)
        except NotFound:
            return None
        bound = found.spec.claim_ref
        if bound is not None and bound.uid == uid:
            self._volumes[claim.metadata.key] = uid, found
        return found
