"""What is known of our container groups: the memory behind `PodBackend.observed`.

In: identities read from tags, states as polls bring them, our own creates and deletes. Out: one
`ObservedPod` by tenant key, and news to listeners. A group that went stays with its last state
until it is forgotten; the service itself keeps final states for an hour only. No I/O, no clock;
owned by `EciBackend`, filled by `Observer`.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace

import structlog

from federation.backends.eci.answers import ContainerStatus, GroupStatus, Illegible, Terminated
from federation.backends.eci.pod_status import Seen, leaving, pod_status, stays, without_data
from federation.backends.eci.translate.claims import SIDECAR, is_sidecar
from federation.backends.eci.translate.identity import Identity
from vnode.backend import ObservedPod
from vnode.kube.types import UID, ObjectKey

__all__ = ["Copies", "Group"]

_LOG = structlog.get_logger(__name__)

_SURE = 60.0
"""Seconds for which looks have to say that files will never come: what follows is irreversible."""
_FRESH = Seen(
    status=b'{"phase":"Pending"}', scheduled=False, deleting=False, ended=False, waiting=None
)


@dataclass(slots=True)
class Group:
    """One container group of ours."""

    id: str
    identity: Identity
    made_at: str | None
    """RFC 3339."""
    generation: int
    """Of the tenant pod, as last judged."""
    restarts: str
    """Its restart policy; empty: not known."""
    images: frozenset[str] = frozenset()
    """Of its sidecars, before any state has shown them."""
    seen: Seen = _FRESH
    containers: tuple[ContainerStatus, ...] = ()
    listed: bool = False
    """A listing has had it."""
    answered: bool = False
    """The service has carried out a call about it, by its id."""
    asked: str | None = None
    """RFC 3339 time at which its deletion was asked for, or first seen."""
    absent: int = 0
    """Listings in a row without it."""
    without: Terminated | None = None
    """The end of a sidecar for whose files all containers have waited after it."""
    in_vain_since: float | None = None
    """Since when every look has shown that they still do."""
    announced: bool = False
    """The spot market has announced that it takes the instance back."""
    gone: bool = False
    proven: bool = False
    """Gone by our own deletion, and seen to be."""

    @property
    def leaving(self) -> bool:
        """Its deletion is under way."""
        return not self.gone and (self.asked is not None or self.seen.deleting)

    @property
    def hidden(self) -> set[str]:
        """Words that say something of containers that are none of the pod's."""
        seen = {c.image for c in self.containers if is_sidecar(c.name) and c.image}
        return {SIDECAR, *self.images, *seen}

    def has_ended(self, container: str) -> bool:
        """Whether a container writes nothing any more."""
        states = [c.state for c in self.containers if c.name == container]
        return self.seen.ended or any(state.terminated is not None for state in states)

    def shown(self) -> ObservedPod:
        """In the words of the seam."""
        who = self.identity
        return ObservedPod(
            key=who.key,
            uid=who.uid,
            handle=self.id,
            node=who.node,
            digest=who.digest,
            generation=self.generation,
            status=self.seen.status,
            deleting=self.asked is not None or self.seen.deleting,
            # There is no grace period in a delete; 0 says that one was carried out to the end.
            grace_seconds=0 if self.proven else None,
            made_at=self.made_at,
            removal_requested=self.asked,
            gone=self.gone,
            scheduled=self.seen.scheduled,
            waiting=self.seen.waiting,
        )


class Copies:
    """All groups of one tenant cluster."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}
        self._by_key: dict[ObjectKey, dict[str, Group]] = {}
        self._shown: dict[ObjectKey, ObservedPod] = {}
        self._listeners: list[Callable[[ObjectKey], None]] = []

    def __len__(self) -> int:
        return sum(not group.gone for group in self._groups.values())

    def subscribe(self, listener: Callable[[ObjectKey], None]) -> None:
        """See `PodBackend.subscribe`."""
        self._listeners.append(listener)

    def observed(self, key: ObjectKey) -> ObservedPod | None:
        """See `PodBackend.observed`."""
        return self._shown.get(key)

    def get(self, group: str) -> Group | None:
        """What is known of a group, by its id."""
        return self._groups.get(group)

    def of(self, uid: UID) -> Group | None:
        """A group that was made for a tenant UID; one that is there first."""
        found = [g for g in self._groups.values() if g.identity.uid == uid]
        return min(found, key=_first, default=None)

    def there(self) -> Iterator[Group]:
        """Groups that are not known to be gone."""
        return (group for group in self._groups.values() if not group.gone)

    def learn(
        self,
        group: str,
        identity: Identity,
        *,
        made_at: str | None,
        listed: bool,
        restarts: str = "",
        images: frozenset[str] = frozenset(),
    ) -> Group:
        """A group is there; returns what is known of it."""
        known = self._groups.get(group)
        if known is None:
            known = Group(group, identity, made_at, identity.generation, restarts, images)
            self._groups[group] = known
            namesakes = self._by_key.setdefault(identity.key, {})
            if any(g.identity.uid == identity.uid and not g.gone for g in namesakes.values()):
                _LOG.error("two container groups for one pod", pod=str(identity.key), group=group)
            namesakes[group] = known
        if known.gone:
            known.gone = known.proven = False
        known.listed |= listed
        self._tell(identity.key)
        return known

    def saw(self, status: GroupStatus, *, now: str, at: float) -> bool:
        """A poll has brought a state. Returns whether it is news; of unknown groups nothing is.

        `now`: RFC 3339; `at`: seconds of the agent's own clock, which does not step.
        """
        group = self._groups.get(status.container_group_id)
        if group is None:
            return False
        legible, before = not isinstance(status, Illegible), group.shown()
        # What ends because we asked for it says nothing of the pod.
        restarts = group.restarts if group.asked is None else ""
        seen = pod_status(status, restarts=restarts) if legible else group.seen
        if legible and group.asked is None:
            seen = _judged(group, status, seen, at=at)
        seen = leaving(seen) if group.announced else seen
        group.listed, group.absent, group.gone, group.proven = True, 0, False, False
        if legible:
            group.containers = status.pod_status.container_statuses
        if seen.deleting and group.asked is None:
            group.asked = now
        # An end is final: a deletion afterwards shows the same group in another state. But what
        # failed because its instance was taken back may be called so only later.
        explained = (group.seen.state, seen.state) == ("Failed", "Expired")
        final = group.seen.ended and not explained
        group.seen = replace(group.seen, deleting=seen.deleting) if final else seen
        changed = group.shown() != before
        if changed:
            self._tell(group.identity.key)
        return changed

    def announced(self, group: str) -> None:
        """The spot market has announced that it takes the instance back."""
        known = self._groups.get(group)
        if known is not None and not known.announced:
            known.announced, known.seen = True, leaving(known.seen)
            self._tell(known.identity.key)

    def asked(self, group: str, *, now: str, answered: bool) -> None:
        """We have asked for its deletion; `answered`: and the service knew of it."""
        if answered and group in self._groups:
            self._groups[group].answered = True
        if (known := self._groups.get(group)) is not None and known.asked is None:
            known.asked = now
            self._tell(known.identity.key)

    def judged(self, group: str, generation: int) -> ObservedPod | None:
        """An update was judged. Returns the copy; None: it is not known (any more)."""
        known = self._groups.get(group)
        if known is None or known.gone:
            return None
        known.generation = generation
        self._tell(known.identity.key)
        return known.shown()

    def absent(self, groups: Collection[Group], *, after: int) -> None:
        """A listing that has others of ours has not these; they are gone `after` so many.

        One whose deletion was asked for is gone at once. Whether others really are is asked by
        `PodBackend.confirm_gone`: the listing is no proof.
        """
        for group in groups:
            group.absent += 1
            if group.asked is not None:
                self.went(group, proven=True)
            elif group.absent >= after:
                self.went(group, proven=False)

    def went(self, group: Group, *, proven: bool) -> None:
        """It is not there any more. `proven`: by a deletion, to the end."""
        group.gone, group.proven = True, proven and group.asked is not None
        self._tell(group.identity.key)

    def forget(self, copy: ObservedPod) -> None:
        """See `PodBackend.forget`."""
        known = self._groups.get(copy.handle)
        if known is None or not known.gone:
            return
        del self._groups[copy.handle]
        namesakes = self._by_key[copy.key]
        del namesakes[copy.handle]
        if not namesakes:
            del self._by_key[copy.key]
        self._tell(copy.key, quiet=not namesakes)

    def _tell(self, key: ObjectKey, *, quiet: bool = False) -> None:
        first = min(self._by_key.get(key, {}).values(), key=_first, default=None)
        if first is None:
            self._shown.pop(key, None)
        elif (now := first.shown()) != self._shown.get(key):
            self._shown[key] = now
        else:
            return
        if not quiet:
            for listener in self._listeners:
                listener(key)


def _judged(group: Group, status: GroupStatus, seen: Seen, *, at: float) -> Seen:
    """Whether a pod will never have its files, or never had them: by what was seen in what order.

    Times of the group's own machine say nothing here: its clock may step.
    """
    if (end := seen.in_vain) is not None:
        if group.without != end or group.in_vain_since is None:
            group.without, group.in_vain_since = end, at
        return without_data(seen, end) if at - group.in_vain_since >= _SURE else seen
    group.in_vain_since = None
    if group.without is None or not stays(status, group.without):
        group.without = None
        return seen
    # All began after its end, in an empty directory. One that still runs may do without.
    return without_data(seen, group.without) if seen.state == "Succeeded" else seen


def _first(group: Group) -> tuple[bool, bool, str, str]:
    """What is there goes before what is gone, what may run before what has ended, then by age."""
    return (group.gone, group.seen.ended, group.made_at or "", group.id)
