"""ServiceAccount tokens of tenant pods, by TokenRequest bound to the tenant pod.

In: the tokens that a pod's projected volumes ask for. Out: tokens that the backend writes below, or
that travel with the pod to a place where they cannot be renewed (`Capabilities.start_tokens`).
They are valid in the tenant only and die with the tenant pod (boundObjectRef). KEP-1205.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from msgspec import Struct

from vnode.backend import Token, TokenKey, Waiting
from vnode.kube.client import KubeClient
from vnode.kube.errors import KubeError
from vnode.kube.resources import SERVICE_ACCOUNTS
from vnode.kube.types import UID, ObjectKey
from vnode.pods.view import PodView
from vnode.runtime.clock import Clock

_REFRESH_SHARE = 0.8
"""A token is renewed after this share of its life, as the kubelet does."""
_JITTER_SHARE = 0.1


class _TokenStatus(Struct, frozen=True, rename="camel"):
    token: str
    expiration_timestamp: str

    def __repr__(self) -> str:
        return f"_TokenStatus(until {self.expiration_timestamp})"


class _TokenReply(Struct, frozen=True):
    status: _TokenStatus


@dataclass(frozen=True, slots=True)
class TokenIssuer:
    """Asks the tenant API server for tokens."""

    client: KubeClient
    clock: Clock

    async def issue(
        self,
        key: ObjectKey,
        uid: UID,
        *,
        service_account: str,
        wanted: Iterable[TokenKey],
        life: int | None = None,
    ) -> dict[TokenKey, Token]:
        """Request the tokens of one pod; `life` in seconds is in place of what it asks for.

        Raises:
            KubeError: for example Forbidden, or NotFound when the ServiceAccount is gone.
        """
        return {
            w: await self._one(key, uid, service_account, w, life or w.expiration_seconds)
            for w in wanted
        }

    async def require(
        self, pod: PodView, wanted: Iterable[TokenKey], *, life: int | None = None
    ) -> dict[TokenKey, Token]:
        """The same for a pod that waits as long as there is none.

        Raises:
            Waiting: no token.
        """
        try:
            return await self.issue(
                pod.key, pod.uid, service_account=pod.service_account, wanted=wanted, life=life
            )
        except KubeError as error:
            raise Waiting(
                f'no token for ServiceAccount "{pod.service_account}": {error}',
                reason="TokenRequestFailed",
                not_done=True,
            ) from error

    async def _one(
        self, key: ObjectKey, uid: UID, account: str, wanted: TokenKey, seconds: int
    ) -> Token:
        bound = {"apiVersion": "v1", "kind": "Pod", "name": key.name, "uid": uid}
        spec = {
            "audiences": [wanted.audience] if wanted.audience else [],
            "expirationSeconds": seconds,
            "boundObjectRef": bound,
        }
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        reply = await self.client.create(
            SERVICE_ACCOUNTS,
            body,
            _TokenReply,
            namespace=key.namespace,
            name=account,
            subresource="token",
        )
        now = self.clock.time() + self.client.clock_offset
        life = datetime.fromisoformat(reply.status.expiration_timestamp).timestamp() - now
        # Pods that start together do not renew together: the share differs by UID.
        spread = (hash_share(uid) - 0.5) * _JITTER_SHARE
        return Token(
            value=reply.status.token,
            refresh_at=self.clock.time() + life * (_REFRESH_SHARE + spread),
        )


def hash_share(uid: UID) -> float:
    """A number in [0, 1) that depends on the UID alone."""
    return int.from_bytes(hashlib.blake2b(uid.encode(), digest_size=4).digest()) / 2**32
