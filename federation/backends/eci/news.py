"""What the service says of groups beside their states: events, to users and of the spot market.

In: groups that changed, and every 30 s those that the spot market may take back, since it announces
that in events alone. Out: each event once to listeners; what is announced, to `Copies`. Events are
a help, not a state: what cannot be read now is read after the next poll, and none waits for it.
Owned by `Observer`.
"""

import contextlib
from collections.abc import Callable, Collection, Sequence

import structlog

from federation.backends.eci.answers import Event, GroupEvents, GroupStatus
from federation.backends.eci.api import EciApi
from federation.backends.eci.copies import Copies, Group
from federation.backends.eci.errors import EciError, Throttled
from vnode.backend import PodEvent
from vnode.kube.types import NodeName

__all__ = ["News"]

_LOG = structlog.get_logger(__name__)

_AT_ONCE = 200
"""Groups whose events are read after one poll, at most."""
_LEAVES = "SpotToBeReleased"
"""Reason of the event by which an instance is announced to be taken back, in three minutes."""


class News:
    """Events of the groups of one tenant cluster."""

    def __init__(self, api: EciApi, copies: Copies, *, spot: Collection[NodeName]) -> None:
        """`api` waits for no budget; `spot`: nodes whose groups the spot market may take back."""
        self._api = api
        self._copies = copies
        self._spot = frozenset(spot)
        self._listeners: list[Callable[[PodEvent], None]] = []
        self._told: dict[str, set[Event]] = {}
        self._due: dict[str, None] = {}
        """Groups whose events are still to be read, in order."""

    def subscribe(self, listener: Callable[[PodEvent], None]) -> None:
        """See `PodBackend.subscribe_events`."""
        self._listeners.append(listener)

    def changed(self, group: str) -> None:
        """Its state has: something may be said of it."""
        if self._listeners:
            self._due[group] = None

    def listed(self) -> None:
        """Everything was seen: what is gone is forgotten, the spot market is asked about."""
        for group in [one for one in self._told if self._copies.get(one) is None]:
            del self._told[group]
        for known in self._copies.there():
            if known.identity.node in self._spot and not known.seen.ended:
                self._due[known.id] = None

    def may_explain(self, status: GroupStatus) -> bool:
        """Whether a state is news of a failure that the spot market may have announced.

        What it takes back may be Failed before it is Expired, and what failed first counts.
        """
        group = self._copies.get(status.container_group_id)
        if status.status != "Failed" or group is None or group.seen.ended or group.announced:
            return False
        return group.identity.node in self._spot

    async def explain(self, groups: Sequence[str]) -> None:
        """Ask whether these were announced to be taken back. It is not known if that fails."""
        with contextlib.suppress(EciError):
            for said in await self._api.events(groups):
                self._heed(said)

    async def read(self, *, silently: bool) -> None:
        """Pass on what is said of groups that changed; `silently`: it was said long ago."""
        some = list(self._due)[:_AT_ONCE]
        found: list[GroupEvents] = []
        try:
            found = await self._api.events(some)
        except Throttled:
            return
        except EciError as error:
            _LOG.info("events are not known", why=str(error))
        for group in some:
            del self._due[group]
        for said in found:
            known = self._copies.get(said.container_group_id)
            if known is None:
                continue
            self._heed(said)
            told = self._told.get(known.id, set())
            fresh = [event for event in said.events if event not in told]
            self._told[known.id] = set(said.events)
            hidden = known.hidden
            for event in () if silently else fresh:
                if not any(word in event.message for word in hidden):
                    self._pass_on(known, event)

    def _heed(self, said: GroupEvents) -> None:
        if any(event.reason == _LEAVES for event in said.events):
            self._copies.announced(said.container_group_id)

    def _pass_on(self, group: Group, event: Event) -> None:
        who = group.identity
        said = PodEvent(
            key=who.key,
            uid=who.uid,
            node=who.node,
            type=event.type or "Normal",
            reason=event.reason,
            message=event.message.replace(group.id, "the pod"),
        )
        for listener in self._listeners:
            listener(said)
