"""What proves that a pod has no container group (any more): the service gives no plain answer.

In: a tenant pod's name and UID. Out: whether it is certain; or Waiting, where nobody can say. A key
without the right to list gets an empty list and no error, lists show new groups late, and the tags
by which ours are listed can be taken. Asked only before a pod is given up.
"""

from collections.abc import Mapping

from federation.backends.eci import meaning
from federation.backends.eci.api import EciApi
from federation.backends.eci.copies import Copies
from federation.backends.eci.creation import Creation, unseen
from federation.backends.eci.errors import EciError
from federation.backends.eci.observe import Observer
from federation.backends.eci.pod_status import ENDED
from federation.backends.eci.translate.identity import POD_UID, TENANT, group_name
from vnode.backend import Waiting
from vnode.kube.types import UID, ObjectKey

__all__ = ["Absence"]


class Absence:
    """Of the groups of one tenant cluster."""

    def __init__(
        self,
        api: EciApi,
        copies: Copies,
        observer: Observer,
        creation: Creation,
        *,
        tags: Mapping[str, str],
    ) -> None:
        """`tags`: of all our groups."""
        self._api = api
        self._copies = copies
        self._observer = observer
        self._creation = creation
        self._tags = tags

    async def proven(self, key: ObjectKey, uid: UID) -> bool:
        """Whether no group of that pod can be there.

        Proof is that the service does not know the group's id; or a list without the pod that has
        other groups; or that the account uses no vCPU at all. The last two are none before lists
        must have what another agent made just before this one began, and what we asked for
        without an answer; nor while a group of the pod's name runs that may have lost its tags.

        Raises:
            Waiting: nobody can say.
        """
        try:
            known = self._copies.of(uid)
            if known is not None:
                return await self._observer.is_gone(known)
            if await self._any(POD_UID, uid):
                return False
            self._observer.require_settled()
            if self._creation.may_be_unseen(uid):
                raise unseen()
            if await self._runs_untagged(key, uid):
                return False
            if await self._any():
                return True
            used = (await self._api.usage()).get("UsedCpu")
        except EciError as error:
            raise meaning.waiting(error) from error
        if used == 0:
            return True
        raise Waiting(
            "whether the pod still runs cannot be seen: the list of what runs there is empty, "
            "which it is too where the agent's key has no right to it",
            reason="ComputeNotSeen",
        )

    async def _runs_untagged(self, key: ObjectKey, uid: UID) -> bool:
        """Whether a group of the pod's name runs that is no other pod's: tags can be taken."""
        name = group_name(tenant=self._tags[TENANT], namespace=key.namespace, name=key.name)
        async for group in self._api.groups(name=name):
            tags = {tag.key: tag.value for tag in group.tags}
            named = group.container_group_name in {"", name}
            if named and tags.get(POD_UID, uid) == uid and group.status not in ENDED:
                return True
        return False

    async def _any(self, *tag: str) -> bool:
        """Whether a list has a group of ours (with this tag and value)."""
        more = {tag[0]: tag[1]} if tag else {}
        async for _ in self._api.groups(tags={**self._tags, **more}):
            return True
        return False
