"""How much one tenant namespace may make an agent hold and do.

In: how many copies and objects a namespace has below, and what a pod refers to. Out: `Rejected` for
a pod that refers to too much, which it always will, and `Waiting` for what may pass when something
of the same namespace goes. So a namespace that floods virtual nodes fills its own share and no
other's (DESIGN 11). Those that wait stand in line (`Line`), and as many are tried again as get
room: their words have no numbers that change, and their own tries are minutes apart, as thousands
may wait for days. Workers that make copies at the same time do not see each other's: the number of
pods may be passed by as many as there are workers.
"""

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from vnode.backend import ObjectRef, Rejected, TokenKey, Waiting
from vnode.kube.types import ObjectKey
from vnode.pods.objects.references import ReferenceUse


class NoRoom(Waiting):
    """The namespace has its share. Who waits is woken when something of it goes."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message, reason=reason, not_done=True)


class Line:
    """Pods that wait for room, by tenant namespace; who came first is tried first."""

    def __init__(self) -> None:
        self._waiting: dict[str, dict[ObjectKey, None]] = {}

    def join(self, key: ObjectKey) -> None:
        """At the end, or where it stands."""
        self._waiting.setdefault(key.namespace, {})[key] = None

    def leave(self, key: ObjectKey) -> None:
        """It waits no more, or is gone."""
        if (line := self._waiting.get(key.namespace)) is not None:
            line.pop(key, None)
            if not line:
                del self._waiting[key.namespace]

    def first(self, namespace: str, room: int) -> list[ObjectKey]:
        """Take so many out, to be tried; one that is refused again joins at the end."""
        taken = list(itertools.islice(self._waiting.get(namespace, ()), max(0, room)))
        for key in taken:
            self.leave(key)
        return taken


@dataclass(frozen=True, slots=True)
class Limits:
    """Of each tenant namespace, in each backend."""

    pods: int = 10_000
    """Copies at once."""
    objects: int = 5_000
    """ConfigMaps and Secrets that are copied at once."""
    references: int = 100
    """ConfigMaps, Secrets and tokens of one pod."""

    def refusal(
        self, uses: Collection[ReferenceUse], tokens: Collection[TokenKey]
    ) -> Rejected | None:
        """The rejection of a pod that refers to too much."""
        asked = len({use.ref for use in uses}) + len(tokens)
        if asked <= self.references:
            return None
        text = (
            f"refers to {asked} ConfigMaps, Secrets and ServiceAccount tokens; virtual nodes allow "
            f"{self.references}"
        )
        return Rejected(f"spec: {text}", field="spec")

    def require_room_for_pod(self, namespace: str, *, copies: int) -> None:
        """See that one more copy may be made. Raises Waiting."""
        if copies >= self.pods:
            raise NoRoom(
                f"namespace {namespace} may have {self.pods} pods behind this virtual node, and "
                "has them; the pod starts when others have gone",
                reason="TooManyPods",
            )


class CopiedObjects:
    """Which ConfigMaps and Secrets were copied, by tenant namespace."""

    def __init__(self, limits: Limits) -> None:
        self._most = limits.objects
        self._copied: defaultdict[str, set[ObjectRef]] = defaultdict(set)

    def add(self, ref: ObjectRef) -> None:
        """It lies below."""
        self._copied[ref.namespace].add(ref)

    def discard(self, ref: ObjectRef) -> bool:
        """It does not lie below any more; whether it was counted."""
        copied = self._copied.get(ref.namespace, set())
        if ref not in copied:
            return False
        copied.remove(ref)
        if not copied:
            del self._copied[ref.namespace]
        return True

    def require_room(self, namespace: str, refs: Iterable[ObjectRef]) -> None:
        """See that these may be copied too. Raises Waiting."""
        copied = self._copied.get(namespace, set())
        more = set(refs) - copied
        if more and len(copied) + len(more) > self._most:
            raise NoRoom(
                f"namespace {namespace} may have {self._most} ConfigMaps and Secrets behind this "
                "virtual node, and the pod needs more than are left; it starts when pods that use "
                "others have gone",
                reason="TooManyObjects",
            )
