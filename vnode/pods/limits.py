"""How much one tenant namespace may make an agent hold and do.

In: how many copies and objects a namespace has below, and what a pod refers to. Out: `Rejected` for
a pod that refers to too much, which it always will, and `Waiting` for what may pass when something
of the same namespace goes. So a namespace that floods virtual nodes fills its own share and no
other's (DESIGN 11). Workers that make copies at the same time do not see each other's: the number
of pods may be passed by as many as there are workers.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from vnode.backend import ObjectRef, Rejected, TokenKey, Waiting
from vnode.pods.references import ReferenceUse


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
            raise Waiting(
                f"namespace {namespace} has {copies} pods behind this virtual node, which is the "
                "limit; the pod starts when others have gone",
                reason="TooManyPods",
                not_done=True,
            )


class CopiedObjects:
    """Which ConfigMaps and Secrets were copied, by tenant namespace."""

    def __init__(self, limits: Limits) -> None:
        self._most = limits.objects
        self._copied: defaultdict[str, set[ObjectRef]] = defaultdict(set)

    def add(self, ref: ObjectRef) -> None:
        """It lies below."""
        self._copied[ref.namespace].add(ref)

    def discard(self, ref: ObjectRef) -> None:
        """It does not lie below any more."""
        self._copied[ref.namespace].discard(ref)
        if not self._copied[ref.namespace]:
            del self._copied[ref.namespace]

    def require_room(self, namespace: str, refs: Iterable[ObjectRef]) -> None:
        """See that these may be copied too. Raises Waiting."""
        copied = self._copied.get(namespace, set())
        more = set(refs) - copied
        if more and len(copied) + len(more) > self._most:
            raise Waiting(
                f"namespace {namespace} has {len(copied)} ConfigMaps and Secrets behind this "
                f"virtual node, and the pod needs {len(more)} more; the limit is {self._most}",
                reason="TooManyObjects",
                not_done=True,
            )
