"""Where copies lie, and whether a place in which some were made is gone (DESIGN 4, 5).

In: UIDs of the compute namespace and of its cluster (its kube-system namespace). Out: a mark that
goes into the tenant pod's status, `<namespace>.<cluster>`, both as fingerprints; and the answer to
what a missing copy means when the place is not the one of the mark any more:

* the cluster is the same one, and the namespace is not there or has another UID: somebody deleted
  it, and all that was in it. That has to hold for minutes, as an API server that just started may
  not know all, and be confirmed by live reads;
* the cluster is another one (an exchanged kubeconfig), or nobody knows: nothing is gone.

Without the right to read kube-system marks name no cluster, and nothing can be proven. A clone of
a cluster, made from a copy of its etcd, has its UIDs: it cannot be told from it.
"""

import hashlib
from typing import NamedTuple

from federation.backends.kubernetes.conceal import Names
from federation.backends.kubernetes.failures import waiting
from federation.backends.kubernetes.namespaces import ComputeNamespaces, cluster_uid
from federation.backends.kubernetes.translate.names import NamespaceMapping
from vnode.backend import Waiting
from vnode.kube.client import KubeClient
from vnode.kube.errors import KubeError, NotFound
from vnode.kube.resources import NAMESPACES
from vnode.kube.types import UID, PartialObject

SETTLED_SECONDS = 180.0
"""For so long a place has to be another one, before what was in the old one counts as gone."""
_CONFIRM_SECONDS = 30.0
_OTHERWISE = "; if it is certain that it does not run any more, delete the pod with --force"


class Mark(NamedTuple):
    """A place, by fingerprints; empty: not known."""

    namespace: str
    cluster: str = ""

    @classmethod
    def parse(cls, text: str) -> "Mark":
        """Read what `str` wrote; older ones are the namespace alone."""
        namespace, _, cluster = text.partition(".")
        return cls(namespace, cluster)

    def __str__(self) -> str:
        return f"{self.namespace}.{self.cluster}" if self.cluster else self.namespace


def fingerprint(uid: UID, *, size: int) -> str:
    """A UID that is not to be shown, as `size` bytes in hexadecimal."""
    return hashlib.blake2b(uid.encode(), digest_size=size).hexdigest()


class Places:
    """The places of one tenant cluster's copies in one compute cluster."""

    def __init__(
        self, client: KubeClient, *, mapping: NamespaceMapping, namespaces: ComputeNamespaces
    ) -> None:
        self._client = client
        self._mapping = mapping
        self._namespaces = namespaces

    def mark(self, namespace: str) -> str:
        """The mark of what is made now for a tenant namespace; empty: there is no place."""
        uid, cluster = self._namespaces.identity(namespace)
        if uid is None:
            return ""
        return str(Mark(fingerprint(uid, size=4), fingerprint(cluster, size=8) if cluster else ""))

    async def require(self, namespace: str, made_in: str) -> None:
        """See `PodBackend.require_place`."""
        then, now = Mark.parse(made_in), Mark.parse(self.mark(namespace))
        if then.namespace == now.namespace:
            return
        if not then.cluster:
            raise _replaced("it is not known in which compute cluster that was" + _OTHERWISE)
        below = self._mapping.below(namespace) or ""
        try:
            cluster = await cluster_uid(self._client)
            uid = await self._uid(below)
        except KubeError as error:
            names = Names(below, namespace)
            raise waiting(error, what="look-up in the compute cluster", names=names) from error
        if cluster is None:
            raise _replaced(
                "the virtual node may not read whether the compute cluster still is the same; "
                "ask the platform team to grant it the right to get namespace kube-system"
                + _OTHERWISE
            )
        if fingerprint(cluster, size=8) != then.cluster:
            raise _replaced(
                "the compute cluster is another one too; ask the platform team to connect the "
                "virtual node to the one where the copy was made" + _OTHERWISE
            )
        if uid != self._namespaces.identity(namespace).namespace:
            self._namespaces.look_again(namespace)
        elif self._namespaces.known_for(namespace) >= SETTLED_SECONDS:
            return
        raise _replaced("it seems to be gone, which is confirmed in some minutes", again=True)

    async def require_same(self, namespace: str) -> None:
        """A pod that another cluster does not have is not gone: was the kubeconfig exchanged?

        Raises:
            Waiting: it was, or nobody answers.
        """
        try:
            same = await self._namespaces.is_same(namespace)
        except KubeError as error:
            self._namespaces.look_again(namespace)
            names = Names(self._mapping.below(namespace) or "", namespace)
            raise waiting(error, what="look-up in the compute cluster", names=names) from error
        if not same:
            self._namespaces.look_again(namespace)
            raise Waiting(
                "the compute namespace behind the virtual node has been exchanged",
                reason="ComputeReplaced",
            )

    async def _uid(self, below: str) -> UID | None:
        try:
            found = await self._client.get(NAMESPACES, PartialObject, name=below)
        except NotFound:
            return None
        return found.metadata.uid


def _replaced(why: str, *, again: bool = False) -> Waiting:
    return Waiting(
        "the compute namespace behind the virtual node is not the one in which the pod's copy was "
        f"made: {why}",
        reason="ComputeReplaced",
        retry_after=_CONFIRM_SECONDS if again else None,
    )
