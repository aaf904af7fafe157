"""ServiceAccount tokens of tenant pods, by TokenRequest bound to the tenant pod.

In: the tokens that a pod's projected volumes ask for. Out: tokens that the backend writes below.
They are valid in the tenant only and die with the tenant pod (boundObjectRef). KEP-1205.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from msgspec import Struct

from vnode.backend import Token, TokenKey
from vnode.kube.client import KubeClient
from vnode.kube.resources import SERVICE_ACCOUNTS
from vnode.kube.types import UID, ObjectKey
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
        self, key: ObjectKey, uid: UID, *, service_account: str, wanted: Iterable[TokenKey]
    ) -> dict[TokenKey, Token]:
        """Request the tokens of one pod.

        Raises:
            KubeError: for example Forbidden, or NotFound when the ServiceAccount is gone.
        """
        return {w: await self._one(key, uid, service_account, w) for w in wanted}

    async def _one(self, key: ObjectKey, uid: UID, account: str, wanted: TokenKey) -> Token:
        bound = {"apiVersion": "v1", "kind": "Pod", "name": key.name, "uid": uid}
        spec = {
            "audiences": [wanted.audience] if wanted.audience else [],
            "expirationSeconds": wanted.expiration_seconds,
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
