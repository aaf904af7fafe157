"""The pods of one tenant cluster in one compute cluster, by their tenant names.

In: what the backend's watch brings of our labelled pods, and our own writes before it does. Out:
`ObservedPod`, calls to listeners, and what is gone, kept until the lifecycle rules have written
its final states. It asks nothing of the cluster and decides nothing.
"""

import dataclasses
from collections.abc import Callable, Iterator

import structlog

from federation.backends.kubernetes.conceal import Names
from federation.backends.kubernetes.observe import names_of, observed_pod
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_CLUSTER_UID,
    ANNOTATION_UID,
    NamespaceMapping,
    Owner,
)
from vnode.backend import ObservedPod, Sight, Waiting
from vnode.kube.types import UID, ObjectKey, Pod
from vnode.runtime.store import Change, Store

_LOG = structlog.get_logger(__name__)


class PodCopies:
    """The store of copies, and what is known of them besides."""

    def __init__(
        self,
        *,
        cluster: str,
        owner: Owner,
        mapping: NamespaceMapping,
        sight: Callable[[str], Sight],
        tokens_due: Callable[[UID, str], float | None],
    ) -> None:
        """Make the store; the backend's watch fills it.

        Args:
            cluster: its name, for the store.
            owner: who we are.
            mapping: where tenant namespaces lie.
            sight: whether what a tenant namespace has below is known.
            tokens_due: see `ObjectCopies.tokens_due`.
        """
        self._cluster = cluster
        self._owner = owner
        self._strangers: set[str] = set()
        self._mapping = mapping
        self._sight = sight
        self._tokens_due = tokens_due
        self.store: Store[Pod] = Store(f"{cluster} pods")
        self._read: dict[ObjectKey, tuple[str, ObservedPod | None]] = {}
        self._gone: dict[ObjectKey, ObservedPod] = {}
        self._in_doubt: set[str] = set()
        self._withdrawn: set[str] = set()
        self._listeners: list[Callable[[ObjectKey], None]] = []
        self.store.subscribe(self._changed)

    def subscribe(self, listener: Callable[[ObjectKey], None]) -> None:
        """Call `listener` with the tenant key of a copy that changed or went."""
        self._listeners.append(listener)

    def tell(self, key: ObjectKey) -> None:
        """Tell of one copy."""
        for listener in self._listeners:
            listener(key)

    def tell_all(self, namespace: str) -> None:
        """Tell of every copy of a tenant namespace."""
        below = self._mapping.below(namespace)
        here = [pod for pod in self.store.values() if pod.metadata.namespace == below]
        copies = [copy for pod in here if (copy := self.read(pod)) is not None]
        copies += [copy for copy in self._gone.values() if copy.key.namespace == namespace]
        for copy in copies:
            self.tell(copy.key)

    def below(self, key: ObjectKey) -> ObjectKey:
        """Where the copy of a tenant pod lies; no namespace: nowhere."""
        return ObjectKey(self._mapping.below(key.namespace) or "", key.name)

    def pod(self, key: ObjectKey) -> Pod | None:
        """What the watch says of the pod behind a tenant key."""
        return self.store.get(self.below(key))

    def names(self, copy: ObservedPod) -> Names:
        """What must not be shown of a copy."""
        found, below = self.pod(copy.key), self.below(copy.key).namespace
        return names_of(found) if found else Names(below, copy.key.namespace, copy.handle, copy.uid)

    def observed(self, key: ObjectKey) -> ObservedPod | None:
        """See `PodBackend.observed`."""
        pod = self.pod(key)
        live = self.read(pod) if pod is not None else None
        return live if live is not None else self._gone.get(key)

    def any_in(self, namespace: str) -> bool:
        """Whether a tenant namespace has a copy, be it one that is gone."""
        below = self._mapping.below(namespace)
        return any(key.namespace == below for key in self.store) or any(
            key.namespace == namespace for key in self._gone
        )

    def each(self) -> Iterator[tuple[Pod, ObservedPod]]:
        """Every pod below that is a copy."""
        for pod in self.store.values():
            if (copy := self.read(pod)) is not None:
                yield pod, copy

    def forget(self, copy: ObservedPod) -> None:
        """See `PodBackend.forget`."""
        if self.gone(copy.key, copy.handle) is not None:
            del self._gone[copy.key]

    def gone(self, key: ObjectKey, handle: str) -> ObservedPod | None:
        """The copy with that UID below, if it is gone and not forgotten yet."""
        kept = self._gone.get(key)
        return kept if kept is not None and kept.handle == handle else None

    def remember(self, key: ObjectKey, made: Pod, *, scope: str) -> ObservedPod:
        """Know our own write before the watch brings it, unless it is gone again already.

        Raises:
            Waiting: it does not carry our marks any more.
        """
        gone = self.gone(key, made.metadata.uid)
        if gone is not None:
            return gone
        self._gone.pop(key, None)
        self.store.upsert(made, scope=scope)
        copy = self.read(made)
        if copy is None:
            raise Waiting("the copy lost its marks on the way", reason="ComputeConflict")
        return copy

    def holds(self, key: ObjectKey, uid: UID, found: Pod) -> bool:
        """Whether a pod that lies below for `key` is, or was, the copy of tenant pod `uid`."""
        copy = observed_pod(found, owner=self._owner, namespaces=self._mapping)
        if copy is not None:
            return copy.uid == uid
        # Somebody took its label, or all its marks: then it is the very pod that was our copy.
        marks = found.metadata.annotations
        marked = marks.get(ANNOTATION_CLUSTER_UID), marks.get(ANNOTATION_UID)
        ours = marked == (self._owner.cluster_uid, uid)
        return ours or self.gone(key, found.metadata.uid) is not None

    def withdraw(self, handle: str) -> None:
        """A pod that we made and take back at once is no copy: nobody is to hear of it."""
        self._withdrawn.add(handle)

    def keep(self, handle: str) -> None:
        """It could not be taken back."""
        self._withdrawn.discard(handle)

    def in_doubt(self, copy: ObservedPod) -> bool:
        """Whether it may be newer than the watch says: an update was not answered well."""
        return copy.handle in self._in_doubt

    def doubt(self, copy: ObservedPod) -> None:
        """An update of it begins."""
        self._in_doubt.add(copy.handle)

    def trust(self, copy: ObservedPod) -> None:
        """The update was answered."""
        self._in_doubt.discard(copy.handle)

    def read(self, pod: Pod) -> ObservedPod | None:
        """A pod below as tenants know it; None: it is not ours."""
        if pod.metadata.uid in self._withdrawn:
            return None
        key, version = pod.metadata.key, pod.metadata.resource_version
        cached = self._read.get(key)
        if cached is None or cached[0] != version:
            seen = observed_pod(pod, owner=self._owner, namespaces=self._mapping)
            before = cached[1] if cached is not None else None
            if seen is not None and before is not None and before.handle == seen.handle:
                # The last step of a deletion sets the time anew: the first one counts.
                asked = before.removal_requested or seen.removal_requested
                seen = dataclasses.replace(seen, removal_requested=asked)
            cached = self._read[key] = (version, seen)
        seen = cached[1]
        if seen is None:
            return None
        due = self._tokens_due(seen.uid, key.namespace)
        return seen if due is None else dataclasses.replace(seen, tokens_refresh_at=due)

    def _changed(self, change: Change[Pod]) -> None:
        seen = change.new or change.old
        copy = self.read(seen) if seen is not None else None
        if change.new is None:
            self._read.pop(change.key, None)
        if change.old is not None and (
            change.new is None or change.new.metadata.uid != change.old.metadata.uid
        ):
            self._in_doubt.discard(change.old.metadata.uid)
            self._withdrawn.discard(change.old.metadata.uid)
        if copy is None:
            if change.new is not None:
                self._tell_of_stranger(change.new)
            return
        if change.new is not None:
            self.forget(copy)  # It is there after all.
        elif self._sight(copy.key.namespace) not in (Sight.BARRED, Sight.NOWHERE):
            # Kept until the lifecycle rules have written its final states. A namespace that we may
            # no longer watch says nothing about what is in it.
            self._gone[copy.key] = dataclasses.replace(copy, gone=True)
        self.tell(copy.key)

    def _tell_of_stranger(self, pod: Pod) -> None:
        """Another tenant cluster has our name here: whose kubeconfig leads astray?"""
        theirs = pod.metadata.annotations.get(ANNOTATION_CLUSTER_UID, self._owner.cluster_uid)
        if theirs != self._owner.cluster_uid and theirs not in self._strangers:
            self._strangers.add(theirs)
            _LOG.warning(
                "pods of another tenant cluster with this tenant's name are left alone",
                cluster=self._cluster,
                cluster_uid=self._owner.cluster_uid,
                theirs=theirs,
                advice="see whether tenant.kubeconfig leads to the right cluster",
            )
