"""Makes compute namespaces on demand (DESIGN 4.2), for set-ups that allow it.

In: a tenant namespace whose compute namespace is missing, and a pod that needs it. Out: the
namespace with our marks, ready for pods; or the one that somebody else made meanwhile, for the
caller to judge. Nothing else is put into it: quotas and network policies are the platform's.
"""

from collections.abc import Callable, Mapping

import structlog

from federation.backends.kubernetes.translate.names import (
    ANNOTATION_CLUSTER_UID,
    ANNOTATION_MADE,
    ANNOTATION_NAMESPACE,
    LABEL_MANAGED_BY,
    LABEL_TENANT,
    MADE_ON_DEMAND,
    MANAGED_BY,
    Owner,
)
from vnode.kube.client import KubeClient
from vnode.kube.errors import AlreadyExists, NotFound
from vnode.kube.resources import NAMESPACES, SERVICE_ACCOUNTS
from vnode.kube.types import PartialObject
from vnode.runtime.backoff import Backoff
from vnode.runtime.clock import Clock

_LOG = structlog.get_logger(__name__)

_ACCOUNT = "default"
_ACCOUNT_SECONDS = 5.0
"""Longest wait for a new namespace's ServiceAccount; after that the refusal of a pod explains."""


def namespace_body(
    namespace: str, below: str, *, owner: Owner, labels: Mapping[str, str]
) -> dict[str, object]:
    """The compute namespace `below` of a tenant namespace, as we make it."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": below,
            "labels": {**labels, LABEL_TENANT: owner.tenant, LABEL_MANAGED_BY: MANAGED_BY},
            "annotations": {
                ANNOTATION_CLUSTER_UID: owner.cluster_uid,
                ANNOTATION_NAMESPACE: namespace,
                ANNOTATION_MADE: MADE_ON_DEMAND,
            },
        },
    }


class NamespaceMaker:
    """Creates the compute namespaces of one tenant cluster in one compute cluster."""

    def __init__(
        self,
        client: KubeClient,
        *,
        owner: Owner,
        labels: Mapping[str, str],
        clock: Clock,
        backoff: Callable[[], Backoff],
    ) -> None:
        """Wire it up.

        Args:
            client: of the compute cluster.
            owner: who we are.
            labels: of new namespaces, beside our own.
            clock: of the agent.
            backoff: paces the wait for a new namespace's ServiceAccount.
        """
        self._client = client
        self._owner = owner
        self._labels = labels
        self._clock = clock
        self._backoff = backoff

    async def make(self, namespace: str, below: str) -> tuple[PartialObject, bool]:
        """The compute namespace, and whether it was made now. Raises KubeError.

        One that exists is returned as it is: whose it is, the caller has to judge.
        """
        body = namespace_body(namespace, below, owner=self._owner, labels=self._labels)
        try:
            made = await self._client.create(NAMESPACES, body, PartialObject)
        except AlreadyExists:
            return await self._client.get(NAMESPACES, PartialObject, name=below), False
        _LOG.info("compute namespace made", cluster=self._client.name, namespace=namespace)
        await self._await_account(below)
        return made, True

    async def _await_account(self, below: str) -> None:
        """Pods are refused until the namespace's controller has made the ServiceAccount."""
        backoff = self._backoff()
        ends = self._clock.monotonic() + _ACCOUNT_SECONDS
        while True:
            try:
                await self._client.get(
                    SERVICE_ACCOUNTS, PartialObject, name=_ACCOUNT, namespace=below
                )
            except NotFound:
                if self._clock.monotonic() >= ends:
                    return
                await self._clock.sleep(backoff.next())
            else:
                return
