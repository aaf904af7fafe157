"""The copies of a claim below: the claim, its volume, and the Secret that the volume names.

In: a `Wish`. Out: creates, in the order claim, Secret, volume (which is for the claim of that UID),
since Secret and volume are found again through the claim; and what is to be said until they are
bound. Where the platform prepares the claim nothing is made.
"""

from cachetools import LRUCache

from federation.backends.kubernetes.conceal import Names
from federation.backends.kubernetes.objects import ObjectWriter
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_SECRET_VERSION,
    NamespaceMapping,
    Owner,
)
from federation.fluid import build, judged
from federation.fluid.below import Below
from federation.fluid.build import Wish
from federation.fluid.judged import Verdict
from federation.fluid.names import secret_name
from federation.fluid.objects import BOUND, ClaimBelow
from vnode.backend import NameConflict
from vnode.kube.client import KubeClient
from vnode.kube.errors import NotFound
from vnode.kube.resources import PERSISTENT_VOLUME_CLAIMS, SECRETS
from vnode.kube.types import UID, ObjectKey, PartialObject, Secret
from vnode.runtime.store import Store

_REMEMBERED = 4096
_ANOTHER_VOLUME = (
    "somebody keeps a volume for a claim of that name there, and the claim that was made for it is "
    "bound to that; ask the platform team to take one of them away"
)


class ClaimCopies:
    """Makes them, and says what is missing."""

    def __init__(
        self,
        client: KubeClient,
        tenant: KubeClient,
        below: Below,
        *,
        owner: Owner,
        mapping: NamespaceMapping,
        secrets: Store[PartialObject],
    ) -> None:
        """Nothing is asked here; `secrets`: the tenant's, metadata only."""
        self._client = client
        self._tenant = tenant
        self._below = below
        self._owner = owner
        self._mapping = mapping
        self._secrets = secrets
        self._seen: LRUCache[UID, bool] = LRUCache(_REMEMBERED)
        """Claims of which the platform's part was there: not asked for each pod anew."""

    async def require(self, wish: Wish, held: Store[PartialObject]) -> Verdict | None:
        """Make what is missing; None: all is there and bound.

        `held`: our Secrets below. Raises KubeError, Waiting.
        """
        if wish.volume is None:
            return await self._prepared(wish)
        claim = await self._below.make(
            PERSISTENT_VOLUME_CLAIMS, build.claim_below(wish), ClaimBelow, self._below.claims
        )
        if claim.spec.volume_name not in ("", wish.volume_name):
            raise NameConflict(_ANOTHER_VOLUME)
        if (missing := await self._copy_secret(wish, held)) is not None:
            return missing
        if claim.status.phase == BOUND:
            return None
        await self._below.make_volume(
            build.volume_below(wish, claim.metadata.uid), claim.metadata.uid
        )
        name = wish.claim.metadata.name
        return judged.preparing(wish.uid, name, "its volume is not bound yet")

    async def forget(
        self, claim: UID, *, below: str, namespace: str, held: Store[PartialObject]
    ) -> None:
        """Nobody needs a claim of the tenant any more: its Secret goes. Raises Waiting."""
        place = ObjectKey(below, secret_name(claim))
        await self._writer(held).delete(place, names=Names(below, namespace))

    async def _prepared(self, wish: Wish) -> Verdict | None:
        name = wish.claim.metadata.name
        if wish.uid in self._seen:
            return None
        try:
            await self._client.get(
                PERSISTENT_VOLUME_CLAIMS, PartialObject, name=name, namespace=wish.below
            )
        except NotFound:
            return judged.not_prepared(wish.uid, name)
        self._seen[wish.uid] = True
        return None

    async def _copy_secret(self, wish: Wish, held: Store[PartialObject]) -> Verdict | None:
        ref = wish.csi.node_publish_secret_ref if wish.csi is not None else None
        if ref is None:
            return None
        key = ObjectKey(wish.below, secret_name(wish.uid))
        above, copy = self._secrets.get(ObjectKey(ref.namespace, ref.name)), held.get(key)
        if above is not None and copy is not None:
            version = f"{above.metadata.uid}/{above.metadata.resource_version}"
            if copy.metadata.annotations.get(ANNOTATION_SECRET_VERSION) == version:
                return None
        try:
            secret = await self._tenant.get(SECRETS, Secret, name=ref.name, namespace=ref.namespace)
        except NotFound:
            return judged.no_secret(wish.uid, ref.name)
        names = Names(wish.below, ref.namespace)
        await self._writer(held).put(key, build.secret_below(wish, secret), names=names)
        return None

    def _writer(self, held: Store[PartialObject]) -> ObjectWriter:
        return ObjectWriter(self._client, SECRETS, held, self._owner, self._mapping)
