"""What tests may do to the place where copies run, and see of it, whatever it is.

A place is the compute side itself: it outlives agents. `open` is one agent's view of it. What users
of a real place do with its own tools, or its machines by themselves, are methods here. Copies are
named by the tenant pod's name; there is one tenant namespace for each place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from tests.agents.pods import RunningBackend
    from tests.e2e.lifecycle.needs import Need
    from vnode.backend import Capabilities
    from vnode.kube.config import Connection
    from vnode.kube.types import UID, NodeName
    from vnode.runtime.clock import Clock

NAMESPACE = "lifecycle"
"""In the tenant; a place has a suffix of its own."""


@dataclass(frozen=True)
class Copy:
    """What lies below under one name."""

    uid: str
    """Of the tenant pod that it was made for."""
    handle: str
    """Its own identity."""
    deleting: bool = False
    grace_seconds: int | None = None
    """Of a deletion that is under way."""
    gated: bool = False
    labels: frozenset[tuple[str, str]] = frozenset()
    """Labels of the tenant that it has now."""


class Place(Protocol):
    """One compute side, and everybody there but the agent."""

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities]
    lacks: ClassVar[frozenset[Need]]
    """Its missing capabilities, and what else tests cannot ask of it."""
    quota_reason: ClassVar[str]
    """What tenants are told after `refuse`."""
    brings_images: ClassVar[bool]
    """Whether the image of a copy that runs can be changed."""

    @classmethod
    def at(
        cls, compute: Connection, namespace: str, *, cluster_uid: UID, node: NodeName
    ) -> AbstractAsyncContextManager[Place]:
        """A place for one test; it leaves nothing.

        Args:
            compute: an administrator's way to a compute cluster, for who needs one.
            namespace: of the tenant.
            cluster_uid: of the tenant.
            node: the virtual node.
        """
        ...

    def open(self, clock: Clock) -> AbstractAsyncContextManager[RunningBackend]:
        """An agent that begins: a backend that remembers nothing."""
        ...

    async def copy(self, name: str) -> Copy | None:
        """What is there under that name and ours, whoever sees it."""
        ...

    async def made(self, uid: str) -> int:
        """How often a copy was made for a tenant UID."""
        ...

    async def ran(self, uid: str) -> int:
        """How many copies of a tenant UID ever could start."""
        ...

    async def start(self, name: str) -> None:
        """See that the containers run."""
        ...

    async def end(self, name: str, *, exit_code: int = 0) -> None:
        """The containers end by themselves."""
        ...

    async def finish_deletion(self, name: str) -> None:
        """The containers of a copy that is being deleted end because of it, with 143."""
        ...

    async def remove(self, name: str) -> None:
        """Somebody removes a copy at once."""
        ...

    async def unplaced(self, name: str, message: str) -> None:
        """The place says why a copy cannot run yet (reason Unschedulable)."""
        ...

    async def placed(self, name: str) -> None:
        """It has found room."""
        ...

    async def refuse(self) -> None:
        """No more copies: the quota is used up."""
        ...

    async def accept(self) -> None:
        """There is quota again."""
        ...

    async def lose_answers(self, count: int) -> None:
        """So many of the next creates are carried out and not answered."""
        ...

    async def silence(self) -> None:
        """Nobody gets an answer any more."""
        ...

    async def answer(self) -> None:
        """It answers again."""
        ...

    async def take(self, name: str) -> None:
        """Somebody else makes something of that name."""
        ...

    async def taken_is_untouched(self, name: str) -> bool:
        """Whether that is still there as it was made."""
        ...

    async def release(self, name: str) -> None:
        """Its owner removes it."""
        ...

    async def config(self, pod: str, config_map: str) -> dict[str, str] | None:
        """What a copy has of a ConfigMap of the tenant; None: nothing (any more)."""
        ...

    async def tokens(self, name: str) -> frozenset[str]:
        """The ServiceAccount tokens that a copy has now."""
        ...
