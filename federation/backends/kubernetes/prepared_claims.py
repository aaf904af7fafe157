"""The seam to whoever prepares claims below before pods may mount them (`federation.fluid`).

In: pods that mount claims. Out: `Waiting` until what they need is there. The backend gives it the
watches that it needs, beside its own, and tells it when it may look.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from federation.backends.kubernetes.injection import Asking
from federation.backends.kubernetes.watches import Watches, WatchFactory
from vnode.backend import ObservedPod, PodEvent, Sight
from vnode.kube.types import PartialObject, Pod
from vnode.runtime.store import Store


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a backend lets others see of it."""

    copies: Store[Pod]
    """Copies of pods, as the compute cluster has them."""
    read: Callable[[Pod], ObservedPod | None]
    """What one of them is to the tenant; None: nothing."""
    secrets: Store[PartialObject]
    """Our Secrets there, metadata only."""
    sight: Callable[[str], Sight]
    """See `PodBackend.sight`."""
    scope: Callable[[str], str]
    """The part of a store that a compute namespace belongs to."""
    opened: Callable[[str], None]
    """Tell that pods of a tenant namespace may be tried again at once."""
    say: Callable[[PodEvent], None]
    """Tell users something about a pod."""


class PreparedClaims(Protocol):
    """Claims that are prepared below, in memory but for `run`."""

    @property
    def asking(self) -> Asking:
        """By what pods that mount such claims ask for their sidecars."""
        ...

    def watches(self, factory: WatchFactory) -> Sequence[Watches]:
        """What has to be watched; called once."""
        ...

    def attach(self, surroundings: Surroundings) -> None:
        """Called once, before anything runs."""
        ...

    def among(self, namespace: str, names: Iterable[str]) -> tuple[str, ...]:
        """Which of these claims of a tenant namespace are prepared. Raises Waiting: not known."""
        ...

    def require(self, namespace: str, names: Iterable[str]) -> None:
        """See that these are ready for pods. Raises Waiting that says what is missing."""
        ...

    def any_in(self, below: str) -> bool:
        """Whether there is anything of prepared claims in a compute namespace."""
        ...

    async def run(self) -> None:
        """Prepare until cancelled."""
        ...
