"""Follows the states of our container groups by polling, and whether the service answers.

    every 2 s: states that changed lately; every 30 s, and while something is being deleted: all
    a group that nobody knows: its tags, once        what is said beside states: `News`

In: answers of `EciApi`. Out: `Copies` filled, the state of the link. One task for all groups, no
call per group. A key without the right to list gets an empty list and no error: what is missing is
taken for gone only beside others of ours that are there, and where there are none each group is
asked for by its id. Errors end nothing; the next poll comes.
"""

import random
from collections.abc import Callable, Collection, Mapping
from typing import Never

import structlog

from federation.backends.eci.answers import Group as ListedGroup
from federation.backends.eci.answers import GroupStatus
from federation.backends.eci.api import EciApi
from federation.backends.eci.copies import Copies, Group
from federation.backends.eci.errors import (
    Denied,
    EciError,
    InvalidParameter,
    NotFound,
    Refused,
    Throttled,
)
from federation.backends.eci.news import News
from federation.backends.eci.translate.identity import Identity, identity
from federation.backends.eci.turns import Turns
from vnode.backend import InLine, Waiting
from vnode.kube.errors import Withheld
from vnode.kube.timestamps import rfc3339
from vnode.kube.types import NodeName
from vnode.runtime.circuit import Circuit
from vnode.runtime.clock import Clock

__all__ = ["SETTLES", "Observer"]

_LOG = structlog.get_logger(__name__)

_EVERY, _ALL_EVERY, _JITTER = 2.0, 30.0, 0.1
_OVERLAP = 15.0
"""Seconds by which polls look back further than the last one: clocks and lists are not exact."""
SETTLES = 120.0
"""Seconds after which a group that was just made must be in listings."""
_ABSENT = 2
"""Listings in a row without a group that nobody wished away."""
_PROBES = 20
"""Groups asked for by id after one poll, at most."""
_DELETE_AGAIN = 60.0
"""Seconds after which a deletion that shows no effect is asked for again."""


class Observer:
    """Polls one account for the groups of one tenant cluster."""

    def __init__(
        self,
        api: EciApi,
        copies: Copies,
        *,
        tags: Mapping[str, str],
        tenant: str,
        cluster_uid: str,
        spot: Collection[NodeName],
        others: Collection[NodeName],
        clock: Clock,
        rng: random.Random,
        returned: Callable[[], None],
        changed: Callable[[], None],
        deletes: Turns,
        settles: float = SETTLES,
    ) -> None:
        """Nothing is asked yet.

        Args:
            api: of the account.
            copies: to be filled.
            tags: of all our groups.
            tenant: our name.
            cluster_uid: of the tenant cluster.
            spot: virtual nodes whose groups the spot market may take back.
            others: virtual nodes of ours that somebody else serves from this account.
            clock: of the agent.
            rng: for jitter.
            returned: called at the first complete look, and at the first good answer after others.
            changed: called when the link was lost, holds again or is silent again.
            deletes: the line in which deletions stand.
            settles: seconds after which a group that was just made must be in listings.
        """
        self._api = api
        self._hasty = api.hasty()
        """For questions about single groups between two polls: polls wait for none of them."""
        self._copies = copies
        self._tags = tags
        self._tenant, self._cluster_uid = tenant, cluster_uid
        self._others = frozenset(others)
        self._not_ours: set[str] = set()
        """Groups with our tags that are nobody's here; they are asked about once."""
        self._clock = clock
        self._rng = rng
        self._returned, self._changed = returned, changed
        self._deletes = deletes
        self._settles = settles
        self._without_effect: dict[str, float] = {}
        """Groups whose deletion was asked for and does not show, and since when (monotonic)."""
        self._first_at: float | None = None
        """When everything was seen for the first time."""
        self._circuit = Circuit(clock.monotonic())
        self.news = News(self._hasty, copies, spot=spot)
        self._failed: dict[str, GroupStatus] = {}
        """States that are shown at the end of a poll."""
        self._looked_at = self._all_at = float("-inf")
        """When the last poll, and the last one for everything, began."""
        self.complete = False
        """Everything was seen once."""
        self.error: EciError | None = None
        """What the newest answer was instead of a good one."""

    @property
    def reachable(self) -> bool:
        """Whether the link holds; so it does until more is known."""
        return self._circuit.lost_since(self._clock.monotonic()) is None

    @property
    def known(self) -> bool:
        """Whether `reachable` rests on an answer, or on having waited for one in vain."""
        return self._circuit.answered or not self.reachable

    @property
    def refuses_us(self) -> bool:
        """Whether the service answers, but not to this account or key."""
        return isinstance(self.error, Denied)

    @property
    def silent_for(self) -> float | None:
        """See `PodBackend.silent_for`."""
        return self._circuit.silent_for(self._clock.monotonic())

    @property
    def settled(self) -> bool:
        """Whether listings must have by now what an agent before us has made last."""
        since = self._first_at
        return since is not None and self._clock.monotonic() - since >= self._settles

    async def run(self) -> Never:
        """Poll until cancelled."""
        told, was_silent = self.reachable, False
        while True:
            await self.look()
            changed, silent = self.reachable is not told, self.silent_for is not None
            if changed:
                told = self.reachable
                _LOG.warning("compute link", reachable=told)
            if changed or (silent and not was_silent):
                self._changed()
            was_silent = silent
            await self._clock.sleep(_EVERY * self._rng.uniform(1 - _JITTER, 1 + _JITTER))

    async def look(self) -> None:
        """Poll once; what goes wrong is remembered as `error`."""
        first = not self.complete
        try:
            if first:
                await self._identify()
            await self._poll()
        except Throttled as error:
            if error.code:  # Else it was our own budget, and nobody was asked.
                self._answered()
            return
        except EciError as error:
            if type(self.error) is not type(error):
                _LOG.warning("compute does not answer", why=str(error))
            self.error = error
            self._circuit.bad(self._clock.monotonic())
            return
        if first:
            self._returned()
        self._answered()
        await self.news.read(silently=first)

    def _answered(self) -> None:
        back, self.error = self.error is not None, None
        self._circuit.good(self._clock.monotonic())
        if back:
            _LOG.info("compute answers again")
            self._returned()

    async def _identify(self) -> None:
        """Read whose groups these are, all of ours, from their tags."""
        async for group in self._api.groups(tags=self._tags):
            self.learn(group)

    async def _meet(self, unknown: Mapping[str, GroupStatus]) -> None:
        """Read whose groups these are. None is shown without its state, which is here."""
        if not unknown:
            return
        async for group in self._api.groups(ids=list(unknown)):
            if self.learn(group) is not None:
                self._saw(unknown[group.container_group_id])

    def learn(self, group: ListedGroup) -> Identity | None:
        """Know a group by its tags and name. Returns whose it is; None: not ours."""
        tags = {tag.key: tag.value for tag in group.tags}
        found = identity(
            tags,
            called=group.container_group_name,
            tenant=self._tenant,
            cluster_uid=self._cluster_uid,
        )
        if found is None:
            _LOG.warning("a group with our tags is none of ours", group=group.container_group_id)
        if found is None or found.node in self._others:
            self._not_ours.add(group.container_group_id)
            return None
        made_at = group.creation_time or None
        self._copies.learn(
            group.container_group_id,
            found,
            made_at=made_at,
            listed=True,
            restarts=group.restart_policy,
        )
        return found

    async def _poll(self) -> None:
        began = self._clock.monotonic()
        everything = (
            not self.complete
            or began - self._all_at >= _ALL_EVERY
            or any(group.leaving for group in self._copies.there())
        )
        since = None if everything else began - self._looked_at + _OVERLAP
        before = list(self._copies.there())
        unknown: dict[str, GroupStatus] = {}
        found: set[str] = set()
        async for status in self._api.statuses(tags=self._tags, since=since):
            found.add(status.container_group_id)
            if self._copies.get(status.container_group_id) is not None:
                self._saw(status)
            elif status.container_group_id not in self._not_ours:
                unknown[status.container_group_id] = status
        await self._meet(unknown)
        await self._show_failed()
        self._looked_at = began
        if everything:
            missing = [group for group in before if group.id not in found]
            if found:
                missing = await self._without_slipped(missing)
            await self._miss(missing, seen=bool(found))
            self._all_at, self.complete = began, True
            if self._first_at is None:
                self._first_at = began
            self._not_ours &= found
            self.news.listed()
        await self._delete_again()

    async def _delete_again(self) -> None:
        """Ask again for deletions that were answered well and did nothing: such groups cost.

        And ask for those of groups that wait for nothing any more.
        """
        now = self._clock.monotonic()
        waiting = [
            group
            for group in self._copies.there()
            if not group.seen.deleting
            and (group.seen.hopeless or (group.asked is not None and not group.seen.ended))
        ]
        before = self._without_effect
        self._without_effect = {
            group.id: before.get(group.id, now if group.asked is not None else now - _DELETE_AGAIN)
            for group in waiting
        }
        late = [g for g in waiting if now - self._without_effect[g.id] >= _DELETE_AGAIN]
        for group in late[:_PROBES]:
            try:
                self._deletes.require(group.id)
                self._deletes.went(group.id)
                if group.asked is None:
                    at = rfc3339(self._clock.time())
                    self._copies.asked(group.id, now=at, answered=False)
                if await self.is_gone(group, api=self._hasty):
                    self._copies.went(group, proven=True)
            except (EciError, InLine, Withheld) as error:
                # The list came: the link holds, whatever is said of one group.
                _LOG.info("a deletion is not repeated yet", why=str(error))
                return
            self._without_effect[group.id] = now
            _LOG.warning("a deletion was asked for, or again", group=group.id)

    async def _without_slipped(self, missing: list[Group]) -> list[Group]:
        """Of groups that a listing lacks, those that are missing by name too.

        Pages may shift while groups come and go, so that one slips through between two of them.
        """
        there = set()
        if missing:
            async for status in self._api.statuses(ids=[group.id for group in missing]):
                there.add(status.container_group_id)
                self._show(status)
        return [group for group in missing if group.id not in there]

    def _saw(self, status: GroupStatus) -> None:
        if self.news.may_explain(status):
            self._failed[status.container_group_id] = status
        else:
            self._show(status)

    async def _show_failed(self) -> None:
        """Show failures, once it was asked whether the spot market announced them."""
        failed, self._failed = self._failed, {}
        await self.news.explain(list(failed))
        for status in failed.values():
            self._show(status)

    def _show(self, status: GroupStatus) -> None:
        now, at = rfc3339(self._clock.time()), self._clock.monotonic()
        if self._copies.saw(status, now=now, at=at):
            self.news.changed(status.container_group_id)

    def require_settled(self) -> None:
        """Raise Waiting while listings may lack what an agent before us has made last."""
        if not self.settled:
            raise Waiting(
                "whether the pod still runs cannot be seen yet: it may have been made just before "
                "this agent began, and lists have what is new only after a while",
                reason="ComputeNotSeen",
            )

    def must_be_known(self, group: Group) -> bool:
        """Whether the service would know of a group by now if it were there."""
        return group.listed or group.answered or self._settled(group)

    def _settled(self, group: Group) -> bool:
        """Whether a group that no listing had yet must be in them by now."""
        made = group.made_at
        return made is None or made < rfc3339(self._clock.time() - self._settles)

    async def _miss(self, missing: list[Group], *, seen: bool) -> None:
        """Judge groups that a listing of everything has not. `seen`: it has others of ours."""
        still = [g for g in missing if not g.gone]
        old = [g for g in still if g.listed or self._settled(g)]
        # One that is too young for lists may have gone all the same where that was asked for.
        ask = [g for g in still if g.asked and not (g.listed or self._settled(g))]
        if seen:
            self._copies.absent(old, after=_ABSENT)
        else:
            ask += old
        # Others each time, so that none waits for those that stay.
        for group in self._rng.sample(ask, min(len(ask), _PROBES)):
            try:
                gone = await self.is_gone(group, api=self._hasty)
            except (EciError, Withheld) as error:
                # The list came: the link holds, whatever is said of one group.
                _LOG.info("a missing group is not told of", why=str(error))
                return
            if gone:
                self._copies.went(group, proven=group.asked is not None)

    async def is_gone(self, group: Group, *, api: EciApi | None = None) -> bool:
        """Ask for one group by its id: the service says so when it is not there.

        Of one that is too young for lists that proves nothing: calls by id may lag as they do.

        Raises:
            EciError: it said neither.
        """
        api = api or self._api
        try:
            if group.asked is not None:
                await api.delete(group.id)  # Wished for already, and again is no matter.
            else:
                container = group.containers[0].name if group.containers else "main"
                await api.log(group.id, container, tail=1)
        except NotFound:
            return self.must_be_known(group)
        except (InvalidParameter, Refused):
            pass  # The group was found; its container was not, or has no log now.
        group.answered = True
        return False
